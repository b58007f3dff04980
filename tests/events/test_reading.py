"""Journals are read back as they were written, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.errors import PolicyError
from ebbgate.events.journal import Journal, journal_line
from ebbgate.events.reading import read_run
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    DecisionRecord,
    Exchange,
    FindingRecord,
    Notice,
    Packet,
    RunEnded,
    RunStarted,
)

EVENTS = (
    RunStarted("1", "audit", "make", (), "", (), repository="o/r", workflow="ci", job="build", time=1.5),
    Armed(0.25, time=2.0),
    Notice("order", "é→界🜂"),
    CommandEnded(0, False, 1.0, 3.0),
    RunEnded(True, 0, 0, 4.0),
)


@pytest.fixture
def lines(tmp_path):
    with Journal((tmp_path / "events.jsonl").open("w")) as journal:
        for event in EVENTS:
            journal.append(event)
    return (tmp_path / "events.jsonl").read_text().splitlines(keepends=True)


def test_a_run_is_read_from_its_directory_and_from_its_file(tmp_path, lines):
    assert read_run(tmp_path).events == EVENTS
    assert read_run(tmp_path / "events.jsonl").started == EVENTS[0]


def test_an_older_journal_lacks_what_was_not_recorded_then(tmp_path, lines):
    first = json.loads(lines[0])
    for name in ("repository", "workflow", "job"):
        del first[name]
    (tmp_path / "events.jsonl").write_text("".join([json.dumps(first) + "\n", *lines[1:]]))
    assert read_run(tmp_path).started.job == ""


DENIED = DecisionRecord("deny", "no-rule")
PACKET = journal_line(1, Packet("udp", "203.0.113.1", 53, "", DENIED, True))
EXCHANGE = journal_line(
    1,
    Exchange("x1", "tls", "a.example.com", 443, "203.0.113.1", "GET", "/", 200, DENIED, True, True, True, 0, 0, 0, "full", "",
             findings=(FindingRecord("TOKEN", "f", "body", ("raw",), 0, False),)),
)  # fmt: skip


def test_attempts_are_read_back(tmp_path, lines):
    (tmp_path / "events.jsonl").write_text("".join([lines[0], PACKET, lines[4].replace('"seq":4', '"seq":2')]))
    assert read_run(tmp_path).events[1].protocol == "udp"
    (tmp_path / "events.jsonl").write_text("".join([lines[0], EXCHANGE, lines[4].replace('"seq":4', '"seq":2')]))
    assert read_run(tmp_path).events[1].findings[0].secret == "TOKEN"


HOSTILE = {
    "cut in a line": (lambda ls: [*ls[:3], ls[3][:20]], 4, "cut off"),
    "cut between lines": (lambda ls: ls[:3], 3, "ends here"),
    "a line taken out": (lambda ls: [*ls[:2], *ls[3:]], 3, "missing"),
    "two runs in one": (lambda ls: [*ls, *ls], 6, "seq is not 5"),
    "a second beginning": (lambda ls: [ls[0], ls[0].replace('"seq":0', '"seq":1')], 2, "second run"),
    "no beginning": (lambda ls: [ls[1].replace('"seq":1', '"seq":0')], 1, "RunStarted"),
    "nothing": (lambda ls: [], 1, "RunStarted"),
    "text": (lambda ls: ["hello\n"], 1, "not JSON"),
    "binary": (lambda ls: [ls[0], "\udcff\udcfe\x00\n"], 2, "not JSON"),
    "a deep nest": (lambda ls: [ls[0], "[" * 100_000 + "\n"], 2, "not JSON"),
    "a list": (lambda ls: [ls[0], "[]\n"], 2, "not an object"),
    "not a number": (lambda ls: [ls[0], ls[1].replace("0.25", "NaN")], 2, "not JSON"),
    "an endless number": (lambda ls: [ls[0], ls[1].replace("0.25", "1e999")], 2, "not JSON"),
    "an integer of a million digits": (lambda ls: [ls[0], ls[1].replace("0.25", "9" * 1_000_000)], 2, "not JSON"),
    "an unknown kind": (lambda ls: [ls[0], ls[1].replace("Armed", "Object")], 2, "unknown kind"),
    "an unknown field": (lambda ls: [ls[0], ls[1].replace('"seconds"', '"minutes"')], 2, "unknown field"),
    "a field of another type": (lambda ls: [ls[0], ls[1].replace("0.25", '"now"')], 2, "wrong type"),
    "a decision that is none": (lambda ls: [ls[0], PACKET.replace('"deny"', '"maybe"')], 2, "no run writes"),
    "a reason that is none": (lambda ls: [ls[0], PACKET.replace('"no-rule"', '"because"')], 2, "no run writes"),
    "a protocol that is none": (lambda ls: [ls[0], EXCHANGE.replace('"tls"', '"gopher"')], 2, "no run writes"),
    "a place that is none": (lambda ls: [ls[0], EXCHANGE.replace('"body"', '"sky"')], 2, "no run writes"),
    "no time": (lambda ls: [ls[0], EXCHANGE.replace('"time":0.0', '"time":1e300')], 2, "no run writes"),
    "no address": (lambda ls: [ls[0], EXCHANGE.replace('"203.0.113.1"', '""')], 2, "no run writes"),
    "an endless line": (lambda ls: [ls[0], "x" * (9 << 20)], 2, "longer than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_journal_is_refused_with_file_and_line(tmp_path, lines, name):
    change, line, why = HOSTILE[name]
    file = tmp_path / "events.jsonl"
    file.write_bytes("".join(change(lines)).encode("utf-8", "surrogateescape"))
    with pytest.raises(PolicyError) as caught:
        read_run(tmp_path)
    assert f"{file}:{line}: " in caught.value.title
    assert why in caught.value.title
    assert caught.value.next_step


@pytest.mark.parametrize("path", ["absent", "."])
def test_a_file_that_is_not_there(tmp_path, path):
    with pytest.raises(PolicyError, match="cannot be read"):
        read_run(tmp_path / path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_our_own_words(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("bytes") / "events.jsonl"
    file.write_bytes(data)
    with pytest.raises(PolicyError):
        read_run(file)
