"""nektos/act in host mode inside a runner machine: another implementation of the workflow language, not ours.

What it does otherwise than GitHub's runner, as far as it matters here: the process that starts the steps is ``act`` itself;
actions come from a local folder (``--local-repository``), copied afresh before ``pre`` and ``main`` but not before ``post``;
local ones (``uses: ./``) have ``main`` and ``post`` but no ``pre``; one set of command files serves all steps, so who ran before
cannot be told from it; there is no RUNNER_TRACKING_ID and no GITHUB_WORKFLOW_SHA (``policy-file`` therefore fails);
RUNNER_TEMP is gone when it ends.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.machine.machine import ROOT
from tests.machine.runner import CHECKOUT
from tests.runner.driver import EBBGATE, EXTERNALS, STAGED
from tests.world.guard import Outcome

PROGRAM = ROOT / ".tools/bin/act"
needs_act = pytest.mark.skipif(not PROGRAM.exists(), reason="NEEDS ACT: there was no Go to build it with")


def run_act(machine: Machine, workflow: str, *, secrets: dict[str, str] | None = None, timeout: float = 120) -> Outcome:
    machine.write(f"{CHECKOUT}/.github/workflows/ci.yml", workflow)
    shutil.copy(PROGRAM, machine.root / "usr/local/bin/act")
    machine.inside(
        lambda: Path("/usr/local/bin/node").exists() or Path("/usr/local/bin/node").symlink_to(f"{EXTERNALS}/node24/bin/node")
    )
    identity = "-c user.name=a -c user.email=a@example.com"
    made = machine.sh(f"[ -d .git ] || {{ git init -q . && git {identity} commit -q --allow-empty -m first; }}")
    assert made.code == 0, made.stderr
    machine.run(["git", "remote", "add", "origin", "https://github.com/example/project"])
    command = ["act", "push", "--workflows", ".github/workflows/ci.yml", "--platform", "ubuntu-latest=-self-hosted"]
    command += ["--local-repository", f"{EBBGATE}={STAGED}/ebbgate", "--no-cache-server", "--pull=false"]
    for name in secrets or {}:
        command += ["--secret", name]  # its value from the environment
    return machine.run(command, env=secrets, timeout=timeout)
