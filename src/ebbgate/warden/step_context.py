"""What the runner told a step about itself, read from the environment it gave the step's first process.

A step can lie to its children, and a process about itself, but the first process got its environment from the runner. So
that one is asked; a process that no step's first process is an ancestor of (a container's) is asked itself, as evidence.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from ebbgate.events.types import Step
from ebbgate.host import processes

FILE_VARIABLES = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
_NAMES = ("GITHUB_ACTION", "GITHUB_ACTION_REPOSITORY", "GITHUB_ACTION_REF", *FILE_VARIABLES)
_WANTED = frozenset(name.encode() for name in _NAMES)
_SCRIPT = re.compile(rb"[^\0]*/?_temp/[^\0/]+\.(?:sh|ps1|py|cmd)(?=['\0 ]|$)")
# GitHub's runner makes a set of files for each step, with a random name; act has one set for all, which tells nothing.
_OWN_FILE = re.compile(r"[a-z_]+_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
MAX_TEXT = 200  # characters of a step's name or action


@dataclass(frozen=True, slots=True)
class StepContext:
    """step: for the record. files: base names of the command files that are this step's own; where the runner makes none for
    each step, the step's name, which stands for them.
    """

    step: Step
    files: frozenset[str] = field(default_factory=frozenset)


def step_context(pid: int, arguments: bytes) -> StepContext | None:
    """Of a process with these arguments; None when its environment names no step (or cannot be read any more)."""
    told = processes.environment(pid, _WANTED)
    name = told.get("GITHUB_ACTION", "")
    if not name:
        return None
    action = told.get("GITHUB_ACTION_REPOSITORY", "")
    reference = told.get("GITHUB_ACTION_REF", "")
    if action and reference:
        action = f"{action}@{reference}"
    named = (os.path.basename(told[one]) for one in FILE_VARIABLES if told.get(one))
    files = frozenset(one for one in named if _OWN_FILE.match(one)) or frozenset({f"step {name}"})
    return StepContext(Step(name[:MAX_TEXT], action[:MAX_TEXT], script_path(arguments)), files)


def script_path(arguments: bytes) -> str:
    """Path of a ``run:`` step's script among a shell's arguments, "" when there is none."""
    match = _SCRIPT.search(arguments)
    return match[0].decode(errors="replace").lstrip(". '")[:MAX_TEXT] if match else ""
