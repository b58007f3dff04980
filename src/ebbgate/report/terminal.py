"""The report on a terminal, or in a log: colours only where there is somebody to see them."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ebbgate.events.incidents import Incident, Kind
from ebbgate.events.publish import printable
from ebbgate.events.verdict import Verdict
from ebbgate.report.advice import ALLOWABLE, advice
from ebbgate.report.interface import RunReport
from ebbgate.report.wording import (
    MAX_COMMAND,
    about_secrets,
    foreign_text,
    headline,
    process_text,
    remarks,
    rotation_text,
    size,
    together,
    verdict_text,
    watched,
    whereabouts,
    why,
)

LOG_WIDTH = 120  # columns where no terminal says how many it has
MAX_SHOWN = 25  # incidents and destinations; report.json has all
MAX_ANCESTORS = 4
_STYLES = {
    Verdict.clean: "green",
    Verdict.blocked: "yellow",
    Verdict.exfiltration: "bold red",
    Verdict.tampered: "bold red",
    Verdict.broken: "bold red",
}


def render(report: RunReport, stream: TextIO, *, color: bool | None = None) -> None:
    """Print the report. color: None decides by the stream, NO_COLOR and TERM."""
    console = _console(stream, color=color)
    with console.capture() as captured:
        _everything(console, report)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    stream.flush()


def _everything(console: Console, report: RunReport) -> None:
    label, style = verdict_text(report), _STYLES[report.verdict]
    console.print()
    console.print(Text.assemble("ebbgate: ", (label, style), f" · {report.mode} · exit code {report.exit_code}"))
    _facts(console, report)
    _incidents(console, report)
    _rotations(console, report)
    _foreign(console, report)
    _destinations(console, report)
    _notes(console, report)


def _console(stream: TextIO, *, color: bool | None) -> Console:
    terminal = stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    colored = (terminal and not os.environ.get("NO_COLOR")) if color is None else color
    return Console(
        file=stream,
        force_terminal=colored,
        no_color=not colored,
        color_system="standard" if colored else None,
        width=None if terminal else LOG_WIDTH,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


def _facts(console: Console, report: RunReport) -> None:
    ending = f"ended with {report.command_exit_code}"
    if report.killed_by_guard:
        ending = "ended by ebbgate"
    rows = [
        ("command", f"{printable(report.command, MAX_COMMAND)}  ({ending} after {report.seconds:.1f} s)"),
        ("policy", ", ".join(report.policy) or "empty: nothing is allowed"),
        ("secrets", watched(report)),
    ]
    if report.doors_opened:
        rows.append(("doors left open", ", ".join(report.doors_opened)))
    _pairs(console, rows)


def _pairs(console: Console, rows: list[tuple[str, str]], *, indent: int = 2) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))


def _incidents(console: Console, report: RunReport) -> None:
    if not report.incidents:
        return
    console.print()
    console.print(Text("What to act on" if report.mode == "enforce" else "What enforce mode would stop", style="bold"))
    groups = together(report.incidents)
    for number, group in enumerate(groups[:MAX_SHOWN], 1):
        _incident(console, number, group)
    if len(groups) > MAX_SHOWN:
        console.print(Text(f"  and {len(groups) - MAX_SHOWN} more"))
    options = list(dict.fromkeys(one.suggestion for one in report.incidents if one.kind is Kind.blocked and one.suggestion))
    if options:
        console.print(Text(f"  If these destinations are wanted: {' '.join(options[:MAX_SHOWN])}"))


def _incident(console: Console, number: int, group: list[Incident]) -> None:
    incident = group[0]
    names = ", ".join(one.secret for one in group)
    style = "yellow" if incident.kind is Kind.blocked else "bold red"
    times = f" ({incident.count} times)" if incident.count > 1 else ""
    console.print(Text.assemble(f"  {number}. ", (headline(incident, names), style), times))
    rows: list[tuple[str, str]] = []
    if incident.kind is Kind.exfiltration:
        rows += about_secrets(group)
    elif incident.kind is Kind.blocked:
        rows.append(("why", why(incident)))
    rows += whereabouts(incident.origin)
    if incident.origin.process is not None:
        rows.append(("process", process_text(incident.origin.process)))
        for ancestor in incident.origin.ancestry[:MAX_ANCESTORS]:
            rows.append(("  from", process_text(ancestor)))
    elif incident.destination:
        rows.append(("process", "unknown: it had ended already"))
    rows += [("do" if position == 0 else "", line) for position, line in enumerate(advice(incident, names))]
    _pairs(console, rows, indent=5)


def _rotations(console: Console, report: RunReport) -> None:
    if not report.rotations:
        return
    console.print()
    console.print(Text("Secrets to rotate, in this order of steps", style="bold"))
    for one in report.rotations[:MAX_SHOWN]:
        console.print(Text(f"  {one.secret}{f' ({one.kind_name})' if one.kind_name else ''}: {rotation_text(one)}"))
        _pairs(console, [(str(number), step) for number, step in enumerate(one.steps, 1)], indent=5)


def _foreign(console: Console, report: RunReport) -> None:
    if not report.foreign:
        return
    console.print()
    console.print(Text("Credentials that are none of the job's", style="bold"))
    for one in report.foreign[:MAX_SHOWN]:
        console.print(Text(f"  {foreign_text(one)}"))
    if len(report.foreign) > MAX_SHOWN:
        console.print(Text(f"  and {len(report.foreign) - MAX_SHOWN} more in report.json"))


def _destinations(console: Console, report: RunReport) -> None:
    console.print()
    if not report.destinations:
        console.print(Text("Nothing left this machine.", style="bold"))
        return
    console.print(Text("What left", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("destination", overflow="fold", ratio=3)
    for name in ("requests", "out", "in"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from", overflow="fold", ratio=1)
    table.add_column("remarks", overflow="fold", ratio=2)
    for one in report.destinations[:MAX_SHOWN]:
        name = f"{one.protocol}://{one.host}:{one.port}"
        table.add_row(
            Text(name),
            f"{one.exchanges:,}",
            size(one.bytes_out),
            size(one.bytes_in),
            Text(", ".join(one.programs)),
            Text(remarks(one)),
        )
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if len(report.destinations) > MAX_SHOWN:
        console.print(Text(f"  and {len(report.destinations) - MAX_SHOWN} more in report.json"))


def _notes(console: Console, report: RunReport) -> None:
    notes = [one.what for one in report.notices[:MAX_SHOWN]]
    if report.quiet:
        shown = ", ".join(f"{what} ×{count}" if count > 1 else what for what, count in report.quiet[:8])
        notes.append(f"blocked without failing: {shown}{' …' if len(report.quiet) > 8 else ''}")
    if report.uninspected_bytes:
        notes.append(f"{size(report.uninspected_bytes)} left without being inspected in full")
    if report.dropped_events:
        notes.append(f"{report.dropped_events:,} records were only counted, not kept")
    if report.mode == "audit" and any(one.reason in ALLOWABLE for one in report.incidents):
        notes.append("policy.suggested.yml in the --report directory allows what was seen; read it before you use it")
    if notes:
        console.print()
    for note in notes:
        console.print(Text(f"  {note}"))
