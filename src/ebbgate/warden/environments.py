"""The environment of a connecting process and its ancestors, for the gate to look for secrets in.

The warden opens it and hands the descriptor on; it does not read it, so that it holds no values, and cannot be made to wait:
an environment lies in its process' own memory, which that process can have answered by a program of its own.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable

MAX_REMEMBERED = 4096  # programs whose environment was told
MAX_AT_ONCE = 16  # a process and its ancestors: as many as are in the record, and as descriptors fit into one message


class Environments:
    """send: hands descriptors to the gate with a message; whether it could. An environment is told once for each program."""

    def __init__(self, send: Callable[[dict[str, object], list[int]], bool]) -> None:
        self._send = send
        self._told: OrderedDict[tuple[int, bytes, bytes], None] = OrderedDict()
        self.lost = 0  # messages that the gate did not take

    def tell(self, pids: Iterable[int]) -> None:
        """Hand on the environments of processes that have not been told."""
        keys: list[tuple[int, bytes, bytes]] = []  # each of a descriptor
        descriptors: list[int] = []
        try:
            for pid in list(pids)[:MAX_AT_ONCE]:
                key = _program(pid)
                if key is None or key in self._told:
                    continue
                try:
                    descriptors.append(os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC))
                except OSError:
                    continue  # gone meanwhile
                keys.append(key)
            if descriptors and not self._send({"type": "environments", "pids": [key[0] for key in keys]}, descriptors):
                self.lost += 1
                return
        finally:
            for one in descriptors:
                os.close(one)
        for key in keys:
            self._told[key] = None
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    def forget(self) -> None:
        """There is a new gate, which knows nothing of what was told to the last one."""
        self._told.clear()


def _program(pid: int) -> tuple[int, bytes, bytes] | None:
    """What is the same until a process runs another program: its id, start, and where its environment begins, which is
    another place with each program (address space layout randomisation). proc_pid_stat(5), fields 22 and 50.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read(2048).rpartition(b")")[2].split()
    except OSError:
        return None
    return (pid, fields[19], fields[47]) if len(fields) > 47 else None
