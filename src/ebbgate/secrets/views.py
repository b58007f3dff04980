"""Readings of data: what a view is, what it may cost, and the tools that decoders are made of. See ``decode`` for the whole."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

MAX_DEPTH = 4  # three encodings, and one more that a needle knows; of 70 measured encodings depth 3 reads 47, more reads no more
SMALL, MIDDLE = 1 << 13, 1 << 16  # bytes of a view that leads on to the full depth, and to one less; a larger one to two less
MAX_BYTES = 16 << 20  # expanded bytes of one scan, beyond EXPANSION times its own size
EXPANSION = 8
MAX_VIEWS = 600
MAX_SECONDS = 2.0  # of one scan; the gate serves others meanwhile
MIN_RUN = 16  # characters; shorter runs are words
_PRINTABLE_SHARE = 7 / 8  # of a decoded view; what is less printable is read by its printable runs only
_SAMPLE = 4096
_PRINTABLE = bytes(range(32, 127)) + b"\t\n\r"
REACH = 768  # bytes on either side of a character that is written otherwise; a longer value has others of them, nearer
MAX_FREE = 2  # times that what stands between characters is taken out and does not count
_NO_ENCODINGS = ("joined", "unicode", "values")
_IN, _OUT = b"i", b"o"


def alphabet(characters: bytes) -> bytes:
    """A translation table: "i" for the characters, "o" for all else."""
    return bytes(_IN[0] if one in characters else _OUT[0] for one in range(256))


_TEXT = alphabet(_PRINTABLE)


def runs(data: bytes, table: bytes, minimum: int = MIN_RUN, limit: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of an alphabet's characters. Ten times as fast as a regular expression where there are few."""
    kinds = data.translate(table)
    wanted, end = _IN * minimum, 0
    for _ in range(limit):
        start = kinds.find(wanted, end)
        if start < 0:
            return
        end = kinds.find(_OUT, start + minimum)
        end = len(data) if end < 0 else end
        yield start, end


def around(data: bytes, marks: Iterable[tuple[int, int]]) -> tuple[bytes, Sequence[int], Sequence[int]]:
    """What lies within REACH of (start, end) marks, ascending: data, starts, origins as in View.

    Where little of a text is written otherwise, only that is read otherwise: whole copies that hardly differ would be read
    again in every way, and each of those too.
    """
    pieces: list[tuple[int, int]] = []
    for first, last in marks:
        start, end = max(0, first - REACH), last + REACH
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = pieces[-1][0], end
        else:
            pieces.append((start, end))
    parts = [data[start:end] for start, end in pieces]
    starts = list(accumulate((len(part) + 1 for part in parts), initial=0))[:-1]
    return b"\n".join(parts), starts, [start for start, _end in pieces]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One reading. encodings: how it was reached, outermost first. parent: what it was made from; None for the data itself.

    starts, origins: offsets in data, ascending, and the offset in the parent's data of the run that was decoded to what
    begins there; -1 where that is not known.
    """

    data: bytes
    encodings: tuple[str, ...] = ()
    parent: View | None = None
    starts: Sequence[int] = (0,)
    origins: Sequence[int] = (-1,)

    def offset(self, position: int) -> int:
        """Where in the data as sent the outermost run lies that a position of this view was read from; -1 unknown."""
        if self.parent is None:
            return position
        origin = self.origins[max(0, bisect_right(self.starts, position) - 1)]
        return origin if origin < 0 else self.parent.offset(origin)

    @property
    def depth(self) -> int:
        """Encodings that were undone to come here; taking out what stands between characters is none, the first times."""
        free = sum(one in _NO_ENCODINGS for one in self.encodings)
        return len(self.encodings) - min(free, MAX_FREE)


def deepest(size: int) -> int:
    """Encodings that are undone of a view: each level costs as much as those before it together."""
    return MAX_DEPTH - (size > SMALL) - (size > MIDDLE)


@dataclass(slots=True)
class Budget:
    """What one scan may still spend. spent: why it had to stop. notes: what one decoder could not read; the others go on."""

    deadline: float
    bytes_left: int = MAX_BYTES
    views_left: int = MAX_VIEWS
    spent: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def uninspected(self) -> str:
        """Why some of the data was not read; "" when all of it was."""
        return self.spent or next(iter(self.notes), "")

    def take(self, size: int) -> bool:
        """Pay for one view."""
        self.bytes_left -= size
        self.views_left -= 1
        if self.bytes_left < 0 or self.views_left < 0 or time.monotonic() > self.deadline:
            self.spent = "decode budget"
            return False
        return True


def new_budget(size: int = 0) -> Budget:
    """A budget that starts now, for data of a size in bytes."""
    return Budget(time.monotonic() + MAX_SECONDS, MAX_BYTES + EXPANSION * size)


class Made(NamedTuple):
    """What a decoder made: as in View. name: of the encoding, where the table's is too general."""

    data: bytes
    starts: Sequence[int] = (0,)
    origins: Sequence[int] = (-1,)
    name: str = ""


Decoder = Callable[[bytes, Budget], Iterator[Made]]


def text_of(view: View) -> View | None:
    """What can be read as text: all of a view that is mostly printable, else its printable runs, a line each."""
    data = view.data
    if is_text(data):
        return view
    parts: list[bytes] = []
    starts: list[int] = []
    origins: list[int] = []
    size = 0
    for start, end in runs(data, _TEXT):
        parts.append(data[start:end])
        starts.append(size)
        origins.append(start)
        size += end - start + 1
    return View(b"\n".join(parts), view.encodings, view, starts, origins) if parts else None


def has_text(data: bytes, minimum: int) -> bool:
    """Whether some of data is printable."""
    return _IN * minimum in data.translate(_TEXT)


def is_text(data: bytes) -> bool:
    """Whether data is mostly printable, by samples of its beginning, middle and end."""
    half = len(data) // 2
    sample = data if len(data) <= 3 * _SAMPLE else data[:_SAMPLE] + data[half : half + _SAMPLE] + data[-_SAMPLE:]
    return len(sample.translate(None, _PRINTABLE)) <= len(sample) * (1 - _PRINTABLE_SHARE)
