"""The third lock: the memory of the runner's own processes, where all secrets of the job are, is not read.

Four ways lead there for a process of the same user, and what closes each:

``ptrace``, ``/proc/PID/mem``   ``kernel.yama.ptrace_scope=3``. A latch: nobody, root included, takes it back before the next
                                start of the machine (Documentation/admin-guide/LSM/Yama.rst). Where the kernel has no Yama
                                nothing closes this: PR_SET_DUMPABLE can only be set by a process for itself.
a core dump                     A process may raise another's core limit (prlimit(2)) and end it with SIGQUIT; the kernel then
                                writes the memory to a file of that user. ``kernel.core_pattern=|/bin/false``, which limits
                                do not concern.
.NET's diagnostic port          The runner is a .NET program: its runtime listens on a socket in /tmp, for the same user,
                                for commands such as "write a dump" and "load this library"; and on two pipes for a debugger.
                                No ptrace is needed for the library. They become root's.
``/proc/PID/environ``           Not closed: Yama does not look at reading of this kind. It holds what the runner was started
                                with, and for steps what they were given.

What also stops working: strace, gdb and LeakSanitizer in the job, and core files of its own programs.
Root is stopped from ptrace too, but reads /proc/kcore or loads a module: the lock is one only with ``sudo: remove``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import permissions
from ebbgate.host.lockdown import LockResult
from ebbgate.host.permissions import Memory
from ebbgate.host.runner_identity import CLEAN_ENVIRONMENT, Runner, acting_as, opened_by

YAMA, CORE_PATTERN = "kernel/yama/ptrace_scope", "kernel/core_pattern"
NO_ATTACH, NO_DUMP = "3", "|/bin/false"
_ABSENT = "This kernel has no Yama, so a process of the job's user can read the runner's memory, where the job's secrets are."


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Where the lock keeps what was before: modes of the diagnostic ports, and the pattern of core files."""

    ports: Path
    pattern: Path


class MemoryLock:
    """``protect-memory: true``. sysctls: /proc/sys. readable: whether the job's user can read another process's memory."""

    name = "memory"

    def __init__(
        self,
        runner: Runner,
        kept: MemoryFiles,
        *,
        root: Path = Path("/"),
        proc: Path = Path("/proc"),
        sysctls: Path = Path("/proc/sys"),
        readable: Callable[[Runner], bool] | None = None,
    ) -> None:
        self._runner, self._root, self._proc, self._sysctls = runner, root, proc, sysctls
        self._ports, self._pattern = Memory(kept.ports), kept.pattern
        self._readable = readable or memory_is_readable

    def apply(self) -> LockResult:
        """Close all that can be closed, and verify. PlatformError when the machine refuses, IntegrityError."""
        try:
            if self._setting(YAMA) not in ("", NO_ATTACH):
                (self._sysctls / YAMA).write_text(f"{NO_ATTACH}\n")
            self._stop_dumps()
            changed = [permissions.change(path, uid=0, gid=0, mode=0o600) for path in self._diagnostic_ports()]
        except OSError as problem:
            raise PlatformError(
                "the runner's memory could not be protected", str(problem)[:300], "use `protect-memory: false`"
            ) from None
        self._ports.add(one for one in changed if one is not None)
        return self.verify()

    def verify(self) -> LockResult:
        """Read settings back, read a process's memory and knock at the ports as the job's user. IntegrityError."""
        if self._setting(CORE_PATTERN) not in ("", NO_DUMP):
            raise IntegrityError("core dumps of the runner are possible", f"{CORE_PATTERN} was changed", "")
        ports = self._diagnostic_ports()
        opened = opened_by(self._runner, ports)
        if opened:
            raise IntegrityError("the runner's diagnostic port is open to the job", opened[0], "use `protect-memory: false`")
        detail = [f"closed: {path}" for path in ports] + ["core dumps: off"]
        scope, readable = self._setting(YAMA), self._readable(self._runner)
        if scope == "":
            detail.append("read another process's memory as the job's user: " + ("it worked" if readable else "refused"))
            return LockResult(self.name, not readable, not readable, _ABSENT if readable else _OTHERWISE, tuple(detail))
        if scope != NO_ATTACH or readable:
            cause = f"{YAMA} is {scope}" if scope != NO_ATTACH else "it was tried, and worked although Yama forbids it"
            raise IntegrityError("the runner's memory can be read by the job", cause, "use `protect-memory: false`")
        detail.append("kernel.yama.ptrace_scope is 3 until the machine is started anew")
        return LockResult(
            self.name, True, True, "The runner's memory cannot be read by the job: tried and refused.", tuple(detail)
        )

    def undo(self) -> LockResult:
        """Core files and diagnostic ports are as before. Yama's latch stays: nobody can take it back."""
        if self._pattern.is_file():
            (self._sysctls / CORE_PATTERN).write_text(self._pattern.read_text())
            self._pattern.unlink()
        self._ports.restore()
        latched = self._setting(YAMA) == NO_ATTACH
        sentence = "ptrace stays off until the machine is started anew." if latched else "Memory is as before."
        return LockResult(self.name, latched, False, sentence)

    def _stop_dumps(self) -> None:
        now = self._setting(CORE_PATTERN)
        if now in ("", NO_DUMP):
            return  # an empty pattern makes no dump either
        self._pattern.parent.mkdir(parents=True, exist_ok=True)
        self._pattern.write_text(f"{now}\n")
        (self._sysctls / CORE_PATTERN).write_text(f"{NO_DUMP}\n")

    def _setting(self, name: str) -> str:
        """A sysctl's value, "" when the kernel does not have it."""
        try:
            return (self._sysctls / name).read_text().strip()
        except OSError:
            return ""

    def _diagnostic_ports(self) -> list[Path]:
        """Sockets and pipes through which the runner's .NET runtimes take commands (docs: "Diagnostic ports")."""
        found: list[Path] = []
        for pid in self._runner.pids:
            for place in dict.fromkeys(("/tmp", self._temporary(pid))):  # noqa: S108 - where the runtime puts them
                directory = self._root / place.lstrip("/")
                for pattern in (f"dotnet-diagnostic-{pid}-*-socket", f"clr-debug-pipe-{pid}-*"):
                    found += sorted(directory.glob(pattern))
        return found

    def _temporary(self, pid: int) -> str:
        try:
            environment = (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            environment = []
        values = [one[len(b"TMPDIR=") :] for one in environment if one.startswith(b"TMPDIR=/")]
        return os.fsdecode(values[0]) if values else "/tmp"  # noqa: S108


_OTHERWISE = (
    "This kernel has no Yama, but something else keeps the job's user from reading another process's memory: tried and refused."
)


def memory_is_readable(runner: Runner) -> bool:
    """Whether a process of the job's user can read the memory of another one: tried on a child, which is ended."""
    identity = {"user": runner.uid, "group": runner.gid, "extra_groups": runner.groups}
    child = subprocess.Popen(  # type: ignore[call-overload] # keyword arguments by a mapping
        ["/bin/sleep", "60"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=CLEAN_ENVIRONMENT,
        cwd="/",
        **identity,
    )
    try:
        os.close(acting_as(runner, lambda: os.open(f"/proc/{child.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)))
    except PermissionError:
        return False
    except OSError as problem:
        raise IntegrityError("the lock on memory could not be tried", str(problem)[:200], "") from None
    finally:
        child.kill()
        child.wait()
    return True
