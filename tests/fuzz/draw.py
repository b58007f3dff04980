"""Choices read from the bytes that a fuzzer gives, so that what it learns about them it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random


class Draw:
    """The first bytes are choices, the others are content."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Of one byte up to 256, of two beyond; 0 when there are no more bytes."""
        size = 1 if below <= 256 else 2
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "big") % below

    def pick[T](self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def rest(self) -> bytes:
        return self._data[self._at :]


def pieces(data: bytes, seed: int, longest: int) -> Iterator[bytes]:
    """Data cut at places that depend on the seed alone."""
    random, at = Random(seed), 0
    while at < len(data):
        size = random.randint(1, longest)
        yield data[at : at + size]
        at += size
