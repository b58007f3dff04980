"""The journal: an append-only list of events, written as JSON Lines while the run goes on."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Self, TextIO

from ebbgate.events.codec import to_json
from ebbgate.events.types import Defect, DnsQuestion, Event, Exchange, Packet

MAX_EVENTS = 200_000  # kept in memory, about 200 MB at worst; beyond it only what the verdict needs is kept


class Journal:
    """``events`` is what happened so far. Writing never raises: a failed write becomes a defect, and so the verdict.

    position: of the next event. failed: nothing is written to the file any more.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self.position = 0
        self.failed = False
        self.events: list[Event] = []
        self.dropped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self._file = None

    def append(self, event: Event) -> int:
        """Record an event; its position."""
        position = self.position
        self.position += 1
        if len(self.events) < MAX_EVENTS or _essential(event):
            self.events.append(event)
        else:
            self.dropped += 1
        self._write(position, event)
        return position

    def _write(self, position: int, event: Event) -> None:
        if self._file is None:
            return
        try:
            self._file.write(journal_line(position, event))
            self._file.flush()
        except (OSError, ValueError) as problem:
            self._file, self.failed = None, True
            self.append(Defect("Journal", "write", type(problem).__name__, "", time.time()))


def journal_line(position: int, event: Event) -> str:
    """An event as it stands in a journal's file."""
    return json.dumps({"seq": position, **to_json(event)}, separators=(",", ":")) + "\n"


def _essential(event: Event) -> bool:
    """Whether the verdict may depend on it."""
    if isinstance(event, Exchange | DnsQuestion):
        return event.would_deny or bool(event.findings)
    return not isinstance(event, Packet)
