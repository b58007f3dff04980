"""Laying locks in a runner machine, as the warden does: as root, in its namespaces, in a process of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.machine import Machine

STATE = "/run/ebbgate"
_PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from ebbgate.errors import EbbgateError
from ebbgate.host.lock_containers import ContainerLock
from ebbgate.host.lock_memory import MemoryFiles, MemoryLock
from ebbgate.host.lock_sudo import SudoLock
from ebbgate.host.runner_identity import runner_of

kind, pid, *calls = sys.argv[1:]
state = Path("/run/ebbgate")
runner = runner_of(int(pid))
lock = {
    "sudo": lambda: SudoLock(runner, state / "sudo.json"),
    "containers": lambda: ContainerLock(runner, state / "containers.json"),
    "memory": lambda: MemoryLock(runner, MemoryFiles(state / "ports.json", state / "core"), sysctls=Path("/run/sysctls")),
}[kind]()
for call in calls:
    try:
        print(json.dumps(asdict(getattr(lock, call)())))
    except EbbgateError as problem:
        print(json.dumps({"error": type(problem).__name__, "title": problem.title, "cause": problem.cause}))
"""


class Job:
    """A process of the runner's user that was there before the lock, with the groups it had then."""

    def __init__(self, machine: Machine, command: list[str] | None = None, *, user: str = "runner") -> None:
        self.machine = machine
        self.process = machine.popen(command or ["sleep", "300"], user=user)
        while Path(f"/proc/{self.process.pid}/comm").read_text() != "sleep\n":  # it enters the machine first, as root
            time.sleep(0.002)

    def lock(self, kind: str, *calls: str) -> list[dict[str, Any]]:
        """Results of calls on one lock, in order; a refusal is a dictionary with ``error``."""
        command = [self.machine.python, "-I", "-c", _PROGRAM, kind, str(self.process.pid), *calls]
        done = self.machine.run(command, user="root", cwd="/")
        assert done.code == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def is_root(self, *command: str) -> bool:
        """Whether a command that the job's user runs prints root's uid."""
        return self.machine.run(list(command or ("sudo", "-n", "id", "-u")), cwd="/").stdout.strip().endswith("0")
