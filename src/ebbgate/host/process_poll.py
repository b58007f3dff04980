"""Process events where the kernel does not tell them: /proc is looked at ten times a second, and differences are told.

What lives shorter than that is not seen, a program run by a process that keeps its name neither, and the parent is the one
found, which is not the one that forked when that has ended since. So ``degraded`` says why it had to be.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

from ebbgate.host import kernel
from ebbgate.host.process_events import Executed, Exited, Forked, ProcessEvent, UserChanged

INTERVAL = 0.1  # seconds
_SAME_START = 0.02  # seconds; start times have the resolution of a clock tick
UNKNOWN_STATUS = -1  # of a process that was only found to be gone; no process ends with it


@dataclass(slots=True)
class _Seen:
    started: float
    name: str
    users: tuple[int, int]


class ProcessPoller:
    """The same interface as ``ProcessEvents``. degraded: a sentence for the record."""

    def __init__(self, degraded: str, interval: float = INTERVAL) -> None:
        self.degraded = degraded
        self.gaps = 0
        self._timer = kernel.timer_descriptor(interval)
        self._seen: dict[int, _Seen] = {}
        for pid in psutil.pids():
            found = _look(pid)
            if found is not None:
                self._seen[pid] = found[1]

    def fileno(self) -> int:
        return self._timer

    def read(self) -> list[ProcessEvent]:
        """What differs from the last look."""
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            pass  # asked for between two ticks: looks all the same
        now = time.monotonic_ns()
        pids = psutil.pids()
        events: list[ProcessEvent] = [Exited(pid, UNKNOWN_STATUS, now) for pid in self._seen.keys() - set(pids)]
        for event in events:
            del self._seen[event.pid]  # type: ignore[union-attr] # all are Exited
        for pid in pids:
            events += self._differences(pid, now)
        return events

    def _differences(self, pid: int, now: int) -> list[ProcessEvent]:
        found = _look(pid)
        if found is None:
            return []
        parent, current = found
        known = self._seen.get(pid)
        self._seen[pid] = current
        if known is None or abs(known.started - current.started) > _SAME_START:
            gone: list[ProcessEvent] = [Exited(pid, UNKNOWN_STATUS, now)] if known else []
            return [*gone, Forked(parent, pid, now), Executed(pid, now)]
        changes: list[ProcessEvent] = []
        if known.users != current.users:
            changes.append(UserChanged(pid, *current.users, now))
        if known.name != current.name:
            changes.append(Executed(pid, now))
        return changes

    def close(self) -> None:
        os.close(self._timer)


def _look(pid: int) -> tuple[int, _Seen] | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            users = process.uids()
            return process.ppid(), _Seen(process.create_time(), process.name(), (users.real, users.effective))
    except psutil.Error:
        return None
