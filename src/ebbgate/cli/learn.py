"""``ebbgate learn``: from runs to a policy that a person reviews."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.report.learn_run import LearnOptions, learn_runs


def learn(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Journals: events.jsonl, or its directory.", show_default=False)
    ],
    *,
    into: Annotated[Path | None, typer.Option(help="Policy file to add to; else it is printed.", metavar="FILE")] = None,
) -> None:
    """Merge what runs did into a policy. What is in FILE stays as it is, byte for byte; learning twice changes nothing.

    \b
    ebbgate run --mode audit --report out1 -- make test
    ebbgate learn out1 out2 out3 --into ci.yml

    Attempts to leak, blocked destinations and hosts that anybody can read are never learned; they are listed with the reason.
    Exit codes: 0, also when there was nothing to learn; 2 bad usage, policy or journal, and nothing was changed.
    """
    learn_runs(LearnOptions(tuple(runs), into), sys.stdout, sys.stderr)
