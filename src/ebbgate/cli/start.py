"""``ebbgate start``: guard a whole machine for one job. For the action, which sends everything on standard input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.errors import PlatformError, PolicyError
from ebbgate.warden.job_request import STATE, JobRequest, Target


def start(
    *,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the job's document from standard input (required).")] = False,
    state: Annotated[Path, typer.Option(help="Directory of the running guard.", metavar="DIR")] = STATE,
    connector_netns: Annotated[
        Path | None, typer.Option(help="Network namespace in which the kernel tells of processes.", metavar="PATH", hidden=True)
    ] = None,
    sysctls: Annotated[Path, typer.Option(help="Where the kernel's settings are.", metavar="DIR", hidden=True)] = Path(
        "/proc/sys"
    ),
) -> None:
    """Guard every process of this machine from now on, until `ebbgate stop`. Root only; meant for the GitHub Action.

    Reads one JSON document (inputs, secrets, context, policy, runner) from standard input and writes one to standard output.
    Exit codes: 0 armed and proven; 2 bad input and 3 the machine lacks something (nothing was changed); 93 it could not be
    proven, and the machine stays closed.
    """
    from ebbgate.ci.github import MAX_DOCUMENT, job_request  # noqa: PLC0415 - other commands need none of it
    from ebbgate.warden.daemon import start as start_warden  # noqa: PLC0415 - the same

    if not stdin:
        raise PolicyError("the job's document is missing", "", "ebbgate start --stdin < document.json; see docs/reference.md")
    if os.geteuid() != 0:
        raise PlatformError("guarding a whole machine needs root", "", "sudo ebbgate start --stdin")

    def read() -> JobRequest:
        text = sys.stdin.buffer.read(MAX_DOCUMENT + 1)
        if len(text) > MAX_DOCUMENT:
            raise PolicyError("the job's document is too large", f"over {MAX_DOCUMENT} bytes", "shorten the policy")
        return job_request(text, Target(state=state, connector_netns=connector_netns, sysctls=sysctls))

    print(json.dumps(start_warden(read)))
