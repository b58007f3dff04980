"""What may be printed where everybody can read it: the log of a public repository, a summary, an annotation.

A denied name can carry a secret in its labels, in an encoding no scanner knows. So labels that look encoded are replaced by a
salted hash: two sightings can be compared within a run, and nothing can be read back.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter

from ebbgate.policy.names import is_literal, registrable_domain

# Measured on the names of package registries, CDNs and cloud services: the longest label that a person chose has 40
# characters ("productionresultssa…" and bucket names); random ones begin to be useful to an attacker at about 16.
LONG_LABEL = 41
SUSPICIOUS_LABEL = 16
MAX_PARAMETERS = 50  # of a query that are shown
HIDDEN = "…"
UNBROKEN_LABEL = 20  # people put hyphens into names that long, and base32 has few digits
MIN_ENTROPY = 3.4  # bits a character; English words run together have 2.5 to 3.2, hex 3.5 to 4, base32 4 to 5
MIN_DIGIT_SHARE = 0.15
_HEXADECIMAL = frozenset("0123456789abcdef")
_BIDI = {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u200f"}


def publishable_host(host: str, salt: bytes) -> str:
    """The host with labels that look encoded replaced by ``[6 hex]``; the registrable domain stays as it is."""
    if not host or is_literal(host):
        return host
    domain = registrable_domain(host)
    left = host.removesuffix(domain).removesuffix(".")
    if not left:
        return host if not _looks_encoded(domain.partition(".")[0]) or len(domain) < LONG_LABEL else _hashed(domain, salt)
    labels = [_hashed(label, salt) if _looks_encoded(label) else label for label in left.split(".")]
    return ".".join([*labels, domain])


def publishable_query(raw: str) -> str:
    """A query with names and values that look encoded, or are long, replaced by ``…``: tokens are often in queries."""

    def shown(text: str) -> str:
        return text if len(text) <= LONG_LABEL and not _looks_encoded(text) else HIDDEN

    parts = [part.partition("=") for part in raw.split("&")[: MAX_PARAMETERS + 1]] if raw else []
    kept = [f"{shown(name)}{sign}{shown(value)}" for name, sign, value in parts[:MAX_PARAMETERS]]
    return "&".join([*kept, *([HIDDEN] if len(parts) > MAX_PARAMETERS else [])])


def is_whole(host: str) -> bool:
    """Whether a published host is the host itself, no label of it hashed or redacted."""
    return bool(host) and not any(sign in host for sign in "[]…\\")


def _hashed(text: str, salt: bytes) -> str:
    return f"[{hashlib.blake2b(text.encode(), key=salt, digest_size=3).hexdigest()}]"


def _looks_encoded(label: str) -> bool:
    if len(label) >= LONG_LABEL:
        return True
    if len(label) < SUSPICIOUS_LABEL:
        return False
    if set(label) <= _HEXADECIMAL and any(character.isdigit() for character in label):
        return True
    digits = sum(character.isdigit() for character in label)
    run_together = "-" not in label and len(label) >= UNBROKEN_LABEL and digits >= 2
    return _entropy(label) >= MIN_ENTROPY and (run_together or digits / len(label) >= MIN_DIGIT_SHARE)


def _entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def printable(text: str, limit: int) -> str:
    """Text that changes nothing but itself on a terminal: control, bidi and unassigned characters shown as escapes."""
    shown = "".join(
        one if _harmless(one) else one.encode("unicode_escape", "backslashreplace").decode() for one in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _harmless(character: str) -> bool:
    return character.isprintable() and character not in _BIDI and unicodedata.category(character) not in ("Cc", "Cf", "Cs")
