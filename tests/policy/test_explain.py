"""``explain`` says what the gate does: over 10,000 generated pairs, against the gate's function and against a plain reading of the
policy; what it proposes does allow the request; and the order of presets changes nothing."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ebbgate.errors import PolicyError
from ebbgate.policy.decide import decide
from ebbgate.policy.explain import Explanation, explain, observation_of
from ebbgate.policy.load import load_policy, load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Observation, Protocol, Reason, Stage
from ebbgate.policy.paths import path_matches
from ebbgate.policy.presets import preset_names
from ebbgate.report.explained import to_text

HOSTS = [
    "example.com",
    "a.example.com",
    "b.a.example.com",
    "example.org",
    "192.0.2.1",
    "pypi.org",
    "github.com",
    "api.github.com",
]
PATTERNS = [*HOSTS, "'*.example.com'", "'*.a.example.com'", "'*.github.com'"]
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/x/info/refs", "/a%2fb", "/a/../b", "/%61", "//a"]
GLOBS = ["/a", "/a/*", "/a/**", "/**/b", "/*/b", "/x/**"]
PAIRS, EACH = 10_000, 20


def a_policy(of: random.Random) -> str:
    lines = ["version: 1", f"use: [{', '.join(of.sample(preset_names(), of.randint(1, 3)))}]", "allow:"]
    for _ in range(of.randint(1, 6)):
        parts = [f"host: {of.choice(PATTERNS)}"]
        protocol = of.choice(["tls", "tls", "tls", "http", "tcp"])
        parts += [f"protocol: {protocol}"] if protocol != "tls" else []
        parts += [f"port: {of.choice([443, 80, 22])}"] if protocol == "tcp" or of.random() < 0.2 else []
        if protocol == "tls" and of.random() < 0.2:
            parts.append("tls: passthrough")
        elif protocol != "tcp":
            parts += (
                [f"methods: [{', '.join(of.sample(['GET', 'POST', 'PUT', 'HEAD'], of.randint(1, 2)))}]"]
                if of.random() < 0.5
                else []
            )
            parts += [f"paths: [{of.choice(GLOBS)}]"] if of.random() < 0.5 else []
        lines.append(f"  - {{ {', '.join(parts)} }}")
    lines.append(f"deny: [{of.choice(PATTERNS)}]" if of.random() < 0.3 else f"deny: [{of.choice(HOSTS)}:80]")
    return "\n".join(lines) + "\n"


def a_request(of: random.Random) -> Observation:
    host = of.choice([*HOSTS, "nobody.example.net"])
    scheme = of.choice(["https", "https", "https", "http", "tcp"])
    port = of.choice([":443", ":80", ":22"]) if scheme == "tcp" else of.choice(["", "", ":443", ":8443"])
    return observation_of(
        of.choice(["GET", "HEAD", "POST", "PUT", "delete"]),
        f"{scheme}://{host}{port}{'' if scheme == 'tcp' else of.choice(PATHS)}",
    )


def generated() -> Iterator[tuple[str, Policy, list[Observation]]]:
    for seed in range(PAIRS // EACH):
        of = random.Random(seed)
        text = a_policy(of)
        yield text, load_texts([("p.yml", text)], job="", given_by=""), [a_request(of) for _ in range(EACH)]


def is_allowed(policy: Policy, seen: Observation) -> bool:
    """The policy read by a simple mind: no index, no stages, fnmatch for hosts."""

    def means(entry, port_needed):
        host = str(entry.host) if entry.host else None
        return (
            host is not None
            and fnmatchcase(seen.host, host)
            and (seen.port in entry.ports or (not entry.ports and not port_needed))
        )

    if any(means(entry, False) for entry in policy.deny):
        return False
    for entry in policy.allow:
        if not means(entry, True) or entry.protocol is not seen.protocol:
            continue
        if seen.stage is Stage.CONNECT or entry.passthrough:
            return True
        methods = {*entry.methods, *(["HEAD"] if "GET" in entry.methods else [])}
        if (not methods or seen.method in methods) and (not entry.paths or path_matches(seen.path or "", entry.paths)):
            return True
    return False


def the_gate(policy: Policy, seen: Observation) -> tuple[bool, Reason]:
    """As ``gate.layers`` and ``gate.gatekeeper`` ask: the server name first."""
    if seen.protocol is Protocol.TLS:
        name = decide(policy, Observation(Stage.NAME, Protocol.TLS, seen.host, seen.port, seen.host))
        if not name.allowed or name.passthrough:
            return name.allowed, name.reason
    decision = decide(policy, seen)
    return decision.allowed, decision.reason


def test_explain_agrees_with_the_gate_on_ten_thousand_pairs() -> None:
    told = {True: 0, False: 0}
    entries = 0
    for text, policy, requests in generated():
        for seen in requests:
            answer = explain(policy, seen)
            assert (answer.decision.allowed, answer.decision.reason) == the_gate(policy, seen), (text, seen)
            assert answer.decision.allowed == is_allowed(policy, seen), (text, seen)
            told[answer.decision.allowed] += 1
            if answer.is_entry and entries < 1000:
                entries += 1
                assert explain(with_entry(text, answer), seen).decision.allowed, (text, seen, answer.fix)
            assert answer.decision.allowed or answer.fix
            assert all(near.rule != answer.decision.rule for near in answer.near) or not answer.decision.allowed
    assert sum(told.values()) == PAIRS
    assert min(told.values()) > PAIRS // 20, told
    assert entries == 1000


def with_entry(text: str, answer: Explanation) -> Policy:
    return load_texts([("p.yml", text.replace("\nallow:\n", f"\nallow:\n  {answer.fix}\n"))], job="", given_by="")


def test_the_order_of_presets_changes_nothing() -> None:
    of = random.Random(1)
    hosts = sorted({str(entry.host).replace("*", "x") for name in preset_names() for entry in load_policy([], use=[name]).allow})
    requests = [
        Observation(stage, protocol, host, 443 if protocol is Protocol.TLS else 80, host, True, "GET", "/a/b")
        for host in hosts
        for protocol in (Protocol.TLS, Protocol.HTTP)
        for stage in (Stage.NAME, Stage.REQUEST)
    ]
    for names in itertools.islice(itertools.permutations(of.sample(preset_names(), 3)), 6):
        names = [*names, "github-runner", "github-actions"]
        first, second = load_policy([], use=names), load_policy([], use=names[::-1])
        assert first.digest == second.digest
        assert [decide(first, one) for one in requests] == [decide(second, one) for one in requests]


def test_of_two_presets_the_one_that_reads_is_asked_first() -> None:
    policy = load_policy([], use=["github-runner", "github-actions"])
    assert not decide(policy, Observation(Stage.NAME, Protocol.TLS, "github.com", 443, "192.0.2.1")).passthrough


@pytest.mark.parametrize(
    "url",
    [
        "https://a@b/",
        "ftp://example.com",
        "https://",
        "https://exa mple.com/",
        "https://a.com/a b",
        "https://a.com:99999/",
        "tcp://a.com",
        "tcp://a.com:1/x",
        "https://a\\b/",
        "https://a.com/\x00",
        "https://1.2.3.4.5/",
    ],
)
def test_urls_that_can_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(PolicyError):
        observation_of("GET", url)


def test_urls_mean_what_the_gate_sees() -> None:
    assert observation_of("get", "EXAMPLE.com./x?y#z") == Observation(
        Stage.REQUEST, Protocol.TLS, "example.com", 443, "example.com", True, "GET", "/x", "y"
    )
    assert observation_of("GET", "http://0x7f.1?x").host == "127.0.0.1"
    assert observation_of("GET", "https://[::ffff:10.0.0.1]:8443/").host == "10.0.0.1"
    assert observation_of("GET", "tcp://db.example.com:5432").stage is Stage.CONNECT


TEXT = """version: 1
allow:
  - { host: registry.npmjs.org, methods: [GET, PUT] }
  - { host: a.example.com, paths: [/x/*], credentials: own }
  - { host: a.example.com, methods: [PUT] }
  - { host: pinned.example.com, tls: passthrough }
deny: [telemetry.example.com]
secrets: { MINE: { to: [a.example.com], in: [body] } }
"""


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    (tmp_path / "p.yml").write_text(TEXT)
    line = [sys.executable, "-m", "ebbgate", "explain", "p.yml", *arguments]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_program_tells_rule_and_place(tmp_path: Path) -> None:
    code, told = run(tmp_path, "POST", "https://a.example.com/y?secret")
    assert code == 90
    assert told.splitlines()[0] == "denied: POST /y at tls://a.example.com:443"
    assert "p.yml:4: tls://a.example.com:443 /x/* credentials own" in told
    assert "not by  p.yml:5: tls://a.example.com:443 PUT (other methods only)" in told
    assert '- { host: a.example.com, methods: [POST], paths: ["/y"] }' in told
    code, told = run(tmp_path, "a.example.com/x/1")
    assert code == 0
    assert "rule    p.yml:4" in told
    assert "own credentials only" in told
    assert run(tmp_path, "https://telemetry.example.com/")[0] == 90
    assert run(tmp_path, "https://pinned.example.com/", "--secret", "MINE")[0] == 0
    assert run(tmp_path, "GET", "a.example.com", "more")[0] == 2


def test_a_secret_is_judged_by_the_gates_own_bindings() -> None:
    policy = load_texts([("p.yml", TEXT)], job="", given_by="")

    def places(url: str, secret: str) -> tuple[str, ...] | None:
        return explain(policy, observation_of("PUT", url), secret).places

    assert places("https://a.example.com/x/1", "MINE") == ("body",)
    assert places("https://registry.npmjs.org/x", "MINE") == ()
    assert places("https://registry.npmjs.org/x", "NPM_TOKEN")
    assert places("https://a.example.com/x/1", "NPM_TOKEN") == ()
    assert places("http://a.example.com/x/1", "MINE") == ()
    assert explain(policy, observation_of("PUT", "https://a.example.com/x/1")).places is None


def test_nothing_in_it_changes_the_terminal() -> None:
    policy = load_policy([], allow=["example.com"])
    told = explain(policy, observation_of("GET\x1b[31m", "https://example.org/\u202e\x9b"), "X\x1b")
    shown = to_text(told, policy.mode, "X\x1b")
    assert not any(sign in shown for sign in ("\x1b", "\u202e", "\x9b"))
