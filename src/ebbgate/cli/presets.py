"""``ebbgate presets``: what can be named by ``use:`` and ``--use``, and what each of them allows."""

from __future__ import annotations

from typing import Annotated

import typer

from ebbgate.policy.presets import preset, preset_names


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this preset's entries.")] = None,
) -> None:
    """List the presets, or the entries of one with their reasons."""
    if name is None:
        width = max(len(one) for one in preset_names())
        for one in preset_names():
            typer.echo(f"{one.ljust(width)}  {preset(one).description}")
        return
    chosen = preset(name)
    typer.echo(f"{chosen.name}: {chosen.description}{'' if chosen.verified else ' (not tried with the real tool)'}")
    typer.echo(f"  from {chosen.source}")
    for entry in chosen.entries:
        typer.echo(f"  {entry.ref.text}\n      {entry.reason}")
