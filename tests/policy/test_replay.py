"""What a replay makes of the facts that a journal has besides of the request itself."""

from __future__ import annotations

import dataclasses
import io

import pytest

from ebbgate.events.types import DecisionRecord, Event, ForeignRecord, Packet, SecretInfo
from ebbgate.host import links
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.replay import SINKHOLES, Replayed, replay
from ebbgate.report.replayed import MAX_LISTED, render, replay_report, to_json
from tests.policy.journals import ALLOWED, DENIED, exchange, finding, origin, question, run


def policy(text: str) -> Policy:
    return load_texts([("p.yml", f"version: 1\n{text}")], job="", given_by="--")


def judged(event: Event, text: str, **changes) -> Replayed:
    one = run(event, **changes)
    return next(iter(replay(policy(text), one)))


ALLOW = "allow: [a.example.com]\n"
RECORDED = {
    "an address that is not the name's": (exchange(decision=DecisionRecord("deny", "address-mismatch")), ALLOW, "address-mismatch"),
    "another host inside": (exchange(decision=DecisionRecord("deny", "host-mismatch")), ALLOW, "host-mismatch"),
    "forged, and not allowed": (exchange(decision=DecisionRecord("deny", "host-mismatch")), "", "no-rule"),
    "what could not be parsed": (exchange(decision=DecisionRecord("deny", "malformed")), ALLOW, "malformed"),
    "a body that is not what it says": (exchange(decision=DecisionRecord("deny", "malformed", "x.yml:1 tls://a")), ALLOW, "malformed"),
    "a guard that failed": (exchange(decision=DecisionRecord("deny", "defect")), ALLOW, "defect"),
    "a private address": (exchange(address="10.0.0.5"), ALLOW, "special-address"),
    "a private address that is named": (exchange(address="10.0.0.5"), "allow: [{host: a.example.com, cidr: 10.0.0.0/8}]\n", "rule"),
    "one of several addresses": (exchange(address="10.0.0.5", decision=ALLOWED), ALLOW, "rule"),
    "an address of the enclosure's own": (exchange(address="198.19.0.7"), ALLOW, "rule"),
    "the machine itself": (exchange(address="198.19.0.7", decision=DecisionRecord("deny", "special-address", "x")), ALLOW, "special-address"),
    "a literal that is named": (exchange("https://10.0.0.5/", address="10.0.0.5"), "allow: ['10.0.0.5']\n", "rule"),
    "a method in a header": (exchange(overrides=("DELETE",)), "allow: [{host: a.example.com, methods: [GET]}]\n", "method"),
    "a foreign key where only own may be": (
        exchange(foreign=(ForeignRecord("github-pat-classic", "body", "", "holds"),)), f"{ALLOW}credentials: own\n", "foreign-credential",
    ),
    "a foreign key where any may be": (exchange(foreign=(ForeignRecord("github-pat-classic", "body", "", "holds"),)), ALLOW, "rule"),
    "something of a key's shape": (
        exchange(foreign=(ForeignRecord("github-pat-classic", "body", "", "fails"),)), f"{ALLOW}credentials: own\n", "rule",
    ),
    "what was not read": (exchange(uninspected="over a bound"), f"{ALLOW}uninspectable: deny\n", "uninspectable"),
    "something else inside of TLS": (exchange(method="", path="", decision=DecisionRecord("deny", "protocol")), ALLOW, "protocol"),
    "hidden labels that a rule told": (
        exchange(host="[a1b2c3].a.example.com", decision=DecisionRecord("allow", "rule", "x.yml:2 tls://0123456789abcdef0.a.example.com:443")),
        "allow: [0123456789abcdef0.a.example.com]\n", "rule",
    ),
    "hidden labels": (exchange(host="[a1b2c3].a.example.com"), "allow: [0123456789abcdef0.a.example.com]\n", "no-rule"),
    "opaque, by its address": (exchange("tcp://a.example.com:22"), "allow: ['tcp://203.0.113.10:22']\n", "rule"),
    "silent, by any protocol": (exchange("tcp://a.example.com:443", error="nothing was sent"), ALLOW, "rule"),
    "opaque, to an allowed host": (exchange("tcp://a.example.com:443"), ALLOW, "protocol"),
    "QUIC to an allowed host": (Packet("udp", "203.0.113.10", 443, "a.example.com", DENIED, True, origin=origin()), ALLOW, "not-carried"),
}  # fmt: skip


