"""Ending a step leaves nothing of it, whatever it does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ebbgate.host import processes
from tests.warden.runner import PYTHON, FakeRunner, Observed, sleeping

pytestmark = pytest.mark.root

# A tree of 127, in which every process replaces a child that has ended, every other generation in a session of its own.
_BOMB = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def grow(depth):
    if depth % 2: os.setsid()
    if depth == 6: time.sleep(300)
    while True:
        for _ in range(2 - len(children)):
            pid = os.fork()
            if pid == 0:
                children.clear()
                return grow(depth + 1)
            children.add(pid)
        pid, _status = os.wait()
        children.discard(pid)
children = set()
grow(0)
"""

# Forks and ends, again and again: at any moment one process, never the same.
_HARE = """
import os, sys
for _ in range(200000):
    if os.fork(): os._exit(0)
    os.setsid()
"""


@pytest.fixture
def seen() -> Iterator[Observed]:
    with FakeRunner() as runner:
        made = Observed(runner)
        yield made
        made.close()


def of_session(marker: str) -> list[int]:
    """Running processes with a word among their arguments, by /proc alone."""
    found = []
    for pid in processes.all_pids():
        image = processes.image(pid)
        if image is not None and marker.encode() in image.arguments.split(b"\0"):
            found.append(pid)
    return found


def test_a_bounded_fork_bomb(seen: Observed) -> None:
    marker = f"bomb-{os.getpid()}"
    root = seen.runner.start([PYTHON, "-c", _BOMB, marker], "build")
    other = seen.runner.start(sleeping("other"), "test")
    seen.until(lambda: len(of_session(marker)) >= 100)
    assert seen.monitor.kill_step(root) >= 100
    assert seen.table.step_members(root) == []
    assert seen.runner.wait(root) == -9
    seen.until(lambda: not of_session(marker))
    assert seen.table.look(other).ended is False
    seen.monitor.kill_step(other)


def test_a_process_that_is_never_the_same(seen: Observed) -> None:
    marker = f"hare-{os.getpid()}"
    root = seen.runner.start([PYTHON, "-c", _HARE, marker], "build")
    seen.until(lambda: seen.table.look(root).ended)
    assert seen.monitor.kill_step(root) >= 1
    assert seen.table.step_members(root) == []
    assert of_session(marker) == []


def test_a_step_that_has_ended(seen: Observed) -> None:
    root = seen.runner.start(["/bin/true"], "build")
    seen.runner.wait(root)
    assert seen.monitor.kill_step(root) == 0


def test_an_unknown_process(seen: Observed) -> None:
    assert seen.monitor.kill_step(2**22 + 5) == 0
    assert seen.monitor.kill_step(seen.runner.pid) == 0
    assert seen.runner.process.poll() is None
