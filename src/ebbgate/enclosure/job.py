"""The job enclosure: a whole machine, that is one network namespace, in front of the gate.

::

    open()      listening sockets, packet log, diagnostics, notices of changed rules and interfaces
    arm()       the owned table, applied at once, read back, remembered; a plain one beside it where the kernel needs it
    changed()   whether rules or interfaces are no longer what was armed; bridges of containers are followed
    disarm()    the table is taken away

The sockets are made here and handed to each gate that serves, so that connections wait in them while a gate is replaced.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import interfaces, netlink, nftables
from ebbgate.host.network_namespace import inside
from ebbgate.host.nft_table import OwnedTable

_BACKLOG = 4096
_SCOPE = ("tcp", "dns", "dnstcp")
_NFNLGRP_NFTABLES = 7  # include/uapi/linux/netfilter/nfnetlink.h
_PORT_TRIES = 20
_FOLLOWED = re.compile(r"\tset internal \{.*?\n\t\}\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Change:
    """What is not as it was armed. what: one sentence."""

    what: str


class JobEnclosure:
    """One machine's enclosure. netns: None for the namespace of this process."""

    def __init__(self, netns: Path | None = None) -> None:
        self._netns = netns
        self._tables: list[OwnedTable] = []
        self._listings: list[str] = []
        self._uplinks: frozenset[tuple[int, str]] = frozenset()
        self._internal: frozenset[int] = frozenset()
        self._masters: dict[int, int] = {}
        self.gate_sockets: dict[str, socket.socket] = {}
        self.packets: socket.socket
        self.diagnostics: socket.socket
        self.rule_events: socket.socket
        self.link_events: socket.socket

    def open(self) -> None:
        """Make every socket. PlatformError when the machine refuses."""
        try:
            self.gate_sockets = inside(self._netns, _listening)
            self.diagnostics = inside(self._netns, netlink.diagnostic_socket)
            self.rule_events = inside(self._netns, _rule_events)
            self.link_events = interfaces.link_events(self._netns)
            log = inside(self._netns, lambda: netlink.packet_log_socket(nftables.PACKET_GROUP, nftables.SNAPLEN))
        except OSError as problem:
            raise PlatformError("the enclosure's sockets could not be made", str(problem)[:300], "start as root") from None
        self.packets = log

    def ports(self) -> nftables.JobPorts:
        """Where the gate listens."""
        number = {name: self.gate_sockets[name + "4"].getsockname()[1] for name in _SCOPE}
        return nftables.JobPorts(number["tcp"], number["dns"], number["dnstcp"])

    def arm(self, rules: nftables.JobRules) -> str:
        """Lay the tables, each whole or not at all, and read them back. What this kernel lacks of them, in words, or ""."""
        known = interfaces.interfaces(self._netns)
        self._uplinks = interfaces.uplinks(known)
        self._internal = interfaces.internal_bridges(known)
        self._masters = {one.index: one.master for one in known}
        mark = secrets.randbelow(0x7FFFFFFE) + 1 if rules.enforce else 0
        missing = ""
        try:
            table = OwnedTable(self._netns)
            rules = replace(rules, mark=mark, internal=tuple(sorted(self._internal)), mark_all=not table.persistent)
            self._lay(table, nftables.job_ruleset(rules), nftables.closed_ruleset(mark) if mark else "")
            if not all(f"hook {hook}" in self._listings[0] for hook in ("output", "prerouting", "forward", "input")):
                raise IntegrityError("the enclosure's rules are not what was asked for")
            if mark:  # after the rules that set it: what they would accept must not be refused meanwhile
                missing = self._look_at_interfaces(mark)
        except BaseException:
            self.disarm()
            raise
        return missing

    def _look_at_interfaces(self, mark: int) -> str:
        devices = tuple(sorted(name for _index, name in self._uplinks))
        if not devices:
            return ""
        try:
            beside = f"create table netdev {nftables.CLOSED}\n" + nftables.interface_ruleset(mark, devices, nftables.CLOSED)
            self._lay(OwnedTable(self._netns, "netdev"), nftables.interface_ruleset(mark, devices), beside)
        except PlatformError as problem:
            return f"frames of packet sockets are not looked at: {problem.cause or problem.title}"
        return ""

    def _lay(self, table: OwnedTable, commands: str, beside: str) -> None:
        """beside: what makes the plain table, for a kernel that takes the owned one away when this process ends."""
        try:
            table.run(commands)
            if beside and not table.persistent:
                table.lay_beside(beside)
            listing = _without_followed(table.listing())
        except BaseException:
            table.delete()
            table.close()
            raise
        self._tables.append(table)
        self._listings.append(listing)

    @property
    def is_persistent(self) -> bool:
        """Whether the rules stay when this process ends."""
        return bool(self._tables) and all(table.persistent for table in self._tables)

    def rule_change(self) -> Change | None:
        """Read the rules back. A table that is gone or altered is a change; other tables are other people's business."""
        _drain(self.rule_events)
        if not self._tables:
            raise IntegrityError("the enclosure is not armed")
        for table, expected in zip(self._tables, self._listings, strict=True):
            try:
                now = _without_followed(table.listing())
            except PlatformError as problem:
                return Change(f"the enclosure's rules are gone ({problem.cause[:100]})")
            if now != expected:
                return Change("the enclosure's rules were changed")
        return None

    def link_changes(self) -> list[Change]:
        """Follow bridges of containers; name interfaces that open a way around the rules."""
        passing = interfaces.changed(self.link_events)
        known = interfaces.interfaces(self._netns)
        present = {(one.index, one.name) for one in known}
        roots = {index for index, _name in self._uplinks}
        found = [Change(f"the interface {name} is gone or renamed") for _index, name in sorted(self._uplinks - present)]
        for one in known:
            if one.index in roots and one.master != self._masters.get(one.index, 0):
                found.append(Change(f"the interface {one.name} was put into a bridge"))
        # Docker makes a macvlan here and moves it into the container's namespace within milliseconds.
        new = {one.index: one for one in (*passing, *known) if one.index not in self._masters}
        for one in new.values():
            if one.parent in roots and one.kind != "veth":
                found.append(Change(f"a {one.kind or 'new'} interface {one.name} was laid on top of an uplink"))
        self._uplinks &= present
        self._masters |= {one.index: one.master for one in (*new.values(), *known)}
        self._follow(interfaces.internal_bridges(known) - roots)
        return found

    def _follow(self, internal: frozenset[int]) -> None:
        if internal == self._internal or not self._tables:
            return
        commands = [f"add element inet {nftables.TABLE} internal {{ {one} }}" for one in sorted(internal - self._internal)]
        commands += [f"delete element inet {nftables.TABLE} internal {{ {one} }}" for one in sorted(self._internal - internal)]
        self._tables[0].run("\n".join(commands) + "\n")
        self._internal = internal

    def disarm(self) -> None:
        """Take the rules away. Safe to call again."""
        while self._tables:
            table = self._tables.pop()
            table.delete()
            table.close()

    def close(self) -> None:
        """End the sockets; a persistent table stays and refuses."""
        for one in (*self.gate_sockets.values(), self.diagnostics, self.rule_events, self.link_events, self.packets):
            one.close()


