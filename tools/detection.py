"""docs/detection.md: which ways of writing a secret are found where, by trying each of them."""

from __future__ import annotations

import random
import string
from unittest.mock import patch

from ebbgate.secrets import needles, reader, views
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.secrets.encodings import BINARY, DISGUISED, MISSES, TEXTUAL, Encode

FOUND, MISSED = "detected", "not detectable"
_TRIES = 2
_BODY = Place(Carrier.BODY)
_FAR = 3 << 17  # bytes into an upload of which one window is decoded, which takes less time than the real bound
_AFTER = 1 << 18

_HEAD = """# What is detected

Made by `tools/generated.py`, which writes a fresh value in each of these ways and lets the scanner look; do not edit. The same
table is a test with thousands of values (`tests/secrets/test_matrix.py`), in which a miss that is listed here must be one.

Places: **text** is a header, a path or query after percent-decoding, a form, a JSON or other document of up to 1 MB, a WebSocket
message; **upload** is the first megabyte of text, and all that is no text, of a longer body or an opaque connection; **far in**
is what comes after {text} MB of text in such a body. **name** is a host name or DNS question, where there is no upper case.

What is not detected is stopped by its destination only: it leaves where the policy allows the host. Text beyond those bounds is
counted as not inspected, and does not leave under `uninspectable: deny`.

| written as | text | upload | far in | name |
| --- | --- | --- | --- | --- |
"""

_TAIL = """
Also detected: up to three of the textual ways within each other, in a compressed file or archive, in texts of up to {small} KB
(two in up to {middle} KB, beyond that one); pieces spread over headers, form fields, JSON values, and over several requests to
one destination. An encoded form of fewer than {needle} characters is not looked for.

Not detectable by their nature: encryption, steganography, an order or timing of requests, pieces of fewer than six characters,
hashes.
"""


def table() -> str:
    """The whole page."""
    chance = random.Random(0)
    rows = []
    for name, encode in {**TEXTUAL, **DISGUISED, **BINARY, **MISSES}.items():
        cells = [_told(encode, chance, where) for where in (_in_text, _in_upload, _far_in, _in_name)]
        rows.append(f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    bounds = {
        "small": views.SMALL >> 10,
        "middle": views.MIDDLE >> 10,
        "needle": needles.MIN_NEEDLE,
        "text": reader.MAX_TEXT >> 20,
    }
    return _HEAD.format(**bounds) + "\n".join(rows) + "\n" + _TAIL.format(**bounds)


def _told(encode: Encode, chance: random.Random, where: object) -> str:
    found = sum(where(encode, _value(chance)) for _ in range(_TRIES))  # type: ignore[operator]
    if found not in (0, _TRIES):
        return f"{found} of {_TRIES}"
    return FOUND if found else MISSED


def _value(chance: random.Random) -> bytes:
    return "".join(chance.choice(string.ascii_letters + string.digits) for _ in range(32)).encode()


def _scanner(value: bytes) -> Scanner:
    return Scanner([Secret("S", value, "--secret")], salt=b"")


def _in_text(encode: Encode, value: bytes) -> bool:
    return bool(_scanner(value).scan(encode(value), _BODY).findings)


def _in_upload(encode: Encode, value: bytes) -> bool:
    return _streamed(value, b"words of a log\n" * 50 + encode(value) + b"\n")


def _far_in(encode: Encode, value: bytes) -> bool:
    with patch.object(reader, "MAX_TEXT", 1):
        return _streamed(value, b" " * _FAR + encode(value) + b"\n" + b" " * _AFTER)


def _streamed(value: bytes, data: bytes) -> bool:
    reading = _scanner(value).stream(_BODY)
    found = [one for at in range(0, len(data), 1 << 16) for one in reading.feed(data[at : at + (1 << 16)]).findings]
    return bool(found or reading.finish().findings)


def _in_name(encode: Encode, value: bytes) -> bool:
    written = encode(value).decode("latin-1")
    if not set(written) <= set(string.ascii_letters + string.digits + "-_.="):
        return False
    label = written.rstrip("=").replace("=", "")
    name = ".".join([*(label[at : at + 50] for at in range(0, len(label), 50)), "example.com"])
    return bool(_scanner(value).scan_labels(name, Place(Carrier.DNS)).findings)
