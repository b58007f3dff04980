"""``ebbgate diff``: what a change of a policy lets out."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.exit_codes import FINDINGS
from ebbgate.policy.diff import differences_of_jobs
from ebbgate.policy.load import policies_of
from ebbgate.report.differences import FORMATS


class Format(StrEnum):
    """How differences are shown."""

    plain = "plain"
    markdown = "markdown"
    json = "json"


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policy as it was.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policy as it would be.", show_default=False)],
    format_: Annotated[Format, typer.Option("--format", help="plain, markdown (a comment) or json.")] = Format.plain,
) -> None:
    """Tell what becomes possible and what no longer is, between two policy files, presets and jobs included.

    Exit codes: 0 nothing becomes possible; 1 something does; 2 a file is no valid policy.
    """
    changes = differences_of_jobs(policies_of(old), policies_of(new))
    print(FORMATS[format_](changes), end="")
    sys.exit(FINDINGS if any(one.widens for one in changes) else 0)
