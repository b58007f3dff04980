"""The action under act: that a workflow is guarded there as it is by the simulator; and the attack that gave us its name."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from tests.action.act import needs_act, run_act
from tests.action.guarded import Guarded
from tests.machine import Machine
from tests.machine.runner import HOME
from tests.runner import Runner
from tests.world.internet import ATTACKERS

pytestmark = [pytest.mark.root, needs_act]

GHOST_ACTION = Path(__file__).with_name("ghostaction.yml").read_text()
needs_program = pytest.mark.skipif(not importlib.util.find_spec("ebbgate.cli.start"), reason="`ebbgate start` is not there yet")


def test_all_three_stages_run(guarded: Guarded) -> None:
    outcome = run_act(guarded.machine, guarded.workflow("- run: echo trust=$SSL_CERT_FILE"))
    assert outcome.code == 0, outcome.stdout
    assert [len(guarded.calls(name)) for name in ("start", "verdict")] == [1, 1]
    assert "trust=/run/ebbgate/ca.pem" in outcome.stdout
    document = guarded.calls("start")[0]["document"]
    assert document["github"]["GITHUB_REPOSITORY"] == "example/project"
    assert document["warnings"] == []


@pytest.mark.parametrize("code", [90, 93])
def test_the_verdict_fails_the_job(guarded: Guarded, code: int) -> None:
    guarded.tell(verdict={"code": code})
    outcome = run_act(guarded.machine, guarded.workflow())
    assert outcome.code != 0
    assert "Job failed" in outcome.stdout


def test_what_is_not_armed_runs_nothing(guarded: Guarded) -> None:
    guarded.tell(start={"code": 3, "stdout": "", "stderr": "no nftables"})
    outcome = run_act(guarded.machine, guarded.workflow())
    assert outcome.code != 0
    assert "| guarded" not in outcome.stdout
    assert "no nftables" in outcome.stdout


# The GhostAction workflow: a first step for show, a second that posts the repository's secrets.


def ghost_action(mode: str, secret: str) -> tuple[str, dict[str, str]]:
    """The workflow with Ebbgate before its steps; its report goes where act does not remove it."""
    secrets = {"PYPI_API_TOKEN": secret, "DOCKERHUB_TOKEN": secret[::-1]}
    workflow = yaml.load(GHOST_ACTION, Loader=yaml.BaseLoader)
    steps = workflow["jobs"]["send-secrets"]["steps"]
    env = {f"EBBGATE_SECRET_{name}": f"${{{{ secrets.{name} }}}}" for name in secrets}
    steps.insert(
        0,
        {
            "uses": "ebbgate/ebbgate@v1",
            "env": env,
            "with": {"mode": mode, "protect-memory": "false", "report-artifact": f"{HOME}/report"},
        },
    )
    return yaml.safe_dump(workflow, sort_keys=False), secrets


def arrived(machine: Machine) -> bytes:
    return machine.world.received(*ATTACKERS)


def test_the_attack_is_one(machine: Machine, secret: str) -> None:
    Runner(machine)
    outcome = run_act(machine, GHOST_ACTION, secrets={"PYPI_API_TOKEN": secret, "DOCKERHUB_TOKEN": secret[::-1]})
    assert outcome.code == 0, outcome.stdout
    assert secret.encode() in arrived(machine)
    assert secret[::-1].encode() in arrived(machine)


@needs_program
def test_ghostaction_enforced(machine: Machine, real_release: Path, secret: str) -> None:
    Runner(machine).release(real_release)
    workflow, secrets = ghost_action("enforce", secret)
    outcome = run_act(machine, workflow, secrets=secrets)
    assert outcome.code != 0
    assert "Job failed" in outcome.stdout
    assert arrived(machine) == b""
    summary = outcome.stdout + machine.sh(f"cat {HOME}/report/report.json").stdout
    for words in ("PYPI_API_TOKEN", "attacker.example.org", "curl"):
        assert words in summary, outcome.stdout
    assert secret not in summary


@needs_program
def test_ghostaction_audited(machine: Machine, real_release: Path, secret: str) -> None:
    Runner(machine).release(real_release)
    workflow, secrets = ghost_action("audit", secret)
    outcome = run_act(machine, workflow, secrets=secrets)
    assert outcome.code == 0, outcome.stdout
    assert secret.encode() in arrived(machine), "audit changes nothing that the job can notice"
    suggested = machine.read(f"{HOME}/report/policy.suggested.yml")
    assert re.search(r"attacker\.example\.org", suggested)
    checked = machine.run([machine.python, "-m", "ebbgate", "check", f"{HOME}/report/policy.suggested.yml"])
    assert checked.code == 0, checked.stderr
    assert "PYPI_API_TOKEN" in machine.read(f"{HOME}/report/report.json")
