"""The process table, kept up to date from the kernel's events within the warden's loop.

::

    ProcessEvents | ProcessPoller ──read()──▶ ProcessMonitor ──▶ ProcessTable, then each observer
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from ebbgate.events.types import Concern, Event, Notice
from ebbgate.host.process_events import Lost, ProcessEvent, ProcessSource, open_process_events
from ebbgate.host.process_poll import ProcessPoller
from ebbgate.warden import process_end
from ebbgate.warden.process_table import ProcessTable

MAX_ROUNDS = 64  # reads in one update; events that come faster than that are read at the next
UNIT_DIRECTORIES = tuple(
    map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"))
)


class ProcessMonitor:
    """Register it in a selector for reading; call ``tick`` about once a second. tell: the journal.

    observers: called with each event after the table has taken it in.
    """

    def __init__(self, source: ProcessSource, table: ProcessTable, tell: Callable[[Event], None]) -> None:
        self.table, self.observers = table, list[Callable[[ProcessEvent], None]]()
        self._source, self._tell = source, tell
        self._told_gaps = 0
        if source.degraded:
            tell(Notice(Concern.DEGRADED, source.degraded, time=time.time()))
        table.arm()

    @property
    def degraded(self) -> bool:
        """Short-lived processes may be missed, and ancestry is what /proc says."""
        return bool(self._source.degraded)

    @property
    def gaps(self) -> int:
        """How often the kernel had to drop events."""
        return self._source.gaps

    def fileno(self) -> int:
        return self._source.fileno()

    def read(self) -> None:
        """Take in what waits, once; for the selector."""
        self._take(self._source.read())

    def update(self) -> None:
        """Take in everything that happened before this call; for whoever asks the table something."""
        for _ in range(MAX_ROUNDS):
            events = self._source.read()
            self._take(events)
            if not events or self.degraded:
                return

    def wait(self, seconds: float) -> None:
        """Until something happens, at most so long."""
        select.select([self], [], [], seconds)

    def _take(self, events: list[ProcessEvent]) -> None:
        apply, observers = self.table.apply, self.observers
        for event in events:
            if isinstance(event, Lost):
                self._tell_of_loss()
            apply(event)
            for observe in observers:
                observe(event)

    def _tell_of_loss(self) -> None:
        if self._told_gaps == 0:
            what = "the kernel dropped process events; ancestry of processes from that moment is what /proc says"
            self._tell(Notice(Concern.DEGRADED, what, time=time.time()))
        self._told_gaps = self._source.gaps

    def tick(self) -> None:
        """Housekeeping."""
        self.table.tick()

    def kill_step(self, pid: int) -> int:
        """End a process' whole step or container, whatever it has started, and say how many processes that were."""
        return process_end.kill(self, pid)

    def close(self) -> None:
        self._source.close()


def open_source(netns: Path | None) -> ProcessSource:
    """The kernel's events where it gives them, else a poller with the reason."""
    try:
        return open_process_events(netns)
    except OSError as problem:
        why = (
            f"this machine gives no process events ({os.strerror(problem.errno or 0).lower()}): processes are looked at ten times"
        )
        return ProcessPoller(f"{why} a second instead, short-lived ones can be missed")


def known_units() -> frozenset[str]:
    """Names of the systemd services that are installed now."""
    found: set[str] = set()
    for directory in UNIT_DIRECTORIES:
        try:
            found.update(name for name in os.listdir(directory) if name.endswith(".service"))
        except OSError:
            continue
    return frozenset(found)
