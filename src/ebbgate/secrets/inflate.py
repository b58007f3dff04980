"""Decompression that an attacker cannot turn against us: incremental, bounded in size and ratio.

Bombs: 200 MB of zeros are 204 kB of zlib, 6 kB of zstd, 102 bytes of brotli. Where a library can be told how much to give at
most it is; zstd cannot, so its input comes in small slices, and the bounds are looked at after each.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

MAX_RATIO = 1000  # output bytes for an input byte; deflate cannot do more than 1032, honest text seldom does 30
FREE_INPUT = 4096  # bytes for which the ratio is not looked at
MAX_OUTPUT = 4 << 30  # bytes of one stream
MAX_REPLAYED = 1 << 16  # input bytes that are read again after an error; what is not compressed fails within a dozen
_PIECE = 1 << 20  # output bytes asked for at a time
_SLICE = 512  # input bytes of zstd given at a time; it makes at most 16 MB of them
FIRST_SLICE, LAST_SLICE = 512, 1 << 16  # input bytes looked at when it is not known where a stream ends
_WINDOW = 1 << 27  # zstd: the largest window its command line makes without being asked for more
_ZLIB_HEAD = 2  # bytes, by which it is told from raw deflate
_LZMA_PROPERTIES = 5  # bytes
_LZMA_HEAD = struct.Struct("<BBH")  # zip's: version, size of the properties; then the properties


class BoundReached(Exception):
    """Expanding further would cost more than it may. made: what could be expanded before."""

    def __init__(self, made: bytes = b"") -> None:
        super().__init__()
        self.made = made


class Malformed(Exception):
    """These bytes are not what they were said to be. made: what could be expanded before that showed."""

    def __init__(self, made: bytes = b"") -> None:
        super().__init__()
        self.made = made


MALFORMED = "malformed "


def malformed(coding: str) -> str:
    """The words for data that are not in the coding they are said to be in."""
    return MALFORMED + coding


class _Step(Protocol):
    """One member of one compression. gives_all: whether an error comes after all that was made before it."""

    gives_all: bool
    eof: bool
    unused_data: bytes

    def expand(self, data: bytes) -> Iterator[bytes]:
        """Pieces of about a megabyte at most. Any of ``_ERRORS``."""


_ERRORS = (zlib.error, OSError, EOFError, lzma.LZMAError, brotli.error, zstandard.ZstdError, ValueError)


class Inflater:
    """One direction of one compression. taken, made: bytes in and out so far. ended: whether ``members`` have ended.

    lost: whether it broke so late that what was made just before could not be had.
    """

    def __init__(self, make: Callable[[], _Step], *, limit: int = MAX_OUTPUT, members: int = 1 << 30) -> None:
        self._make = make
        self._step = make()
        self._member = bytearray()  # input of this member, as long as it is short; and what it has made
        self._member_made = 0
        self.made = self.taken = 0
        self.lost = False
        self._limit, self._members = limit, members

    @property
    def ended(self) -> bool:
        """Whether what follows is not of this stream."""
        return self._members <= 0

    def feed(self, data: bytes) -> bytes:
        """Expand. BoundReached, or Malformed."""
        parts: list[bytes] = []
        try:
            parts.extend(self.expand(data))
        except (BoundReached, Malformed) as problem:
            raise type(problem)(b"".join(parts)) from None
        return b"".join(parts)

    def expand(self, data: bytes) -> Iterator[bytes]:
        """As ``feed``, piece by piece, of 16 MB at most. What it raises has nothing ``made``: that has been given."""
        fresh = False
        while data and not self.ended:
            if len(self._member) <= MAX_REPLAYED and not self._step.gives_all:
                self._member += data[: MAX_REPLAYED + 1]
            try:
                for piece in self._step.expand(data):
                    self.made += len(piece)
                    self._member_made += len(piece)
                    yield piece
                    if self.made > self._limit or self.made > MAX_RATIO * max(self.taken + len(data), FREE_INPUT):
                        raise BoundReached
            except _ERRORS:
                yield from self._kept_back()
                raise Malformed from None
            left = self._step.unused_data if self._step.eof else b""
            self.taken += len(data) - len(left)
            if fresh and len(left) == len(data):
                raise Malformed
            if self._step.eof:
                self._members -= 1
                self._member, self._member_made = bytearray(), 0
                self._step, fresh = self._make(), True  # another member may follow: gzip, zstd and bzip2 allow it
            data = left

    def _kept_back(self) -> Iterator[bytes]:
        """What libraries have made of a member and keep to themselves when they meet an error, as a checksum that is made wrong
        on purpose: the same again, byte by byte.
        """
        if self._step.gives_all:
            return
        if len(self._member) > MAX_REPLAYED:
            self.lost = True
            return
        step, known = self._make(), self._member_made
        try:
            for at in range(len(self._member)):
                for piece in step.expand(bytes(self._member[at : at + 1])):
                    yield piece[known:]
                    known = max(0, known - len(piece))
        except _ERRORS:
            pass


class _Zlib:
    gives_all = True

    def __init__(self, bits: int) -> None:
        self._machine = zlib.decompressobj(bits)
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        machine = self._machine
        while data:
            before = machine.copy()
            try:
                made = machine.decompress(data, _PIECE)
            except zlib.error:
                yield from _one_by_one(before, data)
                raise
            self.eof, self.unused_data = machine.eof, machine.unused_data
            data = b"" if machine.eof else machine.unconsumed_tail
            yield made


def _one_by_one(machine: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    try:
        for at in range(len(data)):
            yield machine.decompress(data[at : at + 1])
    except zlib.error:
        pass


class _Deflate:
    """By name zlib format; some clients send it raw (RFC 9110, 8.4.1.2)."""

    gives_all = True

    def __init__(self) -> None:
        self._head = b""
        self._machine: _Zlib | None = None
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        if self._machine is None:
            data = self._head = self._head + data
            if len(data) < _ZLIB_HEAD:
                return
            looks_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._machine = _Zlib(15 if looks_zlib else -15)
        yield from self._machine.expand(data)
        self.eof, self.unused_data = self._machine.eof, self._machine.unused_data


class _Brotli:
    gives_all = False

    def __init__(self) -> None:
        self._machine = brotli.Decompressor()
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        yield self._machine.process(data, output_buffer_limit=_PIECE)
        while not self._machine.can_accept_more_data():
            yield self._machine.process(b"", output_buffer_limit=_PIECE)


class _Zstd:
    gives_all = False

    def __init__(self) -> None:
        self._machine = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SLICE):
            yield self._machine.decompress(data[start : start + _SLICE])
            if self._machine.eof:
                self.eof = True
                self.unused_data = self._machine.unused_data + data[start + _SLICE :]
                return


class _Stdlib:
    gives_all = False

    def __init__(self, machine: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._machine = machine
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        machine = self._machine
        yield machine.decompress(data, _PIECE)
        while not machine.eof and not machine.needs_input:
            yield machine.decompress(b"", _PIECE)
        if machine.eof:
            self.eof, self.unused_data = True, machine.unused_data


class _ZipLzma:
    """LZMA as zip has it: its properties in front, in a form of zip's own (APPNOTE 5.8)."""

    gives_all = False

    def __init__(self) -> None:
        self._head = b""
        self._machine: _Stdlib | None = None
        self.eof, self.unused_data = False, b""

    def expand(self, data: bytes) -> Iterator[bytes]:
        if self._machine is None:
            self._head += data
            data = self._read_head()
            if self._machine is None:
                return
        yield from self._machine.expand(data)
        self.eof, self.unused_data = self._machine.eof, self._machine.unused_data

    def _read_head(self) -> bytes:
        if len(self._head) < _LZMA_HEAD.size + _LZMA_PROPERTIES:
            return b""
        _major, _minor, size = _LZMA_HEAD.unpack_from(self._head)
        if size < _LZMA_PROPERTIES:
            raise ValueError("properties that are too short")
        properties = self._head[_LZMA_HEAD.size : _LZMA_HEAD.size + size]
        if len(properties) < size:
            return b""
        bits, dictionary = properties[0], int.from_bytes(properties[1:5], "little")
        filters = [
            {
                "id": lzma.FILTER_LZMA1, "dict_size": max(4096, min(dictionary, _WINDOW)),
                "lc": bits % 9, "lp": bits // 9 % 5, "pb": bits // 45,
            }
        ]  # fmt: skip
        self._machine = _Stdlib(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters))
        return self._head[_LZMA_HEAD.size + size :]


