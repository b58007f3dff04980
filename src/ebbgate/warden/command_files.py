"""The files through which a step tells the runner something: GITHUB_ENV, GITHUB_PATH, GITHUB_OUTPUT and their kin.

Every step has its own, but all lie in one directory that every step may write to. A process that was left behind by one
step can so speak for another, or set variables that make the next step's programs load what it wants.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from ebbgate.events.types import Concern
from ebbgate.host.file_events import CHANGES, CREATED, MODIFIED, MOVED_IN, WRITTEN, FileEvent, FileEvents
from ebbgate.warden.findings import Findings
from ebbgate.warden.process_entry import Entry

MAX_OPEN = 128  # command files kept open, so that what was written can be read after the runner deleted the file
MAX_SIZE = 1 << 18  # bytes of one that are read

_PREFIXES = ("set_env_", "add_path_", "set_output_", "save_state_", "step_summary_")

# Variables that make programs of later steps load code, or others' code, by their names.
_LOADING = frozenset(
    {
        "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB",
        "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "PROMPT_COMMAND", "SHELLOPTS", "BASHOPTS",
        "DOTNET_STARTUP_HOOKS",
    }
)  # fmt: skip
_LOADING_PREFIXES = ("LD_", "NODE_", "PYTHON", "GIT_", "BASH_FUNC_")

# Programs that later steps, the runner and the guard trust by name. Compilers and interpreters are not here: that setup
# actions put their own before the system's is what they are for.
_TRUSTED = (
    "sudo",
    "sh",
    "bash",
    "env",
    "git",
    "ssh",
    "curl",
    "wget",
    "docker",
    "gpg",
    "openssl",
    "nft",
    "iptables",
    "ps",
    "id",
    "cat",
)


class CommandFiles:
    """directory: ``_temp/_runner_file_commands``. own: variables the guard itself sets through its step's GITHUB_ENV."""

    def __init__(self, findings: Findings, files: FileEvents, directory: Path, own: Mapping[str, str]) -> None:
        self._findings, self._table = findings, findings.table
        self._directory, self._own = directory, own
        self._open: OrderedDict[str, int] = OrderedDict()
        if not files.watch(directory, CHANGES, self):
            findings.degraded(
                "the runner's command files are not where they were expected: writes to another step's are not seen"
            )
            return
        for name in os.listdir(directory):
            self._keep_open(name)

    def changed(self, event: FileEvent) -> None:
        """Something happened to a command file."""
        if not event.name.startswith(_PREFIXES):
            return
        if event.what & (CREATED | MOVED_IN):
            self._keep_open(event.name)
        writer = self._findings.culprit(event.pid)
        if writer is None:
            return
        context = writer.context()
        if context is not None and event.name in context.files:
            if event.what & (MODIFIED | WRITTEN | MOVED_IN):
                self._read(event.name, writer)
            return
        self._foreign(event.name, writer)

    def _foreign(self, name: str, writer: Entry) -> None:
        owner = self._table.claims.get(name)
        if owner is None and writer.context() is None:
            return  # neither is known: no evidence
        whose = f'that of step "{self._findings.show(owner.step.name)}"' if owner is not None else "one that is not its own"
        kind = next(one for one in _PREFIXES if name.startswith(one)).strip("_")
        self._findings.tampering(f"{self._findings.step_name(writer)} changed a command file ({kind}), {whose}", writer, name)

    # --- what is written ----------------------------------------------------------------------------------------

    def _keep_open(self, name: str) -> None:
        if not name.startswith(("set_env_", "add_path_")):
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._directory / name, flags)
        except OSError:
            return
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return
        if name in self._open:
            os.close(self._open.pop(name))
        self._open[name] = descriptor
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])

    def _read(self, name: str, writer: Entry) -> None:
        if name not in self._open:
            self._keep_open(name)
        if name not in self._open:
            return
        text = os.pread(self._open[name], MAX_SIZE, 0).decode(errors="replace")
        found = _variables(text) if name.startswith("set_env_") else _paths(text)
        for subject, value in found:
            if self._own.get(subject) != value:
                step = self._findings.step_name(writer)
                what = f"{step} set {self._findings.show(subject)} for all later steps"
                self._findings.notice(Concern.FILE, what, writer, "variable", subject)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


def _variables(text: str) -> Iterator[tuple[str, str]]:
    """Names and values of what the runner would take from a GITHUB_ENV file, where the name is one that loads code.

    ``NAME=value`` or ``NAME<<DELIMITER``, lines, ``DELIMITER``: as in the runner's FileCommandManager.
    """
    lines = iter(text.splitlines())
    for line in lines:
        equals, here = line.find("="), line.find("<<")
        if equals >= 0 and (here < 0 or equals < here):
            name, value = line[:equals], line[equals + 1 :]
        elif here >= 0:
            name, delimiter = line[:here], line[here + 2 :]
            collected: list[str] = []
            for inner in lines:
                if inner == delimiter:
                    break
                collected.append(inner)
            value = "\n".join(collected)
        else:
            continue
        if name in _LOADING or name.startswith(_LOADING_PREFIXES):
            yield name, value


def _paths(text: str) -> Iterator[tuple[str, str]]:
    """Programs that a directory in a GITHUB_PATH file puts before the system's; the value is the directory."""
    for directory in dict.fromkeys(text.splitlines()):
        if directory.startswith("/"):
            for program in _TRUSTED:
                if os.access(os.path.join(directory, program), os.X_OK):
                    yield f"the program that is run as {program}", directory
