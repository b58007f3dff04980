"""Bytes written as numbers: decimal and octal lists, binary digits, and hexadecimal with something between the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ebbgate.secrets.views import Budget, Made, alphabet, runs

_SPACED_HEX = re.compile(rb"(?:(?:0x|\\x)?[0-9a-fA-F]{2}(?:[:. \-_|;,]|, |,\s+|(?=\\x|0x))){8,}(?:0x|\\x)?[0-9a-fA-F]{2}")
_DECIMAL = re.compile(rb"(?:[0-9]{1,3}(?:[,;. \t\r\n]|, ){1,2}){8,}[0-9]{1,3}")
_BINARY = re.compile(rb"(?:[01]{8}[ ,\r\n]?){8,}")
# Lines, by what stands after the last digit of their offset, which is a multiple of 16.
_DUMPS = (
    (b"0: ", re.compile(rb"[0-9a-f]{7}: ((?:[0-9a-f]{2,4} ){1,16}) .*$", re.MULTILINE)),
    (b"0  ", re.compile(rb"[0-9a-f]{7}  ((?:[0-9a-f]{2} {1,2}){1,16}) *\|.*$", re.MULTILINE)),
)
_OFFSET = 6  # digits before that one
_NO_HEX = re.compile(rb"0x|\\x|[^0-9a-fA-F]+")
_DIGITS = re.compile(rb"[0-9]+")


def lists(data: bytes, _budget: Budget) -> Iterator[Made]:
    """``de:ad:be``, ``0xde, 0xad``, ``104, 117, 110``, ``01101000 01110101``, and what xxd(1) and hexdump(1) print."""
    yield from _dumps(data)
    for table, digits, pattern, convert in _NUMBERS:
        parts, starts, origins, size = [], [], [], 0
        for start, end in runs(data, table, _SHORTEST):  # regular expressions look at a tenth of a megabyte in a millisecond
            if digits and not data[start:end].translate(None, digits):
                continue  # a hash, with nothing between its digits
            for match in pattern.finditer(data, start, end):
                made = convert(match[0])
                if made:
                    parts.append(made)
                    starts.append(size)
                    origins.append(match.start())
                    size += len(made) + 1
        if parts:
            yield Made(b"\0".join(parts), starts, origins)


def _dumps(data: bytes) -> Iterator[Made]:
    for sign, pattern in _DUMPS:
        lines: list[bytes] = []
        at = data.find(sign, _OFFSET)
        while at >= 0:
            match = pattern.match(data, at - _OFFSET)
            if match is not None:
                lines.append(match[1])
            at = data.find(sign, at + 1 if match is None else match.end())
        if lines:
            digits = _NO_HEX.sub(b"", b"".join(lines))
            yield Made(bytes.fromhex(digits[: len(digits) // 2 * 2].decode()))


def _hex(text: bytes) -> bytes:
    digits = _NO_HEX.sub(b"", text)
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())


def _decimal(text: bytes) -> bytes:
    return bytes(number for digits in _DIGITS.findall(text) if (number := int(digits)) < 256)


def _binary(text: bytes) -> bytes:
    digits = text.translate(None, b" ,\r\n")
    return bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits) - 7, 8))


_SHORTEST = 24  # characters of a list of eight numbers or more
_SPACES = b" \t\r\n"
# What a run is made of; what it is not made of alone; what it looks like; how it is read.
_NUMBERS = (
    (alphabet(b"0123456789abcdefABCDEFx\\:.-_|;," + _SPACES), b"0123456789abcdefABCDEF", _SPACED_HEX, _hex),
    (alphabet(b"0123456789,;." + _SPACES), b"0123456789", _DECIMAL, _decimal),
    (alphabet(b"01,\r\n "), b"", _BINARY, _binary),
)
