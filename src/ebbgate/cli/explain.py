"""``ebbgate explain``: what the gate would say to one request, and why."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ebbgate.errors import PolicyError
from ebbgate.exit_codes import BLOCKED, EXFILTRATION
from ebbgate.policy.explain import explain as explained
from ebbgate.policy.explain import observation_of
from ebbgate.policy.load import load_policy
from ebbgate.policy.placeholders import context_of, given
from ebbgate.report.explained import to_text


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Policy file.", show_default=False)],
    request: Annotated[
        list[str], typer.Argument(metavar="[METHOD] URL", help="GET unless said; https:// unless said.", show_default=False)
    ],
    job: Annotated[str | None, typer.Option(help="Job of the policy file whose additions apply.", metavar="NAME")] = None,
    secret: Annotated[str | None, typer.Option(help="A secret by its name: may it be in this request?", metavar="NAME")] = None,
    step: Annotated[str, typer.Option(help="As if this step asked, by its id.", metavar="ID", show_default=False)] = "",
    exe: Annotated[str, typer.Option(help="As if this program asked, by its path.", metavar="PATH", show_default=False)] = "",
    action: Annotated[str, typer.Option(help="As if this action asked.", metavar="OWNER/REPO[@REF]", show_default=False)] = "",
    repository: Annotated[
        str | None, typer.Option(help="{owner} and {repo} in paths, instead of GITHUB_REPOSITORY.", metavar="OWNER/NAME")
    ] = None,
    ref: Annotated[str | None, typer.Option(help="{ref} in paths, instead of GITHUB_REF_NAME.", metavar="NAME")] = None,
) -> None:
    """Explain what a policy says to one request: the decision, its rule, those that almost matched, the smallest that would.

    \b
    ebbgate explain ebbgate.yml POST https://api.github.com/user/repos
    ebbgate explain ebbgate.yml tcp://db.example.com:5432
    ebbgate explain ebbgate.yml PUT https://registry.npmjs.org/x --secret NPM_TOKEN

    Decided by the gate's own code. Exit codes: 0 allowed; 90 denied; 91 allowed, but the secret may not be in it; 2 bad usage
    or policy.
    """
    if len(request) > 2:
        raise PolicyError("more than a method and a URL", "", "ebbgate explain FILE [METHOD] URL")
    seen = observation_of(request[0] if len(request) == 2 else "GET", request[-1])
    seen = replace(seen, step=step, executable=exe, action=action)
    policy = load_policy([file], job=job, context=context_of({**os.environ, **given(repository, ref)}))
    told = explained(policy, seen, secret)
    print(to_text(told, policy.mode, secret or ""), end="")
    if told.decision.allowed:
        sys.exit(EXFILTRATION if told.places == () and not told.decision.passthrough else 0)
    sys.exit(BLOCKED)
