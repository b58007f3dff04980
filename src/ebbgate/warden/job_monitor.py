"""What the warden knows of the machine's processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from ebbgate.events.types import Origin, Process
from ebbgate.host.netlink import RefusedPacket
from ebbgate.warden.attribution import Attribution
from ebbgate.warden.job_request import JobRequest


class JobMonitor:
    """Placeholder."""

    def __init__(self, request: JobRequest, diagnostics: socket.socket, publish: Callable[[str], str]) -> None:
        self._attribution = Attribution(request.runner.pid, diagnostics, publish, Process(0, "", "", certain=False))

    def tick(self) -> None: ...

    def owner_of(self, inode: int) -> Origin:
        return Origin()

    def connection(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> Origin:
        return self._attribution.connection(protocol, local, remote)

    def packet(self, packet: RefusedPacket) -> Origin:
        return self._attribution.packet(packet)

    def suspect(self) -> Origin:
        return Origin()

    def kill_step(self, pid: int) -> None:
        if pid > 1:
            os.kill(pid, signal.SIGKILL)
