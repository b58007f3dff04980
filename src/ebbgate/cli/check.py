"""``ebbgate check``: whether policy files are right and wise, before anything depends on them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.events.publish import printable
from ebbgate.exit_codes import BAD_USAGE, FINDINGS
from ebbgate.policy.checks.finding import Finding, Severity
from ebbgate.policy.checks.registry import INVALID, MEANINGS, review_file
from ebbgate.policy.model import Policy
from ebbgate.report.findings import FORMATS

MAX_LINE = 1000  # characters; a path may have 4,096


class Format(StrEnum):
    """How findings are shown."""

    plain = "plain"
    json = "json"
    sarif = "sarif"
    github = "github"


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files.", show_default=False)],
    format_: Annotated[
        Format, typer.Option("--format", help="plain, json, sarif (code scanning) or github (annotations).")
    ] = Format.plain,
) -> None:
    """Check policy files, jobs included: mistakes, and what is legal and still worth a look.

    Each finding has a rule, a severity, file:line:column and a fix; docs/reference.md lists the rules. A `reason:` beside an
    entry makes a note of what would be a warning. Exit codes: 0 nothing but notes; 1 a warning or an error; 2 a file is no
    valid policy, or there is none.
    """
    findings: list[Finding] = []
    for file in files:
        policy, found = review_file(file)
        findings += found
        if policy is not None and format_ is Format.plain:
            typer.echo(printable(f"{file}: {_told(policy, found)}", MAX_LINE))
    shown = FORMATS[format_](findings, MEANINGS)
    invalid = any(one.rule in INVALID for one in findings)
    print(shown, end="", file=sys.stderr if invalid and format_ is Format.plain else sys.stdout)
    sys.exit(BAD_USAGE if invalid else FINDINGS if any(one.severity is not Severity.NOTE for one in findings) else 0)


def _told(policy: Policy, found: list[Finding]) -> str:
    told = [
        f"mode {policy.mode}",
        f"{len(policy.allow)} allowed",
        f"{len(policy.deny)} denied",
        f"{len(policy.bindings)} secrets",
    ]
    told += ["own credentials only"] if policy.own_credentials else []
    told += ["what is inspected only"] if policy.inspected_only else []
    told += [f"exceptions: {' '.join(policy.exceptions)}"] if policy.exceptions else []
    told += ["canaries"] if policy.canary else []
    warned = sum(1 for one in found if one.severity is not Severity.NOTE)
    return f"{f'{warned} to look at' if warned else 'ok'}, {', '.join(told)}"
