"""What the warden knows of the machine's processes."""

from __future__ import annotations

import os
import signal
import socket

from ebbgate.events.types import Origin, Process
from ebbgate.host.netlink import RefusedPacket
from ebbgate.warden.attribution import Attribution


class JobMonitor:
    def __init__(self, runner_pid: int, diagnostics: socket.socket, publish) -> None:
        self._attribution = Attribution(runner_pid, diagnostics, publish, Process(0, "", "", certain=False))

    def tick(self) -> None: ...

    def connection(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> Origin:
        return self._attribution.connection(protocol, local, remote)

    def packet(self, packet: RefusedPacket) -> Origin:
        return self._attribution.packet(packet)

    def suspect(self) -> Origin:
        return Origin()

    def kill_step(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
