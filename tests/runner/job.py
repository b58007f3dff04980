"""A workflow file's job, and the actions it uses: as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Action:
    """A JavaScript action's ``action.yml``. ``name``: owner/repository, None when it is local."""

    directory: Path
    name: str | None
    ref: str | None
    inputs: dict[str, str]
    runs: dict[str, str]

    @property
    def is_local(self) -> bool:
        return self.name is None


@dataclass(frozen=True)
class Step:
    """``key``: what GITHUB_ACTION says. ``uses`` xor ``script``."""

    key: str
    id: str | None
    name: str
    uses: str | None
    script: str | None
    given: dict[str, str]
    env: dict[str, str]
    condition: Any
    continue_on_error: Any
    shell: str | None
    directory: str | None
    minutes: float


@dataclass(frozen=True)
class Job:
    name: str
    workflow: str
    env: dict[str, str]
    steps: list[Step]
    outputs: dict[str, str] = field(default_factory=dict)
    id_token: bool = False


def read_job(file: Path, name: str | None) -> Job:
    workflow = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # everything is text, as in the runner's templates
    jobs = workflow["jobs"]
    name = name or next(iter(jobs))
    job = jobs[name]
    unsupported = {"container", "services", "strategy", "uses"} & set(job)
    if unsupported:
        raise NotImplementedError(f"the simulator has no {unsupported}")
    defaults = {**workflow.get("defaults", {}).get("run", {}), **job.get("defaults", {}).get("run", {})}
    permissions = job.get("permissions", workflow.get("permissions", {}))
    seen: dict[str, int] = {}
    return Job(
        name=name,
        workflow=workflow.get("name", file.name),
        env={**workflow.get("env", {}), **job.get("env", {})},
        steps=[_step(step, defaults, seen) for step in job["steps"]],
        outputs=job.get("outputs", {}),
        id_token=isinstance(permissions, dict) and permissions.get("id-token") == "write",
    )


def _step(step: dict[str, Any], defaults: dict[str, str], seen: dict[str, int]) -> Step:
    uses, script = step.get("uses"), step.get("run")
    base = "__run" if script is not None else "__" + re.sub(r"[^A-Za-z0-9]+", "_", (uses or "").partition("@")[0]).strip("_")
    seen[base] = seen.get(base, 0) + 1
    own = step.get("id")
    first = (script or "").strip().partition("\n")[0]
    return Step(
        key=own or (base if seen[base] == 1 else f"{base}_{seen[base]}"),
        id=own,
        name=step.get("name") or (f"Run {uses}" if uses else f"Run {first}"),
        uses=uses,
        script=script,
        given=step.get("with", {}),
        env=step.get("env", {}),
        condition=step.get("if"),
        continue_on_error=step.get("continue-on-error", "false"),
        shell=step.get("shell", defaults.get("shell")),
        directory=step.get("working-directory", defaults.get("working-directory")),
        minutes=float(step.get("timeout-minutes", 360)),
    )


def read_action(directory: Path, name: str | None, ref: str | None) -> Action:
    for file in (directory / "action.yml", directory / "action.yaml"):
        if file.exists():
            action = yaml.load(file.read_text(), Loader=yaml.BaseLoader)
            if not re.fullmatch(r"node\d+", action["runs"]["using"]):
                raise NotImplementedError(f"the simulator has no {action['runs']['using']} actions")
            inputs = {key: (value or {}).get("default", "") for key, value in (action.get("inputs") or {}).items()}
            return Action(directory, name, ref, inputs, action["runs"])
    raise FileNotFoundError(f"Can't find 'action.yml' under {directory}. Did you forget to run actions/checkout?")
