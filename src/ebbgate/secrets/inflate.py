"""Decompression that an attacker cannot turn against us: incremental, bounded in size and ratio.

Bombs: 200 MB of zeros are 204 kB of zlib, 6 kB of zstd, 102 bytes of brotli. Input is therefore given in small slices, and the
bounds are looked at after each.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

MAX_RATIO = 1000  # output bytes for an input byte; deflate cannot do more than 1032, honest text seldom does 30
MAX_OUTPUT = 4 << 30  # bytes of one stream
_SLICE = 512  # input bytes given at a time; zstd makes at most 16 MB of them
_WINDOW = 1 << 27  # zstd: the largest window its command line makes without being asked for more


class BoundReached(Exception):
    """Expanding further would cost more than it may."""


class Malformed(Exception):
    """These bytes are not what they were said to be. made: what could be expanded before that showed."""

    def __init__(self, made: bytes = b"") -> None:
        super().__init__()
        self.made = made


MALFORMED = "malformed "


def malformed(coding: str) -> str:
    """The words for data that are not in the coding they are said to be in."""
    return MALFORMED + coding


class Inflater(Protocol):
    """One direction of one compression."""

    def feed(self, data: bytes) -> bytes:
        """Expand. BoundReached, or Malformed."""


class _Bounded:
    def __init__(self, make: Callable[[], Callable[[bytes], tuple[bytes, bytes]]], *, limit: int = MAX_OUTPUT) -> None:
        self._make = make
        self._step = make()
        self._taken = self._made = 0
        self._limit = limit

    def feed(self, data: bytes) -> bytes:
        """Expand. BoundReached, or Malformed."""
        parts: list[bytes] = []
        for start in range(0, len(data), _SLICE):
            rest, fresh = data[start : start + _SLICE], False
            while rest:
                try:
                    made, left = self._expand(rest)
                except Malformed:
                    raise Malformed(b"".join(parts)) from None
                self._count(len(rest) - len(left), len(made))
                parts.append(made)
                if fresh and len(left) == len(rest):
                    raise Malformed(b"".join(parts))
                if left:
                    self._step = self._make()  # another member follows: gzip, zstd and bzip2 allow it
                rest, fresh = left, bool(left)
        return b"".join(parts)

    def _count(self, taken: int, made: int) -> None:
        self._taken += taken
        self._made += made
        if self._made > self._limit or self._made > MAX_RATIO * max(self._taken, 4096):
            raise BoundReached

    def _expand(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            return self._step(data)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, brotli.error, zstandard.ZstdError, ValueError):
            raise Malformed from None


def _zlib(bits: int) -> Callable[[bytes], tuple[bytes, bytes]]:
    machine = zlib.decompressobj(bits)

    def step(data: bytes) -> tuple[bytes, bytes]:
        if machine.eof:
            return b"", data
        made = machine.decompress(data)
        return made, machine.unused_data

    return step


def _deflate() -> Callable[[bytes], tuple[bytes, bytes]]:
    """By name zlib format; some clients send it raw (RFC 9110, 8.4.1.2)."""
    state: list[Callable[[bytes], tuple[bytes, bytes]]] = []

    def step(data: bytes) -> tuple[bytes, bytes]:
        if not state:
            looks_zlib = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
            state.append(_zlib(15 if looks_zlib else -15))
        return state[0](data)

    return step


def _brotli() -> Callable[[bytes], tuple[bytes, bytes]]:
    machine = brotli.Decompressor()

    def step(data: bytes) -> tuple[bytes, bytes]:
        return machine.process(data), b""

    return step


def _zstd() -> Callable[[bytes], tuple[bytes, bytes]]:
    machine = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def step(data: bytes) -> tuple[bytes, bytes]:
        if machine.eof:
            return b"", data
        return machine.decompress(data), machine.unused_data

    return step


def _stdlib(make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Callable[[bytes], tuple[bytes, bytes]]:
    machine = make()

    def step(data: bytes) -> tuple[bytes, bytes]:
        if machine.eof:
            return b"", data
        return machine.decompress(data), machine.unused_data

    return step


_CODINGS: dict[str, Callable[[], Callable[[bytes], tuple[bytes, bytes]]]] = {
    "gzip": lambda: _zlib(31),
    "x-gzip": lambda: _zlib(31),
    "deflate": _deflate,
    "zlib": lambda: _zlib(15),
    "br": _brotli,
    "zstd": _zstd,
    "bzip2": lambda: _stdlib(bz2.BZ2Decompressor),
    "xz": lambda: _stdlib(lzma.LZMADecompressor),
}
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x5e", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
)
LONGEST_MAGIC = max(len(magic) for magic, _name in _MAGIC)


def inflater(coding: str, *, limit: int = MAX_OUTPUT) -> Inflater | None:
    """A fresh inflater for a content coding; None when the coding is unknown."""
    make = _CODINGS.get(coding)
    return None if make is None else _Bounded(make, limit=limit)


def coding_by_magic(data: bytes) -> str | None:
    """The compression that data begins with, whatever it was called."""
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def codings(header: str) -> list[str]:
    """The codings of a Content-Encoding header in the order in which they must be undone."""
    listed = [one.strip().lower() for one in header.split(",")]
    return [one for one in reversed(listed) if one not in ("", "identity")]
