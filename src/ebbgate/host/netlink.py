"""Two netlink conversations: which sockets there are and who owns them (sock_diag), and which packets were refused (NFLOG).

A netlink socket stays in the network namespace where it was made. So the enclosure makes both sockets inside and hands
them out; the warden uses them from outside, without entering anything.
Formats: include/uapi/linux/{netlink,inet_diag,netfilter/nfnetlink_log}.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass

_NETLINK_SOCK_DIAG, _NETLINK_NETFILTER = 4, 12
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_NLM_REQUEST, _NLM_ACK, _NLM_DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8

_ULOG_CONFIG, _ULOG_PACKET = (4 << 8) | 1, (4 << 8) | 0
_CMD_BIND, _COPY_PACKET = 1, 2
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH = 1, 2, 5
_ATTR_PAYLOAD, _ATTR_UID = 9, 11
_NFPROTO_NETDEV, _ETHERNET_HEADER = 5, 14
RECEIVE_BUFFER = 1 << 20


def diagnostic_socket() -> socket.socket:
    """A sock_diag socket of the calling process's network namespace."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    opened.settimeout(1.0)
    return opened


def packet_log_socket(group: int, snaplen: int) -> socket.socket:
    """A socket on which the kernel reports packets of ``log group``; needs CAP_NET_ADMIN over the namespace."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    opened.settimeout(2.0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    _configure(opened, group, attribute(_CFG_CMD, struct.pack("=B", _CMD_BIND)))
    _configure(opened, group, attribute(_CFG_MODE, struct.pack(">IBB", snaplen, _COPY_PACKET, 0)))
    # One packet a message: the default waits for a hundred or a second, and by then the sender may be gone.
    _configure(opened, group, attribute(_CFG_QTHRESH, struct.pack(">I", 1)))
    return opened


def _configure(opened: socket.socket, group: int, attributes: bytes) -> None:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + attributes
    opened.send(struct.pack("=IHHII", 16 + len(body), _ULOG_CONFIG, _NLM_REQUEST | _NLM_ACK, 1, 0) + body)
    reply = opened.recv(4096)
    code = struct.unpack_from("=i", reply, 16)[0]
    if code:
        raise OSError(-code, "NFLOG could not be configured")


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded."""
    padding = b"\0" * (-len(payload) % 4)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + padding


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """inode: of the socket, as in /proc/PID/fd links. uid: of its owner, in the machine's numbering."""

    inode: int
    uid: int


def tcp_owner(diag: socket.socket, local: tuple[str, int], remote: tuple[str, int]) -> SocketOwner | None:
    """Who owns the TCP socket with exactly these ends; None when it is gone."""
    message = _inet_request(socket.IPPROTO_TCP, local, remote, _NLM_REQUEST)
    owners = _ask(diag, message)
    return owners[0][1] if owners else None


def datagram_owners(diag: socket.socket, protocol: int, family: int, local_port: int) -> list[SocketOwner]:
    """Owners of UDP (or ICMP) sockets bound to a local port (or ICMP id), newest last."""
    anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - a wildcard in a question, nothing binds
    message = _inet_request(protocol, (anywhere, 0), (anywhere, 0), _NLM_REQUEST | _NLM_DUMP)
    return [owner for port, owner in _ask(diag, message) if port == local_port]


@dataclass(frozen=True, slots=True)
class InetSocket:
    """One TCP or UDP socket of a network namespace. protocol: socket.IPPROTO_*. state: as in include/net/tcp_states.h.
    identity: the kernel's name for it, with which it can be destroyed.
    """

    protocol: int
    state: int
    local: tuple[str, int]
    remote: tuple[str, int]
    uid: int
    inode: int
    identity: bytes


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """One Unix socket of a network namespace. path: "" when it has none; peer: inode of the other end, 0 when unknown."""

    state: int
    inode: int
    path: str
    peer: int


def inet_sockets(diag: socket.socket, protocol: int, family: int) -> list[InetSocket]:
    """All sockets of a protocol and family. OSError when the kernel does not answer in full: none is overlooked silently."""
    anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - a wildcard in a question, nothing binds
    found: list[InetSocket] = []
    for body in _dump(diag, _inet_request(protocol, (anywhere, 0), (anywhere, 0), _NLM_REQUEST | _NLM_DUMP)):
        source_port, target_port = struct.unpack_from(">HH", body, 4)
        length = 16 if body[0] == socket.AF_INET6 else 4
        source, target = (ipaddress.ip_address(body[at : at + length]) for at in (8, 24))
        uid, inode = struct.unpack_from("=II", body, 64)
        ends = ((str(source), source_port), (str(target), target_port))
        found.append(InetSocket(protocol, body[1], *ends, uid, inode, body[:1] + body[4:52]))
    return found


def unix_sockets(diag: socket.socket) -> list[UnixSocket]:
    """All Unix sockets, with their paths and peers (include/uapi/linux/unix_diag.h). OSError as in ``inet_sockets``."""
    show_name, show_peer, attribute_name, attribute_peer = 1, 4, 0, 2
    body = struct.pack("=BBHIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, show_name | show_peer) + _NO_COOKIE
    request = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_REQUEST | _NLM_DUMP, 1, 0) + body
    found: list[UnixSocket] = []
    for answer in _dump(diag, request):
        found_attributes = attributes(answer[16:])
        name = found_attributes.get(attribute_name, b"").rstrip(b"\0").decode(errors="surrogateescape")
        peer = struct.unpack("=I", found_attributes.get(attribute_peer, bytes(4)))[0]
        found.append(UnixSocket(answer[2], struct.unpack_from("=I", answer, 4)[0], name, peer))
    return found


