"""Reports say what the journal says, the same facts in each, and nothing that a terminal would obey."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path

import pytest

from ebbgate.errors import PlatformError
from ebbgate.events.incidents import Kind, incidents
from ebbgate.events.types import DecisionRecord, Event, FindingRecord
from ebbgate.policy.load import load_policy
from ebbgate.report.files import write_reports
from ebbgate.report.interface import RunReport, build_report
from ebbgate.report.terminal import render
from tests.events.test_journal import ALLOW, BOUND, CLEAN, DENY, EVENTS, LEAK, exchange, question


def report(*events: Event, mode: str = "enforce", code: int = 0) -> RunReport:
    started = dataclasses.replace(CLEAN[0], mode=mode)
    return build_report([started, CLEAN[1], *events, *CLEAN[2:]], code)


def text(shown: RunReport, *, color: bool | None = None) -> str:
    stream = io.StringIO()
    render(shown, stream, color=color)
    return stream.getvalue()


def test_the_same_attempt_is_one_incident() -> None:
    found = incidents([question(DENY), question(DENY), exchange(DENY), exchange(DENY)])
    assert [(one.kind, one.count, one.destination) for one in found] == [(Kind.blocked, 2, "tls://a.com:443")]
    assert [one.destination for one in incidents([question(DENY)])] == ["dns:a.com"]


def test_the_worst_comes_first() -> None:
    kinds = [one.kind for one in incidents([exchange(DENY), *EVENTS])]
    assert kinds == sorted(kinds, key=list(Kind).index)


def test_what_left_is_counted() -> None:
    shown = report(exchange(), exchange(ALLOW, BOUND))
    one = shown.destinations[0]
    assert (one.exchanges, one.bytes_out, one.bytes_in, one.programs, one.secrets) == (2, 20, 40, ("curl",), ("T",))
    assert "T where it belongs" in text(shown)


def test_plain_where_nobody_sees_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = report(exchange(DENY, LEAK), code=91)
    assert "\x1b" not in text(shown)
    assert "\x1b" in text(shown, color=True)
    assert "exfiltration attempt" in text(shown)
    assert all(line == line.rstrip() for line in text(shown).splitlines())


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    for value, colored in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        stream = Terminal()
        render(report(exchange(DENY)), stream)
        assert ("\x1b" in stream.getvalue()) is colored


def test_the_workloads_text_is_shown_not_obeyed() -> None:
    hostile = dataclasses.replace(exchange(DENY), method="[bold]:smile:", path="[/red]")
    assert "[bold]" in text(report(dataclasses.replace(hostile, decision=DecisionRecord("deny", "method"))))


def test_json_has_the_same_facts(tmp_path: Path) -> None:
    shown = report(exchange(DENY, LEAK), code=91)
    write_reports(tmp_path, shown)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["verdict"] == "exfiltration"
    assert document["exit_code"] == 91
    assert document["incidents"][0]["secret"] == "T"
    assert oct((tmp_path / "report.json").stat().st_mode & 0o777) == "0o600"
    assert not (tmp_path / "policy.suggested.yml").exists()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.json").symlink_to(victim)
    write_reports(tmp_path / "r", report())
    assert victim.read_text() == "precious"
    with pytest.raises(PlatformError):
        write_reports(Path("/proc/self/nowhere"), report())


AUDITED = [
    exchange(DENY),
    dataclasses.replace(exchange(DENY), host="b.example.com", method="POST", port=8443),
    dataclasses.replace(exchange(DENY), host="c.example.com", protocol="tcp", port=22, method=""),
    dataclasses.replace(exchange(DENY), host="inner.example.com", address="10.1.2.3"),
    dataclasses.replace(exchange(DENY), host="2001:db8::1", address="2001:db8::1"),
    dataclasses.replace(exchange(DENY), host="odd.example.com", method="BREW"),
    dataclasses.replace(exchange(DENY, LEAK), host="evil.example.org"),
    dataclasses.replace(exchange(ALLOW, BOUND), host="bound.example.com"),
    dataclasses.replace(exchange(ALLOW, dataclasses.replace(BOUND, place="header:x-api-key")), host="bound.example.com"),
    dataclasses.replace(exchange(DecisionRecord("deny", "explicit-deny", "", quiet=True)), host="denied.example.com"),
    dataclasses.replace(exchange(DecisionRecord("deny", "host-mismatch")), host="forged.example.com"),
    dataclasses.replace(exchange(DENY), host="[ab12cd].tunnel.example.org"),
    dataclasses.replace(question(DENY), name="asked.example.com"),
    dataclasses.replace(exchange(DecisionRecord("allow", "rule", "p.yml:1 tls://pin.example.com:443 passthrough")), host="pin.example.com", method=""),
]  # fmt: skip


def test_the_suggested_policy_is_a_policy(tmp_path: Path) -> None:
    file = tmp_path / "suggested.yml"
    file.write_text(report(*AUDITED, mode="audit").suggested or "")
    policy = load_policy([file])
    entries = {str(entry.host): entry for entry in policy.allow}
    assert policy.mode == "enforce"
    assert entries["b.example.com"].ports == (8443,)
    assert entries["b.example.com"].methods == ("POST",)
    assert entries["inner.example.com"].cidrs == ("10.1.2.3/32",)
    assert entries["odd.example.com"].methods == ()
    assert entries["pin.example.com"].passthrough
    assert "asked.example.com" in entries
    assert not {"evil.example.org", "forged.example.com", "[ab12cd].tunnel.example.org", "denied.example.com"} & set(entries)
    assert [str(entry.host) for entry in policy.deny] == ["denied.example.com"]
    assert [(one.name, [str(host) for host in one.to], one.places) for one in policy.bindings] == [
        ("T", ["bound.example.com"], ("body", "header:x-api-key"))
    ]


def test_enforce_mode_suggests_nothing() -> None:
    assert report(*AUDITED).suggested is None


def test_every_finding_has_words() -> None:
    for event in EVENTS:
        for mode in ("enforce", "audit"):
            shown = text(report(event, mode=mode))
            assert "None" not in shown
            assert "Traceback" not in shown
    assert FindingRecord.__doc__
    assert os.environ.get("NEVER_SET_BY_ANYONE") is None
