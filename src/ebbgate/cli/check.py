"""``ebbgate check``: whether policy files are right, before anything depends on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ebbgate.policy.load import load_policy
from ebbgate.policy.yaml_source import PolicyProblems, Problem


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files.", show_default=False)],
) -> None:
    """Check policy files. Every mistake is named with file:line:column and what to write instead; exit code 2 then."""
    problems: list[Problem] = []
    for file in files:
        try:
            policy = load_policy([file])
        except PolicyProblems as found:
            problems += found.problems
            continue
        allowed, denied = len(policy.allow), len(policy.deny)
        told = [f"mode {policy.mode}", f"{allowed} allowed", f"{denied} denied", f"{len(policy.bindings)} secrets"]
        told += ["own credentials only"] if policy.own_credentials else []
        told += ["what is inspected only"] if policy.inspected_only else []
        told += [f"exceptions: {' '.join(policy.exceptions)}"] if policy.exceptions else []
        told += ["canaries"] if policy.canary else []
        typer.echo(f"{file}: ok, {', '.join(told)}")
    if problems:
        raise PolicyProblems(problems)
