"""The literal forms in which a value is looked for: encode, then match.

Base64 of a text that *contains* the value depends on what surrounds it, except for the characters all of whose bits come
from the value. Those are the needles: one for each of the three byte offsets, the same whatever comes before and after.
Applied twice they find base64 of base64. The same holds for base32 (five offsets), and for base85 with whole groups of four.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

MIN_NEEDLE = 7  # bytes of an encoded form; shorter ones meet by chance (measured: 6 alphanumerics none in 64 MB)
MIN_GROUPS = 10  # characters of base85, two groups: of one group four bytes are known, which meet by chance
MIN_LINE = 24  # bytes; shorter lines of a multi-line secret may be anything ("-----BEGIN", braces)
MIN_DIFFERENCE = 11, 6  # bytes, and different ones among them, of the form that is the same under every XOR key
MAX_FORM = 4096  # bytes of a form that is encoded in every way; of longer ones the beginning is
ONE_HYPHEN = bytes.maketrans(b"_", b"-")  # many resolvers take no underscore, so people write the other
LETTERS_AND_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
OTHERS = bytes(sorted(set(range(256)) - set(LETTERS_AND_DIGITS)))
MIN_STRIPPED = 12  # letters and digits; what is left of shorter ones meets by chance when all else is taken out of a text
_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")
_ROT47 = bytes((33 + (one - 33 + 47) % 94) if 33 <= one <= 126 else one for one in range(256))
_ATBASH = bytes.maketrans(LETTERS_AND_DIGITS[:52], LETTERS_AND_DIGITS[25::-1] + LETTERS_AND_DIGITS[51:25:-1])
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = bytes.maketrans(_B85, b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")


Encoded = tuple[bytes, tuple[str, ...]]  # a form as it is written, and how; outermost first


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


def base85_cores(value: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The same for base85, whose groups of four bytes are written by themselves."""
    for offset in range(4):
        whole = value[offset : offset + (len(value) - offset) // 4 * 4]
        core = encode(whole)
        if len(core) >= MIN_GROUPS:
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
    """The literal forms of one secret that are looked for in everything, each once."""
    return _needles(value, owner, _usual)


def rare_needles_of(value: bytes, owner: int) -> list[Needle]:
    """Forms that nobody writes by accident. They are as many again, and looking for more takes longer."""
    return _needles(value, owner, _rare)


def _needles(value: bytes, owner: int, encoded: Callable[[bytes], Iterator[Encoded]]) -> list[Needle]:
    found: dict[bytes, Needle] = {}
    for form in forms(value):
        for data, encodings in encoded(form):
            if len(data) >= MIN_NEEDLE or encodings == ("raw",):
                found.setdefault(data, Needle(data, owner, encodings))
    return list(found.values())


def _usual(form: bytes) -> Iterator[Encoded]:
    yield form, ("raw",)
    form = form[:MAX_FORM]
    yield from _base64_forms(form)
    yield from _text_forms(form)
    for data in (form.lower(), form.upper(), form.swapcase()):
        yield data, ("case",)
    yield form[::-1], ("reversed",)


def _rare(form: bytes) -> Iterator[Encoded]:
    form = form[:MAX_FORM]
    for core in base64_cores(form[::-1]):
        yield core, ("base64", "reversed")
        yield core.translate(_URL_ALPHABET), ("base64url", "reversed")
    for core in base64_cores(form):
        yield core[::-1], ("reversed", "base64")
    for name, encode in (("base85", base64.b85encode), ("ascii85", base64.a85encode), ("z85", _z85)):
        for core in base85_cores(form, encode):
            yield core, (name,)
    for name, table in (("rot47", _ROT47), ("atbash", _ATBASH)):
        yield form.translate(table), (name,)
    yield codecs.encode(form.decode("latin-1"), "rot13").encode("latin-1"), ("rot13",)


def _base64_forms(form: bytes) -> Iterator[Encoded]:
    for core in base64_cores(form):
        yield core, ("base64",)
        yield core.translate(_URL_ALPHABET), ("base64url",)
        for outer in base64_cores(core):
            yield outer, ("base64", "base64")


def _text_forms(form: bytes) -> Iterator[Encoded]:
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
    yield html.escape(text).encode("utf-8", "surrogateescape"), ("entities",)
    yield form.replace(b"'", b"'\\''"), ("shell",)
    if not any(0xDC80 <= ord(one) <= 0xDCFF for one in text):
        wide = text.encode("utf-16-le")
        yield wide, ("utf-16",)
        yield text.encode("utf-16-be"), ("utf-16",)
        for core in base64_cores(wide):
            yield core, ("base64", "utf-16")  # as PowerShell's -EncodedCommand has it


def _z85(data: bytes) -> bytes:
    return base64.b85encode(data).translate(_Z85)


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


def stripped_needles_of(value: bytes, owner: int) -> list[Needle]:
    """Forms for text from which everything but letters and digits was taken: whatever stood between the characters."""
    found: dict[bytes, Needle] = {}
    candidates: list[tuple[bytes, str]] = [(value, "raw"), (value[::-1], "reversed"), (value.hex().encode(), "hex")]
    candidates += [(core, "base64") for core in base64_cores(value)]
    for data, encoding in candidates:
        kept = data.translate(None, OTHERS)
        if len(kept) >= MIN_STRIPPED:
            found.setdefault(kept, Needle(kept, owner, ("separators", encoding)))
    return list(found.values())


def difference_needles_of(value: bytes, owner: int) -> list[Needle]:
    """What is the same under every single-byte XOR key: each byte XORed with its neighbour."""
    data = differences(value[:MAX_FORM])
    length, distinct = MIN_DIFFERENCE
    return [Needle(data, owner, ("xor",))] if len(data) >= length and len(set(data)) >= distinct else []


def differences(data: bytes) -> bytes:
    """Each byte XORed with the next one."""
    if len(data) < 2:
        return b""
    made = int.from_bytes(data[:-1], "big") ^ int.from_bytes(data[1:], "big")
    return made.to_bytes(len(data) - 1, "big")
