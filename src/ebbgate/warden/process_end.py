"""Ending all processes of a step so that none escapes by forking meanwhile.

Everything is stopped first (SIGSTOP), round after round until a round finds nobody new: a stopped process cannot fork. Then
everything is killed, until the end of each is told: a child forked at the last moment is told before its parent's end. A
signal goes to a pidfd that was opened before the table was asked once more whether the pid is still that process, so that
it cannot reach another that was given the same pid.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Protocol

from ebbgate.host import processes
from ebbgate.warden.process_entry import Entry
from ebbgate.warden.process_table import SAME_START_NS, ProcessTable

MAX_ROUNDS = 500  # a fork bomb doubles at most a few times before all its processes have been stopped
MAX_HELD = 512  # pidfds at one time
MOMENT = 0.05  # seconds
MAX_SECONDS = 5.0  # one that waits for a disk or a device dies later


class Updated(Protocol):
    """What brings the table up to date."""

    table: ProcessTable

    def update(self) -> None: ...

    def wait(self, seconds: float) -> None:
        """Until something happens, at most so long."""


def kill(monitor: Updated, pid: int) -> int:
    """End everything in the step of a process; how many processes that were."""
    table = monitor.table
    monitor.update()
    stopped: set[Entry] = set()
    until = 0  # when all were stopped that could make siblings of themselves: what the runner starts later is none of theirs
    for _ in range(MAX_ROUNDS):
        fresh = [one for one in _members(table, pid, until) if one not in stopped]
        if not fresh:
            until = until or time.monotonic_ns()
            if not table.is_settling(pid, until):
                break
            monitor.wait(MOMENT)
        _signal(table, fresh, signal.SIGSTOP, monitor.update)
        stopped.update(fresh)
        monitor.update()
    killed: set[Entry] = set()
    deadline = time.monotonic() + MAX_SECONDS
    while (left := _members(table, pid, until)) or table.is_settling(pid, until):
        _signal(table, [one for one in left if one not in killed], signal.SIGKILL, monitor.update)
        killed.update(left)
        if time.monotonic() > deadline:
            break
        monitor.wait(MOMENT)
        monitor.update()
        table.tick()
    return len(killed)


def _members(table: ProcessTable, pid: int, until: int) -> list[Entry]:
    """Of the step of a process, with those that descend from what began until a time; 0 for any."""
    return [one for one in table.step_members(pid) if not until or one.root.since <= until]


def _signal(table: ProcessTable, entries: list[Entry], number: signal.Signals, update: Callable[[], None]) -> None:
    """Send a signal to those of the processes that still run."""
    for start in range(0, len(entries), MAX_HELD):
        held: list[tuple[Entry, int]] = []
        for entry in entries[start : start + MAX_HELD]:
            try:
                held.append((entry, os.pidfd_open(entry.pid)))
            except OSError:
                continue
        update()
        for entry, descriptor in held:
            _send(table, entry, descriptor, number)
            os.close(descriptor)


def _send(table: ProcessTable, entry: Entry, descriptor: int, number: signal.Signals) -> None:
    birth = processes.birth(entry.pid)
    if entry.ended or table.look(entry.pid) is not entry or birth is None or birth.started > entry.since + SAME_START_NS:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return
