"""Names of the policy that are not there: told, and nothing else comes of it."""

from __future__ import annotations

import pytest

from tests.job.guarded import Job
from tests.machine import Machine

pytestmark = pytest.mark.root
POLICY = """version: 1
use: [python]
allow:
  - api.example.com
  - typo.example.com
  - "*.wild.example.com"
  - {host: example.net, port: 5432, protocol: tcp}
  - tcp://203.0.113.11:5432
  - unwanted.example.com
deny: [unwanted.example.com]
"""


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_a_name_that_does_not_resolve_is_a_warning(machine: Machine, mode: str) -> None:
    with Job(machine, policy=POLICY, mode=mode) as job:
        warnings = [one["what"] for one in job.events("Notice") if one["concern"] == "name"]
        wanted = [f"the policy allows {name}, but this name does not resolve" for name in ("typo.example.com", "example.net")]
        assert warnings == wanted
        status = job.status()
        assert (status["warnings"], status["verdict_so_far"]) == (wanted, "clean")
        assert f"warning: {wanted[0]}" in job.ebbgate("status").stdout
        assert "got GET" in job.step(["curl", "-sS", "https://api.example.com/"]).stdout
        verdict = job.verdict()
    assert verdict.code == 0
    assert [one["what"] for one in verdict.report["notices"] if one["concern"] == "name"] == wanted
    for text in wanted:
        assert f"::warning title=Ebbgate::{text}" in verdict.stdout
        assert f"⚠️ `{text}`" in verdict.stdout


def test_only_names_that_the_author_wrote_are_asked_for(machine: Machine) -> None:
    machine.world.forget()
    job = Job(machine, policy=POLICY)
    job.runner = machine.popen(["sleep", "600"])
    assert job.start().code == 0
    job._wait_for_names()
    asked = {name for name, _kind in machine.world.questions}
    job.__exit__()
    assert asked == {"api.example.com", "typo.example.com", "example.net"}


def test_nameservers_that_are_silent_delay_and_break_nothing(machine: Machine) -> None:
    machine.write("/etc/resolv.conf", "nameserver 198.51.100.9\n", user="root")
    names = [f"host{number}.example.com" for number in range(150)]
    job = Job(machine, policy=f"version: 1\nallow: [{', '.join(names)}]\n")
    job.runner = machine.popen(["sleep", "600"])
    started = job.start()
    assert started.code == 0, started.stderr
    verdict = job.verdict()
    assert job.status()["names_known"] is False  # they are still being asked for
    assert (verdict.code, verdict.report["incidents"]) == (0, [])
    job.__exit__()
