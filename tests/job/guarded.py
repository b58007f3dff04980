"""A job on a runner machine, guarded: what the action's first and last steps do, without the action."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Self

from ebbgate.warden.control import ask
from tests.machine import Machine
from tests.world.guard import Outcome

STATE = "/run/ebbgate"
_SYSCTLS = "/run/test-sysctls"  # stands for /proc/sys, which is the real machine's
CONTEXT = {"GITHUB_REPOSITORY": "octo/demo", "GITHUB_WORKFLOW": "CI", "GITHUB_JOB": "build"}


class Job:
    """Use as a context manager: armed on entry. ``started`` is what ``ebbgate start`` said, after ``start_seconds``.

    program: another ``ebbgate``.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        secrets: dict[str, str] | None = None,
        policy: str = "",
        program: list[str] | None = None,
        **inputs: str,
    ) -> None:
        self.machine = machine
        self._program = program or [machine.python, "-I", "-m", "ebbgate"]
        self._secrets, self._policy = secrets or {}, policy
        self._inputs = {name.replace("_", "-"): value for name, value in inputs.items()}
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.runner = self.machine.popen(["sleep", "3600"])
        began = time.monotonic()
        self.started = self.start()
        self.start_seconds = time.monotonic() - began
        assert self.started.code == 0, self.started.stderr
        self.environment = json.loads(self.started.stdout)["environment"]
        self._wait_for_names()
        self.machine.world.forget()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.ebbgate("stop", user="root")
        self.runner.kill()
        self.runner.wait()

    def _wait_for_names(self) -> None:
        """Until the gate's own questions about the policy's names are over."""
        deadline = time.monotonic() + 60
        while not self.machine.inside(lambda: ask(Path(STATE), {"type": "status"}, timeout=10))["names_known"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def start(self, document: dict | None = None) -> Outcome:
        """``ebbgate start`` as the action calls it."""
        text = json.dumps(document if document is not None else self.document())
        options = ["--stdin", "--connector-netns", f"/proc/{os.getpid()}/ns/net", "--sysctls", _SYSCTLS]
        if not self.machine.inside(Path(f"{_SYSCTLS}/kernel/core_pattern").exists):  # else a guard may have locked it
            self.machine.write(f"{_SYSCTLS}/kernel/core_pattern", "core\n", user="root")
        return self.ebbgate("start", *options, user="root", input=text.encode())

    def document(self) -> dict:
        return {
            "inputs": {"mode": "enforce", **self._inputs, **({"policy": self._policy} if self._policy else {})},
            "secrets": self._secrets,
            "github": CONTEXT,
            "policy": None,
            "runner": {"pid": self.runner.pid, "uid": 1001, "action_path": "", "post": ""},
            "warnings": [],
        }

    def ebbgate(self, *arguments: str, user: str = "runner", input: bytes = b"") -> Outcome:  # noqa: A002 - as subprocess
        return self.machine.run([*self._program, *arguments], user=user, input=input, timeout=90)

    def step(self, command: list[str], *, name: str = "__run", env: dict[str, str] | None = None, **options) -> Outcome:
        """Run a command as a step does, with the variables that arming gave later steps."""
        return self.machine.run(command, env=self.step_environment(name, env), **options)

    def begin(self, command: list[str], *, name: str = "__run", env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        return self.machine.popen(command, env=self.step_environment(name, env), **options)

    def step_environment(self, name: str, env: dict[str, str] | None = None) -> dict[str, str]:
        return {**self.environment, "GITHUB_ACTION": name, "CI": "true", **(env or {})}

    def status(self) -> dict:
        return json.loads(self.ebbgate("status", "--json").stdout)

    def verdict(self) -> Outcome:
        """What the last step sees, with the report and the summary beside it."""
        directory = "/tmp/verdict"
        done = self.ebbgate("verdict", "--annotations", "--summary", f"{directory}.md", "--report", directory)
        with contextlib.suppress(FileNotFoundError):
            done.report = json.loads(self.machine.read(f"{directory}/report.json"))
            done.stdout += self.machine.read(f"{directory}.md")
        return done

    def events(self, *kinds: str) -> list[dict]:
        lines = self.machine.inside(Path(f"{STATE}/events.jsonl").read_text).splitlines()
        return [event for event in map(json.loads, lines) if not kinds or event["kind"] in kinds]

    def ruleset(self) -> str:
        return self.machine.run(["nft", "list", "ruleset"], user="root").stdout
