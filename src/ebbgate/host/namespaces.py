"""Doing something in another network namespace, from a thread that enters it and ends; the process itself stays where it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path


def inside[T](netns: Path | None, make: Callable[[], T]) -> T:
    """What ``make`` returns when called in a network namespace; a socket made there stays there. None: where we are.

    Raises what ``make`` or setns(2) raises.
    """
    if netns is None:
        return make()
    result: list[T] = []
    problem: list[BaseException] = []

    def work() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.setns(descriptor, os.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            result.append(make())
        except BaseException as caught:
            problem.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return result[0]
