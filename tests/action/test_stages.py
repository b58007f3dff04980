"""pre, main and post together, as the runner runs them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from ebbgate.secrets.bindings import host_variables
from tests.action.guarded import ARMED, Guarded
from tests.machine.runner import CHECKOUT, WORK
from tests.runner.driver import REPOSITORY, SHA

pytestmark = pytest.mark.root


def test_pre_arms_main_leaves_it_and_post_asks(guarded: Guarded) -> None:
    result = guarded.run('- run: echo "trust=$SSL_CERT_FILE"\n- run: echo "report=${{ steps.guard.outputs.report-json }}"')
    assert result.conclusion == "success", result.log + result.errors
    assert [(one.stage, one.code) for one in result.steps] == [("pre", 0), ("main", 0), ("main", 0), ("main", 0), ("post", 0)]
    assert "trust=/run/ebbgate/ca.pem" in result.lines
    assert f"report={WORK}/_temp/ebbgate-report/report.json" in result.lines
    assert result.summary == "### the verdict\n"
    assert [one.message for one in result.annotations] == ["all well"]
    assert len(guarded.calls("start")) == len(guarded.calls("verdict")) == 1


def test_the_program_is_started_as_root_with_a_clean_environment(guarded: Guarded) -> None:
    guarded.run()
    (start,) = guarded.calls("start")
    python = start["argv"][0]
    assert re.fullmatch(r"/var/lib/ebbgate/[0-9a-f]{64}/bin/python", python)
    assert start["argv"] == [python, "-I", "-m", "ebbgate", "start", "--stdin"]
    assert (start["uid"], start["cwd"]) == (0, "/")
    assert start["environ"] == {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
    assert not [path for path in start["path"] if path.startswith(("/home", "/srv"))]
    (verdict,) = guarded.calls("verdict")
    assert verdict["uid"] == 1001
    assert verdict["argv"][:5] == [python, "-I", "-m", "ebbgate", "verdict"]
    assert verdict["argv"][-1] == "--annotations"
    assert verdict["environ"] == {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def test_the_document_has_inputs_secrets_and_context_apart(guarded: Guarded) -> None:
    given = """
    with:
      mode: audit
      allow: |
        api.example.com
        # a comment
      mistyped: yes
      allowed-endpoints: "a.example.com:443 b.example.com:443"
    env:
      EBBGATE_SECRET_DEPLOY: ${{ secrets.DEPLOY }}
      EBBGATE_SECRET_MISSING: ${{ secrets.MISSING }}
      JF_URL: https://me:password-in-a-url@jfrog.corp.example/artifactory
      VAULT_ADDR: "http://["
    """
    running = guarded.runner.start(
        guarded.workflow(given=given), secrets={"DEPLOY": "tok_deploy_1"}, token="ghs_token_12345", runtime_token="ey_runtime_123"
    )
    result = running.wait()
    assert result.conclusion == "success", result.log
    (start,) = guarded.calls("start")
    document = start["document"]
    assert document.keys() == {"inputs", "secrets", "github", "policy", "runner", "warnings"}
    assert document["secrets"] == {
        "DEPLOY": "tok_deploy_1",
        "GITHUB_TOKEN": "ghs_token_12345",
        "ACTIONS_RUNTIME_TOKEN": "ey_runtime_123",
    }
    assert document["inputs"] == {
        "allow": "api.example.com\n# a comment\n",
        "allowed-endpoints": "a.example.com:443 b.example.com:443",
        "canary": "",
        "containers": "keep",
        "deny": "",
        "egress-policy": "",
        "job": "build",
        "mistyped": "yes",
        "mode": "audit",
        "on-blocked": "fail",
        "on-exfiltration": "kill",
        "policy": "",
        "policy-file": "",
        "protect-memory": "true",
        "report-artifact": "",
        "sudo": "keep",
        "use": "",
    }
    assert document["policy"] is None
    assert document["runner"] == {
        "pid": running.pid,
        "uid": 1001,
        "action_path": f"{WORK}/_actions/ebbgate/ebbgate/v1",
        "post": "src/action/post.js",
    }
    context = document["github"]
    assert (context["GITHUB_REPOSITORY"], context["GITHUB_SHA"]) == (REPOSITORY, SHA)
    assert (context["GITHUB_WORKSPACE"], context["RUNNER_TEMP"]) == (CHECKOUT, f"{WORK}/_temp")
    assert context["JF_URL"] == "jfrog.corp.example"
    assert "VAULT_ADDR" not in context
    assert "password-in-a-url" not in json.dumps(document)
    assert context["ACTIONS_RESULTS_URL"] == "https://results.example.com/"
    assert not [value for value in document["secrets"].values() if value in json.dumps(context)]
    assert [message for message in result.messages("warning") if "EBBGATE_SECRET_MISSING` is empty" in message]


@pytest.mark.parametrize("code", [90, 91, 92, 93, 1])
def test_the_verdicts_code_is_the_jobs_end(guarded: Guarded, code: int) -> None:
    guarded.tell(verdict={"code": code})
    result = guarded.run()
    assert result.conclusion == "failure"
    assert result.step("guard", "post").code == code
    assert result.summary == "### the verdict\n"


@pytest.mark.parametrize(
    "start",
    [
        {"code": 2, "stdout": "", "stderr": "ebbgate: unknown input `mistyped`\n"},
        {"code": 3, "stdout": "", "stderr": "ebbgate: no nftables\n"},
        {"code": 93, "stdout": "", "stderr": "ebbgate: could not be proven\n"},
        {"code": 0, "stdout": "", "stderr": "ebbgate: said nothing\n"},
        {"code": 0, "stdout": "[]", "stderr": "ebbgate: said nothing\n"},
        {"code": 0, "stdout": json.dumps({**ARMED, "armed": False}), "stderr": "ebbgate: not armed\n"},
        {"code": 0, "stdout": json.dumps({**ARMED, "armed": "yes"}), "stderr": "ebbgate: not armed\n"},
        {"code": 0, "stdout": json.dumps({**ARMED, "environment": {"A": 1}}), "stderr": "ebbgate: odd\n"},
        {"code": 0, "stdout": json.dumps({**ARMED, "environment": {"A B": "1"}}), "stderr": ""},
    ],
)
def test_what_is_not_armed_fails_and_nothing_else_runs(guarded: Guarded, start: dict) -> None:
    guarded.tell(start=start)
    result = guarded.run()
    assert result.conclusion == "failure"
    assert result.step("guard", "pre").code == (start["code"] or 93)
    assert "guarded" not in result.lines
    assert start["stderr"].strip() in result.messages("error")[0]
    assert "never armed" in result.messages("error")[-1]
    assert result.step("guard", "post").code == 93
    assert guarded.calls("verdict") == []


def test_the_programs_words_are_no_commands_to_the_runner(guarded: Guarded) -> None:
    guarded.tell(start={"stderr": "  ::add-mask::e\n::stop-commands::x\n##[error]no\nplain\n"})
    result = guarded.run()
    assert result.conclusion == "success"
    assert "plain" in result.lines
    assert result.messages("error") == []
    assert "guarded" in result.lines


def test_more_warnings_than_the_runner_shows_are_not_lost(guarded: Guarded) -> None:
    guarded.tell(start={"stdout": json.dumps({**ARMED, "warnings": [f"warning {number}." for number in range(30)]})})
    shown = guarded.run().messages("warning")
    assert len(shown) <= 10
    assert all(f"warning {number}." in "\n".join(shown) for number in range(30))


def test_a_value_of_many_lines_stays_one_value(guarded: Guarded) -> None:
    environment = {"TRUSTED": "one\nEVIL=two\nEOF\nghadelimiter\nthree"}
    guarded.tell(start={"stdout": json.dumps({**ARMED, "environment": environment})})
    result = guarded.run('- run: printf %s "$TRUSTED" | base64 -w0; echo; echo "evil=$EVIL."')
    assert "evil=." in result.lines
    assert base64.b64encode(environment["TRUSTED"].encode()).decode() in result.lines
    assert result.conclusion == "success"


def test_a_verdict_that_never_comes_fails(guarded: Guarded) -> None:
    guarded.tell(verdict={"sleep": 300})
    result = guarded.run()
    assert result.conclusion == "failure"
    assert "no verdict within" in result.messages("error")[0]
    assert result.seconds["guard", "post"] < 32


def test_a_local_action_arms_in_main_and_says_what_that_means(guarded: Guarded) -> None:
    workflow = guarded.workflow("- run: echo guarded").replace("uses: ebbgate/ebbgate@v1", "uses: ./guard")
    copy = f"- run: cp -r {guarded.action} guard\n"
    workflow = workflow.replace("      - uses: ./guard", f"      {copy}      - uses: ./guard")
    result = guarded.runner.run(workflow)
    assert result.conclusion == "success", result.log
    assert [(one.stage, one.code) for one in result.steps] == [("main", 0)] * 3 + [("post", 0)]
    assert len(guarded.calls("start")) == 1
    assert "not the first to run" in result.messages("warning")[0]


def test_hosts_of_ones_own_servers_are_told() -> None:
    """The action and the table of kinds name the same variables."""
    text = (Path(__file__).parent.parent.parent / "src/action/inputs.js").read_text()
    listed = set(re.findall(r'"(\w+)"', text[text.index("const HOSTS") : text.index("];", text.index("const HOSTS"))]))
    assert listed == {name for name in host_variables() if not name.startswith(("ACTIONS_", "GITHUB_", "RUNNER_"))}
