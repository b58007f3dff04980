"""``policy-file``: from the API, at the workflow's own commit, before anything is armed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.action.guarded import Guarded
from tests.runner import JobResult
from tests.runner.driver import SHA

pytestmark = pytest.mark.root

POLICY = "version: 1\nallow: [api.example.com]  # größer\n"
BASE, HEAD = "b" * 40, "d" * 40


def served(guarded: Guarded, *answers: dict) -> str:
    """The address of an API inside the machine."""
    script = Path(__file__).with_name("api.py").read_text()
    process = guarded.machine.popen(["python3", "-c", script, json.dumps(answers)], stdout=subprocess.PIPE)
    with process.stdout as stdout:
        return f"http://127.0.0.1:{int(stdout.readline())}"


def run(guarded: Guarded, *answers: dict, path: str = ".github/ebbgate.yml", github: dict | None = None, **options) -> JobResult:
    url = served(guarded, *(answers or ({"body": POLICY.encode().decode("latin-1")},)))
    return guarded.run(given=f"with: {{policy-file: {json.dumps(path)}}}", github={"api_url": url, **(github or {})}, **options)


def requests(guarded: Guarded) -> list[dict]:
    log = Path("/run/fake/requests")
    return guarded.machine.inside(lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [])


def assert_refused(guarded: Guarded, result: JobResult, words: str) -> None:
    assert result.conclusion == "failure"
    assert result.step("guard", "pre").code in (2, 93)
    assert words in result.messages("error")[0], result.log
    assert guarded.calls("start") == []


def test_it_is_read_at_the_workflows_commit_and_handed_on(guarded: Guarded) -> None:
    result = run(guarded, token="ghs_reading_token")
    assert result.conclusion == "success", result.log
    (request,) = requests(guarded)
    assert request["path"] == f"/repos/example/project/contents/.github/ebbgate.yml?ref={SHA}"
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["authorization"] == "Bearer ghs_reading_token"
    assert headers["accept"] == "application/vnd.github.raw+json"
    (start,) = guarded.calls("start")
    assert start["document"]["policy"] == {
        "path": ".github/ebbgate.yml",
        "text": POLICY,
        "commit": SHA,
        "repository": "example/project",
    }


def test_names_are_encoded(guarded: Guarded) -> None:
    run(guarded, path="./a b/ü?#%2e.yml")
    assert requests(guarded)[0]["path"] == f"/repos/example/project/contents/a%20b/%C3%BC%3F%23%252e.yml?ref={SHA}"


@pytest.mark.parametrize("path", ["../x.yml", "/etc/passwd", "a//b", "a/./b", "a\\b", "a/\nb", "."])
def test_paths_that_are_none_are_refused_before_asking(guarded: Guarded, path: str) -> None:
    assert_refused(guarded, run(guarded, path=path), "is no path inside a repository")
    assert requests(guarded) == []


@pytest.mark.parametrize(
    ("answer", "words", "asked"),
    [
        ({"status": 404}, "404", 1),
        ({"status": 401}, "401", 1),
        ({"status": 403}, "contents: read", 1),
        ({"status": 500}, "500", 3),
        ({"status": 302, "headers": {"Location": "http://attacker.example.org/"}}, "could not be read", 3),
        ({"headers": {"Content-Type": "application/json; charset=utf-8"}, "body": "[]"}, "is no file", 1),
        ({"body": "x" * 1024, "times": 257}, "larger than 256 KiB", 1),
        ({"body": "allow: [\xff\xfe]"}, "not UTF-8", 1),
    ],
)
def test_what_the_api_may_answer_instead(guarded: Guarded, answer: dict, words: str, asked: int) -> None:
    assert_refused(guarded, run(guarded, answer), words)
    assert len(requests(guarded)) == asked


def test_a_passing_fault_is_survived(guarded: Guarded) -> None:
    result = run(guarded, {"status": 502}, {"status": 429}, {"body": "version: 1\n"})
    assert result.conclusion == "success", result.log


def test_an_api_that_hangs_or_is_not_there_fails(guarded: Guarded) -> None:
    result = guarded.run(given="with: {policy-file: a.yml}", github={"api_url": "http://127.0.0.1:1"})
    assert_refused(guarded, result, "could not be read")


def _request(head: str | None) -> dict:
    base = {"sha": BASE, "repo": {"full_name": "example/project"}}
    return {"pull_request": {"base": base, "head": {"sha": HEAD, "repo": head and {"full_name": head}}}}


@pytest.mark.parametrize(
    ("event", "head", "ref", "words"),
    [
        ("pull_request", "example/project", SHA, "the pull request's own merge commit"),
        ("pull_request", "stranger/project", BASE, "from a fork, so the policy is the base branch's"),
        ("pull_request", None, BASE, "from a fork, so the policy is the base branch's"),
        ("pull_request_target", "stranger/project", SHA, "not from the pull request"),
    ],
)
def test_a_forks_policy_is_never_read(guarded: Guarded, event: str, head: str | None, ref: str, words: str) -> None:
    result = run(guarded, github={"event_name": event}, event=_request(head))
    assert result.conclusion == "success", result.log
    assert requests(guarded)[0]["path"].endswith(f"?ref={ref}")
    assert any(words in line for line in result.lines)


@pytest.mark.parametrize(
    "github", [{"workflow_sha": ""}, {"workflow_sha": "refs/heads/main"}, {"workflow_ref": "", "repository": ""}]
)
def test_without_a_commit_nothing_is_guessed(guarded: Guarded, github: dict) -> None:
    assert_refused(guarded, run(guarded, github=github), "did not say which commit")


def test_an_event_that_cannot_be_read_is_no_reason_to_trust(guarded: Guarded) -> None:
    assert_refused(guarded, run(guarded, github={"event_name": "pull_request"}, event={}), "event of this pull request")
