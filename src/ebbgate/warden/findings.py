"""Telling the journal once, and not without end: what the watches found, deduplicated and bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ebbgate.events.types import Concern, Event, Notice, Origin, Tampering
from ebbgate.warden.process_entry import Entry, Kind
from ebbgate.warden.process_table import ProcessTable

MAX_NOTICES = 500  # in one job; a flood of them must not hide the next Tampering, which has a bound of its own
MAX_TAMPERINGS = 500
MAX_REMEMBERED = 8192  # findings that are not told twice


class Findings:
    """tell: the journal. A finding is told once for each step (or whatever else has a first process) and subject."""

    def __init__(self, table: ProcessTable, tell: Callable[[Event], None]) -> None:
        self.table, self._tell = table, tell
        self._told: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._notices = self._tamperings = 0
        self.suppressed = 0  # findings over the bounds

    def culprit(self, pid: int) -> Entry | None:
        """The process, when what it does counts against the job; None for the runner's, the machine's and the guard's own."""
        entry = self.table.look(pid)
        return entry if entry is not None and entry.kind in (Kind.JOB, Kind.RUNTIME) else None

    def notice(self, concern: Concern, what: str, entry: Entry | None, *subject: object) -> None:
        """Something worth knowing. what: one sentence, publishable. subject: what makes it the same finding as another."""
        if self._fresh(concern, entry, subject):
            self._notices += 1
            if self._notices <= MAX_NOTICES:
                self._tell(Notice(concern, what, self._origin(entry), time.time()))
            else:
                self._over()

    def tampering(self, what: str, entry: Entry | None, *subject: object) -> None:
        """Something that fails the job."""
        if self._fresh("tampering", entry, subject):
            self._tamperings += 1
            if self._tamperings <= MAX_TAMPERINGS:
                self._tell(Tampering(what, self._origin(entry), time.time()))
            else:
                self._over()

    def _origin(self, entry: Entry | None) -> Origin:
        return Origin() if entry is None else self.table.origin_of(entry)

    def _fresh(self, kind: str, entry: Entry | None, subject: tuple[object, ...]) -> bool:
        root = (entry.root.pid, entry.root.since) if entry is not None else ()
        key = (kind, root, subject)
        if key in self._told:
            return False
        self._told[key] = None
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        return True

    def _over(self) -> None:
        self.suppressed += 1
        if self.suppressed == 1:
            what = "there were more findings of the watches than are recorded"
            self._tell(Notice(Concern.DEGRADED, what, time=time.time()))

    def degraded(self, what: str) -> None:
        """The machine lacks something, or something was lost; told once."""
        if self._fresh("degraded", None, (what,)):
            self._tell(Notice(Concern.DEGRADED, what, time=time.time()))

    def show(self, text: str) -> str:
        """Text that somebody in the job may have chosen, as it may be shown."""
        return self.table.redact(text)

    def step_name(self, entry: Entry) -> str:
        """Of the process' step, as it may be shown."""
        context = entry.context()
        return f'step "{self.show(context.step.name)}"' if context is not None else "a process of no known step"
