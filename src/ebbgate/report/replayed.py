"""What a policy would have done with runs: each distinct attempt once, how often, whose it was, and what the run had done."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

from ebbgate.events.incidents import destination
from ebbgate.events.publish import printable
from ebbgate.events.types import DnsQuestion, Exchange, Packet
from ebbgate.events.verdict import Verdict, exit_code, said_by
from ebbgate.policy.replay import Replayed

MAX_LISTED = 2000  # different attempts; more are counted together
MAX_TEXT = 160  # characters of one word
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One distinct attempt. path: of the first. why: reason, or the secret that would not be permitted.

    was: "allowed" or "denied". fails: whether it would fail the run. count: attempts.
    """

    destination: str
    method: str
    denied: bool
    why: str
    rule: str
    step: str
    executable: str
    was: str
    fails: bool
    path: str = field(default="", compare=False)
    count: int = field(default=0, compare=False)

    @property
    def differs(self) -> bool:
        """Whether the run's own policy had said otherwise."""
        return self.denied != (self.was == "denied")


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """lines: denied ones first, those that differ before others. left_out: attempts that are not listed."""

    verdict: Verdict
    exit_code: int
    runs: int
    attempts: int
    lines: tuple[Line, ...]
    left_out: int = 0


def replay_report(replayed: Iterable[Replayed], runs: int) -> ReplayReport:
    """Lines and verdict of attempts of so many runs."""
    counts: dict[Line, int] = {}
    found, attempts, left_out = Verdict.clean, 0, 0
    for one in replayed:
        times = one.after.count if isinstance(one.after, Packet) else 1
        attempts += times
        found = max(found, said_by(one.after), key=list(Verdict).index)
        line = _line(one)
        if line in counts or len(counts) < MAX_LISTED:
            counts[line] = counts.get(line, 0) + times
        else:
            left_out += times
    lines = [dataclasses.replace(line, count=count) for line, count in counts.items()]
    lines.sort(key=lambda one: (not one.denied, not one.fails, not one.differs, one.destination, one.method))
    return ReplayReport(found, exit_code(found, mode="enforce", command_code=0), runs, attempts, tuple(lines), left_out)


def _line(one: Replayed) -> Line:
    event, origin = one.after, one.after.origin
    leaks = [] if not isinstance(event, Exchange | DnsQuestion) else [f.secret for f in event.findings if not f.permitted]
    return Line(
        destination=destination(event),
        method=event.method if isinstance(event, Exchange) else "",
        denied=one.is_denied,
        why=f"secret {', '.join(sorted(set(leaks)))}" if leaks else event.decision.reason,
        rule=event.decision.rule,
        step=origin.step.name if origin.step else "",
        executable=origin.process.exe.rpartition("/")[2] if origin.process else "",
        was="denied" if one.was_denied else "allowed",
        fails=said_by(event) is not Verdict.clean,
        path=event.path if isinstance(event, Exchange) else "",
    )


def to_json(report: ReplayReport) -> str:
    """One JSON object. Additions only, no renames."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(report)}, indent=2) + "\n"


def render(report: ReplayReport, stream: TextIO, *, changed_only: bool = False) -> None:
    """Plain text, aligned by nothing: each line can be searched for."""
    runs = "1 run" if report.runs == 1 else f"{report.runs} runs"
    stream.write(f"ebbgate: {report.verdict} · exit code {report.exit_code} · {report.attempts} attempts of {runs}\n")
    for title, denied in (("would be denied", True), ("would be allowed", False)):
        lines = [one for one in report.lines if one.denied is denied and (one.differs or not changed_only)]
        if lines:
            stream.write(f"{title}:\n")
        stream.writelines(f"  {_text(one)}\n" for one in lines)
    if report.left_out:
        stream.write(f"  and {report.left_out} more attempts\n")


def _text(one: Line) -> str:
    request = f" {one.method} {one.path}" if one.method else ""
    who = " · ".join(part for part in (one.step and f"step {one.step}", one.executable) if part)
    why = one.why if one.denied else ""
    quiet = "quietly" if one.denied and not one.fails else ""
    told = f"it was {one.was}" if one.differs else ""
    parts = [f"{one.count}x {one.destination}{request}", why, quiet, one.rule and f"by {one.rule}", who, told]
    return " · ".join(printable(part, MAX_TEXT) for part in parts if part)
