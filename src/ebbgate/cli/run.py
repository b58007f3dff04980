"""``ebbgate run``: one command, sealed, judged and reported."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.policy.placeholders import given
from ebbgate.warden.sealed_run import Options, sealed_run


class Mode(StrEnum):
    """enforce stops what no rule allows; audit only watches and suggests a policy."""

    enforce = "enforce"
    audit = "audit"


class OnExfiltration(StrEnum):
    """What happens when a secret is about to leave. It is cut in every case."""

    kill = "kill"
    fail = "fail"
    warn = "warn"


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="The command to run, with its arguments.", show_default=False)
    ],
    policy: Annotated[Path | None, typer.Option(help="Policy file.", metavar="FILE")] = None,
    job: Annotated[str | None, typer.Option(help="Job of the policy file whose additions apply.", metavar="NAME")] = None,
    mode: Annotated[Mode | None, typer.Option(help="enforce (default) or audit.", show_default=False)] = None,
    use: Annotated[list[str] | None, typer.Option(help="Preset to add; see `ebbgate presets`.", metavar="PRESET")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Destination to allow: [http://|tcp://]HOST[:PORT].", metavar="HOST")
    ] = None,
    deny: Annotated[list[str] | None, typer.Option(help="Destination to deny without failing.", metavar="HOST")] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="Environment variable whose value must not leave.", metavar="NAME")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Directory for events.jsonl, report.json, policy.suggested.yml.", metavar="DIR")
    ] = None,
    on_exfiltration: Annotated[
        OnExfiltration, typer.Option(help="kill ends the command, fail lets it go on, warn does not fail.")
    ] = OnExfiltration.kill,
    open_door: Annotated[
        list[str] | None,
        typer.Option(help="Leave a masked socket reachable: docker, ssh-agent, ... or a path.", metavar="DOOR"),
    ] = None,
    repository: Annotated[
        str | None, typer.Option(help="{owner} and {repo} in paths, instead of GITHUB_REPOSITORY.", metavar="OWNER/NAME")
    ] = None,
    ref: Annotated[str | None, typer.Option(help="{ref} in paths, instead of GITHUB_REF_NAME.", metavar="NAME")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print a report only when something is wrong.")] = False,  # noqa: FBT002
) -> None:
    """Run a command that can reach the world only through the gate.

    \b
    ebbgate run --use python -- pip install -r requirements.txt
    ebbgate run --mode audit --report out -- make test      # learn a policy
    ebbgate run --policy ci.yml --job build -- make         # and hold to it

    Exit codes: the command's own when the verdict is clean; 90 blocked destination; 91 exfiltration attempt; 92 tampered;
    93 the guard broke; 2 bad usage or policy, 3 the machine lacks something (nothing was run).
    """
    options = Options(
        command=tuple(command),
        policy=policy,
        job=job,
        mode=mode.value if mode else None,
        use=tuple(use or ()),
        allow=tuple(allow or ()),
        deny=tuple(deny or ()),
        secrets=tuple(secret or ()),
        report=report,
        on_exfiltration=on_exfiltration.value,
        open_doors=tuple(open_door or ()),
        quiet=quiet,
        context=given(repository, ref),
    )
    sys.exit(sealed_run(options, dict(os.environ), sys.stderr))
