"""``ebbgate stop``: end a guard, and open what it closed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import nftables
from ebbgate.warden.control import ask
from ebbgate.warden.job_request import STATE

TIMEOUT = 20.0  # seconds; a guard that takes longer is ended


def stop(state: Annotated[Path, typer.Option(help="Directory of the running guard.", metavar="DIR")] = STATE) -> None:
    """End the guard of this machine: rules, locks that can be undone, and trust are taken away. Root only.

    For machines that go on after a job. Nothing of a job should be running any more.
    """
    if os.geteuid() != 0:
        raise PlatformError("only root may end the guard", "", "sudo ebbgate stop")
    try:
        answer = ask(state, {"type": "stop"}, timeout=TIMEOUT)
    except IntegrityError:
        from ebbgate.warden.daemon import stop_dead  # noqa: PLC0415 - other commands need none of it

        stop_dead(state, nftables.program_path())
        print("ebbgate: no guard was running; what one had left was taken away")
        return
    if answer.get("type") != "stopped":
        raise IntegrityError("the guard did not stop", str(answer.get("why", "")), "")
    print("ebbgate: stopped; this machine is no longer guarded")
