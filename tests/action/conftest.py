from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.action.guarded import Guarded
from tests.machine import Machine
from tests.machine.machine import ROOT
from tests.runner import Runner
from tools import bundle

FAKE = Path(__file__).with_name("fake")


@pytest.fixture(scope="session")
def fake_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The action as it is, around a program of our own; with its archive, as a release has one."""
    release = tmp_path_factory.mktemp("release")
    Runner.stage(ROOT, release)
    for name in ("src/ebbgate", "dist"):
        shutil.rmtree(release / name, ignore_errors=True)
    shutil.copytree(FAKE, release / "src/ebbgate", ignore=shutil.ignore_patterns("__pycache__"))
    (release / "requirements/runtime.txt").write_text("")
    bundle.make(release, [Machine.python])
    return release


@pytest.fixture
def guarded(machine: Machine, fake_release: Path) -> Guarded:
    """A runner machine where ``uses: ebbgate/ebbgate@v1`` is the real action around the fake program."""
    return Guarded(machine, fake_release)


@pytest.fixture(scope="session")
def real_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The action around the real program, with its archive."""
    release = tmp_path_factory.mktemp("real-release")
    Runner.stage(ROOT, release)
    bundle.make(release, [Machine.python])
    return release
