"""The report on a terminal, or in a log: colours only where there is somebody to see them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ebbgate.events.incidents import Incident, Kind
from ebbgate.events.publish import printable
from ebbgate.events.types import Process
from ebbgate.events.verdict import Verdict
from ebbgate.exit_codes import BLOCKED, EXFILTRATION
from ebbgate.policy.observation import Reason
from ebbgate.report.advice import ALLOWABLE, advice
from ebbgate.report.interface import Destination, RunReport

LOG_WIDTH = 120  # columns where no terminal says how many it has
MAX_SHOWN = 25  # incidents and destinations; report.json has all
MAX_ANCESTORS = 4
MAX_COMMAND = 240  # characters of a command line
_HEADLINES = {
    Verdict.clean: ("clean", "green"),
    Verdict.blocked: ("blocked destination", "yellow"),
    Verdict.exfiltration: ("exfiltration attempt", "bold red"),
    Verdict.tampered: ("tampered with", "bold red"),
    Verdict.broken: ("the guard broke", "bold red"),
}
AUDITED = {Verdict.blocked: BLOCKED, Verdict.exfiltration: EXFILTRATION}
_REASONS = {
    Reason.NO_RULE: "no rule allows it",
    Reason.PORT: "the host is allowed, on another port",
    Reason.PROTOCOL: "the host is allowed, for another protocol",
    Reason.METHOD: "the host is allowed, for other methods",
    Reason.PATH: "the host is allowed, for other paths",
    Reason.ADDRESS_MISMATCH: "forged: the address is not one of this name's",
    Reason.HOST_MISMATCH: "forged: the Host header is not the TLS server name",
    Reason.SPECIAL_ADDRESS: "the name leads to an internal address",
    Reason.NO_NAME: "no name is known for the address",
    Reason.NOT_CARRIED: "only TCP and DNS are ever carried",
    Reason.MALFORMED: "it can be read in more than one way",
    Reason.DEFECT: "the guard failed while judging it",
}


def render(report: RunReport, stream: TextIO, *, color: bool | None = None) -> None:
    """Print the report. color: None decides by the stream, NO_COLOR and TERM."""
    console = _console(stream, color=color)
    with console.capture() as captured:
        _everything(console, report)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    stream.flush()


def _everything(console: Console, report: RunReport) -> None:
    label, style = _HEADLINES[report.verdict]
    if report.mode == "audit" and report.verdict in (Verdict.blocked, Verdict.exfiltration):
        label = f"only watched; enforce mode would end with {AUDITED[report.verdict]} ({label})"
    console.print()
    console.print(Text.assemble("ebbgate: ", (label, style), f" · {report.mode} · exit code {report.exit_code}"))
    _facts(console, report)
    _incidents(console, report)
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
        ("secrets", _watched(report)),
    ]
    if report.doors_opened:
        rows.append(("doors left open", ", ".join(report.doors_opened)))
    _pairs(console, rows)


def _watched(report: RunReport) -> str:
    names = [secret.name for secret in report.secrets]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{len(names)} watched: {shown}" if names else "none watched: name them with --secret"


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
    groups = _together(report.incidents)
    for number, group in enumerate(groups[:MAX_SHOWN], 1):
        _incident(console, number, group)
    if len(groups) > MAX_SHOWN:
        console.print(Text(f"  and {len(groups) - MAX_SHOWN} more"))
    options = list(dict.fromkeys(one.suggestion for one in report.incidents if one.kind is Kind.blocked and one.suggestion))
    if options:
        console.print(Text(f"  If these destinations are wanted: {' '.join(options[:MAX_SHOWN])}"))


def _together(incidents: Iterable[Incident]) -> list[list[Incident]]:
    """Secrets that went the same way from the same process are one thing to act on."""
    groups: dict[tuple[object, ...], list[Incident]] = {}
    for number, one in enumerate(incidents):
        leak = one.kind is Kind.exfiltration
        key = (one.destination, one.place, one.encodings, one.origin, one.stopped) if leak else (number,)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _incident(console: Console, number: int, group: list[Incident]) -> None:
    incident = group[0]
    names = ", ".join(one.secret for one in group)
    style = "yellow" if incident.kind is Kind.blocked else "bold red"
    times = f" ({incident.count} times)" if incident.count > 1 else ""
    console.print(Text.assemble(f"  {number}. ", (_headline(incident, names), style), times))
    rows: list[tuple[str, str]] = []
    if incident.kind is Kind.exfiltration:
        rows.append(("where", f"{incident.place}, written as {' in '.join(reversed(incident.encodings)) or 'raw'}"))
        rows.append(("left", _left(incident)))
    elif incident.kind is Kind.blocked:
        reason = _REASONS.get(Reason(incident.reason), incident.reason) if incident.reason in set(Reason) else incident.reason
        rows.append(("why", reason + (f": {incident.detail}" if incident.reason in ("method", "path") else "")))
    if incident.origin.process is not None:
        rows.append(("process", _process(incident.origin.process)))
        for ancestor in incident.origin.ancestry[:MAX_ANCESTORS]:
            rows.append(("  from", _process(ancestor)))
    elif incident.destination:
        rows.append(("process", "unknown: it had ended already"))
    rows += [("do" if position == 0 else "", line) for position, line in enumerate(advice(incident, names))]
    _pairs(console, rows, indent=5)


def _headline(incident: Incident, names: str) -> str:
    if incident.kind is Kind.exfiltration:
        verb, plural = ("cut" if incident.stopped else "sent"), ("s" if "," in names else "")
        return f"{verb}: secret{plural} {names} on the way to {incident.destination}"
    if incident.kind is Kind.blocked:
        return f"{'blocked' if incident.stopped else 'would be blocked'}: {incident.destination}"
    return incident.detail


def _left(incident: Incident) -> str:
    value = "the value did not" if incident.stopped else "THE VALUE LEFT"
    return f"{value}; {_size(incident.bytes_left)} of the request did, {_size(incident.bytes_withheld)} were held back"


def _process(process: Process) -> str:
    program = process.exe.rpartition("/")[2] or "?"
    cmdline = printable(process.cmdline, MAX_COMMAND)
    if not process.certain:
        return f"{program} (a guess: the sender had ended already): {cmdline}"
    return f"{program} (pid {process.pid}): {cmdline}"


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
            _size(one.bytes_out),
            _size(one.bytes_in),
            Text(", ".join(one.programs)),
            Text(_remarks(one)),
        )
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if len(report.destinations) > MAX_SHOWN:
        console.print(Text(f"  and {len(report.destinations) - MAX_SHOWN} more in report.json"))


def _remarks(one: Destination) -> str:
    parts = [f"{name} where it belongs" for name in one.secrets]
    parts += [f"not inspected: {reason}" for reason in one.uninspected]
    if one.failed:
        parts.append(f"{one.failed} failed: {one.error}")
    return "; ".join(parts)


def _notes(console: Console, report: RunReport) -> None:
    notes: list[str] = []
    if report.quiet:
        shown = ", ".join(f"{what} ×{count}" if count > 1 else what for what, count in report.quiet[:8])
        notes.append(f"blocked without failing: {shown}{' …' if len(report.quiet) > 8 else ''}")
    if report.uninspected_bytes:
        notes.append(f"{_size(report.uninspected_bytes)} left without being inspected in full")
    if report.dropped_events:
        notes.append(f"{report.dropped_events:,} records were only counted, not kept")
    if report.mode == "audit" and any(one.reason in ALLOWABLE for one in report.incidents):
        notes.append("policy.suggested.yml in the --report directory allows what was seen; read it before you use it")
    if notes:
        console.print()
    for note in notes:
        console.print(Text(f"  {note}"))


def _size(count: int) -> str:
    """Decimal units, as network tools print them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{count:,} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
