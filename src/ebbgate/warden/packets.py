"""Refused packets, counted by kind: one record for each protocol, destination and sender."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any  # messages of host.channel

from ebbgate.events.codec import to_json
from ebbgate.events.types import DecisionRecord, Origin, Packet, Tampering
from ebbgate.host.netlink import RefusedPacket
from ebbgate.policy.observation import Action, Reason

MAX_KINDS = 500  # a port scan makes thousands; beyond this they are counted only
MAX_ATTRIBUTED = 2000  # how often the sender is looked up, a few milliseconds each


@dataclass(slots=True)
class _Seen:
    packet: RefusedPacket
    origin: Origin
    first: float
    count: int = 1
    told: int = 0


class Packets:
    """lost: packets that were refused but not recorded."""

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], _Seen] = {}
        self._known: dict[tuple[object, ...], Origin] = {}
        self.lost = 0

    def add(self, packet: RefusedPacket, sender: Callable[[RefusedPacket], Origin] | None) -> None:
        """Count one packet."""
        flow = (packet.protocol, packet.source, packet.source_port, packet.address, packet.port)
        if flow not in self._known:
            if len(self._known) >= MAX_ATTRIBUTED:
                self.lost += 1
                return
            self._known[flow] = sender(packet) if sender is not None else Origin()
        origin = self._known[flow]
        program = origin.process.exe if origin.process else ""
        key = (packet.protocol, packet.address, packet.port, program, origin.step, origin.container)
        if key in self._seen:
            self._seen[key].count += 1
        elif len(self._seen) < MAX_KINDS:
            self._seen[key] = _Seen(packet, origin, time.time())
        else:
            self.lost += 1

    def taken(self) -> Iterator[dict[str, Any]]:
        """What is new since the last time, for the gate, which knows the names behind the addresses and decides."""
        for seen in self._seen.values():
            new, seen.told = seen.count - seen.told, seen.count
            if not new:
                continue
            yield {
                "type": "packet",
                "protocol": seen.packet.protocol,
                "address": seen.packet.address,
                "port": seen.packet.port,
                "count": new,
                "time": seen.first,
                "carrier": to_json(Tampering("", seen.origin)),
            }

    def events(self, *, enforced: bool) -> Iterator[Packet]:
        """When there is no gate to ask: refused, names unknown."""
        decision = DecisionRecord(str(Action.DENY), str(Reason.NOT_CARRIED))
        for seen in self._seen.values():
            packet = seen.packet
            yield Packet(
                packet.protocol,
                packet.address,
                packet.port,
                "",
                decision,
                enforced,
                seen.count,
                seen.origin,
                seen.first,
            )
