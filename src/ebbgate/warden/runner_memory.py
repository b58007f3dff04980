"""Who reads the memory of the runner, where every secret of the job lies in clear.

Three ways lead there, and this is what is seen of each:

- opening /proc/PID/mem (also of a thread): told by the kernel at once, by marks on the directories. Every mount of a proc
  file system has directories of its own: one that root has mounted elsewhere is not marked. A process that keeps the file
  open there is found by a look at the descriptors of the job's processes, once a second; one that is quicker is not.
- ptrace(2): told by the kernel at once.
- process_vm_readv(2): not told by anything. It needs addresses, and reading them from /proc/PID/maps is told.

So this is evidence for the verdict; what prevents it is ``kernel.yama.ptrace_scope`` and taking root away.
"""

from __future__ import annotations

import os
import re

from ebbgate.events.types import Concern
from ebbgate.host.file_events import OPENED, FileEvent, FileEvents
from ebbgate.host.process_events import ProcessEvent, Traced
from ebbgate.warden.findings import Findings
from ebbgate.warden.process_entry import Entry, Kind

MAX_SCANNED = 256  # processes whose descriptors are looked at in one tick, newest first
MAX_THREADS = 256  # of one runner process, that are watched
_MEMORY = re.compile(r"/(\d+)(?:/task/\d+)?/mem(?: \(deleted\))?$")
_LAYOUT = frozenset({"maps", "smaps", "pagemap", "map_files", "numa_maps"})


class RunnerMemory:
    """Marks the runner's directories in /proc when made. proc: where proc is mounted."""

    def __init__(self, findings: Findings, files: FileEvents | None) -> None:
        self._findings, self._table, self._files = findings, findings.table, files
        self._threads: set[str] = set()
        self._refresh()

    def _refresh(self) -> None:
        """A thread has two directories, PID/task/TID and, not listed, TID."""
        current: set[str] = set()
        for pid in self._table.runner:
            current.add(f"/proc/{pid}")
            try:
                tasks = os.listdir(f"/proc/{pid}/task")[:MAX_THREADS]
            except OSError:
                continue
            current.update(path for task in tasks for path in (f"/proc/{pid}/task/{task}", f"/proc/{task}"))
        if self._files is None:
            return
        try:
            for directory in sorted(current - self._threads):
                self._files.watch(directory, OPENED, self)
        except OSError:
            what = "this kernel cannot watch /proc: a step that opens the runner's memory is found only while it keeps it open"
            self._findings.degraded(what)
            self._files = None
            return
        for directory in self._threads - current:
            self._files.forget(directory)
        self._threads = current

    def changed(self, event: FileEvent) -> None:
        """Something in a directory of the runner's was opened."""
        if event.name == "mem" or event.name in _LAYOUT:
            entry = self._table.look(event.pid)
            if entry is None or entry.kind not in (Kind.RUNNER, Kind.GUARD):
                self._found(entry, memory=event.name == "mem")

    def _found(self, entry: Entry | None, *, memory: bool) -> None:
        if memory:
            self._findings.tampering("a process opened the runner's memory, in which the job's secrets lie", entry, "memory")
        else:
            what = "a process read where the runner's memory lies (/proc/PID/maps), as one does before reading it"
            self._findings.notice(Concern.PROCESS, what, entry, "layout")

    def observe(self, event: ProcessEvent) -> None:
        """A process event that the table has taken in."""
        if isinstance(event, Traced) and event.pid in self._table.runner:
            entry = self._table.look(event.tracer)
            if entry is None or entry.kind is not Kind.GUARD:
                self._findings.tampering("a process attached to the runner as a debugger does", entry, "ptrace")

    def tick(self) -> None:
        """New threads of the runner, and memory files held open that were opened out of sight."""
        self._refresh()
        running = [one for one in self._table.live() if one.kind is Kind.JOB]
        for entry in running[:MAX_SCANNED]:
            if any(pid in self._table.runner for pid in _memories_open(entry.pid)):
                self._found(entry, memory=True)


def _memories_open(pid: int) -> list[int]:
    """Pids of processes whose memory a process has open, whatever mount of proc it was opened through."""
    found: list[int] = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return found
    for name in names:
        try:
            match = _MEMORY.search(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
        if match:
            found.append(int(match[1]))
    return found
