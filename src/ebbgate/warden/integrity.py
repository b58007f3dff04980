"""Whether the guard itself is as it was: its files, its socket, and that nobody but the gate passes for the gate."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ebbgate.host.control_group import ControlGroup
from ebbgate.warden.control import ControlServer


class Integrity:
    """files: read once now and compared later. uid, group: the gate's. gate: gives its pid, 0 when there is none."""

    def __init__(
        self, files: list[Path], uid: int, group: ControlGroup, control: ControlServer, proc: Path, gate: Callable[[], int]
    ) -> None:
        self._digests = {path: _digest(path) for path in files}
        self._uid, self._group, self._control, self._proc = uid, group, control, proc
        self._told: set[str] = set()
        self._gate = gate

    def problems(self) -> Iterator[str]:
        """One sentence for each thing that is wrong, each told once."""
        for what in self._look():
            if what not in self._told:
                self._told.add(what)
                yield what

    def _look(self) -> Iterator[str]:
        if not self._control.is_in_place():
            yield "the guard's control socket was removed or replaced"
        for path, digest in self._digests.items():
            if _digest(path) != digest:
                yield f"the guard's file {path} was changed"
        for pid in self._strangers():
            yield f"process {pid} passes for the gate"

    def _strangers(self) -> Iterator[int]:
        """Processes in the gate's group, or with its user id, that are not the gate."""
        gate = self._gate()
        for pid in self._group.members():
            if pid != gate:
                yield pid
        for entry in os.listdir(self._proc):
            if entry.isdigit() and int(entry) != gate:
                try:
                    owner = os.stat(self._proc / entry).st_uid
                except OSError:
                    continue
                if owner == self._uid:
                    yield int(entry)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
