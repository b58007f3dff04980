"""Annotations as workflow commands: the verdict in the first, then the worst incidents; GitHub shows ten of a kind a step."""

from __future__ import annotations

from ebbgate.events.types import Concern
from ebbgate.events.verdict import Verdict
from ebbgate.report.advice import advice
from ebbgate.report.interface import RunReport
from ebbgate.report.wording import headline, together, verdict_text, whereabouts
from ebbgate.report.workflow_commands import command

MAX_DETAILS = 9  # besides the first; the runner counts ten of a kind for each step
MAX_WARNINGS = 5  # of what a policy may be wrong in


def to_annotations(report: RunReport) -> list[str]:
    """Lines to print. A clean run has none but of names in its policy that do not resolve."""
    warnings = [command("warning", one.what) for one in report.notices if one.concern == Concern.NAME][:MAX_WARNINGS]
    if report.verdict is Verdict.clean:
        return warnings
    level = "error" if report.exit_code else "warning"
    lines = [command(level, f"Ebbgate: {verdict_text(report)}. The job summary says more.")]
    for group in together(report.incidents)[:MAX_DETAILS]:
        first = group[0]
        names = ", ".join(one.secret for one in group)
        where = "".join(f" · {word} {text}" for word, text in whereabouts(first.origin))
        program = first.origin.process.exe.rpartition("/")[2] if first.origin.process else ""
        lines.append(command(level, f"{headline(first, names)}{where} · {program} · {' '.join(advice(first, names))}"))
    return lines + warnings
