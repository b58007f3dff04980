"""The action with the real program, in the simulator: what the runner, the action and the guard make of a job together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.action.test_act import GHOST_ACTION, arrived, ghost_action
from tests.machine import Machine
from tests.runner import JobResult, Runner
from tests.runner.driver import EBBGATE

pytestmark = pytest.mark.root

LOCKS = "protect-memory: 'false'"  # of the real machine's kernel: out of a namespace's reach


@pytest.fixture
def runner(machine: Machine, real_release: Path) -> Runner:
    one = Runner(machine)
    one.release(real_release)
    return one


def job(steps: str, given: str = "mode: enforce") -> str:
    return f"""
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: {EBBGATE}
        id: guard
        with:
          {LOCKS}
          {given}
{steps}
"""


def words(result: JobResult) -> str:
    return "\n".join([result.log, result.summary, *(one.message for one in result.annotations)])


def test_a_job_that_does_no_harm_passes(runner: Runner, machine: Machine) -> None:
    result = runner.run(job("      - run: curl -sS https://api.example.com/fine", "allow: api.example.com"))
    assert result.conclusion == "success", result.log + result.errors
    assert "clean" in result.summary
    assert [one.requests[0].path for one in machine.world.connections if one.requests] == ["/fine"]


def test_ghostaction_step_is_ended_and_the_job_fails(runner: Runner, machine: Machine, secret: str) -> None:
    workflow, secrets = ghost_action("enforce", secret)
    result = runner.run(workflow, secrets=secrets)
    assert result.conclusion == "failure", result.log
    assert result.step("Run ebbgate", "post").code == 91
    assert arrived(machine) == b""
    for word in ("PYPI_API_TOKEN", "attacker.example.org", "curl"):
        assert word in words(result)
    assert secret not in words(result)


def test_ghostaction_without_the_guard_is_an_attack(runner: Runner, machine: Machine, secret: str) -> None:
    result = runner.run(GHOST_ACTION, secrets={"PYPI_API_TOKEN": secret, "DOCKERHUB_TOKEN": secret})
    assert result.conclusion == "success"
    assert secret.encode() in arrived(machine)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("alow: api.example.com", "did you mean allow?"),
        ("mode: enforced", "input mode"),
        ("mode: audit\n          egress-policy: block", "contradict"),
        ("allow: '*'", "ebbgate"),
    ],
)
def test_bad_inputs_fail_before_anything_is_changed(runner: Runner, machine: Machine, given: str, told: str) -> None:
    result = runner.run(job("      - run: echo guarded", given))
    assert result.conclusion == "failure"
    assert result.step("guard", "pre").code == 2, result.log
    assert told in result.messages("error")[0]
    assert "guarded" not in result.lines
    assert machine.run(["nft", "list", "ruleset"], user="root").stdout == ""
    assert not machine.inside(lambda: Path("/run/ebbgate").exists())


def test_a_second_start_is_refused_and_the_first_guard_stays(runner: Runner, machine: Machine) -> None:
    result = runner.run(
        job(
            f"      - uses: {EBBGATE}\n        if: always()\n        with:\n          {LOCKS}\n      - run: curl -sS https://attacker.example.org/\n        if: always()"
        )
    )
    assert result.conclusion == "failure", result.log + result.errors
    assert arrived(machine) == b""


def test_the_guard_outlives_the_runners_clean_up(runner: Runner, machine: Machine) -> None:
    result = runner.run(job("      - run: setsid sleep 300 >/dev/null 2>&1 &"))
    assert any("Terminate orphan process" in line for line in result.lines)
    after = machine.run(["curl", "-sS", "--max-time", "5", "https://attacker.example.org/"])
    assert after.code != 0 or "Ebbgate" in after.stdout
    assert arrived(machine) == b""
    assert machine.run(["/bin/sh", "-c", "/var/lib/ebbgate/*/bin/python -I -m ebbgate status"]).code == 0
