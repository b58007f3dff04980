"""Who touches what decides about others: the runner's memory, actions, tools and command files, the system's own files.

::

    process events ─▶ ProcessMonitor ─▶ table ─▶ RunnerMemory, Privileges ─┐
    fanotify ─▶ Watches.read() ─▶ the class that set the mark ─────────────┴▶ Findings ─▶ tell(Tampering | Notice)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from ebbgate.events.types import Event
from ebbgate.host import kernel
from ebbgate.host.file_events import FileEvent, FileEvents
from ebbgate.warden.changed_files import Actions, PrivilegedFiles, SystemFiles, Tools
from ebbgate.warden.command_files import CommandFiles
from ebbgate.warden.credential_watch import CredentialFiles, CredentialPlaces
from ebbgate.warden.findings import Findings
from ebbgate.warden.privileges import Privileges
from ebbgate.warden.process_monitor import ProcessMonitor
from ebbgate.warden.runner_memory import RunnerMemory

type HandOver = Callable[[dict[str, object], list[int]], bool]

MAX_ROUNDS = 32  # reads of 64 KiB in one go, so that other descriptors get their turn


def system_files(etc: Path = Path("/etc")) -> tuple[Path, ...]:
    """What names, users and rights are made of."""
    names = (
        "resolv.conf",
        "hosts",
        "nsswitch.conf",
        "sudoers",
        "sudoers.d",
        "passwd",
        "shadow",
        "group",
        "gshadow",
        "ld.so.preload",
    )
    return tuple(etc / name for name in names)


def trust_store(root: Path = Path("/")) -> tuple[Path, ...]:
    """Where certificates of authorities lie, on Debian and on Red Hat."""
    names = (
        "etc/ssl/certs", "etc/ca-certificates.conf", "usr/local/share/ca-certificates",
        "etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem", "etc/pki/tls/certs",
    )  # fmt: skip
    return tuple(root / name for name in names)


def program_directories(root: Path = Path("/")) -> tuple[Path, ...]:
    """Where a set-user-ID program would be put: where programs are, and where everybody may write."""
    names = (
        "usr/bin",
        "usr/sbin",
        "usr/local/bin",
        "usr/local/sbin",
        "usr/lib",
        "usr/libexec",
        "tmp",
        "var/tmp",
        "dev/shm",
        "opt",
    )
    return tuple(root / name for name in names)


def nobody(_message: dict[str, object], _descriptors: list[int]) -> bool:
    """Takes nothing."""
    return True


@dataclass(frozen=True, slots=True)
class WatchedPaths:
    """commands: ``_temp/_runner_file_commands``. actions: ``_actions``. tools: the tool cache. None: not watched.
    own_environment: what the guard's own step puts into GITHUB_ENV, which is no finding. credentials: where credential files
    are looked for, None: nowhere.
    """

    commands: Path | None = None
    actions: Path | None = None
    tools: Path | None = None
    system: tuple[Path, ...] = field(default_factory=lambda: (*system_files(), *trust_store()))
    programs: tuple[Path, ...] = field(default_factory=program_directories)
    own_environment: Mapping[str, str] = field(default_factory=dict)
    credentials: CredentialPlaces | None = None


class Rule(Protocol):
    """What is told of events in a directory."""

    def changed(self, event: FileEvent) -> None: ...


class Watches:
    """Register it in a selector for reading; call ``tick`` about once a second. tell: the journal. hand_over: takes what may
    hold secrets to the gate.
    """

    def __init__(
        self, monitor: ProcessMonitor, paths: WatchedPaths, tell: Callable[[Event], None], hand_over: HandOver = nobody
    ) -> None:
        self._monitor = monitor
        self.findings = Findings(monitor.table, tell)
        self._files: FileEvents | None = None
        self.credentials: CredentialFiles | None = None
        self._hand_over = hand_over
        self._commands: CommandFiles | None = None
        try:
            self._files = FileEvents()
        except OSError as problem:
            why = os.strerror(problem.errno or 0).lower()
            self.findings.degraded(f"files are not watched on this machine ({why}): changes by steps are not seen")
        self._memory = RunnerMemory(self.findings, self._files)
        self._privileges = Privileges(self.findings)
        monitor.observers += [self._memory.observe, self._privileges.observe]
        if self._files is not None:
            self._set_marks(self._files, paths)
        elif paths.credentials is not None:
            self.credentials = CredentialFiles(paths.credentials, None, hand_over)
        self._spare = kernel.timer_descriptor(3600.0) if self._files is None else -1  # something to select on

    def _set_marks(self, files: FileEvents, paths: WatchedPaths) -> None:
        """The order decides who gets the events of a directory that two would mark, such as /etc."""
        try:
            if paths.commands is not None:
                self._commands = CommandFiles(self.findings, files, paths.commands, paths.own_environment)
            if paths.actions is not None:
                Actions(self.findings, files, paths.actions)
            if paths.credentials is not None:
                self.credentials = CredentialFiles(paths.credentials, files, self._hand_over)
            SystemFiles(self.findings, files, paths.system)
            PrivilegedFiles(self.findings, files, paths.programs)
            if paths.tools is not None:
                Tools(self.findings, files, paths.tools)
        except OSError as problem:
            self.findings.degraded(f"a directory cannot be watched ({os.strerror(problem.errno or 0).lower()})")

    def watch(self, directory: Path, what: int, rule: Rule) -> None:
        """Watch one more directory, where files can be watched at all."""
        try:
            seen = self._files is not None and self._files.watch(directory, what, rule)
        except OSError:
            seen = False
        if not seen:
            self.findings.degraded(f"{directory} cannot be watched")

    def fileno(self) -> int:
        return self._files.fileno() if self._files is not None else self._spare

    def read(self) -> None:
        """Take in what waits; never waits itself."""
        if self._files is None:
            return
        for _ in range(MAX_ROUNDS):
            events = self._files.read()
            if not events:
                break
            self._monitor.update()  # who did it must be known before what was done is judged
            for event in events:
                cast("Rule", event.tag).changed(event)
        if self._files.overflows:
            self.findings.degraded("the kernel dropped file events: some changes by steps were not seen")

    def tick(self) -> None:
        """Housekeeping."""
        self._memory.tick()
        self._privileges.tick()
        if self.credentials is not None:
            self.credentials.tick()

    def close(self) -> None:
        if self._commands is not None:
            self._commands.close()
        if self._files is not None:
            self._files.close()
        else:
            os.close(self._spare)
