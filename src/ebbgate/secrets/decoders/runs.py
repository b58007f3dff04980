"""Runs of one alphabet: base64, hexadecimal, base32, base58, uuencode. All runs of a text are decoded together.

Where a run begins within its alphabet's groups is not known, since something of the same alphabet may stand before it. So it is
decoded at every alignment; the wrong ones give bytes that are not printable and lead no further.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from ebbgate.secrets.beginnings import LONGEST_MAGIC, beginnings
from ebbgate.secrets.views import MIN_RUN, Budget, Made, alphabet, has_text
from ebbgate.secrets.views import runs as find_runs

MAX_BASE32 = 1 << 16  # characters of one run
MIN_SENSE = 10  # printable bytes in a row; in forty of chance they are once in 500 times
MAX_BASE58 = 64, 512  # runs of one text, and characters of one: it is one large number, which costs their square
_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_DIGITS = b"0123456789"
_BASE64 = alphabet(_UPPER + _LOWER + _DIGITS + b"+/-_")
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_ALPHANUMERIC = alphabet(_UPPER + _LOWER + _DIGITS)
_HEX = alphabet(_DIGITS + b"abcdefABCDEF")
_PLUS_SLASH = bytes.maketrans(b"-_", b"+/")
_B32 = _UPPER + b"234567"
# Alphabets of base32: RFC 4648's two and Crockford's, in either case. Python's int() reads the "extended hex" one, in time
# linear to the length since 32 is a power of two.
_HEX32 = _DIGITS + _LOWER[:22]
_CROCKFORD = b"0123456789abcdefghjkmnpqrstvwxyz"
_BASE32 = [
    (alphabet(characters), bytes.maketrans(characters, _HEX32))
    for characters in (_B32, _B32.lower(), _HEX32.upper(), _HEX32, _CROCKFORD.upper(), _CROCKFORD)
]
_B58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58 = alphabet(_B58)
_VALUES58 = {character: value for value, character in enumerate(_B58)}
_UU_LINE = re.compile(rb"^[!-M][ -`]{4,}$", re.MULTILINE)


def base64(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Both alphabets, with and without padding."""
    together, starts, origins = _together(data, _BASE64, MIN_RUN, 4, b"A")
    if not starts:
        return
    together = together.translate(_PLUS_SLASH)
    for shift in range(4):
        padded = b"A" * shift + together + b"A" * (-shift % 4)
        yield Made(binascii.a2b_base64(padded), _Scaled(starts, shift), origins)


class _Scaled(Sequence[int]):
    """Where the runs begin in what was decoded, three bytes for four characters; seldom asked for."""

    def __init__(self, starts: Sequence[int], shift: int) -> None:
        self._starts, self._shift = starts, shift

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self._at(start) for start in self._starts[index]]
        return self._at(self._starts[index])

    def _at(self, start: int) -> int:
        return max(0, (self._shift + start) * 3 // 4 - 3)


def hexadecimal(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Either case."""
    together, starts, origins = _together(data, _HEX, MIN_RUN, 2, b"0")
    if not starts:
        return
    for shift in range(2):
        padded = b"0" * shift + together + b"0" * shift
        yield Made(binascii.unhexlify(padded), [(shift + start) // 2 for start in starts], origins)


def _together(data: bytes, table: bytes, minimum: int, group: int, filler: bytes) -> tuple[bytes, Sequence[int], Sequence[int]]:
    """All runs, each filled up to whole groups and one more between them, so that nothing is read across."""
    parts: list[bytes] = []
    starts: list[int] = []
    origins: list[int] = []
    size = 0
    for start, end in find_runs(data, table, minimum):
        run = data[start:end] + filler * (-(end - start) % group + group)
        parts.append(run)
        starts.append(size)
        origins.append(start)
        size += len(run)
    return b"".join(parts), starts, origins


def base32(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Of each run the alignment that makes sense, if one does: most runs are words in small letters."""
    words = [span for span in find_runs(data, _ALPHANUMERIC) if data[slice(*span)].translate(None, _HEX_DIGITS)]  # no hashes
    for table, to_hex in _BASE32:
        parts: list[bytes] = []
        starts: list[int] = []
        origins: list[int] = []
        size = 0
        for start, end in _within(data, words, table):
            number = int(data[start:end].translate(to_hex)[:MAX_BASE32], 32)
            for shift in range(8):
                made = (number >> shift).to_bytes((end - start) * 5 // 8 + 1, "big")
                if _makes_sense(made):
                    parts.append(made)
                    starts.append(size)
                    origins.append(start)
                    size += len(made) + 1
        if parts:
            yield Made(b"\0".join(parts), starts, origins)


def _within(data: bytes, spans: Iterable[tuple[int, int]], table: bytes) -> Iterator[tuple[int, int]]:
    """Runs of an alphabet that is part of the one that the spans are runs of; but hashes."""
    for begin, stop in spans:
        for start, end in find_runs(data[begin:stop], table):
            if data[begin + start : begin + end].translate(None, _HEX_DIGITS):
                yield begin + start, begin + end


def _makes_sense(made: bytes) -> bool:
    """Whether some of it is text, which may be less than half where other words stood before; or begins as what is compressed."""
    return has_text(made, MIN_SENSE) or next(beginnings(made[: 2 * LONGEST_MAGIC]), None) is not None


def base58(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Bitcoin's alphabet. No part of it stands for a part of the value, so only whole runs can be read."""
    count, longest = MAX_BASE58
    parts: list[bytes] = []
    starts: list[int] = []
    origins: list[int] = []
    for start, end in find_runs(data, _BASE58, MIN_RUN, count):
        if end - start > longest:
            continue
        number = 0
        for character in data[start:end]:
            number = number * 58 + _VALUES58[character]
        made = number.to_bytes((number.bit_length() + 7) // 8, "big")
        if _makes_sense(b"\0" + made):
            starts.append(sum(map(len, parts)) + len(parts))
            origins.append(start)
            parts.append(made)
    if parts:
        yield Made(b"\0".join(parts), starts, origins)


def uuencoded(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Lines that begin with their length."""
    if b"begin " not in data:
        return
    parts = []
    for match in _UU_LINE.finditer(data):
        try:
            parts.append(binascii.a2b_uu(match[0]))
        except binascii.Error:
            continue
    yield Made(b"".join(parts))
