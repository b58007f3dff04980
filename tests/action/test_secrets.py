"""Where the secrets are, looked for while the program runs: in the one document, and nowhere else that we write or start."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.action.guarded import Guarded
from tests.machine.runner import HOME, WORK

pytestmark = pytest.mark.root

GIVEN = """
env:
  EBBGATE_SECRET_DEPLOY: ${{ secrets.DEPLOY }}
with: {policy: "version: 1"}
"""


def test_no_secret_is_in_an_argument_a_childs_environment_a_file_or_the_log(guarded: Guarded, secret: str) -> None:
    values = {"DEPLOY": secret, "GITHUB_TOKEN": f"ghs_{secret[4:]}", "ACTIONS_RUNTIME_TOKEN": f"ey{secret[:3:-1]}"}
    guarded.machine.inside(lambda: Path("/run/fake/hold").touch())
    running = guarded.runner.start(
        guarded.workflow("- run: ls -R $RUNNER_TEMP", GIVEN),
        secrets={"DEPLOY": values["DEPLOY"]},
        token=values["GITHUB_TOKEN"],
        runtime_token=values["ACTIONS_RUNTIME_TOKEN"],
    )
    _until(lambda: guarded.calls("start"))
    arguments, environments = _look(guarded)
    guarded.machine.inside(lambda: Path("/run/fake/hold").unlink())
    result = running.wait()
    assert result.conclusion == "success", result.log
    (start,) = guarded.calls("start")
    assert start["document"]["secrets"] == values
    for value in values.values():
        assert not [line for line in arguments if value in line]
        # The runner gives them to its own child, the action's node process, and we to nobody.
        assert {name for name, content in environments if value in content} <= {"node", "MainThread"}
        assert value not in result.log
        assert [path for path, content in _files(guarded) if value.encode() in content] == []
    assert secret[:20] not in result.log


def _look(guarded: Guarded) -> tuple[list[str], list[tuple[str, str]]]:
    arguments, environments = [], []
    for pid in guarded.machine.processes():
        with contextlib.suppress(OSError):
            arguments.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
            environments.append(
                (Path(f"/proc/{pid}/comm").read_text().strip(), Path(f"/proc/{pid}/environ").read_text(errors="replace"))
            )
    assert [line for line in arguments if "start\0--stdin" in line]
    return arguments, environments


def _files(guarded: Guarded) -> list[tuple[str, bytes]]:
    """All that the job left behind, the program's own record apart."""

    def read() -> list[tuple[str, bytes]]:
        tops = (f"{WORK}/_temp", f"{HOME}/.cache", f"{HOME}/.config", "/tmp", "/var/lib/ebbgate", "/run/ebbgate")
        files = [file for top in tops for file in Path(top).rglob("*") if file.is_file() and not file.is_symlink()]
        return [(str(file), file.read_bytes()) for file in files]

    return guarded.machine.inside(read)


def _until(test, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.02)
