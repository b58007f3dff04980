"""Which process owns a socket, and who its ancestors are: read from /proc, which names it by the machine's numbers.

Everything here is evidence about processes that may vanish while being read; a vanished one is skipped, never an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ebbgate.events.types import Origin, Process

MAX_ANCESTRY = 16
MAX_ARGUMENTS = 4096  # bytes of a command line that are read
MAX_PROCESSES = 20_000  # a workload larger than that is a fork bomb; the rest stays "unknown"


def workload(init_pid: int, *, proc: Path = Path("/proc")) -> list[int]:
    """All processes of a workload: the descendants of its init, which adopts orphans. Youngest last."""
    found: list[int] = []
    waiting = [init_pid]
    while waiting and len(found) < MAX_PROCESSES:
        pid = waiting.pop()
        for child in _children(pid, proc):
            found.append(child)
            waiting.append(child)
    return sorted(found)


def _children(pid: int, proc: Path) -> Iterator[int]:
    try:
        tasks = os.listdir(proc / str(pid) / "task")
    except OSError:
        return
    for task in tasks:
        try:
            text = (proc / str(pid) / "task" / task / "children").read_text()
        except OSError:
            continue
        yield from map(int, text.split())


def owner_of(inode: int, pids: list[int], *, proc: Path = Path("/proc")) -> int | None:
    """The youngest process holding a socket: a child that inherited it is nearer to the act than its parent."""
    wanted = f"socket:[{inode}]"
    for pid in reversed(pids):
        try:
            with os.scandir(proc / str(pid) / "fd") as entries:
                for entry in entries:
                    try:
                        if os.readlink(entry.path) == wanted:
                            return pid
                    except OSError:
                        continue
        except OSError:
            continue
    return None


def describe(pid: int, redact: Callable[[str], str], *, certain: bool = True, proc: Path = Path("/proc")) -> Process | None:
    """A process as the record shows it; None when it is gone. One that has ended but was not waited for has a bare name."""
    base = proc / str(pid)
    try:
        with open(base / "cmdline", "rb") as file:
            raw = file.read(MAX_ARGUMENTS)
        name = (base / "comm").read_text(errors="replace").strip()
    except OSError:
        return None
    try:
        program = os.readlink(base / "exe")
    except OSError:
        program = name
    words = raw.rstrip(b"\0").split(b"\0")
    if len(raw) == MAX_ARGUMENTS and not raw.endswith(b"\0"):
        words[-1] = "…".encode()  # cut off: half a secret is not recognised as one
    arguments = [redact(one.decode(errors="replace")) for one in words]
    return Process(pid, redact(program), " ".join(arguments), certain)


def parent(pid: int, *, proc: Path = Path("/proc")) -> int:
    """Parent's pid, 0 when unknown."""
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def origin(pid: int, init_pid: int, redact: Callable[[str], str], *, certain: bool = True, proc: Path = Path("/proc")) -> Origin:
    """A process and its ancestors up to (not including) the workload's init."""
    chain: list[Process] = []
    current = pid
    while current > 1 and current != init_pid and len(chain) <= MAX_ANCESTRY:
        described = describe(current, redact, certain=certain, proc=proc)
        if described is None:
            break
        chain.append(described)
        current = parent(current, proc=proc)
    return Origin(chain[0], tuple(chain[1:])) if chain else Origin()
