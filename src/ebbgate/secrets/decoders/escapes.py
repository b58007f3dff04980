"""Characters written as something else, one by one: percent signs, backslashes, entities, quoted-printable, wide characters."""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from ebbgate.secrets.views import Budget, Made, around

_PERCENT_U = re.compile(rb"%u([0-9a-fA-F]{4})")
_HARD_ESCAPE = re.compile(rb"\\(?:u\{?([0-9a-fA-F]{4,6})\}?|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3}))")
_SOFT_ESCAPES = (
    (rb"\"", b'"'),
    (rb"\'", b"'"),
    (rb"\/", b"/"),
    (rb"\n", b"\n"),
    (rb"\r", b"\r"),
    (rb"\t", b"\t"),
    (rb"\b", b"\b"),
    (rb"\f", b"\f"),
)
_BACKSLASH = b"\0\1\0"  # stands for an escaped backslash meanwhile
_PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
_PLUS = re.compile(rb"\+")
_ESCAPED = re.compile(rb"\\")
_ENTITY = re.compile(rb"&(?:#[0-9xX]|[a-zA-Z]{2,8};)")
_QUOTED = re.compile(rb"=[0-9A-F]{2}|=\r?\n")
_SOME_WIDE = 8  # characters
_KINDS = bytes(0x7A if one == 0 else 0x70 if one in b"\t\n\r" or 32 <= one < 127 else 0x6F for one in range(256))
_WIDE = (b"pz" * _SOME_WIDE, b"pzzz" * (_SOME_WIDE // 2))  # printable, zero
_WIDE_RUN = re.compile(rb"(?:pz{1,3})+p?")
_MAX_ESCAPES = 3  # documents within strings of documents
_MAX_PERCENT = 8  # times that percent signs are written with percent signs


def _marked(data: bytes, marks: re.Pattern[bytes]) -> tuple[bytes, bool]:
    """(what lies around the marks, whether there are any)."""
    part = around(data, (match.span() for match in marks.finditer(data)))[0]
    return part, bool(part)


def percent(data: bytes, _budget: Budget) -> Iterator[Made]:
    """``%41``, also written over and over, ``%u0041`` and, in forms, ``+`` for a space."""
    once, found = _marked(data, _PERCENT)
    if b"+" in data:
        yield Made(unquote_to_bytes(_marked(data, _PLUS)[0].replace(b"+", b" ")))
    if found:
        yield from _stages(once, unquote_to_bytes, _MAX_PERCENT)
    if b"%u" in data:
        yield Made(_PERCENT_U.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "surrogatepass"), data))


def backslashes(data: bytes, _budget: Budget) -> Iterator[Made]:
    r"""JSON's, JavaScript's, C's and the shell's: ``\u0041``, ``\x41``, ``\101``, ``\n``."""
    if b"\\" not in data:
        return
    part, _found = _marked(data, _ESCAPED)
    yield from _stages(part, _unescaped, _MAX_ESCAPES)


def _stages(part: bytes, undo: Callable[[bytes], bytes], times: int) -> Iterator[Made]:
    """What is there each time that it is undone, until nothing changes any more: a value may look as if it were encoded."""
    last = part
    for _ in range(times):
        again = undo(last)
        if again == last:
            return
        yield Made(again)
        last = again


def _unescaped(text: bytes) -> bytes:
    whole = _HARD_ESCAPE.sub(_unescape, text.replace(b"\\\\", _BACKSLASH))
    for written, meant in _SOFT_ESCAPES:
        whole = whole.replace(written, meant)
    return whole.replace(_BACKSLASH, b"\\")


def _unescape(match: re.Match[bytes]) -> bytes:
    four, eight, two, octal = match.groups()
    number = int(four or eight, 16) if four or eight else -1
    if number >= 0:
        return chr(number).encode("utf-8", "surrogatepass") if number <= 0x10FFFF else match[0]
    return bytes([int(two, 16)]) if two else bytes([int(octal, 8) & 0xFF])


def entities(data: bytes, _budget: Budget) -> Iterator[Made]:
    """XML's and HTML's, with and without the semicolon."""
    part, found = _marked(data, _ENTITY)
    if found:
        yield Made(html.unescape(part.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass"))


def quoted_printable(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Of mail: ``=41`` and a ``=`` at the end of a line that goes on."""
    part, found = _marked(data, _QUOTED)
    if found:
        yield Made(binascii.a2b_qp(part))


def wide(data: bytes, _budget: Budget) -> Iterator[Made]:
    """UTF-16 and UTF-32, either way round: the runs of it, a line each, without their zeros."""
    if b"\0" not in data:
        return
    kinds = data.translate(_KINDS)
    for sign in _WIDE:
        parts: list[bytes] = []
        starts: list[int] = []
        origins: list[int] = []
        size = begin = 0
        while (begin := kinds.find(sign, begin)) >= 0 and (run := _WIDE_RUN.match(kinds, begin)) is not None:
            part = data[begin : run.end()].replace(b"\0", b"")
            parts.append(part)
            starts.append(size)
            origins.append(begin)
            size += len(part) + 1
            begin = run.end()
        if parts:
            yield Made(b"\n".join(parts), starts, origins)