def destroy_socket(diag: socket.socket, one: InetSocket) -> bool:
    """End a socket whoever owns it (needs CAP_NET_ADMIN): its owner reads ECONNABORTED. False when it was gone already.
    OSError EOPNOTSUPP where the kernel was built without CONFIG_INET_DIAG_DESTROY.
    """
    body = struct.pack("=BBBBI", one.identity[0], one.protocol, 0, 0, _ALL_STATES) + one.identity[1:]
    diag.send(struct.pack("=IHHII", 16 + len(body), _SOCK_DESTROY, _NLM_REQUEST | _NLM_ACK, 1, 0) + body)
    code = struct.unpack_from("=i", diag.recv(4096), 16)[0]
    if code not in (0, -errno.ENOENT):
        raise OSError(-code, f"socket could not be destroyed: {errno.errorcode.get(-code, code)}")
    return bool(code == 0)


def _dump(diag: socket.socket, request: bytes) -> list[bytes]:
    """Bodies of all messages in the answer to a dump."""
    bodies: list[bytes] = []
    diag.send(request)
    while True:
        data, offset = diag.recv(1 << 18), 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            if kind == _NLMSG_DONE:
                return bodies
            if kind == _NLMSG_ERROR or length < 16:
                code = -struct.unpack_from("=i", data, offset + 16)[0] if length >= 20 else errno.EPROTO
                raise OSError(code, f"sock_diag: {errno.errorcode.get(code, code)}")
            bodies.append(data[offset + 16 : offset + length])
            offset += (length + 3) & ~3


def _inet_request(protocol: int, local: tuple[str, int], remote: tuple[str, int], flags: int) -> bytes:
    source, target = ipaddress.ip_address(local[0]), ipaddress.ip_address(remote[0])
    family = socket.AF_INET6 if source.version == 6 else socket.AF_INET
    identity = (
        struct.pack(">HH", local[1], remote[1])
        + source.packed.ljust(16, b"\0")
        + target.packed.ljust(16, b"\0")
        + struct.pack("=I", 0)
        + _NO_COOKIE
    )
    body = struct.pack("=BBBBI", family, protocol, 0, 0, _ALL_STATES) + identity
    return struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def _ask(diag: socket.socket, message: bytes) -> list[tuple[int, SocketOwner]]:
    """(local port, owner) of each socket in the answer. An error or silence is an empty answer: origin unknown."""
    found: list[tuple[int, SocketOwner]] = []
    dump = struct.unpack_from("=H", message, 6)[0] & _NLM_DUMP == _NLM_DUMP
    try:
        diag.send(message)
        while True:
            finished = _collect(diag.recv(1 << 18), found)
            if finished or not dump:
                return found
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.EAGAIN, None):
            return found
        raise


def _collect(data: bytes, found: list[tuple[int, SocketOwner]]) -> bool:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
            return True
        if length >= 16 + 72:  # struct inet_diag_msg
            port = struct.unpack_from(">H", data, offset + 20)[0]
            uid, inode = struct.unpack_from("=II", data, offset + 16 + 64)
            found.append((port, SocketOwner(inode, uid)))
        offset += (length + 3) & ~3
    return False


@dataclass(frozen=True, slots=True)
class RefusedPacket:
    """Headers of a packet that the enclosure refused. port, source_port: 0 where the protocol has none; for ICMP echo
    ``source_port`` is the identifier, which a ping socket is bound to.
    """

    protocol: str
    family: int
    address: str
    port: int
    source: str
    source_port: int


def refused_packets(data: bytes) -> list[RefusedPacket]:
    """Packets in one datagram from the NFLOG socket; what cannot be parsed is named protocol "other"."""
    packets: list[RefusedPacket] = []
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            break
        if kind == _ULOG_PACKET:
            payload = attributes(data[offset + 20 : offset + length]).get(_ATTR_PAYLOAD, b"")
            at_interface = data[offset + 16] == _NFPROTO_NETDEV  # there the frame's header comes first
            packets.append(_parse(payload[_ETHERNET_HEADER:] if at_interface else payload))
        offset += (length + 3) & ~3
    return packets


def attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by kind; the last of a kind wins."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x7FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


_NAMES = {1: "icmp", 58: "icmp", 6: "tcp", 17: "udp", 132: "sctp", 136: "udp"}


def _parse(packet: bytes) -> RefusedPacket:
    try:
        if packet[0] >> 4 == 4:
            header, number, family = (packet[0] & 15) * 4, packet[9], socket.AF_INET
            source, target = packet[12:16], packet[16:20]
        else:
            header, number, family = 40, packet[6], socket.AF_INET6
            source, target = packet[8:24], packet[24:40]
        name = _NAMES.get(number, "other")
        source_port, port = _ports(name, packet[header : header + 8])
        return RefusedPacket(
            name,
            family,
            str(ipaddress.ip_address(target)),
            port,
            str(ipaddress.ip_address(source)),
            source_port,
        )
    except (IndexError, ValueError, struct.error):
        return RefusedPacket("other", socket.AF_UNSPEC, "", 0, "", 0)


def _ports(name: str, payload: bytes) -> tuple[int, int]:
    if name in ("tcp", "udp", "sctp"):
        first, second = struct.unpack_from(">HH", payload)
        return first, second
    if name == "icmp":
        return struct.unpack_from(">H", payload, 4)[0], 0
    return 0, 0
