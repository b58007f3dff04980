"""``ebbgate presets``: what can be named by ``use:`` and ``--use``, and what each of them allows."""

from __future__ import annotations

from typing import Annotated

import typer

from ebbgate.policy.presets import preset, preset_names


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this preset's entries.")] = None,
) -> None:
    """List the presets, or the entries of one with their reasons and sources.

    Unverified: no real client was tried with it, for want of its registry; it follows the documentation.
    """
    if name is None:
        width = max(len(one) for one in preset_names())
        for one in preset_names():
            mark = " (unverified)" if preset(one).unverified else ""
            typer.echo(f"{one.ljust(width)}  {preset(one).description}{mark}")
        return
    chosen = preset(name)
    typer.echo(f"{chosen.name}: {chosen.description}\n{chosen.trial}")
    for entry, source in zip(chosen.entries, chosen.sources, strict=True):
        typer.echo(f"  {entry.ref.text}\n      {entry.reason}\n      {source}")
