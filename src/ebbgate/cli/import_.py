"""``ebbgate import``: another guard's allowlist as a policy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.policy.migrate import imported
from ebbgate.policy.yaml_source import read


class Kind(StrEnum):
    """Whose list it is."""

    harden_runner = "harden-runner"
    bullfrog = "bullfrog"
    native_firewall = "native-firewall"


def import_(
    kind: Annotated[Kind, typer.Argument(metavar="harden-runner|bullfrog|native-firewall", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Workflow, or egress-firewall.yaml.", show_default=False)],
) -> None:
    """Print another guard's allowlist as a policy, job by job; comments say what it leaves open and what was not taken.

    Exit codes: 0, or 2 when the file holds nothing of that guard.
    """
    print(imported(kind.value, read(file), str(file)), end="")
