"""The interfaces of a network namespace, and notice of every change: rtnetlink(7).

Formats: include/uapi/linux/{rtnetlink,if_link}.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from ebbgate.host.netlink import attributes
from ebbgate.host.network_namespace import inside

_GETLINK, _NEWLINK = 18, 16
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_GROUP_LINK = 1  # RTMGRP_LINK
_NAME, _LINK, _MASTER, _LINKINFO, _KIND = 3, 5, 10, 18, 1


@dataclass(frozen=True, slots=True)
class Interface:
    """kind: "" for hardware and loopback, else as the kernel names it (bridge, veth, tun ...). master: index of its bridge.

    parent: index of the interface it was made on top of, 0 when none or in another namespace.
    """

    index: int
    name: str
    kind: str
    master: int
    parent: int
    loopback: bool


def link_events(netns: Path | None) -> socket.socket:
    """A socket that becomes readable when an interface of the namespace appears, changes or goes."""

    def make() -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        opened.bind((0, _GROUP_LINK))
        opened.setblocking(False)
        return opened

    return inside(netns, make)


def interfaces(netns: Path | None) -> tuple[Interface, ...]:
    """All interfaces of a namespace. OSError when the kernel does not answer."""
    return inside(netns, _dump)


def _dump() -> tuple[Interface, ...]:
    found: list[Interface] = []
    finished = False
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(5.0)
        asking.send(struct.pack("=IHHII", 32, _GETLINK, _REQUEST | _DUMP, 1, 0) + bytes(16))
        while not finished:
            finished = _collect(asking.recv(1 << 18), found)
    return tuple(found)


def changed(events: socket.socket) -> tuple[Interface, ...]:
    """What ``link_events`` has told since the last time: interfaces as they were then, some of which may have left already."""
    found: list[Interface] = []
    while True:
        try:
            _collect(events.recv(1 << 18), found)
        except BlockingIOError:
            return tuple(found)
        except OSError:  # ENOBUFS: many at once; what is there now is read as a whole anyway
            continue


def _collect(data: bytes, found: list[Interface]) -> bool:
    """Take the interfaces out of a datagram; whether it ends an answer."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind in (_DONE, _ERROR) or length < 16:
            return True
        if kind == _NEWLINK:
            found.append(_parse(data[offset + 16 : offset + length]))
        offset += (length + 3) & ~3
    return False


def _parse(body: bytes) -> Interface:
    index, flags = struct.unpack_from("=iI", body, 4)
    known = attributes(body[16:])
    info = attributes(known.get(_LINKINFO, b""))
    return Interface(
        index,
        known.get(_NAME, b"").rstrip(b"\0").decode(errors="replace"),
        info.get(_KIND, b"").rstrip(b"\0").decode(errors="replace"),
        _number(known.get(_MASTER, b"")),
        _number(known.get(_LINK, b"")),
        bool(flags & 0x8),  # IFF_LOOPBACK
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little") if data else 0


def internal_bridges(known: tuple[Interface, ...]) -> frozenset[int]:
    """Bridges that lead nowhere but to containers: every port of theirs is one end of a veth pair."""
    return frozenset(
        bridge.index
        for bridge in known
        if bridge.kind == "bridge" and all(one.kind == "veth" for one in known if one.master == bridge.index)
    )


def uplinks(known: tuple[Interface, ...]) -> frozenset[tuple[int, str]]:
    """(index, name) of what may lead out of the machine: everything but loopback, bridges of containers and their ports."""
    inside_ones = internal_bridges(known)
    return frozenset(
        (one.index, one.name)
        for one in known
        if not one.loopback and one.index not in inside_ones and not (one.kind == "veth" and one.master in inside_ones)
    )
