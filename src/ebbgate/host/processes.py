"""Which process owns a socket, and who its ancestors are: read from /proc, which names it by the machine's numbers.

Everything here is evidence about processes that may vanish while being read; a vanished one is skipped, never an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbgate.events.types import Origin, Process
from ebbgate.host import kernel, process_memory

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


# What follows is read once for every program that a guarded job starts, so it does without pathlib and file objects.

MAX_ENVIRONMENT = 1 << 18  # bytes; the kernel's own bound of one argument or variable is half of it
_HERTZ = os.sysconf("SC_CLK_TCK")


# Of a process' own memory. The warden of a job puts a ``MemoryReader`` here, which does not hang with it.
read_memory: Callable[[int, str, int, frozenset[bytes]], bytes | None] = process_memory.read


@dataclass(slots=True, frozen=True)
class Image:
    """The program a process runs, not redacted yet. exe: its path, "" when unreadable. arguments: as in /proc/PID/cmdline,
    at most MAX_ARGUMENTS bytes.
    """

    exe: str
    arguments: bytes


def image(pid: int) -> Image | None:
    """None when the process is gone. One that ended but was not waited for has its bare name and no arguments."""
    arguments = read_memory(pid, "cmdline", MAX_ARGUMENTS, frozenset())
    if arguments is None:
        return None
    try:
        return Image(os.readlink(f"/proc/{pid}/exe"), arguments)
    except OSError:
        name = process_memory.read(pid, "comm", 64)
        return None if name is None else Image(name.decode(errors="replace").strip(), arguments)


def exe(pid: int) -> str:
    """Path of a process' program; "" when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def environment(pid: int, wanted: frozenset[bytes]) -> dict[str, str]:
    """The wanted variables of a process' environment as its program found it; empty when it is gone."""
    found: dict[str, str] = {}
    for line in (read_memory(pid, "environ", MAX_ENVIRONMENT, wanted) or b"").split(b"\0"):
        name, _, value = line.partition(b"=")
        if name in wanted:
            found[name.decode()] = value.decode(errors="replace")
    return found


def cgroup(pid: int) -> str:
    """/proc/PID/cgroup as it is; "" when the process is gone."""
    return (process_memory.read(pid, "cgroup", 1 << 14) or b"").decode(errors="replace")


def network_namespace(pid: int) -> int:
    """Inode of a process' network namespace, 0 when it is gone."""
    try:
        return int(os.readlink(f"/proc/{pid}/ns/net").strip("net:[]"))
    except (OSError, ValueError):
        return 0


def threads(pid: int) -> int:
    """How many threads a process has; 1 for one that ended but was not waited for, 0 when it is gone."""
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


@dataclass(slots=True, frozen=True)
class Birth:
    """parent: pid, at this moment. started: nanoseconds of CLOCK_MONOTONIC, exact to a clock tick."""

    parent: int
    started: int


def birth(pid: int) -> Birth | None:
    """None when the process is gone."""
    text = process_memory.read(pid, "stat", 1024)
    if text is None:
        return None
    fields = text.rpartition(b")")[2].split()
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()  # start times count suspended time too
    return Birth(int(fields[1]), int(fields[19]) * 1_000_000_000 // _HERTZ - asleep)


def users(pid: int) -> tuple[int, int]:
    """Real and effective uid; of nobody, when the process is gone."""
    for line in (process_memory.read(pid, "status", 4096) or b"").splitlines():
        if line.startswith(b"Uid:"):
            numbers = line.split()
            return int(numbers[1]), int(numbers[2])
    return 65534, 65534


def all_pids() -> list[int]:
    """Every process there is."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def holds_socket(pid: int, inode: int, seen: dict[str, str] | None = None) -> bool:
    """Whether any thread has the socket open. seen: where sockets of this process were seen before, which is looked at first and
    added to: reading through thousands of descriptors for each of thousands of sockets takes minutes.

    Threads can have descriptors of their own (CLONE_THREAD without
    CLONE_FILES), and when the first thread has ended, only the others' are to be seen.
    """
    wanted = f"socket:[{inode}]"
    if _has_link(f"/proc/{pid}/fd", wanted, seen if seen is not None else {}):
        return True
    if threads(pid) < 2:
        return False
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    own = [task for task in tasks if int(task) != pid and not kernel.shares_descriptors(pid, int(task))]
    return any(_has_link(f"/proc/{pid}/task/{task}/fd", wanted, {}) for task in own)


def _has_link(directory: str, wanted: str, seen: dict[str, str]) -> bool:
    try:
        if wanted in seen and os.readlink(f"{directory}/{seen[wanted]}") == wanted:
            return True
    except OSError:
        del seen[wanted]
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    for name in reversed(names):  # a socket in question is among the newest descriptors
        try:
            link = os.readlink(f"{directory}/{name}")
        except OSError:
            continue
        seen[link] = name
        if link == wanted:
            return True
    return False
