"""The simulator against the runner's documented behaviour, with real node, without Ebbgate."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.machine.real import runs
from tests.runner import Runner

pytestmark = pytest.mark.root

_ACTION = """
runs: {using: node24, pre: say.js, main: say.js, post: say.js}
inputs:
  some-text: {default: "the ${{ github.job }} default"}
"""
_SAY = """
const fs = require("node:fs");
const stage = process.env.STATE_stage === undefined ? "first" : "after " + process.env.STATE_stage;
console.log(`${process.env.GITHUB_ACTION} ${stage}: ${process.env["INPUT_SOME-TEXT"]} [${process.env.EXPORTED ?? ""}]`);
fs.appendFileSync(process.env.GITHUB_STATE, `stage<<E\\n${stage}\\nE\\n`);
fs.appendFileSync(process.env.GITHUB_OUTPUT, "found=42\\n");
fs.appendFileSync(process.env.GITHUB_ENV, "EXPORTED=by " + process.env.GITHUB_ACTION + "\\n");
if (process.env["INPUT_FAIL-IN"] === stage) process.exit(7);
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture
def runner(machine: Machine) -> Runner:
    machine.write("/srv/actions/say/action.yml", _ACTION)
    machine.write("/srv/actions/say/say.js", _SAY)
    return Runner(machine, actions={"example/say@v1": "/srv/actions/say"})


def job(steps: str) -> str:
    return "on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n" + textwrap.indent(
        textwrap.dedent(steps), " " * 6
    )


def test_stages_come_in_the_runners_order_and_share_their_state(runner: Runner) -> None:
    result = runner.run(
        job("""
        - {uses: example/say@v1, id: one}
        - {uses: example/say@v1, id: two, with: {some-text: given}}
        - run: echo "in between, ${{ steps.one.outputs.found }}, $EXPORTED"
        """)
    )
    assert result.conclusion == "success", result.log + result.errors
    assert [line for line in result.lines if not line.startswith(("─", "##"))] == [
        "one first: the build default []",
        "two first: given [by one]",
        "one after first: the build default [by two]",
        "two after first: given [by one]",
        "in between, 42, by two",
        "two after after first: given [by two]",
        "one after after first: the build default [by two]",
    ]


@pytest.mark.parametrize("stage", ["first", "after first", "after after first"])
def test_a_failure_in_any_stage_fails_the_job(runner: Runner, stage: str) -> None:
    result = runner.run(
        job(f"- uses: example/say@v1\n  with: {{fail-in: {stage}}}\n- run: echo later\n- run: echo always\n  if: always()")
    )
    assert result.conclusion == "failure"
    assert ("later" in result.lines) == (stage == "after after first")
    assert "always" in result.lines
    assert [one.code for one in result.steps if one.outcome == "failure"] == [7]


def test_continue_on_error_forgives_the_post_stage_too(runner: Runner) -> None:
    result = runner.run(job("- uses: example/say@v1\n  continue-on-error: true\n  with: {fail-in: after after first}"))
    assert result.conclusion == "success"
    assert result.step("Run example/say", "post").outcome == "failure"


def test_local_actions_have_no_pre(runner: Runner) -> None:
    files = {"local/action.yml": _ACTION, "local/say.js": _SAY}
    result = runner.run(job("- run: echo hello\n- uses: ./local"), files=files)
    assert result.conclusion == "success", result.log
    assert [(one.key, one.stage) for one in result.steps] == [("__run", "main"), ("__local", "main"), ("__local", "post")]
    assert any("`pre` execution is not supported" in line for line in result.lines)


def test_what_the_runner_sets_wins_over_what_steps_export(runner: Runner) -> None:
    result = runner.run(
        job("""
        - run: |
            echo GITHUB_REPOSITORY=evil/evil >>"$GITHUB_ENV"
            echo INPUT_SOME-TEXT=evil >>"$GITHUB_ENV"
            echo STATE_stage=evil >>"$GITHUB_ENV"
            echo OTHER=fine >>"$GITHUB_ENV"
        - run: echo "$GITHUB_REPOSITORY $OTHER"
        - {uses: example/say@v1, with: {some-text: good}}
        """)
    )
    assert "example/project fine" in result.lines
    assert "__example_say after first: good [by __example_say]" in result.lines
    refused = runner.run(job('- run: echo NODE_OPTIONS=--require=/x >>"$GITHUB_ENV"'))
    assert refused.conclusion == "failure"


def test_commands_masks_summaries_and_scripts(runner: Runner) -> None:
    result = runner.run(
        job("""
        - shell: bash
          env: {TOKEN: "${{ secrets.TOKEN }}"}
          run: |
            echo "token: $TOKEN, ${{ secrets.TOKEN }}"
            echo '::add-mask::hidden thing'
            echo 'hidden thing'
            echo '::warning title=Title::one%0Atwo'
            echo '::stop-commands::mark'
            echo '::error::not one'
            echo '::mark::'
            echo '::notice::again'
            echo '# Done' >>"$GITHUB_STEP_SUMMARY"
            false | true
            echo 'never'
        """),
        secrets={"TOKEN": "tok_123456789"},
    )
    assert result.conclusion == "failure"
    assert "token: ***, ***" in result.lines
    assert "***" in result.lines
    assert [(one.level, one.title, one.message) for one in result.annotations] == [
        ("warning", "Title", "one\ntwo"),
        ("notice", "", "again"),
    ]
    assert result.summary == "# Done\n"
    assert "never" not in result.lines


def test_conditions(runner: Runner) -> None:
    result = runner.run(
        job("""
        - {run: exit 3, id: bad, continue-on-error: true}
        - {run: echo outcome, if: "steps.bad.outcome == 'failure' && github.job == 'build'"}
        - {run: echo unwanted, if: "failure() || github.ref != 'refs/heads/main'"}
        - {run: exit 4, name: worse}
        - {run: echo unwanted}
        - {run: echo cleanup, if: "${{ !cancelled() && failure() }}"}
        """)
    )
    assert result.conclusion == "failure"
    assert [line for line in result.lines if line in ("outcome", "unwanted", "cleanup")] == ["outcome", "cleanup"]
    assert result.step("worse").code == 4


def test_left_over_processes_end_with_the_job_unless_they_hide(runner: Runner, machine: Machine) -> None:
    result = runner.run(
        job("""
        - run: |
            setsid sleep 300 >/dev/null 2>&1 &
            echo "found $!"
            RUNNER_TRACKING_ID=0 setsid sleep 300 >/dev/null 2>&1 &
            echo "hidden $!"
            until grep -qz '^RUNNER_TRACKING_ID=0$' /proc/$!/environ; do sleep 0.01; done  # it is a shell until then, with ours
        """)
    )
    pids = {line.split()[0]: int(line.split()[1]) for line in result.lines if line.startswith(("found", "hidden"))}
    assert any(line.startswith("Terminate orphan process") and f"({pids['found']})" in line for line in result.lines)
    assert runs(pids["hidden"])


def test_the_worker_is_the_parent_of_steps_and_has_the_runners_name(runner: Runner) -> None:
    running = runner.start(job("- run: ps -o pid=,comm= -p $PPID"))
    result = running.wait()
    assert f"{running.pid} Runner.Worker" in [line.strip() for line in result.lines]
