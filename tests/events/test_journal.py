"""Events to JSON and back, their schema, and what they mean for the verdict."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import string
from typing import Any

import jsonschema
import pytest

from ebbgate.errors import IntegrityError
from ebbgate.events import schema
from ebbgate.events.codec import from_json, to_json
from ebbgate.events.journal import Journal
from ebbgate.events.publish import printable, publishable_host, publishable_query
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    DecisionRecord,
    Defect,
    DnsQuestion,
    Event,
    Exchange,
    FindingRecord,
    GateLost,
    Origin,
    Packet,
    Process,
    RunEnded,
    RunStarted,
    SecretInfo,
    Tampering,
)
from ebbgate.events.verdict import Verdict, exit_code, verdict

ORIGIN = Origin(Process(7, "/usr/bin/curl", "curl x"), (Process(1, "/bin/sh", "sh", certain=False),))
ALLOW, DENY = DecisionRecord("allow", "rule", "p.yml:3 x"), DecisionRecord("deny", "no-rule")
QUIET = DecisionRecord("deny", "explicit-deny", "", quiet=True)
LEAK, BOUND = (FindingRecord("T", "ab12", "body", ("gzip", "base64"), 5, permitted) for permitted in (False, True))
STARTED = RunStarted("1", "enforce", "true", ("p.yml",), "00", (SecretInfo("T", "ab12", "policy", ("a.com",)),))
ENDED = (CommandEnded(0, killed_by_guard=False, seconds=1.0), RunEnded(complete=True, uninspected_bytes=0, dropped_events=0))
CLEAN: tuple[Event, ...] = (STARTED, Armed(0.1), *ENDED)


def exchange(decision: DecisionRecord = ALLOW, *findings: FindingRecord) -> Exchange:
    denied = decision.action == "deny"
    return Exchange(
        "x1",
        "tls",
        "a.com",
        443,
        "203.0.113.1",
        "GET",
        "/",
        200,
        decision,
        True,
        denied,
        denied,
        10,
        20,
        0,
        "full",
        "",
        findings,
        ORIGIN,
    )


def question(decision: DecisionRecord) -> DnsQuestion:
    return DnsQuestion("a.com", "A", "udp", "", decision, True, True, True, False)


EVENTS: list[Event] = [
    *CLEAN,
    exchange(DENY, LEAK),
    question(ALLOW),
    Packet("udp", "203.0.113.1", 443, "", DENY, enforced=True, origin=ORIGIN),
    Defect("a", "b", "c"),
    GateLost("signal 9"),
    Tampering("x", ORIGIN),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: type(one).__name__)
def test_there_and_back(event: Event) -> None:
    document = json.loads(json.dumps(to_json(event)))
    assert from_json(document) == event
    jsonschema.validate({"seq": 0, **document}, schema.schema())


BROKEN: list[Any] = [
    None, [], {}, {"kind": "Nothing"}, {"kind": "Armed"}, {"kind": "Armed", "seconds": "1"}, {"kind": "Armed", "seconds": True},
    {"kind": "Armed", "seconds": 1.0, "extra": 1}, {"kind": "GateLost", "how": "x" * 5000}, {"kind": ["Armed"], "seconds": 1.0},
    {**to_json(exchange()), "findings": [{}]}, {**to_json(exchange()), "origin": []}, {**to_json(exchange()), "port": 1.5},
]  # fmt: skip


@pytest.mark.parametrize("document", BROKEN, ids=range(len(BROKEN)))
def test_a_gate_gone_bad_cannot_send_just_anything(document: Any) -> None:
    with pytest.raises(IntegrityError):
        from_json(document)


def test_the_journal_is_json_lines_in_order() -> None:
    file = io.StringIO()
    journal = Journal(file)
    for event in EVENTS:
        journal.append(event)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(EVENTS)))
    assert [line["kind"] for line in lines] == [type(event).__name__ for event in EVENTS]


def test_a_journal_that_cannot_write_is_a_defect() -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    journal = Journal(Full())
    journal.append(STARTED)
    assert verdict([*journal.events, *CLEAN[1:]]) is Verdict.broken


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), Verdict.clean),
        ((exchange(),), Verdict.clean),
        ((exchange(ALLOW, BOUND),), Verdict.clean),
        ((exchange(QUIET), question(QUIET)), Verdict.clean),
        ((exchange(DENY),), Verdict.blocked),
        ((question(DENY),), Verdict.blocked),
        ((exchange(ALLOW, LEAK), exchange(DENY)), Verdict.exfiltration),
        ((exchange(QUIET, LEAK),), Verdict.exfiltration),
        ((Defect("a", "b", "c"), exchange(DENY)), Verdict.broken),
        ((GateLost("exit 1"),), Verdict.broken),
        ((Tampering("x"), Defect("a", "b", "c")), Verdict.tampered),
        ((Tampering("x"), exchange(ALLOW, LEAK)), Verdict.exfiltration),
    ],
)
def test_the_verdict_is_the_worst_that_was_said(more: tuple[Event, ...], expected: Verdict) -> None:
    assert verdict([*CLEAN[:2], *more, *CLEAN[2:]]) is expected


@pytest.mark.parametrize("missing", range(1, 4))
def test_an_incomplete_record_is_broken(missing: int) -> None:
    assert verdict([one for number, one in enumerate(CLEAN) if number != missing]) is Verdict.broken
    assert verdict([]) is Verdict.broken
    assert verdict([*CLEAN[:-1], dataclasses.replace(ENDED[1], complete=False)]) is Verdict.broken


@pytest.mark.parametrize(
    ("found", "mode", "choice", "code"),
    [
        ("clean", "enforce", "kill", 7), ("blocked", "enforce", "kill", 90), ("exfiltration", "enforce", "kill", 91),
        ("exfiltration", "enforce", "fail", 91), ("exfiltration", "enforce", "warn", 7), ("tampered", "enforce", "kill", 92),
        ("broken", "enforce", "kill", 93), ("blocked", "audit", "kill", 7), ("exfiltration", "audit", "kill", 7),
        ("tampered", "audit", "kill", 92), ("broken", "audit", "kill", 93),
    ],
)  # fmt: skip
def test_exit_codes(found: str, mode: str, choice: str, code: int) -> None:
    assert exit_code(Verdict(found), mode=mode, command_code=7, on_exfiltration=choice) == code


def test_names_that_look_encoded_are_not_printed() -> None:
    salt = b"0" * 16
    assert publishable_host("www.example.com", salt) == "www.example.com"
    assert publishable_host("pkg-containers.githubusercontent.com", salt) == "pkg-containers.githubusercontent.com"
    for label in ("746f6b5f524869697236394c", "mzxw6ytboi4dgnbvgy3tqojq", "a" * 50):
        shown = publishable_host(f"{label}.attacker.org", salt)
        assert label not in shown
        assert shown.endswith(".attacker.org")
        assert shown == publishable_host(f"{label}.attacker.org", salt)
        assert shown != publishable_host(f"{label}.attacker.org", b"1" * 16)


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\rb", "\u202egnp.exe", "line\nline", "\x9b5m", "\x00"])
def test_terminals_are_told_nothing(text: str) -> None:
    shown = printable(text, 100)
    assert shown.isprintable()
    assert not set(shown) & {"\x1b", "\r", "\n", "\u202e", "\x9b", "\x00"}


def test_queries_show_words_and_no_tokens() -> None:
    token = "".join(random.choices(string.ascii_letters + string.digits, k=40))
    shown = publishable_query(f"page=1&per_page=100&sig={token}&{token}&v=2023-10-01&flag&x={'a' * 60}")
    assert shown == "page=1&per_page=100&sig=…&…&v=2023-10-01&flag&x=…"
    assert publishable_query("") == ""
    assert publishable_query("&".join(["a=b"] * 60)).count("&") == 50
