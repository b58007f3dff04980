"""One process as the table remembers it, and what it is to the guard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Self

from ebbgate.events.types import Party, Process
from ebbgate.host.processes import Image
from ebbgate.warden.step_context import StepContext

MAX_DEPTH = 24  # ancestors kept of a process within its step; what is between is forgotten, the step's first process never
MAX_SHOWN = 1000  # characters of a command line in the record


class Kind(Enum):
    """More than a ``Party``: who starts programs for others is told apart from who starts them for itself."""

    RUNNER = auto()
    JOB = auto()
    RUNTIME = auto()  # of containers; what it starts is the job's
    MACHINE = auto()
    LAUNCHER = auto()  # a service that starts what it is asked to: init, cron, sshd
    GUARD = auto()

    @property
    def party(self) -> Party:
        """As the record says it."""
        if self is Kind.RUNNER:
            return Party.RUNNER
        return Party.JOB if self in (Kind.JOB, Kind.RUNTIME) else Party.MACHINE


# Services that were there before the job and start programs at the wish of others. Their own traffic is the machine's; what
# they start once the guard is armed is the job's, because "at now", "crontab", "ssh localhost" or D-Bus could have asked.
LAUNCHERS = frozenset(
    {
        "systemd", "init", "cron", "crond", "atd", "anacron", "sshd", "dbus-daemon", "dbus-broker",
        "dbus-broker-launch", "inetd", "xinetd", "runsvdir", "supervisord", "snapd", "packagekitd", "systemd-udevd",
        "udevd",
    }
)  # fmt: skip


class Program:
    """What a process runs, shared by all that forked from it without running another. Redacted only when it is shown,
    because that takes longer than everything else here.
    """

    __slots__ = ("_shown", "image")

    def __init__(self, image: Image | None) -> None:
        self.image = image
        self._shown: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """Of the program's file."""
        return os.path.basename(self.image.exe.removesuffix(" (deleted)")) if self.image else ""

    def forget_shown(self) -> None:
        """There is more to be hidden than when it was shown last."""
        self._shown = None

    def shown(self, redact: Callable[[str], str]) -> tuple[str, str]:
        """Path and arguments."""
        if self._shown is None:
            image = self.image or Image("", b"")
            arguments = [redact(one.decode(errors="replace")) for one in image.arguments.rstrip(b"\0").split(b"\0")]
            self._shown = redact(image.exe), " ".join(arguments)[:MAX_SHOWN]
        return self._shown


class Entry:
    """A process. parent: who forked it, as told by the kernel, and alive as long as this is. root: the first process of its
    step, container or service. users: real and effective uid. escalated: became root, not judged yet. container: full id.
    is_apart: in a network namespace of its container's. settled: whose doing it is cannot change any more by the program it runs.
    """

    __slots__ = (
        "__weakref__", "container", "depth", "ended", "escalated", "is_apart", "kind", "parent", "pid", "program", "root",
        "settled", "since", "step", "users",
    )  # fmt: skip

    def __init__(self, pid: int, since: int, program: Program, users: tuple[int, int]) -> None:
        self.pid, self.since, self.program, self.users = pid, since, program, users
        self.parent: Entry | None = None
        self.root: Entry = self
        self.kind = Kind.JOB
        self.depth = 0
        self.step: StepContext | None = None
        self.container = ""
        self.is_apart = False
        self.ended = False
        self.escalated = False
        self.settled = False

    def put_below(self, parent: Self | None, kind: Kind) -> None:
        """Take a place in the tree."""
        self.parent, self.kind = parent, kind
        if parent is None or parent.kind is not kind or kind in (Kind.LAUNCHER, Kind.RUNNER):
            self.root, self.depth = self, 0
            return
        self.root, self.depth = parent.root, parent.depth + 1
        if self.depth > MAX_DEPTH:
            self._shorten()

    def _shorten(self) -> None:
        """A chain of processes that fork and end, each the next one's parent, must not fill the memory."""
        current: Entry = self
        for distance in range(MAX_DEPTH * 2 // 3):
            if current.parent is None or current.parent is self.root:
                self.depth = distance + 1
                return
            current = current.parent
        current.parent = self.root
        self.depth = MAX_DEPTH * 2 // 3 + 1

    def ancestors(self) -> Iterator[Entry]:
        """Nearest first, within the same kind; of the runner and the machine all but init. What runs in a container ends with
        its first process: who asked the runtime for it cannot be seen.
        """
        current = self.parent
        while current is not None and current.pid > 1 and current.kind.party is self.kind.party:
            if current.kind is Kind.RUNTIME and self.kind is Kind.JOB:
                return
            yield current
            current = current.parent

    def context(self) -> StepContext | None:
        """What its step's first process was told; where nothing, what the nearest process was told that was told something."""
        if self.root.step is not None:
            return self.root.step
        if self.step is not None:
            return self.step
        return next((one.step for one in self.ancestors() if one.step is not None), None)

    def shown(self, redact: Callable[[str], str], *, certain: bool) -> Process:
        """For the record."""
        exe, cmdline = self.program.shown(redact)
        return Process(self.pid, exe, cmdline, certain)
