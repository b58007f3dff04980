"""The answer to "verdict?" fits into one message, whatever the job made of its journal."""

from __future__ import annotations

import json
from types import SimpleNamespace

from ebbgate.events.types import Armed, DecisionRecord, Event, Exchange, FindingRecord, Origin, Process, RunStarted
from ebbgate.host import channel
from ebbgate.warden.job_report import MAX_REPORT, conclusion

_REQUEST = SimpleNamespace(policy=SimpleNamespace(mode="enforce"), on_exfiltration="kill", on_blocked="fail")
_LONG = tuple(Process(pid, "/" + "é" * 4000, '"' * 1000) for pid in range(16))  # as long as a path and a command line may be


def exchange(number: int, *, leak: bool) -> Exchange:
    findings = (FindingRecord("TOKEN", "f", f"header:x-{number}", ("raw",), 0, False),) if leak else ()
    decision = DecisionRecord("allow" if leak else "deny", "rule" if leak else "no-rule")
    return Exchange(
        str(number), "https", f"h{number}.example.org", 443, "203.0.113.9", "GET", "/", 200, decision, True, True, True, 9, 9, 0,
        "full", "", findings, Origin(_LONG[0], _LONG),
    )  # fmt: skip


def test_thousands_of_incidents_with_the_longest_of_names_fit() -> None:
    events: list[Event] = [RunStarted("1", "enforce", "job", (), "", ()), Armed(1.0, "job")]
    events += [exchange(number, leak=bool(number % 2)) for number in range(2500)]
    answer = conclusion(_REQUEST, events, 1.0, complete=True, uninspected=0, dropped=0)
    assert len(channel.encode(answer)) < channel.MAX_MESSAGE
    assert len(answer["report"]) <= MAX_REPORT
    report = json.loads(answer["report"])
    assert report["incidents"][0]["kind"] == "exfiltration"
    assert report["left_out"] > 0
    assert len(answer["summary"].encode()) < 1 << 20
    assert answer["exit_code"] == 91
