"""What holds other data, anywhere in it: compressed streams, zip archives (wheels, jars), git packs (of zlib streams).

An archive's own directory is not believed: it can be missing, cut off or wrong. Members are found by the headers before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ebbgate.secrets import inflate
from ebbgate.secrets.beginnings import GUESSED, MIN_GUESSED, beginnings, compressed_at, unreadable
from ebbgate.secrets.views import Budget, Made, is_text

MAX_TRIES = 4096  # beginnings looked at in one view; a megabyte of chance has 64


@dataclass(slots=True)
class _Members:
    """Everything of one coding, as one view."""

    parts: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, made: bytes, origin: int) -> None:
        self.parts.append(made)
        self.starts.append(self.size)
        self.origins.append(origin)
        self.size += len(made) + 1


def contained(data: bytes, budget: Budget) -> Iterator[Made]:
    """By first bytes anywhere; what begins the view also as raw deflate and brotli, which have none."""
    if name := unreadable(data):
        budget.notes.append(f"{name}: not read")
    found: dict[str, _Members] = {}
    read = range(0)  # of a member's data: what begins in there is looked for when it is read as a view of its own
    for number, (at, kind) in enumerate(beginnings(data)):
        if number >= MAX_TRIES:
            budget.notes.append("decode budget")
            break
        if at in read:
            continue
        coding, begin, why = compressed_at(data, at, kind) or ("", at, "")
        if why:
            budget.notes.append(why)
        if not coding:
            continue
        made, taken = _expand(data, begin, coding, budget)
        if at >= read.start:  # else it lies in the fields of a member's header, which can be long
            read = range(begin, begin + taken)
        if made:
            found.setdefault(kind, _Members()).add(made, at)
        if sum(one.size for one in found.values()) > budget.bytes_left:
            budget.notes.append("decode budget")
            break
    for kind, members in found.items():
        yield Made(b"\n".join(members.parts), members.starts, members.origins, kind)
    yield from _guessed(data, budget)


def _expand(data: bytes, begin: int, coding: str, budget: Budget) -> tuple[bytes, int]:
    """(what came out before the end or the first error, bytes taken; 0 when it broke)."""
    machine = inflate.inflater(coding, limit=max(0, budget.bytes_left), members=1)
    if machine is None:
        budget.notes.append(f"{coding}: not read")
        return b"", 0
    parts: list[bytes] = []
    try:
        for piece in inflate.slices(data, begin):
            parts.append(machine.feed(piece))
            if machine.ended:
                break
    except inflate.Malformed as broken:
        parts.append(broken.made)
        if machine.lost:
            budget.notes.append(inflate.malformed(coding))
        made = b"".join(parts)
        return (made, 0) if len(made) >= MIN_GUESSED else (b"", 0)
    except inflate.BoundReached as reached:
        budget.notes.append("decode budget")
        parts.append(reached.made)
    return b"".join(parts), machine.taken


def _guessed(data: bytes, budget: Budget) -> Iterator[Made]:
    for coding in GUESSED:
        made, _taken = _expand(data, 0, coding, budget)
        if len(made) >= MIN_GUESSED and is_text(made):
            yield Made(made, (0,), (0,), coding)
