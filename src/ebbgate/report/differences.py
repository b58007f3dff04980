"""What a change of a policy lets out: for a terminal, a pull request's comment, a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from ebbgate.events.publish import printable
from ebbgate.policy.diff import Change
from ebbgate.report.explained import place
from ebbgate.report.markdown import code

MAX_ROWS = 300  # a comment may have 65,536 characters
_MAX_LINE = 500
_TITLES = {True: "becomes possible", False: "no longer possible"}


def to_text(changes: Sequence[Change]) -> str:
    """``+`` what becomes possible, ``-`` what no longer is."""
    if not changes:
        return "nothing becomes possible, and nothing stops being so\n"
    return "".join(f"{printable(line, _MAX_LINE)}\n" for line in _lines(changes))


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    for widens, sign in ((True, "+"), (False, "-")):
        chosen = [one for one in changes if one.widens is widens]
        if chosen:
            yield f"{_TITLES[widens]}:"
        for one in chosen:
            job, where = f" (job {one.job})" if one.job else "", f"  [{place(one.ref)}]" if one.ref.source else ""
            yield f"  {sign} {one.what}{job}{where}"


def to_markdown(changes: Sequence[Change]) -> str:
    """A table; every text of the policies is a code span that nothing in it can leave."""
    wider = sum(1 for one in changes if one.widens)
    lines = [f"### Egress policy: {f'{wider} more possible' if wider else 'nothing more is possible'}", ""]
    if changes:
        lines += ["| | what | job | where |", "| --- | --- | --- | --- |"]
    for one in changes[:MAX_ROWS]:
        sign = "🟡 +" if one.widens else "−"
        where = code(place(one.ref)) if one.ref.source else ""
        lines.append(f"| {sign} | {code(one.what, _MAX_LINE)} | {code(one.job) if one.job else 'all'} | {where} |")
    if len(changes) > MAX_ROWS:
        lines += ["", f"and {len(changes) - MAX_ROWS} more"]
    return "\n".join(lines) + "\n"


def to_json(changes: Sequence[Change]) -> str:
    """``{"version": 1, "widens": bool, "changes": [...]}``."""
    listed = [
        {"widens": one.widens, "kind": one.kind, "what": one.what, "job": one.job, "file": one.ref.source, "line": one.ref.line}
        for one in changes
    ]
    return json.dumps({"version": 1, "widens": any(one.widens for one in changes), "changes": listed}, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Change]], str]] = {"plain": to_text, "markdown": to_markdown, "json": to_json}
