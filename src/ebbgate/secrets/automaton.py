"""Finding many literals at once: ahocorasick_rs on the first bytes of each, then the whole of it at the hit.

Measured with 500 secrets and 10,000 needles (bench/scanner.py): the DFA of heads of 8 bytes takes 27 MB and scans 340-430 MB/s,
that of 32 bytes 142 MB and no more; without a DFA it is half as fast. Many needles with one head ("eyJhbGci" of every JWT)
would all be compared at each hit, so those get longer heads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ahocorasick_rs import BytesAhoCorasick, Implementation

from ebbgate.secrets.needles import Needle

HEADS = (8, 16, 32)  # bytes of a needle that the automaton knows: the first length at which few others begin alike
MAX_ALIKE = 4  # needles with one head, before it is made longer
SHORTEST_OPEN = 4  # bytes; a tail that begins a needle with fewer is let go in interactive streams
DFA_LIMIT = 300_000  # bytes of all heads; a DFA has about that many states, of 300 bytes each


@dataclass(frozen=True, slots=True)
class Hit:
    """A needle found at an offset of the scanned bytes."""

    needle: Needle
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.needle.data)


class Automaton:
    """Immutable; shared by all streams."""

    def __init__(self, needles: Sequence[Needle]) -> None:
        by_head = _grouped(needles)
        self._groups = list(by_head.values())
        heads = list(by_head)
        kind = Implementation.DFA if sum(map(len, heads)) <= DFA_LIMIT else Implementation.ContiguousNFA
        self._matcher = BytesAhoCorasick(heads, implementation=kind) if heads else None
        self._sorted = sorted(heads)
        self.longest_head = max((len(head) for head in heads), default=0)

    def search(self, data: bytes) -> tuple[list[Hit], int]:
        """(hits in order of their start, offset of the first needle that is cut off by the end of the data, or its length).

        Cut off means: its head is there and what follows agrees so far.
        """
        if self._matcher is None:
            return [], len(data)
        hits: list[Hit] = []
        cut_off = len(data)
        for group, start, _end in self._matcher.find_matches_as_indexes(data, overlapping=True):
            for needle in self._groups[group]:
                if data.startswith(needle.data, start):
                    hits.append(Hit(needle, start))
                elif start + len(needle.data) > len(data) and needle.data.startswith(data[start:]):
                    cut_off = min(cut_off, start)
        hits.sort(key=lambda hit: (hit.start, -len(hit.needle.data)))
        return hits, cut_off

    def opening(self, data: bytes) -> int:
        """How many bytes at the end of the data begin some needle; 0 when none (or fewer than SHORTEST_OPEN) do."""
        for length in range(min(self.longest_head - 1, len(data)), SHORTEST_OPEN - 1, -1):
            tail = data[-length:]
            place = bisect_left(self._sorted, tail)
            if place < len(self._sorted) and self._sorted[place].startswith(tail):
                return length
        return 0


def _grouped(needles: Sequence[Needle]) -> dict[bytes, list[Needle]]:
    groups: dict[bytes, list[Needle]] = {}
    waiting = list(needles)
    for length in HEADS:
        alike: dict[bytes, list[Needle]] = {}
        for needle in waiting:
            alike.setdefault(needle.data[:length], []).append(needle)
        waiting = []
        for head, group in alike.items():
            longer = [one for one in group if len(one.data) > length] if len(group) > MAX_ALIKE and length < HEADS[-1] else []
            waiting += longer
            kept = group if not longer else [one for one in group if len(one.data) <= length]
            if kept:
                groups.setdefault(head, []).extend(kept)
    return groups


def first_of_each(hits: Iterable[Hit]) -> list[Hit]:
    """The first hit of each secret and encoding: the others say nothing more."""
    seen: dict[tuple[int, tuple[str, ...]], Hit] = {}
    for hit in hits:
        seen.setdefault((hit.needle.owner, hit.needle.encodings), hit)
    return list(seen.values())
