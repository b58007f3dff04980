"""Findings of ``ebbgate check`` for a person, a program, a code scanner and a pull request's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any  # JSON documents
from urllib.parse import quote

from ebbgate import __version__
from ebbgate.events.publish import printable
from ebbgate.policy.checks.finding import Finding, Severity
from ebbgate.report.workflow_commands import command

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_MAX_TEXT = 2000
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def to_plain(findings: Sequence[Finding], _meanings: Mapping[str, str]) -> str:
    """``file:line:column: severity rule: message (fix)``, one a line."""
    return "".join(f"{printable(_line(one), _MAX_TEXT)}\n" for one in findings)


def _line(one: Finding) -> str:
    fix = f" ({one.fix})" if one.fix else ""
    return f"{one.source}:{one.line}:{one.column}: {one.severity} {one.rule}: {one.message}{fix}"


def to_json(findings: Sequence[Finding], _meanings: Mapping[str, str]) -> str:
    """``{"version": 1, "findings": [...]}``."""
    listed = [
        {
            "rule": one.rule,
            "severity": str(one.severity),
            "file": one.source,
            "line": one.line,
            "column": one.column,
            "message": one.message,
            "fix": one.fix,
        }
        for one in findings
    ]
    return json.dumps({"version": 1, "findings": listed}, indent=2) + "\n"


def to_sarif(findings: Sequence[Finding], meanings: Mapping[str, str]) -> str:
    """SARIF 2.1.0, one run. A rule's severity is told with each result: a reason beside an entry lowers it."""
    ids = list(dict.fromkeys([*meanings, *(one.rule for one in findings)]))
    rules = [{"id": name, "shortDescription": {"text": meanings.get(name) or name}} for name in ids]
    driver = {"name": "Ebbgate", "semanticVersion": __version__, "rules": rules}
    results = [_result(one, ids.index(one.rule)) for one in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(one: Finding, index: int) -> dict[str, Any]:
    level = "note" if one.severity is Severity.NOTE else str(one.severity)
    text = f"{one.message}. Fix: {one.fix}" if one.fix else one.message
    place = {
        "artifactLocation": {"uri": quote(PurePath(one.source).as_posix())},
        "region": {"startLine": max(one.line, 1), "startColumn": max(one.column, 1)},
    }
    return {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": level,
        "message": {"text": printable(text, _MAX_TEXT)},
        "locations": [{"physicalLocation": place}],
    }


def to_github(findings: Sequence[Finding], _meanings: Mapping[str, str]) -> str:
    """Workflow commands, worst first: GitHub shows ten of a kind a step."""
    order = sorted(findings, key=lambda one: list(Severity).index(one.severity))
    return "".join(f"{_annotation(one)}\n" for one in order)


def _annotation(one: Finding) -> str:
    text = f"{one.message} ({one.fix})" if one.fix else one.message
    title = f"Ebbgate {one.rule}"
    return command(_LEVELS[one.severity], text, title, file=one.source, line=one.line, column=one.column)


FORMATS: Mapping[str, Callable[[Sequence[Finding], Mapping[str, str]], str]] = {
    "plain": to_plain,
    "json": to_json,
    "sarif": to_sarif,
    "github": to_github,
}
