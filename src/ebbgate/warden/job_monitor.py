"""What the warden knows of the machine's processes, in one place: who they are, what they did, and how to end them."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable

from ebbgate.events.types import Event, Origin
from ebbgate.host import processes
from ebbgate.host.netlink import RefusedPacket
from ebbgate.warden.job_attribution import JobAttribution
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.process_monitor import ProcessMonitor, known_units, open_source
from ebbgate.warden.process_table import ProcessTable
from ebbgate.warden.socket_owners import SocketOwners

MAX_RUNNER = 32  # ancestors of the steps


class JobMonitor:
    """diagnostics: a sock_diag socket of the machine's network namespace. publish: makes text showable. tell: the journal."""

    def __init__(
        self,
        request: JobRequest,
        diagnostics: socket.socket,
        publish: Callable[[str], str],
        tell: Callable[[Event], None],
    ) -> None:
        self.runner = runner_pids(request.runner.pid)
        self.table = ProcessTable(self.runner, publish, units=known_units())
        self.table.ignore(os.getpid())
        self.processes = ProcessMonitor(open_source(request.target.connector_netns), self.table, tell)
        self._attribution = JobAttribution(self.processes, diagnostics)
        self._owners = SocketOwners(self.table)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Listen, within the warden's loop."""
        selector.register(self.processes, selectors.EVENT_READ, self.processes.read)

    def ignore(self, pid: int) -> None:
        """A process of the guard's own."""
        self.table.ignore(pid)

    def tick(self) -> None:
        """About once a second."""
        self.processes.tick()
        self._attribution.tick()

    def owner_of(self, inode: int) -> Origin:
        """Who has a socket open now; empty when nobody has."""
        entry = self._owners.owner(inode) if inode else None
        return self.table.origin_of(entry) if entry is not None else Origin()

    def connection(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> Origin:
        """The owner of a TCP connection or UDP socket, by its ends as its process sees them."""
        return self._attribution.connection(protocol, local, remote)

    def packet(self, packet: RefusedPacket) -> Origin:
        """The sender of a refused packet."""
        return self._attribution.packet(packet)

    def suspect(self) -> Origin:
        """Whoever of the job did something last: a guess at who changed something."""
        self.processes.update()
        latest = self.table.latest()
        return self.table.origin_of(latest, certain=False) if latest is not None else Origin()

    def kill_step(self, pid: int) -> None:
        """End the whole step, or container, of a process."""
        self.processes.kill_step(pid)


def runner_pids(pid: int) -> tuple[int, ...]:
    """The process that starts the steps and its ancestors, init apart."""
    found: list[int] = []
    while pid > 1 and len(found) < MAX_RUNNER:
        found.append(pid)
        pid = processes.parent(pid)
    return tuple(found)
