"""Which processes belong together: to one step, to one service, below one another."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ebbgate.host import processes
from ebbgate.warden.process_entry import Entry, Kind

SETTLING_NS = 200_000_000  # that a program is started is told by the kernel after /proc shows it


def lineage(entry: Entry) -> Iterable[Entry]:
    """Whatever is above a process, nearest first, the runner and the machine included."""
    current = entry.parent
    while current is not None:
        yield current
        current = current.parent


def launched(entry: Entry) -> bool:
    """Whether a service started it, or a runtime did through a process that had ended before anybody saw what it ran."""
    above = entry.root.parent
    if above is not None and above.kind is Kind.RUNTIME:
        return True
    return entry.root is entry and (above is None or above.kind is Kind.LAUNCHER)


def same_step(other: Entry, root: Entry) -> bool:
    """A step's first process can make siblings of itself (CLONE_PARENT): they have its command files, or none."""
    if not is_sibling(other, root):
        return False
    if other.step is None:
        return other.since >= root.since and not can_be_next_step(other)
    files = root.step.files if root.step is not None else ()
    return other.step.files == files if files else root.step is not None and other.step.step == root.step.step


def is_sibling(other: Entry, root: Entry) -> bool:
    """Whether a process is, beside the first one of a step, the runner's own child."""
    above = root.parent
    return above is not None and above is other.parent and above.kind is Kind.RUNNER and root.step is not None


def can_be_next_step(other: Entry) -> bool:
    """Whether a sibling of a step's can be the runner's own fork that becomes the next step: it runs what the runner runs, or
    has begun to run something else so recently that the kernel has not told it yet.
    """
    runner = other.parent
    if runner is None or other.program.image != runner.program.image:
        return False
    image = processes.image(other.pid)
    is_fresh = time.monotonic_ns() - other.since < SETTLING_NS
    return image is None or image == runner.program.image or is_fresh


def unit_of(cgroups: str) -> str:
    """The systemd service in a text of /proc/PID/cgroup; "" for scopes, slices and machines without systemd."""
    for line in cgroups.splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0" or controllers == "name=systemd":
            return next((part for part in path.split("/") if part.endswith(".service")), "")
    return ""
