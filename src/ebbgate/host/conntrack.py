"""The ends of a connection before it was redirected, from the kernel's connection tracking.

Programs may use one port for connections to several addresses at once. When all are redirected to the gate, two would have the
same ends, and the kernel gives the later one another port: what the gate sees as its client's is then no socket's.
Formats: include/uapi/linux/netfilter/nfnetlink_conntrack.h. Needs CAP_NET_ADMIN over the namespace in which the socket was made.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from itertools import count

from ebbgate.host.netlink import attribute, attributes

_NETLINK_NETFILTER = 12
_GET = (1 << 8) | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_NEW = 1 << 8  # the kind of an answer
_REQUEST = 0x1
_NESTED = 0x8000
_ORIGINAL, _REPLY = 1, 2
_ADDRESSES, _PROTOCOL = 1, 2
_KINDS = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}  # of source and destination
_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_NUMBERS = count(1)
_ANSWER = 1 << 14  # bytes
_HEADS = 16 + 4  # bytes of the netlink and the netfilter header


def conntrack_socket() -> socket.socket:
    """Of the calling process's network namespace."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    opened.settimeout(1.0)
    return opened


def source_before(opened: socket.socket, accepted: tuple[str, int], peer: tuple[str, int]) -> tuple[str, int] | None:
    """The end that a TCP connection's client has, of the ends that its acceptor sees; None when no such connection is tracked."""
    target, source = ipaddress.ip_address(accepted[0]), ipaddress.ip_address(peer[0])
    family = socket.AF_INET6 if target.version == 6 else socket.AF_INET
    first, second = _KINDS[family]
    addresses = attribute(first, target.packed) + attribute(second, source.packed)
    ports = attribute(_SOURCE_PORT, struct.pack(">H", accepted[1])) + attribute(_TARGET_PORT, struct.pack(">H", peer[1]))
    protocol = attribute(_NUMBER, struct.pack("=B", socket.IPPROTO_TCP)) + ports
    reply = attribute(_ADDRESSES | _NESTED, addresses) + attribute(_PROTOCOL | _NESTED, protocol)
    body = struct.pack(">BBH", family, 0, 0) + attribute(_REPLY | _NESTED, reply)
    number = next(_NUMBERS) & 0xFFFFFFFF
    try:
        opened.send(struct.pack("=IHHII", 16 + len(body), _GET, _REQUEST, number, 0) + body)
        answer = opened.recv(_ANSWER)
        while struct.unpack_from("=I", answer, 8)[0] != number:  # an earlier question's, which was not waited for
            answer = opened.recv(_ANSWER)
    except OSError:
        return None
    return _original_source(answer, first)


def _original_source(answer: bytes, kind: int) -> tuple[str, int] | None:
    original = attributes(attributes(answer[_HEADS:]).get(_ORIGINAL, b""))
    address = attributes(original.get(_ADDRESSES, b"")).get(kind)
    port = attributes(original.get(_PROTOCOL, b"")).get(_SOURCE_PORT)
    if struct.unpack_from("=H", answer, 4)[0] != _NEW or address is None or port is None:
        return None
    return str(ipaddress.ip_address(address)), int.from_bytes(port, "big")
