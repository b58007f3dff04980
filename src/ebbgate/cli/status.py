"""``ebbgate status``: how a running guard stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.warden.control import ask
from ebbgate.warden.job_request import STATE

TIMEOUT = 10.0  # seconds


def status(
    *,
    state: Annotated[Path, typer.Option(help="Directory of the running guard.", metavar="DIR")] = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how the guard of this machine stands: armed or not, for how long, its parts, the verdict so far."""
    answer = ask(state, {"type": "status"}, timeout=TIMEOUT)
    answer.pop("type", None)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    armed = f"armed for {answer['seconds']:.0f} s" if answer["armed"] else "NOT ARMED"
    print(f"ebbgate: {armed} · {answer['mode']} · so far: {answer['verdict_so_far']}")
    for name in ("incidents", "events", "open_connections", "gate_restarts", "warden", "gate"):
        print(f"  {name.replace('_', ' '):17} {answer[name]}")
    for warning in answer["warnings"]:
        print(f"  warning: {warning}")
