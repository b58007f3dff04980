"""A job's report as it stands when somebody asks: the journal so far, with an end put to it for the asking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any  # messages of host.channel

from ebbgate.events.journal import journal_line
from ebbgate.events.types import CommandEnded, Event, RunEnded
from ebbgate.events.verdict import Verdict, exit_code, verdict
from ebbgate.report.annotations import to_annotations
from ebbgate.report.interface import RunReport, build_report
from ebbgate.report.json_report import to_json
from ebbgate.report.markdown import to_markdown
from ebbgate.warden.job_request import JobRequest

MAX_REPORT = 10 << 20  # characters; with all else of the answer, and escaped, it stays below ``host.channel.MAX_MESSAGE``
PAGE = 500  # events of the journal told at once
MAX_PAGE = 1 << 20  # characters of them: some 30 ms of the time of the warden, whom any step may ask
_LISTS = ("incidents", "destinations", "quiet", "notices")
DETAILED = 200  # incidents, the worst, whose process is told with its ancestors


def ending(seconds: float, *, complete: bool, uninspected: int, dropped: int) -> tuple[Event, ...]:
    """The events that close a record. complete: whether the gate's last records came before them."""
    now = time.time()
    return CommandEnded(0, False, seconds, now), RunEnded(complete, uninspected, dropped, now)


def code_of(request: JobRequest, found: Verdict) -> int:
    """What the last step ends with."""
    return exit_code(
        found,
        mode=request.policy.mode,
        command_code=0,
        on_exfiltration=request.on_exfiltration,
        on_blocked=request.on_blocked,
    )


def conclusion(
    request: JobRequest, events: Sequence[Event], seconds: float, *, complete: bool, uninspected: int, dropped: int
) -> dict[str, Any]:
    """The answer to "verdict?": everything that the post step shows, and the code it ends with."""
    known = [*events, *ending(seconds, complete=complete, uninspected=uninspected, dropped=dropped)]
    found = verdict(known)
    code = code_of(request, found)
    report = build_report(known, code)
    document = _fitting(report)
    return {
        "type": "verdict",
        "verdict": str(found),
        "exit_code": code,
        "blocked": sum(one.count for one in report.incidents if one.kind == "blocked"),
        "report": document,
        "summary": to_markdown(report),
        "annotations": to_annotations(report),
        "suggested": report.suggested or "",
    }


def journal_page(events: Sequence[Event], first: int, known: int, end: tuple[Event, ...]) -> dict[str, Any]:
    """Lines of the journal from event ``first`` on, of ``known`` that there are. After the last comes an end; ``next`` is -1."""
    lines: list[str] = []
    size = 0
    for event in events:
        line = journal_line(first + len(lines), event)
        size += len(line)
        if lines and size > MAX_PAGE:
            break
        lines.append(line)
    reached = first + len(lines)
    if reached < known and lines:
        return {"type": "journal", "lines": lines, "next": reached}
    return {"type": "journal", "lines": lines + [journal_line(reached + more, one) for more, one in enumerate(end)], "next": -1}


def _fitting(report: RunReport) -> str:
    """The report's JSON. A job can make thousands of incidents with the longest of command lines: the least are left out."""
    rest = tuple(replace(one, origin=replace(one.origin, ancestry=())) for one in report.incidents[DETAILED:])
    report = replace(report, incidents=report.incidents[:DETAILED] + rest)
    while len(text := to_json(report)) > MAX_REPORT:
        halves = {name: getattr(report, name)[: len(getattr(report, name)) // 2] for name in _LISTS}
        report = replace(
            report, left_out=report.left_out + sum(len(getattr(report, name)) - len(halves[name]) for name in _LISTS), **halves
        )
    return text