def _listening() -> dict[str, socket.socket]:
    """On every address, one port number for both families: redirects from bridges go to the bridge's own address."""
    made: dict[str, socket.socket] = {}
    for name, kind in (("tcp", socket.SOCK_STREAM), ("dns", socket.SOCK_DGRAM), ("dnstcp", socket.SOCK_STREAM)):
        for attempt in range(_PORT_TRIES):
            first = _bound(socket.AF_INET, kind, 0)
            try:
                second = _bound(socket.AF_INET6, kind, first.getsockname()[1]) if _has_ipv6() else None
            except OSError:
                first.close()
                if attempt == _PORT_TRIES - 1:
                    raise
                continue
            made[name + "4"] = first
            if second is not None:
                made[name + "6"] = second
            break
    return made


def _without_followed(listing: str) -> str:
    """The listing without the set of bridges, which follows the machine and names interfaces that may be gone by now."""
    return _FOLLOWED.sub("", listing)


def _has_ipv6() -> bool:
    return os.path.isdir("/proc/sys/net/ipv6")


def _bound(family: int, kind: int, port: int) -> socket.socket:
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))  # noqa: S104 - input but for our redirects is refused
        if kind == socket.SOCK_STREAM:
            opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _rule_events() -> socket.socket:
    """A socket that becomes readable when any nftables rule of the namespace changes."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 12)  # NETLINK_NETFILTER
    opened.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    opened.setblocking(False)
    return opened


def _drain(events: socket.socket) -> None:
    while True:
        try:
            events.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: many at once; the state is read as a whole anyway
            continue
