"""The job summary: GitHub-flavoured Markdown, the verdict first.

Text that a job can choose (hosts, paths, command lines, step names) stands in code spans only, where Markdown has no links,
mentions, images or HTML; what could end a span or a table's cell is replaced. The whole stays below GitHub's bound whatever
the job was like: tables are cut and say how much was left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.events.incidents import Incident, Kind
from ebbgate.events.publish import printable
from ebbgate.events.types import Concern
from ebbgate.events.verdict import Verdict
from ebbgate.report.advice import advice
from ebbgate.report.interface import Destination, RunReport
from ebbgate.report.wording import (
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

MAX_BYTES = 900_000  # GitHub drops a summary over 1,024 KiB whole, and other steps of the job may write there too
MAX_INCIDENTS = 50
MAX_ROWS = 300
MAX_SUGGESTED = 200_000
MAX_CELL = 200  # characters
_SIGNS = {Verdict.clean: "✅", Verdict.blocked: "🟡", Verdict.exfiltration: "🛑", Verdict.tampered: "🛑", Verdict.broken: "🛑"}
_UNSAFE = str.maketrans({"`": "ˋ", "|": "¦", "\n": " ", "\r": " "})


def code(text: str, limit: int = MAX_CELL) -> str:
    """Any text as a code span that nothing in it can leave."""
    shown = printable(text, limit).translate(_UNSAFE).strip()
    return f"`{shown}`" if shown else "–"


def to_markdown(report: RunReport) -> str:
    """The summary."""
    parts = [
        f"### {_SIGNS[report.verdict]} Ebbgate: {verdict_text(report)}",
        f"{_facts(report)}",
        *_incidents(report),
        *_rotations(report),
        *_foreign(report),
        *_destinations(report),
        *_quiet(report),
        *_notices(report),
        *_suggested(report),
    ]
    return _bounded(parts)


def _bounded(parts: list[str]) -> str:
    kept: list[str] = []
    room = MAX_BYTES
    for part in parts:
        room -= len(part.encode()) + 2
        if room < 0:
            kept.append("_The rest was left out: it would not fit. It is in the report's JSON._")
            break
        kept.append(part)
    return "\n\n".join(kept) + "\n"


def _facts(report: RunReport) -> str:
    policy = ", ".join(code(one) for one in report.policy) or "empty: nothing is allowed"
    unread = f", {size(report.uninspected_bytes)} of it not inspected in full" if report.uninspected_bytes else ""
    sent = f"{size(sum(one.bytes_out for one in report.destinations))} left to {len(report.destinations)} destinations"
    return (
        f"{report.mode} · guarded for {report.seconds:.0f} s · {sent}{unread}"
        f" · secrets: {code(watched(report))} · policy: {policy}"
    )


def _incidents(report: RunReport) -> Iterable[str]:
    groups = together(report.incidents)
    if not groups:
        return
    yield "#### What to act on" if report.mode == "enforce" else "#### What enforce mode would stop"
    for number, group in enumerate(groups[:MAX_INCIDENTS], 1):
        yield _incident(number, group)
    if len(groups) > MAX_INCIDENTS:
        yield f"and {len(groups) - MAX_INCIDENTS} more"
    options = list(dict.fromkeys(one.suggestion for one in report.incidents if one.kind is Kind.blocked and one.suggestion))
    if options:
        yield "If these destinations are wanted, add to `allow`: " + " ".join(
            code(one.removeprefix("--allow ")) for one in options[:MAX_INCIDENTS]
        )


def _incident(number: int, group: list[Incident]) -> str:
    first = group[0]
    names = ", ".join(one.secret for one in group)
    times = f" ({first.count} times)" if first.count > 1 else ""
    lines = [f"{number}. **{code(headline(first, names))}**{times}"]
    if first.kind is Kind.exfiltration:
        lines += [f"{word}: {code(text, 400)}" for word, text in about_secrets(group)]
    elif first.kind is Kind.blocked:
        lines.append(f"why: {code(why(first))}")
    lines += [f"{word}: {code(text)}" for word, text in whereabouts(first.origin)]
    if first.origin.process is not None:
        lines.append(f"process: {code(process_text(first.origin.process))}")
        lines += [f"from: {code(process_text(one))}" for one in first.origin.ancestry[:4]]
    lines += [f"do: {code(line, 400)}" for line in advice(first, names)]
    return "\n   - ".join(lines)


def _rotations(report: RunReport) -> Iterable[str]:
    if not report.rotations:
        return
    yield "#### Secrets to rotate"
    for one in report.rotations[:MAX_INCIDENTS]:
        lines = [f"{code(one.secret)} {code(one.kind_name) if one.kind_name else ''} {rotation_text(one)}, in this order:"]
        yield "\n".join([*lines, *(f"- [ ] {code(step, 400)}" for step in one.steps)])


def _foreign(report: RunReport) -> Iterable[str]:
    if report.foreign:
        lines = [f"- {code(foreign_text(one), 400)}" for one in report.foreign[:MAX_INCIDENTS]]
        yield "\n".join(["#### Credentials that are none of the job's\n", *lines])


def _destinations(report: RunReport) -> Iterable[str]:
    if not report.destinations:
        yield "Nothing left this machine."
        return
    yield "#### What left"
    rows = [
        "| destination | step | requests | out | in | program | remarks |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    rows += [_row(one) for one in report.destinations[:MAX_ROWS]]
    yield "\n".join(rows)
    if len(report.destinations) > MAX_ROWS:
        yield f"and {len(report.destinations) - MAX_ROWS} more destinations, in the report's JSON"


def _row(one: Destination) -> str:
    whose = ", ".join(one.steps) or one.party
    cells = [
        code(f"{one.protocol}://{one.host}:{one.port}"),
        code(whose),
        f"{one.exchanges:,}",
        size(one.bytes_out),
        size(one.bytes_in),
        code(", ".join(one.programs)),
        code(remarks(one)),
    ]
    return f"| {' | '.join(cells)} |"


def _quiet(report: RunReport) -> Iterable[str]:
    if not report.quiet:
        return
    rows = ["| blocked without failing | times |", "| --- | ---: |"]
    rows += [f"| {code(what)} | {count:,} |" for what, count in report.quiet[:MAX_ROWS]]
    yield _folded(f"{len(report.quiet)} kinds of traffic were blocked without failing the job", "\n".join(rows))


def _notices(report: RunReport) -> Iterable[str]:
    for one in report.notices:
        if one.concern == Concern.NAME:
            yield f"⚠️ {code(one.what, 400)}"
    if report.notices:
        lines = [f"- {code(one.what, 400)}" for one in report.notices[:MAX_ROWS]]
        yield _folded(f"{len(report.notices)} things to know", "\n".join(lines))


def _suggested(report: RunReport) -> Iterable[str]:
    if report.suggested is None:
        return
    text = report.suggested[:MAX_SUGGESTED].replace("`", "ˋ")
    yield _folded("Suggested policy: read it before you use it", f"```yaml\n{text.rstrip()}\n```")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
