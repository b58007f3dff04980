"""What a step may do to the action's last stage: it is noticed, or it changes nothing; a pass is never the result of it."""

from __future__ import annotations

import textwrap

import pytest

from tests.action.guarded import Guarded
from tests.runner import JobResult

pytestmark = pytest.mark.root


def after(guarded: Guarded, script: str, **options) -> JobResult:
    """A job whose second step runs the script."""
    return guarded.run("- run: |\n" + textwrap.indent(textwrap.dedent(script).strip(), "    "), **options)


def assert_failed_in_post(result: JobResult, words: str) -> None:
    assert [one for one in result.steps if one.stage != "post" and one.outcome != "success"] == [], result.log
    assert result.conclusion == "failure", result.log
    assert result.step("guard", "post").code == 93
    assert words in "\n".join(result.messages("error")), result.log


@pytest.mark.parametrize(
    "variable", ["LD_PRELOAD", "LD_AUDIT", "NODE_PATH", "OPENSSL_CONF", "GLIBC_TUNABLES", "NODE_V8_COVERAGE"]
)
def test_variables_that_load_code_into_the_last_stage_fail_it(guarded: Guarded, variable: str) -> None:
    result = after(guarded, f'echo "{variable}=/tmp/evil" >>"$GITHUB_ENV"')
    assert_failed_in_post(result, variable)
    assert guarded.calls("verdict") == []


def test_what_the_workflow_itself_sets_from_the_start_is_no_tampering(guarded: Guarded) -> None:
    workflow = guarded.workflow().replace("on: push", "on: push\nenv:\n  NODE_OPTIONS: --max-old-space-size=4096")
    result = guarded.runner.run(workflow)
    assert result.conclusion == "success", result.log


def test_a_library_path_passes_unless_a_foreign_library_is_loaded_by_it(guarded: Guarded) -> None:
    honest = after(guarded, 'mkdir -p "$HOME/lib"; echo "LD_LIBRARY_PATH=$HOME/lib" >>"$GITHUB_ENV"')
    assert honest.conclusion == "success", honest.log  # setup-python sets it in every job that uses it
    hostile = after(
        guarded,
        """
        mkdir -p "$HOME/evil"
        cp "$(ldd ~/actions-runner/externals/node24/bin/node | sed -n 's/.*stdc++.* => \\(.*\\) .*/\\1/p')" "$HOME/evil/"
        echo "LD_LIBRARY_PATH=$HOME/evil" >>"$GITHUB_ENV"
        """,
    )
    assert_failed_in_post(hostile, "LD_LIBRARY_PATH")


def test_programs_put_before_the_systems_are_never_started(guarded: Guarded) -> None:
    result = after(
        guarded,
        """
        mkdir -p "$HOME/evil"
        for name in sudo env python python3 timeout node sh bash id; do
          printf '#!/bin/sh\\necho started %s >>/run/fake/evil\\nexit 0\\n' "$name" >"$HOME/evil/$name"
          chmod +x "$HOME/evil/$name"
        done
        echo "$HOME/evil" >>"$GITHUB_PATH"
        for pair in PYTHONPATH=$HOME/evil PYTHONHOME=$HOME/evil PYTHONSTARTUP=$HOME/evil/x BASH_ENV=$HOME/evil/x ENV=$HOME/evil/x \\
          NODE_EXTRA_CA_CERTS=/dev/null IFS=x; do
          echo "$pair" >>"$GITHUB_ENV"
        done
        """,
    )
    assert result.conclusion == "success", result.log
    (verdict,) = guarded.calls("verdict")
    assert verdict["environ"] == {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    assert not guarded.machine.inside(lambda: __import__("os").path.exists("/run/fake/evil"))


@pytest.mark.parametrize(
    "script",
    [
        "sudo chmod o+w /var/lib/ebbgate/*/bin",
        "sudo chown -R runner /var/lib/ebbgate",
        "sudo chmod 777 /var/lib/ebbgate",
        "sudo chmod 777 /var/lib",
        "sudo rm -rf /var/lib/ebbgate",
        "sudo mv /var/lib/ebbgate /var/lib/other && sudo ln -s /var/lib/other /var/lib/ebbgate && sudo chown -R runner /var/lib/other",
        'cp /bin/true "$HOME/python" && sudo ln -sf "$HOME/python" /var/lib/ebbgate/*/bin/python',
    ],
)
def test_an_interpreter_that_others_could_have_exchanged_is_not_started(guarded: Guarded, script: str) -> None:
    assert_failed_in_post(after(guarded, script), "not where it was, or others than root can change it")
    assert guarded.calls("verdict") == []


def test_saved_state_cannot_be_forged(guarded: Guarded) -> None:
    result = after(
        guarded,
        """
        printf '#!/bin/sh\\nexit 0\\n' >"$HOME/python"; chmod +x "$HOME/python"
        for file in "$RUNNER_TEMP"/_runner_file_commands/save_state_* "$GITHUB_STATE"; do
          echo "python=$HOME/python" >>"$file"
        done
        echo "STATE_python=$HOME/python" >>"$GITHUB_ENV"
        echo "STATE_armed=0" >>"$GITHUB_ENV"
        echo "::save-state name=python::$HOME/python"
        """,
    )
    assert result.conclusion == "success", result.log
    assert len(guarded.calls("verdict")) == 1


def test_a_verdict_that_cannot_be_written_down_is_still_given(guarded: Guarded) -> None:
    """The summary's file is the step's own, made after every other step; what the program makes of it is its exit code."""
    guarded.tell(verdict={"code": 91})
    result = after(guarded, 'rm -rf "$RUNNER_TEMP/_runner_file_commands"; ln -s /etc/passwd "$RUNNER_TEMP/ebbgate-report"')
    assert result.conclusion == "failure"


def test_a_broken_action_folder_fails(guarded: Guarded) -> None:
    folder = '"$RUNNER_WORKSPACE/../_actions/ebbgate/ebbgate/v1/src/action"'
    for damage in (
        f"rm {folder}/poison.js",
        f"echo '}}' >>{folder}/programs.js",
        f"rm {folder}/post.js",
        f": >{folder}/runner.js",
    ):
        result = after(guarded, damage)
        assert result.conclusion == "failure", damage
        assert result.step("guard", "post").code != 0


def test_where_it_ends_a_replaced_last_stage_passes(guarded: Guarded) -> None:
    """Stated, so that nobody relies on it: the action's folder belongs to the runner's user. Only the guard, which stands outside
    this process, can notice and fail the job."""
    folder = '"$RUNNER_WORKSPACE/../_actions/ebbgate/ebbgate/v1/src/action"'
    result = after(guarded, f"echo 'process.exit(0)' >{folder}/post.js")
    assert result.conclusion == "success"
    assert guarded.calls("verdict") == []
