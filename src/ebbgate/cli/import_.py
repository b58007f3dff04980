"""``ebbgate import``: another guard's allowlist as a policy."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.errors import PolicyError
from ebbgate.events.publish import printable
from ebbgate.exit_codes import FINDINGS
from ebbgate.policy.imports.guards import imported
from ebbgate.policy.yaml_source import read

MAX_LINE = 1000  # characters


class Kind(StrEnum):
    """Whose list it is."""

    harden_runner = "harden-runner"
    bullfrog = "bullfrog"
    native_firewall = "native-firewall"


def import_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="harden-runner, bullfrog or native-firewall.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow, or the firewall's file.", show_default=False)],
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE", help="Write the policy there; it must not exist.")
    ] = None,
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --into: replace the file.")] = False,
) -> None:
    """Turn another guard's allowlist into a policy, with a comment at each line about what it leaves open.

    Jobs are kept apart: what all have stands at the top. Presets that would serve are suggested. Exit codes: 0 everything was
    carried over; 1 something has no counterpart here, told on standard error and in the policy; 2 the file cannot be read.
    """
    policy, left_out = imported(kind.value, str(file), read(file))
    if into is None:
        print(policy, end="")
    else:
        _write(into, policy, overwrite=overwrite)
    for one in left_out:
        print(printable(f"{file}:{one.line}:{one.column}: left out: {one.text}: {one.why}", MAX_LINE), file=sys.stderr)
    sys.exit(FINDINGS if left_out else 0)


def _write(into: Path, policy: str, *, overwrite: bool) -> None:
    try:
        with into.open("w" if overwrite else "x", encoding="utf-8") as stream:
            stream.write(policy)
    except FileExistsError:
        raise PolicyError(f"{into} exists", "nothing was written", "name another file, or add --overwrite") from None
    except OSError as problem:
        raise PolicyError(f"{into} cannot be written", problem.strerror or "", "check the path") from None
