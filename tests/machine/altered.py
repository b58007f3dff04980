"""A copy of the package inside a machine, with text appended to a module: a kernel, a clock or a part that fails, made so."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.machine.machine import Machine
from tests.world.guard import ROOT

_PLACE = Path("/opt/altered")


def altered(machine: Machine, module: str, text: str) -> list[str]:
    """The start of a command line that runs it. module: dotted, below ``ebbgate``."""

    def make() -> None:
        shutil.copytree(
            ROOT / "src/ebbgate", _PLACE / "ebbgate", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        file = _PLACE / "ebbgate" / Path(*module.split(".")).with_suffix(".py")
        file.write_text(file.read_text() + text)

    machine.inside(make)
    start = f"import sys; sys.path.insert(0, {str(_PLACE)!r}); from ebbgate.__main__ import main; main()"
    return [machine.python, "-I", "-c", start]
