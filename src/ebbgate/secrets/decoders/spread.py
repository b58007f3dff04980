"""A value with other things between its characters: lines, quotes, parameters, characters that cannot be seen."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from ebbgate.secrets.views import Budget, Made

_ONE_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_%.-"
_ELEMENT = re.compile(rb"[\"'](\\?[\x20-\x7e])[\"']")
_ARRAY = re.compile(rb"(?:[\"']\\?[\x20-\x7e][\"'], ?)+(?:[\"']\\?[\x20-\x7e][\"'])?")


def _kinds(**alike: bytes) -> bytes:
    """A translation table: characters to the letter they are given under, all else to "p"."""
    letters = {one: letter for letter, characters in alike.items() for one in characters}
    return bytes(ord(letters.get(one, "p")) for one in range(256))


def _any_of(*signs: bytes) -> BytesAhoCorasick:
    """Finds each of them, but those that begin within another."""
    return BytesAhoCorasick(signs, matchkind=MatchKind.LeftmostFirst)  # see ``beginnings``


# What shows that characters stand each by itself, and how those are found then.
_EACH = (
    (_kinds(n=b"\n"), _any_of(b"pnpnpn", b"pnpnnn", b"pnnnpnnn"), re.compile(rb"(?:[\x20-\x7e\n]\n){12,}[\x20-\x7e]?")),
    (_kinds(s=b" "), _any_of(b"pspsps", b"pspsss", b"psssps"), re.compile(rb"(?:[\x20-\x7e\n] ){12,}[\x20-\x7e]?")),
)
# What begins with characters that are always the same is looked for fast.
_ARRAYS = tuple(
    re.compile(sign + rb"\\?[\x20-\x7e]" + sign + rb"\\?[\x20-\x7e]" + sign) for sign in (rb'", "', rb'","', rb"', '", rb"','")
)
_MIN_ARRAY = 12  # elements
_BEFORE_SIGN = 8  # bytes before its first sign at which a run may begin
_BEFORE_SECOND = 3  # bytes of an array's first element, of which the sign is the end
_AROUND_WORDS = b" \t\r\"',;\\"
_AFTER_VALUE = (b",", b"}", b"]", b"")
# How letters of the blocks "halfwidth and fullwidth forms" and "mathematical alphanumeric symbols" begin, and what is invisible.
_WIDE = (b"\xef\xbc", b"\xef\xbd", b"\xf0\x9d")
_HIDDEN = (
    b"\xe2\x80", b"\xe2\x81", b"\xef\xb8", b"\xef\xbb\xbf", b"\xf3\xa0", b"\xc2\xad", b"\xcd\x8f", b"\xd8\x9c", b"\xe1\xa0\x8e",
)  # fmt: skip
_SIGNS = _any_of(*_WIDE, *_HIDDEN)  # none overlaps another
_SAMPLE = 64  # bytes
_CONTINUATIONS = bytes(range(0x80, 0xC0))
_SOME = 8  # such characters; fewer hide nothing
_RARE = 1 << 14  # bytes of chance in which two given ones follow each other less than once
MAX_VALUES = 1 << 18  # bytes of a document whose values are put together
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x34F, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10),
     0xFEFF, *range(0xE0000, 0xE01F0)]
)  # fmt: skip


def joined(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Wrapped lines, one character a line or word, arrays of characters: without what stands between."""
    if blocks := _wrapped(data):
        yield Made(b"\n".join(blocks))
    for table, signs, pattern in _EACH:
        marks = [start for _sign, start, _end in signs.find_matches_as_indexes(data.translate(table))]
        found = _near(data, pattern, marks, _BEFORE_SIGN)
        if found:
            yield Made(b"\n".join(one[::2] for one in found))  # white space may be what was written so
    begins = sorted(match.start() for sign in _ARRAYS for match in sign.finditer(data))
    arrays = [_ELEMENT.findall(one) for one in _near(data, _ARRAY, begins, _BEFORE_SECOND)]
    if arrays:
        yield Made(b"\n".join(b"".join(one) for one in arrays if len(one) >= _MIN_ARRAY))


def _near(data: bytes, pattern: re.Pattern[bytes], marks: Iterable[int], before: int) -> list[bytes]:
    """What matches a pattern and begins at a mark or some bytes before it: patterns look at a megabyte in 30 ms."""
    found: list[bytes] = []
    end = 0
    for mark in marks:
        if mark < end:
            continue
        tries = (pattern.match(data, at) for at in range(max(end, mark - before), mark + 1))
        match = next((one for one in tries if one is not None), None)
        if match is not None:
            found.append(match[0])
            end = match.end()
    return found


def _wrapped(data: bytes) -> list[bytes]:
    """Lines of one long word, one after the other, as base64(1) and xxd(1) make them and source code quotes them; with the
    last word of the line before them, and the first of the line after.
    """
    lines = [line.strip(_AROUND_WORDS) for line in (*data.split(b"\n"), b"")]
    blocks: list[bytes] = []
    first = 0  # line of the block, if there is one
    for number, line in enumerate(lines):
        if line and not line.translate(None, _ONE_WORD):
            continue
        if first < number:
            before = lines[first - 1].split()[-1:] if first else []
            blocks.append(b"".join([*before, *lines[first:number], *line.split()[:1]]))
        first = number + 1
    return blocks


def decorated(data: bytes, budget: Budget) -> Iterator[Made]:
    """The same where so much is of that kind that the whole is no text to who looks at bytes."""
    if data.isascii() or not _is_utf8(data):
        return
    wide = sum(index < len(_WIDE) for index, _start, _end in _SIGNS.find_matches_as_indexes(data))
    if wide > _SOME + len(data) // _RARE:
        yield from plain_characters(data, budget)


def _is_utf8(data: bytes) -> bool:
    """Whether some sample of data can be: of what is no text, hardly ever."""
    for at in (0, len(data) // 2, max(0, len(data) - _SAMPLE)):
        try:
            codecs.utf_8_decode(data[at : at + _SAMPLE].lstrip(_CONTINUATIONS), "strict", False)
        except UnicodeDecodeError:
            continue
        return True
    return False


def plain_characters(data: bytes, _budget: Budget) -> Iterator[Made]:
    """Without characters of no width, and wide or decorated letters as the plain ones that they stand for (NFKC)."""
    if data.isascii() or len(_SIGNS.find_matches_as_indexes(data)) < _SOME:
        return
    text = data.decode("utf-8", "ignore").translate(_INVISIBLE)
    yield Made(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass"))


def values(data: bytes, _budget: Budget) -> Iterator[Made]:
    """The values, and the names, of a form, a query or a JSON document without what stands between them: a secret in pieces."""
    if len(data) > MAX_VALUES:
        return
    if b"=" in data and b"&" in data:
        fields = [part.partition(b"=") for part in data.split(b"&")]
        yield Made(unquote_to_bytes(b"".join(value for _name, _sign, value in fields)))
        yield Made(unquote_to_bytes(b"".join(name for name, _sign, _value in fields)))
    if b'"' in data:
        parts = data.split(b'"')  # what stands between quotes, and what between those
        for first in (0, 1):  # one more quote before the document turns these round
            pairs = zip(parts[first::2], parts[first + 1 :: 2], strict=False)
            yield Made(b"".join(one for one, after in pairs if after.lstrip()[:1] in _AFTER_VALUE))
