"""Doing one thing inside another network namespace: sockets made there stay there, the process itself stays where it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path


def inside[Made](netns: Path | None, make: Callable[[], Made]) -> Made:
    """Call a function in a thread that has entered a network namespace; None: where the caller is.

    Only a thread may move: setns(2) moves the calling thread alone, and the warden must stay in the machine's namespace.
    Raises what the function raises, and OSError when the namespace cannot be entered.
    """
    if netns is None:
        return make()
    made: list[Made] = []
    problems: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.setns(descriptor, os.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            made.append(make())
        except BaseException as problem:  # handed to the caller, whatever it is
            problems.append(problem)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return made[0]
