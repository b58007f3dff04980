"""Which process of the workload opened a connection or sent a packet."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ebbgate.events.types import Origin, Process
from ebbgate.host import netlink, processes
from ebbgate.host.netlink import RefusedPacket, SocketOwner


class Attribution:
    """Answers for one workload.

    diagnostics: a sock_diag socket of its network namespace. command: the workload's first process, which is named, as a
    guess, when everything that could have been the sender has ended already.
    """

    def __init__(self, init_pid: int, diagnostics: socket.socket, redact: Callable[[str], str], command: Process) -> None:
        self._init, self._diagnostics, self._redact = init_pid, diagnostics, redact
        self._command = command

    def connection(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> Origin:
        """The owner of a TCP connection or UDP socket, by its ends as the workload sees them."""
        if protocol == "tcp" and remote[0]:
            found = netlink.tcp_owner(self._diagnostics, local, remote)
            return self._origin([found] if found else [])
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        number = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
        return self._origin(netlink.datagram_owners(self._diagnostics, number, family, local[1]))

    def packet(self, packet: RefusedPacket) -> Origin:
        """The sender of a refused packet."""
        number = socket.IPPROTO_UDP
        if packet.protocol == "icmp":
            number = socket.IPPROTO_ICMPV6 if packet.family == socket.AF_INET6 else socket.IPPROTO_ICMP
        elif packet.protocol != "udp":
            return self._origin([])
        owners = netlink.datagram_owners(self._diagnostics, number, packet.family, packet.source_port)
        if not owners and packet.family == socket.AF_INET:  # a dual-stack socket sends IPv4 from an IPv6 socket
            owners = netlink.datagram_owners(self._diagnostics, number, socket.AF_INET6, packet.source_port)
        return self._origin(owners)

    def _origin(self, owners: list[SocketOwner]) -> Origin:
        pids = processes.workload(self._init)
        for owner in reversed(owners):
            pid = processes.owner_of(owner.inode, pids)
            if pid is not None:
                return processes.origin(pid, self._init, self._redact)
        guessed = processes.origin(pids[-1], self._init, self._redact, certain=False) if pids else Origin()
        return guessed if guessed.process is not None else Origin(self._command)
