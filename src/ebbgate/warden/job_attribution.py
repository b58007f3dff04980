"""Which process of the machine opened a connection or sent a packet, and whose it is.

The same questions as ``warden.attribution`` answers for a sealed command, asked of the process table. The answer is never
nothing: when the socket is gone already, the process of the job that began or ended last is named, as a guess; of the
container that has the address, where one has it.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable

from ebbgate.events.types import Origin
from ebbgate.host import conntrack, netlink
from ebbgate.host.netlink import RefusedPacket, SocketOwner
from ebbgate.warden.process_entry import Entry
from ebbgate.warden.process_monitor import ProcessMonitor
from ebbgate.warden.socket_owners import ADDRESSES_KNOWN_FOR, SocketOwners, interface_addresses

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
MAX_ADDRESSES = 64  # of the machine, of each of which the kernel is asked

type End = tuple[str, int]
type Question = Callable[[socket.socket], list[SocketOwner]]


class JobAttribution:
    """diagnostics: a sock_diag socket of the machine's network namespace, in which the caller is too. gate_port: to which TCP
    connections of the machine are redirected; 0 when none are.
    """

    def __init__(self, monitor: ProcessMonitor, diagnostics: socket.socket, gate_port: int = 0) -> None:
        self._monitor, self._table = monitor, monitor.table
        self._diagnostics = diagnostics
        self._gate_port = gate_port
        self._tracking = conntrack.conntrack_socket() if gate_port else None
        self._owners = SocketOwners(monitor.table)
        self._addresses: frozenset[str] = frozenset()
        self._addresses_until = 0.0

    def connection(self, protocol: str, local: End, remote: End) -> Origin:
        """The owner of a TCP connection or UDP socket, by its ends as the gate sees them: the remote one as before it was
        redirected, the local one as after.
        """
        if protocol == "tcp" and remote[0]:
            return self._stream(self._before(local), remote)
        number = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
        return self._find(local[0], lambda diag: _datagrams(diag, number, local))

    def _before(self, local: End) -> End:
        """A container's connections are redirected to the address that the machine has in its network."""
        if self._tracking is None:
            return local
        family = 6 if ":" in local[0] else 4
        accepted = [LOOPBACK[family]]
        if not self._is_local(local[0]):
            accepted = sorted(one for one in self._addresses if one != LOOPBACK[family] and _is_address(one, family))
        for address in accepted[:MAX_ADDRESSES]:
            found = conntrack.source_before(self._tracking, (address, self._gate_port), local)
            if found is not None:
                return found
        return local

    def _stream(self, local: End, remote: End) -> Origin:
        return self._find(local[0], lambda diag: [one] if (one := netlink.tcp_owner(diag, local, remote)) else [])

    def packet(self, packet: RefusedPacket) -> Origin:
        """The sender of a refused packet."""
        number = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}.get(packet.protocol, 0)
        if packet.protocol == "icmp":
            number = socket.IPPROTO_ICMPV6 if packet.family == socket.AF_INET6 else socket.IPPROTO_ICMP
        source = packet.source, packet.source_port
        if packet.protocol == "tcp":
            return self._stream(source, (packet.address, packet.port))
        return self._find(packet.source, lambda diag: _datagrams(diag, number, source) if number else [])

    def _find(self, address: str, ask: Question) -> Origin:
        self._monitor.update()
        if self._is_local(address):
            found = self._first(ask(self._diagnostics))
            return found or self._guess(self._table.latest(is_apart=False))
        spaces = list(self._owners.namespaces().items())
        likely = [one for one in spaces if self._owners.has_address(*one, address)]
        for space, pid in likely or spaces:
            diagnostics = self._owners.diagnostics(space, pid)
            found = self._first(ask(diagnostics)) if diagnostics is not None else None
            if found is not None:
                return found
        return self._guess(self._owners.newest(likely[0][0]) if likely else self._table.latest(is_apart=True))

    def _guess(self, likely: Entry | None) -> Origin:
        guess = likely or self._table.latest()
        return self._table.origin_of(guess, certain=False) if guess is not None else Origin()

    def _first(self, owners: list[SocketOwner]) -> Origin | None:
        for owner in reversed(owners):
            entry = self._owners.owner(owner.inode) if owner.inode else None
            if entry is not None:
                return self._table.origin_of(entry)
        return None

    def _is_local(self, address: str) -> bool:
        """Whether the machine itself has an address; containers' sockets are asked for in their namespaces only."""
        if address in ("", "0.0.0.0", "::") or address.startswith(("127.", "::1")):  # noqa: S104 - compared, not bound
            return True
        if time.monotonic() > self._addresses_until:
            self._addresses = interface_addresses()
            self._addresses_until = time.monotonic() + ADDRESSES_KNOWN_FOR
        return address in self._addresses

    def tick(self) -> None:
        """Now and then."""
        self._owners.tick()

    def close(self) -> None:
        self._owners.close()
        if self._tracking is not None:
            self._tracking.close()


def _is_address(text: str, family: int) -> bool:
    """Interfaces have hardware addresses too."""
    try:
        return ipaddress.ip_address(text).version == family
    except ValueError:
        return False


def _datagrams(diag: socket.socket, number: int, local: End) -> list[SocketOwner]:
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    owners = netlink.datagram_owners(diag, number, family, local[1])
    if not owners and family == socket.AF_INET and number in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        owners = netlink.datagram_owners(diag, number, socket.AF_INET6, local[1])  # a dual-stack socket sends IPv4 too
    return owners
