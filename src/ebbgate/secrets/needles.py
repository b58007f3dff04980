"""The literal forms in which a value is looked for: encode, then match.

Base64 of a text that *contains* the value depends on what surrounds it, except for the characters all of whose bits come
from the value. Those are the needles: one for each of the three byte offsets, the same whatever comes before and after.
Applied twice they find base64 of base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

MIN_NEEDLE = 7  # bytes of an encoded form; shorter ones meet by chance (measured: 6 alphanumerics none in 64 MB)
MIN_LINE = 24  # bytes; shorter lines of a multi-line secret may be anything ("-----BEGIN", braces)
ONE_HYPHEN = bytes.maketrans(b"_", b"-")  # many resolvers take no underscore, so people write the other
_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class Needle:
    """data: what is searched for. owner: index of the secret. encodings: how the value was written, outermost first."""

    data: bytes
    owner: int
    encodings: tuple[str, ...]


def base64_cores(value: bytes) -> Iterator[bytes]:
    """Characters of standard base64 that depend on the value alone, for each of the three offsets."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value)
        core = encoded[-(-8 * offset // 6) : 8 * (offset + len(value)) // 6]
        if len(core) >= MIN_NEEDLE:
            yield core


def base32_cores(value: bytes) -> Iterator[bytes]:
    """The same for base32 and its five offsets."""
    for offset in range(5):
        encoded = base64.b32encode(b"\0" * offset + value)
        core = encoded[-(-8 * offset // 5) : 8 * (offset + len(value)) // 5]
        if len(core) >= MIN_NEEDLE:
            yield core


def forms(value: bytes) -> list[bytes]:
    """The value as it may stand in a text: whole, with other line ends, without any, and its longer lines."""
    if b"\n" not in value:
        return [value]
    lines = value.replace(b"\r\n", b"\n").split(b"\n")
    whole = [value, b"\n".join(lines), b"\r\n".join(lines), b"".join(lines), b" ".join(lines), b"\\n".join(lines)]
    body = b"".join(line for line in lines if not line.startswith(b"-----"))
    kept = [line for line in lines if len(line) >= MIN_LINE and not line.startswith(b"-----")]
    return list(dict.fromkeys([one for one in (*whole, body, *kept) if len(one) >= MIN_NEEDLE]))


def needles_of(value: bytes, owner: int) -> list[Needle]:
    """All literal forms of one secret, each once."""
    found: dict[bytes, Needle] = {}
    for form in forms(value):
        for data, encodings in _encoded(form):
            found.setdefault(data, Needle(data, owner, encodings))
    return list(found.values())


def _encoded(form: bytes) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    yield form, ("raw",)
    for core in base64_cores(form):
        yield core, ("base64",)
        yield core.translate(_URL_ALPHABET), ("base64url",)
        for outer in base64_cores(core):
            yield outer, ("base64", "base64")
    for data, encodings in _simple(form):
        if len(data) >= MIN_NEEDLE:
            yield data, encodings


def _simple(form: bytes) -> Iterable[tuple[bytes, tuple[str, ...]]]:
    upper = form.hex().upper().encode()
    escaped = "".join(f"%{byte:02X}" for byte in form).encode()
    yield upper, ("hex",)
    yield upper.lower(), ("hex",)
    yield escaped, ("percent",)
    yield escaped.lower(), ("percent",)
    yield quote_from_bytes(form, safe="").encode(), ("percent",)
    yield quote_from_bytes(form, safe="/").encode(), ("percent",)
    text = form.decode("utf-8", "surrogateescape")
    yield json.dumps(text)[1:-1].encode("utf-8", "surrogateescape"), ("json",)
    yield form[::-1], ("reversed",)
    if not any(0xDC80 <= ord(one) <= 0xDCFF for one in text):
        yield text.encode("utf-16-le"), ("utf-16",)
        yield text.encode("utf-16-be"), ("utf-16",)


def folded_needles_of(value: bytes, owner: int) -> list[Needle]:
    """Forms for places that have no upper case: host names. All lower case, without dots, and with one kind of hyphen."""
    found: dict[bytes, Needle] = {}
    candidates: list[tuple[bytes, str]] = [(value, "raw"), (value.hex().encode(), "hex")]
    candidates += [(core, "base32") for core in base32_cores(value)]
    candidates += [(core.translate(_URL_ALPHABET), "base64url") for core in base64_cores(value)]
    for data, encoding in candidates:
        folded = data.lower().replace(b".", b"").translate(ONE_HYPHEN)
        if len(folded) >= MIN_NEEDLE:
            found.setdefault(folded, Needle(folded, owner, (encoding,)))
    return list(found.values())
