"""A process that stands for the CI runner: it starts steps with an environment as the runner gives it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from ebbgate.events.types import Event
from ebbgate.host.process_events import ProcessSource, open_process_events
from ebbgate.warden.process_monitor import ProcessMonitor
from ebbgate.warden.process_table import ProcessTable

PYTHON = sys.executable
PATIENCE = 60.0  # seconds; only a failing test waits that long

_RUNNER = """
import json, os, subprocess, sys, threading
steps = {}
for line in sys.stdin:
    asked = json.loads(line)
    if "touch" in asked:
        open(asked["touch"], "w").close()
        answer = 0
    elif "argv" in asked:
        step = subprocess.Popen(asked["argv"], env=asked["env"], user=asked["user"], stdin=subprocess.DEVNULL,
                                stdout=sys.stderr if asked["loud"] else subprocess.DEVNULL)
        steps[step.pid] = step
        answer = step.pid
    else:
        answer = steps[asked["wait"]].wait()
    print(json.dumps(answer), flush=True)
"""


class FakeRunner:
    """Use as a context manager. Ends what it started itself; a test ends what its steps have left behind."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([PYTHON, "-c", _RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self._ask({"touch": os.devnull})  # it runs its program now
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.kill()
        self.process.wait()

    def _ask(self, question: Mapping[str, Any]) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self,
        argv: Sequence[str],
        step: str = "",
        *,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        loud: bool = False,
    ) -> int:
        """Start a step; its first process' pid."""
        given = {"PATH": os.environ["PATH"], **({"GITHUB_ACTION": step} if step else {}), **(env or {})}
        return self._ask({"argv": list(argv), "env": given, "user": user, "loud": loud})

    def wait(self, pid: int) -> int:
        return self._ask({"wait": pid})

    def touch(self, path: str) -> None:
        self._ask({"touch": path})


class Observed:
    """A runner, the monitor on it and what was told."""

    def __init__(self, runner: FakeRunner, *, source: ProcessSource | None = None, **options: Any) -> None:
        self.runner = runner
        self.told: list[Event] = []
        self.table = ProcessTable([runner.pid], lambda text: text, **options)
        self.monitor = ProcessMonitor(source or open_process_events(), self.table, self.told.append)
        self.also: list[Callable[[], None]] = []

    def until(self, reached: Callable[[], Any]) -> Any:
        """Read events until something holds; what it gives."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.monitor.update()
            for read in self.also:
                read()
            if result := reached():
                return result
            assert time.monotonic() < deadline, "did not come to pass"
            select.select([self.monitor], [], [], 0.05)

    def close(self) -> None:
        self.monitor.close()


def sleeping(name: str = "") -> list[str]:
    """A command that waits to be ended; not for longer than a test lasts."""
    return [PYTHON, "-c", "import time; time.sleep(300)", *([name] if name else [])]