def test_addresses_of_the_enclosures_own_are_these() -> None:
    assert {str(one) for one in SINKHOLES} == {links.SINKHOLE_V4, links.SINKHOLE_V6}


@pytest.mark.parametrize("name", RECORDED)
def test_facts_are_taken_from_the_record(name: str) -> None:
    event, text, reason = RECORDED[name]
    one = judged(event, text)
    assert one.after.decision.reason == reason
    assert one.is_denied == (reason != "rule")


def test_a_jobs_runner_may_do_what_runners_need_and_its_steps_may_not() -> None:
    url = "https://pipelines.actions.githubusercontent.com/"
    runner = exchange(url, method="", path="", origin=origin(party="runner"))
    assert judged(runner, "", job="build").after.decision.action == "allow"
    assert judged(exchange(url, method="", path=""), "", job="build").is_denied
    assert judged(runner, "").is_denied
    assert not judged(question("pipelines.actions.githubusercontent.com"), "", job="build").is_denied


def test_bindings_are_judged_again() -> None:
    seen = exchange(findings=(finding(permitted=False),))
    assert judged(seen, ALLOW).is_denied
    assert not judged(seen, f"{ALLOW}secrets: {{ TOKEN: {{ to: [a.example.com], in: ['auth:bearer'] }} }}\n").is_denied
    assert judged(seen, f"{ALLOW}secrets: {{ TOKEN: {{ to: [a.example.com], in: ['auth:basic'] }} }}\n").is_denied
    assert judged(seen, f"{ALLOW}secrets: {{ TOKEN: {{ to: [b.example.com] }} }}\n").is_denied
    plain = exchange("http://a.example.com/", findings=(finding(permitted=False),))
    assert judged(plain, "allow: ['http://a.example.com']\nsecrets: { TOKEN: { to: [a.example.com] } }\n").is_denied
    known = dataclasses.replace(finding(), kind="", secret="NPM_TOKEN")
    assert not judged(exchange(findings=(known,)), ALLOW).is_denied  # as recorded: neither policy says anything of it
    bound = run(exchange(findings=(known,)))
    started = dataclasses.replace(bound.started, secrets=(SecretInfo("NPM_TOKEN", "f", "policy", ("a.example.com",)),))
    once_bound = dataclasses.replace(bound, started=started, events=(started, *bound.events[1:]))
    assert next(iter(replay(policy(ALLOW), once_bound))).is_denied  # what allowed it is gone


def test_the_report_counts_and_says_what_differs() -> None:
    again = [exchange(f"https://a.example.com/{number}", decision=ALLOWED) for number in range(3)]
    other = exchange("https://b.example.com/x\x1b[31m", "POST", origin=origin("st\x1bep"))
    known = replay_report(replay(policy(ALLOW), run(*again, other)), 1)
    assert (known.verdict, known.exit_code, known.attempts, [one.count for one in known.lines]) == ("blocked", 90, 4, [1, 3])
    stream = io.StringIO()
    render(known, stream)
    assert "\x1b" not in stream.getvalue()
    assert "3x tls://a.example.com:443 GET /0 · by p.yml:2 tls://a.example.com:443 · step build · curl" in stream.getvalue()
    assert "it was" not in stream.getvalue()
    assert '"exit_code": 90' in to_json(known)
    leaving = replay_report(replay(policy(ALLOW), run(exchange(findings=(finding(permitted=False),)))), 1)
    assert (leaving.exit_code, leaving.lines[0].why) == (91, "secret TOKEN")
    quiet = replay_report(replay(policy("deny: [a.example.com]\n"), run(exchange())), 1)
    assert (quiet.exit_code, quiet.lines[0].denied, quiet.lines[0].fails) == (0, True, False)


def test_more_attempts_than_anybody_reads_are_counted() -> None:
    many = [exchange(f"https://h{number}.example.com/") for number in range(MAX_LISTED + 7)]
    known = replay_report(replay(policy(""), run(*many)), 1)
    assert (len(known.lines), known.left_out, known.exit_code) == (MAX_LISTED, 7, 90)
