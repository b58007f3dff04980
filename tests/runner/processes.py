"""Starting a step's process as the runner does, and ending at the job's end what steps left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# How long the runner waits for streams that a left-over process holds open (ProcessInvoker).
DRAIN_SECONDS = 5


def run_step(command: list[str], env: dict[str, str], cwd: str, seconds: float, line: Callable[[str], None]) -> int:
    """The process' exit code. ``line`` gets each line of both streams."""
    reading, writing = os.pipe()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing)
    os.close(writing)
    deadline = time.monotonic() + seconds
    ended = os.pidfd_open(process.pid)
    over = False
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
            if reading in ready:
                data = os.read(reading, 1 << 16)
                *lines, rest = (rest + data).split(b"\n")
                for one in lines:
                    line(one.decode(errors="replace").rstrip("\r"))
                if not data:
                    break
            if not ready and not over:
                line("##[error]The action has timed out.")
                process.kill()
            if not ready and over:
                break
            if ended in ready and not over:
                over = True
                selector.unregister(ended)
                deadline = time.monotonic() + DRAIN_SECONDS
    if rest:
        line(rest.decode(errors="replace"))
    os.close(reading)
    os.close(ended)
    code = process.wait()
    return code if code >= 0 else 128 - code  # as a shell says it


def processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def end_orphans(before: set[int], tracking: str) -> list[str]:
    """Kill every new process whose environment still has the job's mark. What another user owns cannot be read, and stays."""
    ended = []
    for pid in sorted(processes() - before - {os.getpid()}):
        with contextlib.suppress(OSError):
            mark = f"RUNNER_TRACKING_ID={tracking}".encode()
            if mark not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                continue
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            os.kill(pid, signal.SIGKILL)
            ended.append(f"Terminate orphan process: pid ({pid}) ({name})")
    return ended
