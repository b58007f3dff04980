"""Where compressed data and archives begin in other data, by their first bytes.

In the middle of something else three bytes meet by chance once in 16 MB, and the two of zlib 64 times in one: what begins there
is tried, and is found not to be it within a few bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ahocorasick_rs import BytesAhoCorasick, MatchKind

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x5e", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
    (b"PK\x03\x04", "zip"),
)
_UNREADABLE: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "rar archive"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
# What has no first bytes of its own, so that it can only be guessed at where data begin, and tried.
GUESSED = ("raw-deflate", "br")
MIN_GUESSED = 16  # bytes that must come out of what is only guessed to be compressed
LONGEST_MAGIC = max(len(magic) for magic, _name in (*_MAGICS, *_UNREADABLE))
# None of them overlaps another, so leftmost is all; only then does the library search with vectors: 7,000 MB/s, not 570.
_MATCHER = BytesAhoCorasick([magic for magic, _name in (*_MAGICS, *_UNREADABLE)], matchkind=MatchKind.LeftmostFirst)

_ZIP_HEAD = struct.Struct("<4s5H3L2H")
ZIP_HEAD_SIZE = _ZIP_HEAD.size
_ENCRYPTED = 0x1
_STORED = 0
_ZIP_METHODS = {8: "raw-deflate", 9: "deflate64", 12: "bzip2", 14: "zip-lzma", 93: "zstd", 95: "xz"}
# All that have ever been given out (APPNOTE.TXT, 4.4.5). No program could read a member of another: what looks like its header is
# the mark in the code of a program that reads or writes archives, like git's or busybox'.
_ZIP_ASSIGNED = frozenset((*range(21), *range(93, 100)))


def beginnings(data: bytes, start: int = 0) -> Iterator[tuple[int, str]]:
    """(offset, name of the coding or "zip"), ascending. What begins there may be something else."""
    for index, at, _end in _MATCHER.find_matches_as_indexes(data[start:] if start else data):
        if index < len(_MAGICS):
            yield start + at, _MAGICS[index][1]


def is_compressed(data: bytes) -> bool:
    """Whether data begins as something compressed does."""
    return next(beginnings(data[: 2 * LONGEST_MAGIC]), (-1, ""))[0] == 0


def unreadable(data: bytes) -> str:
    """The name of a format that is not read, when data begins with its first bytes; else ""."""
    return next((name for magic, name in _UNREADABLE if data.startswith(magic)), "")


def compressed_at(data: bytes, at: int, kind: str) -> tuple[str, int, str] | None:
    """(coding, offset from which data are in it, why they are not read) of what ``beginnings`` found; None when the header of a
    zip member is not whole.

    The coding is "" for members that are not compressed, whose bytes stand there as they are, and for what is not read.
    """
    if kind != "zip":
        return kind, at, ""
    if len(data) - at < ZIP_HEAD_SIZE:
        return None
    _magic, _version, flags, method, _time, _date, _crc, _packed, _size, name, extra = _ZIP_HEAD.unpack_from(data, at)
    begin = at + ZIP_HEAD_SIZE + name + extra
    if len(data) < begin:
        return None
    if method in _ZIP_ASSIGNED and flags & _ENCRYPTED:
        return "", begin, "encrypted archive"
    coding = _ZIP_METHODS.get(method, "")
    is_unknown = not coding and method != _STORED and method in _ZIP_ASSIGNED
    return coding, begin, "unknown compression in an archive" if is_unknown else ""
