"""Connections that were there before the guard: rules judge packets of new ones, these would live on unseen.

Asked of the kernel through a diagnostics socket of the network namespace (sock_diag), TCP and connected UDP, both address
families. What stays on the machine is left out. Those that must not live on are destroyed with SOCK_DESTROY, which ends
a socket whoever owns it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from ebbgate.errors import PlatformError
from ebbgate.host import netlink
from ebbgate.host.netlink import InetSocket

_IPPROTO_UDPLITE = 136
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", _IPPROTO_UDPLITE: "udplite"}
_ESTABLISHED, _TIME_WAIT, _CLOSE, _LISTEN = 1, 6, 7, 10  # include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class EarlyConnection:
    """local, remote: address and port, IPv4 in its own form also where an IPv6 socket carries it. inode: 0 when no process
    holds it any more. uid: its owner's.
    """

    protocol: str
    local: tuple[str, int]
    remote: tuple[str, int]
    uid: int
    inode: int
    socket: InetSocket = field(repr=False)


def existing(diagnostics: socket.socket) -> list[EarlyConnection]:
    """All connections of the namespace that lead off the machine. PlatformError when the kernel cannot tell."""
    found: list[EarlyConnection] = []
    for protocol, name in _PROTOCOLS.items():
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                every = netlink.inet_sockets(diagnostics, protocol, family)
            except OSError as problem:
                if problem.errno == errno.ENOENT and protocol == _IPPROTO_UDPLITE:
                    continue  # this kernel has none
                raise PlatformError(
                    "the kernel does not list this machine's connections",
                    f"sock_diag, {name}: {problem.strerror or problem}"[:300],
                    f"modprobe {'tcp' if name == 'tcp' else 'udp'}_diag",
                ) from None
            found += [_described(one, name) for one in every if _is_connection(one)]
    return [one for one in found if not _stays_here(one)]


def destroy(diagnostics: socket.socket, connections: Iterable[EarlyConnection]) -> int:
    """End connections; how many were there to be ended. PlatformError when the kernel does not know how."""
    try:
        return sum(netlink.destroy_socket(diagnostics, one.socket) for one in connections)
    except OSError as problem:
        raise PlatformError(
            "connections from before the guard cannot be ended",
            f"SOCK_DESTROY: {problem.strerror or problem}"[:300],
            "make ebbgate the job's first step, so that there are none",
        ) from None


def _is_connection(one: InetSocket) -> bool:
    if one.protocol == socket.IPPROTO_TCP:
        return one.state not in (_LISTEN, _CLOSE, _TIME_WAIT)
    return one.state == _ESTABLISHED


def _described(one: InetSocket, protocol: str) -> EarlyConnection:
    local, remote = _plain(one.local), _plain(one.remote)
    return EarlyConnection(protocol, local, remote, one.uid, one.inode, one)


def _plain(end: tuple[str, int]) -> tuple[str, int]:
    address = ipaddress.ip_address(end[0])
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address), end[1]


def _stays_here(one: EarlyConnection) -> bool:
    """Loopback, or a machine talking to itself over one of its addresses."""
    remote = ipaddress.ip_address(one.remote[0])
    return remote.is_loopback or one.local[0] == one.remote[0]
