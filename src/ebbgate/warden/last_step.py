"""The job's last step, watched from outside: it may have been prepared by a hostile step, and the guard goes by what it did.

The action's post script asks for the verdict and ends with its code. A step that replaced the script or its interpreter, or
preloaded a library into it, can have it end well although the verdict is bad. The kernel tells the guard how it ended:
ended well with a bad verdict means that it was not ours, and then the guard ends the runner itself, which fails the job.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from ebbgate.events.types import Tampering
from ebbgate.host.process_events import Executed, Exited, ProcessEvent
from ebbgate.warden.job_request import Runner
from ebbgate.warden.process_entry import Kind
from ebbgate.warden.process_table import ProcessTable

MAX_FILES, MAX_FILE = 500, 1 << 20  # of the action's folder that are compared
_SCRIPTS = "src/action"


class LastStep:
    """An observer of processes. tell: the journal. must_fail: whether the job must not pass, as things stand."""

    def __init__(
        self,
        runner: Runner,
        table: ProcessTable,
        tell: Callable[[Tampering], None],
        must_fail: Callable[[], bool],
        end_runner: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL),
    ) -> None:
        self._runner, self._table, self._tell = runner, table, tell
        self._must_fail, self._end_runner = must_fail, end_runner
        self._script = f"{runner.action.rstrip('/')}/{runner.post}".encode() if runner.action and runner.post else b""
        self._digest = digest(Path(runner.action)) if self._script else ""
        self._running: set[int] = set()
        self._unseen: set[int] = set()  # the runner's own processes that were gone within a millisecond or two

    def observe(self, event: ProcessEvent) -> None:
        """A process began to run a program, or ended."""
        if not self._script:
            return
        if isinstance(event, Executed) and self._is_unseen(event.pid):
            self._unseen.add(event.pid)
        elif isinstance(event, Executed) and self._is_last_step(event.pid):
            self._running.add(event.pid)
            if digest(Path(self._runner.action)) != self._digest:
                self._tell(Tampering("the guard's own last step was changed", self._table.origin(event.pid)))
        elif isinstance(event, Exited) and event.pid in self._running | self._unseen:
            which = "the last step" if event.pid in self._running else "a step that was gone before it could be looked at"
            self._running.discard(event.pid)
            self._unseen.discard(event.pid)
            if event.status == 0 and self._must_fail():
                what = f"{which} ended well although the job must fail: the guard ended the runner"
                self._tell(Tampering(what, self._table.origin(event.pid)))
                self._end_runner(self._runner.pid)

    def _is_unseen(self, pid: int) -> bool:
        """Started by the runner itself and gone already: a library preloaded into the last step can end it before it begins."""
        entry = self._table.look(pid)
        return entry is not None and entry.parent is not None and entry.parent.kind is Kind.RUNNER and entry.program.image is None

    def _is_last_step(self, pid: int) -> bool:
        """Started by the runner itself, with our script among its arguments."""
        entry = self._table.look(pid)
        if entry is None or entry.parent is None or entry.parent.kind is not Kind.RUNNER or entry.program.image is None:
            return False
        return any(os.path.realpath(one) == self._script for one in entry.program.image.arguments.split(b"\0") if b"post" in one)


def digest(action: Path) -> str:
    """Of the action's definition and scripts; "" when they cannot be read."""
    found = hashlib.sha256()
    try:
        files = [action / "action.yml", *sorted(one for one in (action / _SCRIPTS).rglob("*") if one.is_file())][:MAX_FILES]
        for file in files:
            with file.open("rb") as content:
                found.update(str(file.relative_to(action)).encode() + b"\0" + content.read(MAX_FILE) + b"\0")
    except OSError:
        return ""
    return found.hexdigest()
