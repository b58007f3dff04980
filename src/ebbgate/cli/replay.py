"""``ebbgate replay``: what a policy would have done with runs that have been."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.report.replay_run import ReplayOptions, replay_runs


def replay(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Journals: events.jsonl, or its directory.", show_default=False)
    ],
    *,
    policy: Annotated[Path, typer.Option(help="Policy file.", metavar="FILE")],
    job: Annotated[
        str | None, typer.Option(help="Job whose additions apply; else each run's own.", metavar="NAME", show_default=False)
    ] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what the run's own policy had judged otherwise.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what a policy, enforced, would have allowed and denied of what runs did.

    \b
    ebbgate run --mode audit --report out -- make test
    ebbgate replay out --policy ci.yml
    ebbgate replay out --policy ci.yml --changed      # after a change, in a pull request

    What the gate never found out, since the host was refused at once, is taken to be in order.

    Exit codes, as of `ebbgate run`: 0 all would pass; 90 blocked destination; 91 exfiltration attempt; 2 bad usage, policy or
    journal.
    """
    sys.exit(replay_runs(ReplayOptions(tuple(runs), policy, job, changed, as_json), sys.stdout))
