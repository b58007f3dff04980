"""Jobs that begin with the action, around the fake program."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from tests.machine import Machine
from tests.runner import JobResult, Runner
from tests.runner.driver import EBBGATE

ARMED = {
    "armed": True,
    "seconds": 0.5,
    "environment": {"SSL_CERT_FILE": "/run/ebbgate/ca.pem"},
    "warnings": [],
    "mode": "enforce",
}
RECORDS = "/run/fake"


class Guarded:
    def __init__(self, machine: Machine, release: Path) -> None:
        self.machine = machine
        self.runner = Runner(machine)
        self.runner.release(release)
        self.action = self.runner.actions[EBBGATE]
        machine.inside(self._prepare)
        self.tell()

    @staticmethod
    def _prepare() -> None:
        Path(RECORDS).mkdir()
        Path(RECORDS).chmod(0o777)

    def tell(self, start: dict[str, Any] | None = None, verdict: dict[str, Any] | None = None) -> None:
        """What the fake program is to answer; without a word, as a guard that is armed and saw nothing."""
        told = {
            "start": {"stdout": json.dumps(ARMED), **(start or {})},
            "verdict": {"stdout": "::notice::all well\n", **(verdict or {})},
        }
        self.machine.write("/etc/fake.json", json.dumps(told), user="root")

    def run(self, steps: str = "- run: echo guarded", *, given: str = "", **options: Any) -> JobResult:
        return self.runner.run(self.workflow(steps, given), **options)

    @staticmethod
    def workflow(steps: str = "- run: echo guarded", given: str = "") -> str:
        """``given``: YAML lines of the first step, such as ``with:`` and ``env:``."""
        first = f"- uses: {EBBGATE}\n  id: guard\n{textwrap.indent(textwrap.dedent(given).strip(), '  ')}\n"
        body = textwrap.indent(first + textwrap.dedent(steps).strip(), " " * 6)
        return f"name: CI\non: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n{body}\n"

    def calls(self, command: str) -> list[dict[str, Any]]:
        """How the program was called, in order."""
        files = self.machine.inside(lambda: [file.read_text() for file in Path(RECORDS).glob(f"{command}-*.json")])
        return sorted(map(json.loads, files), key=lambda call: call["at"])
