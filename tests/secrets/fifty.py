"""Fifty secrets as a large job registers them: long and short ones, and some that are made of words. None is in anybody's traffic."""

from __future__ import annotations

import random
import secrets
import string

_WORDS = (
    "summer", "release", "deploy", "staging", "express", "python", "registry", "secret", "admin", "letmein", "dragon", "index",
)  # fmt: skip
FIFTY = {
    **{f"LONG_{number}": secrets.token_urlsafe(30) for number in range(25)},
    **{f"HASH_{number}": secrets.token_hex(20) for number in range(5)},
    **{f"SHORT_{number}": secrets.token_urlsafe(6) for number in range(6)},
    **{f"SHORT_{number}": "".join(random.choices(string.ascii_letters + string.digits, k=6)) for number in range(6, 10)},
    **{f"WORDS_{number}": f"{random.choice(_WORDS)}-{random.choice(_WORDS)}-{number + 2010}" for number in range(6)},
    **{f"WORDS_{number}": f"{random.choice(_WORDS).title()}{number + 2010}!" for number in range(6, 10)},
}
