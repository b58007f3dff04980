"""Datagrams on a socket that may be bound to every address: an answer leaves from the address that was asked.

The kernel would choose another source, and then neither conntrack nor the client would know the answer as one.
Ancillary data: ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

IP_PKTINFO = 8  # include/uapi/linux/in.h; not in Python's socket module
_V4 = struct.Struct("=i4s4s")  # struct in_pktinfo: interface, address to send from, address it was sent to
_V6 = struct.Struct("=16si")  # struct in6_pktinfo
_MAX_DATAGRAM = 4096  # bytes of a question; EDNS clients announce up to that
_BURST = 256  # datagrams read in one turn

Peer = tuple[str, int]
Reply = Callable[[bytes], None]


class Datagrams:
    """Reads a socket within the running loop. received: called with (data, peer, reply)."""

    def __init__(self, opened: socket.socket, received: Callable[[bytes, Peer, Reply], None]) -> None:
        self._socket, self._received = opened, received
        opened.setblocking(False)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        asyncio.get_running_loop().add_reader(opened, self._read)

    def _read(self) -> None:
        for _ in range(_BURST):
            try:
                data, ancillary, _flags, peer = self._socket.recvmsg(_MAX_DATAGRAM, 256)
            except OSError:
                return
            control = [one for one in map(_from_there, ancillary) if one is not None]

            def reply(answer: bytes, peer: Peer = peer, control: list[tuple[int, int, bytes]] = control) -> None:
                try:
                    self._socket.sendmsg([answer], control, 0, peer)
                except OSError:
                    return  # as if it had been lost on the way

            self._received(data, (peer[0].partition("%")[0], peer[1]), reply)


def _from_there(item: tuple[int, int, bytes]) -> tuple[int, int, bytes] | None:
    """Ancillary data that sends from the address that a datagram was sent to."""
    level, kind, data = item
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        return level, kind, _V4.pack(0, _V4.unpack(data[: _V4.size])[2], b"\0\0\0\0")
    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
        return level, kind, data[: _V6.size]
    return None
