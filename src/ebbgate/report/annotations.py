"""Annotations as workflow commands: the verdict in the first, then the worst incidents; GitHub shows ten of a kind a step."""

from __future__ import annotations

from ebbgate.events.publish import printable
from ebbgate.events.types import Concern
from ebbgate.events.verdict import Verdict
from ebbgate.report.advice import advice
from ebbgate.report.interface import RunReport
from ebbgate.report.wording import headline, together, verdict_text, whereabouts

MAX_DETAILS = 9  # besides the first; the runner counts ten of a kind for each step
MAX_WARNINGS = 5  # of what a policy may be wrong in
MAX_MESSAGE = 1000  # characters; the runner cuts at 4,096


def to_annotations(report: RunReport) -> list[str]:
    """Lines to print. A clean run has none but of names in its policy that do not resolve."""
    warnings = [_command("warning", one.what) for one in report.notices if one.concern == Concern.NAME][:MAX_WARNINGS]
    if report.verdict is Verdict.clean:
        return warnings
    level = "error" if report.exit_code else "warning"
    lines = [_command(level, f"Ebbgate: {verdict_text(report)}. The job summary says more.")]
    for group in together(report.incidents)[:MAX_DETAILS]:
        first = group[0]
        names = ", ".join(one.secret for one in group)
        where = "".join(f" · {word} {text}" for word, text in whereabouts(first.origin))
        program = first.origin.process.exe.rpartition("/")[2] if first.origin.process else ""
        lines.append(_command(level, f"{headline(first, names)}{where} · {program} · {' '.join(advice(first, names))}"))
    return lines + warnings


def _command(level: str, message: str) -> str:
    """https://docs.github.com/actions/reference/workflow-commands-for-github-actions: data is percent-escaped."""
    shown = printable(message, MAX_MESSAGE).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=Ebbgate::{shown}"
