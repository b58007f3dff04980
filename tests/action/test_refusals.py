"""Where it cannot guard, it says why and fails; and it says what it knows of those who ran before it."""

from __future__ import annotations

import json

import pytest

from tests.action.guarded import Guarded
from tests.machine import Machine
from tests.runner import JobResult
from tests.runner.driver import EXTERNALS
from tests.runner.test_simulator import _ACTION, _SAY

pytestmark = pytest.mark.root


def assert_refused(guarded: Guarded, result: JobResult, words: str) -> None:
    assert result.conclusion == "failure", result.log
    assert result.step("guard", "pre").code == 3
    assert words in result.messages("error")[0]
    assert guarded.calls("start") == []
    assert "guarded" not in result.lines


@pytest.mark.parametrize(
    ("github", "runner"),
    [({"workspace": "/__w/project/project"}, {}), ({}, {"workspace": "/__w/project"}), ({}, {"temp": "/__w/_temp"})],
)
def test_container_jobs(guarded: Guarded, github: dict, runner: dict) -> None:
    outcome = direct(
        guarded,
        env={f"GITHUB_{key.upper()}": value for key, value in github.items()}
        | {f"RUNNER_{key.upper()}": value for key, value in runner.items()},
    )
    assert outcome.code == 3
    assert "a job with `container:`" in outcome.stdout


def direct(guarded: Guarded, *before: str, env: dict[str, str] | None = None):
    """``pre.js`` without a runner around it."""
    command = [*before, f"{EXTERNALS}/node24/bin/node", f"{guarded.action}/src/action/pre.js"]
    return guarded.machine.run(command, env=env, cwd="/")


def test_a_container_that_may_not_filter_packets(guarded: Guarded) -> None:
    outcome = guarded.machine.run(
        ["setpriv", "--bounding-set=-net_admin", f"{EXTERNALS}/node24/bin/node", f"{guarded.action}/src/action/pre.js"],
        env={"RUNNER_ENVIRONMENT": "github-hosted"},
        user="root",
        cwd="/",
    )
    assert outcome.code == 3
    assert "ubuntu-slim" in outcome.stdout


@pytest.mark.parametrize(("name", "value"), [("platform", "darwin"), ("platform", "win32"), ("arch", "riscv64"), ("arch", "arm")])
def test_other_systems_and_processors(guarded: Guarded, name: str, value: str) -> None:
    """Their node says so; here it is made to."""
    machine = guarded.machine
    machine.write("/tmp/other.cjs", f"Object.defineProperty(process, {json.dumps(name)}, {{ value: {json.dumps(value)} }});")
    node = f"{EXTERNALS}/node24/bin/node"
    outcome = machine.run([node, "--require", "/tmp/other.cjs", f"{guarded.action}/src/action/pre.js"], cwd="/")
    assert outcome.code == 3
    assert f"does not run on {value}" in outcome.stdout


def test_no_sudo_without_a_password(guarded: Guarded) -> None:
    guarded.machine.run(["rm", "/etc/sudoers.d/runner"], user="root")
    assert_refused(guarded, guarded.run(), "no passwordless sudo")


def test_no_sudo_at_all(guarded: Guarded) -> None:
    guarded.machine.run(["rm", "/usr/bin/sudo"], user="root")
    assert_refused(guarded, guarded.run(), "/usr/bin/sudo is missing")


def test_the_user_root_needs_no_sudo(guarded: Guarded) -> None:
    machine = guarded.machine
    machine.run(["rm", "/usr/bin/sudo"], user="root")
    files = {name: machine.write(f"/tmp/{name}", "") for name in ("env", "state")}
    outcome = machine.run(
        [f"{EXTERNALS}/node24/bin/node", f"{guarded.action}/src/action/pre.js"],
        env={"GITHUB_ENV": files["env"], "GITHUB_STATE": files["state"]},
        user="root",
        cwd="/",
    )
    assert outcome.code == 0, outcome.stdout
    assert "SSL_CERT_FILE<<" in machine.read("/tmp/env")


def test_without_the_runners_files_it_fails(guarded: Guarded) -> None:
    outcome = direct(guarded)
    assert outcome.code == 3
    assert "The runner gave no GITHUB_ENV" in outcome.stdout


def test_a_link_in_the_place_of_the_runners_file_is_not_followed(guarded: Guarded) -> None:
    guarded.machine.run(["ln", "-s", "/home/runner/.profile", "/tmp/link"])
    guarded.machine.write("/home/runner/.profile", "")
    outcome = direct(guarded, env={"GITHUB_ENV": "/tmp/link", "GITHUB_STATE": "/tmp/link"})
    assert outcome.code == 93
    assert guarded.machine.read("/home/runner/.profile") == ""


# Who ran before


@pytest.fixture
def with_pre(guarded: Guarded) -> Guarded:
    guarded.machine.write("/srv/actions/say/part/action.yml", _ACTION)
    guarded.machine.write("/srv/actions/say/part/say.js", _SAY)
    guarded.machine.write("/srv/actions/quiet/action.yml", "runs: {using: node24, main: say.js}")
    guarded.machine.write("/srv/actions/quiet/say.js", "")
    guarded.runner.actions |= {"example/say@v1": "/srv/actions/say", "example/quiet@v2": "/srv/actions/quiet"}
    return guarded


def test_an_action_that_ran_before_is_named(with_pre: Guarded) -> None:
    workflow = with_pre.workflow("- run: echo guarded")
    first = "      - uses: example/quiet@v2\n      - uses: example/say/part@v1\n"
    result = with_pre.runner.run(workflow.replace("      - uses: ebbgate", f"{first}      - uses: ebbgate"))
    assert result.conclusion == "success", result.log
    (warning,) = result.messages("warning")
    assert "not the first to run in this job: 1 earlier step has" in warning
    assert "example/say/part@v1" in warning
    assert "quiet" not in warning
    assert with_pre.calls("start")[0]["document"]["warnings"] == [warning]


def test_an_action_that_comes_after_is_no_reason_to_warn(with_pre: Guarded) -> None:
    result = with_pre.run("- uses: example/say/part@v1\n- uses: example/quiet@v2")
    assert result.conclusion == "success", result.log
    assert result.messages("warning") == []


def test_containers_that_were_there_are_named(docker_machine: Machine, fake_release) -> None:
    guarded = Guarded(docker_machine, fake_release)
    started = docker_machine.run(["docker", "run", "--detach", "--name", "database", "busybox", "sleep", "300"])
    assert started.code == 0, started.stderr
    result = guarded.run()
    assert result.conclusion == "success", result.log
    (warning,) = result.messages("warning")
    assert "database (busybox)" in warning
