"""Looking at a guarded run from outside while it goes on."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path


def gate_of(run: subprocess.Popen[bytes], *, timeout: float = 30) -> int:
    """Process id of a run's gate."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and run.poll() is None:
        for pid in descendants(run.pid):
            with contextlib.suppress(OSError):
                if b"ebbgate.gate.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        time.sleep(0.01)
    raise AssertionError("no gate was seen")


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


class PeakMemory:
    """Highest resident size of a process in bytes, as the kernel kept it (VmHWM), asked for until the process ends."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self.peak = max(self.peak, int(line.split()[1]) * 1024)
                time.sleep(0.02)

    def result(self) -> int:
        self._thread.join(10)
        return self.peak