_CODINGS: dict[str, Callable[[], _Step]] = {
    "gzip": lambda: _Zlib(31),
    "x-gzip": lambda: _Zlib(31),
    "deflate": _Deflate,
    "zlib": lambda: _Zlib(15),
    "raw-deflate": lambda: _Zlib(-15),
    "br": _Brotli,
    "zstd": _Zstd,
    "bzip2": lambda: _Stdlib(bz2.BZ2Decompressor()),
    "xz": lambda: _Stdlib(lzma.LZMADecompressor(lzma.FORMAT_XZ)),
    "lzma": lambda: _Stdlib(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=2 * _WINDOW)),
    "zip-lzma": _ZipLzma,
}


def inflater(coding: str, *, limit: int = MAX_OUTPUT, members: int = 1 << 30) -> Inflater | None:
    """A fresh inflater for a content coding; None when the coding is unknown. members: after how many the stream has ended."""
    make = _CODINGS.get(coding)
    return None if make is None else Inflater(make, limit=limit, members=members)


def slices(data: bytes, begin: int) -> Iterator[bytes]:
    """Data from an offset on in growing slices, for a stream that may end soon: what follows its end is copied each time."""
    size = FIRST_SLICE
    while begin < len(data):
        yield data[begin : begin + size]
        begin += size
        size = min(size * 2, LAST_SLICE)


def codings(header: str) -> list[str]:
    """The codings of a Content-Encoding header in the order in which they must be undone."""
    listed = [one.strip().lower() for one in header.split(",")]
    return [one for one in reversed(listed) if one not in ("", "identity")]
