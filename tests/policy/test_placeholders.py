"""Placeholders in paths: this run's repository and branch, as text and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.ci import github
from ebbgate.policy.cover import covers_glob
from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_policy, load_texts
from ebbgate.policy.paths import normal_path
from ebbgate.policy.placeholders import context_of
from ebbgate.policy.yaml_source import PolicyProblems
from tests.policy.test_decide import request

TEXT = "version: 1\nallow:\n  - { host: api.github.com, paths: ['/repos/{owner}/{repo}/**', '/x/{ref}'] }\n"
VARIABLES = {"GITHUB_REPOSITORY": "octo/demo.js", "GITHUB_REF_NAME": "feature/a-b"}


def load(text: str = TEXT, variables: dict[str, str] | None = None):
    return load_texts([("p.yml", text)], job="", given_by="", context=context_of(VARIABLES if variables is None else variables))


def test_they_mean_this_run() -> None:
    policy = load()
    for path, allowed in {
        "/repos/octo/demo.js/issues": True,
        "/repos/octo/demoXjs/issues": False,
        "/repos/evil/demo.js/issues": False,
        "/repos/octo/other/issues": False,
        "/x/feature/a-b": True,
        "/x/main": False,
        "/repos/{owner}/{repo}/issues": False,
    }.items():
        assert decide(policy, request("api.github.com", path=path)).allowed is allowed, path
    assert "/repos/octo/demo.js/**" in policy.allow[0].ref.text
    assert policy.digest != load(variables={**VARIABLES, "GITHUB_REPOSITORY": "octo/other"}).digest


def test_without_a_value_it_is_an_error_that_names_variable_and_option() -> None:
    with pytest.raises(PolicyProblems) as caught:
        load(variables={"GITHUB_REPOSITORY": "octo/demo"})
    assert [(one.line, one.column) for one in caught.value.problems] == [(3, 5)]
    assert "{ref} has no value" in caught.value.cause
    assert "GITHUB_REF_NAME or --ref" in caught.value.cause


def test_an_unknown_one_is_an_error_at_its_place(tmp_path: Path) -> None:
    for glob in ("/{user}/x", "/{}", "/{owner", "/owner}", "/{{owner}}"):
        file = tmp_path / "p.yml"
        file.write_text(f"version: 1\nallow: [{{host: a.com, paths: ['{glob}']}}]\n")
        with pytest.raises(PolicyProblems) as caught:
            load_policy([file])
        assert "known: {owner}, {repo}, {ref}" in caught.value.cause
        assert caught.value.problems[0].column == 31


@pytest.mark.parametrize(
    "repository", ["", "octo", "/x", "octo/", "o/..", "../x", "o/a/b", "o/*", "*/*", "o/a b", "o/{ref}", "o/a%2f", "o/a\n"]
)
def test_a_repository_that_could_mean_more_has_no_value(repository: str) -> None:
    assert context_of({"GITHUB_REPOSITORY": repository}) == {}


@pytest.mark.parametrize(
    "ref", ["", "*", "a*", "a/../b", "..", "a//b", "/a", "a/", "a b", "a?b", "a#b", "a;b", "{owner}", "a\nb", "a\\b", "a%2fb"]
)
def test_a_branch_that_could_mean_more_has_no_value(ref: str) -> None:
    assert context_of({"GITHUB_REF_NAME": ref}) == {}


@given(st.text(max_size=20))
def test_a_branch_is_one_path(ref: str) -> None:
    context = context_of({"GITHUB_REF_NAME": ref})
    if context:
        policy = load("version: 1\nallow: [{host: a.com, paths: ['/x/{ref}/y']}]\n", {"GITHUB_REF_NAME": ref})
        assert normal_path(f"/x/{ref}/y") == f"/x/{ref}/y"
        assert decide(policy, request("a.com", path=f"/x/{ref}/y")).allowed
        assert not decide(policy, request("a.com", path=f"/x/{ref}z/y")).allowed


def test_of_a_change_of_policy_a_branch_may_hold_slashes() -> None:
    assert covers_glob("/*/x", "/{owner}/x")
    assert not covers_glob("/*/x", "/{ref}/x")
    assert covers_glob("/**/x", "/{ref}/x")


def test_the_action_takes_them_from_the_jobs_context() -> None:
    inputs = {
        **dict.fromkeys(("use", "allow", "deny", "allowed-endpoints", "policy-file", "egress-policy", "mode"), ""),
        "policy": TEXT,
        "job": "x",
    }
    policy = github._policy({"github": VARIABLES}, inputs)
    assert decide(policy, request("api.github.com", path="/repos/octo/demo.js/x")).allowed
    with pytest.raises(PolicyProblems):
        github._policy({}, inputs)


def test_the_program_takes_variables_and_options(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(TEXT)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}

    def run(*arguments: str, **variables: str) -> tuple[int, str]:
        line = [sys.executable, "-m", "ebbgate", *arguments]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, env={**clean, **variables})
        return done.returncode, done.stdout + done.stderr

    url = "https://api.github.com/repos/octo/demo/issues"
    assert run("explain", "p.yml", url)[0] == 2
    assert run("explain", "p.yml", url, "--repository", "octo/demo", "--ref", "main")[0] == 0
    assert run("explain", "p.yml", url, GITHUB_REPOSITORY="octo/demo", GITHUB_REF_NAME="main")[0] == 0
    assert (
        run("explain", "p.yml", url, "--repository", "evil/demo", GITHUB_REPOSITORY="octo/demo", GITHUB_REF_NAME="main")[0] == 90
    )
    assert run("check", "p.yml")[0] == 0
    code, told = run("run", "--policy", "p.yml", "--", "touch", "ran")
    assert code == 2
    assert "--repository OWNER/NAME" in told
    assert not (tmp_path / "ran").exists()
