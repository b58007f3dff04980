"""Packets that the enclosure refused, judged with the names that the gate's resolver had handed out."""

from __future__ import annotations

from typing import Any  # messages of host.channel

from ebbgate.events.types import Packet
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import decision_record
from ebbgate.gate.reporter import origin_from
from ebbgate.policy.decide import decide
from ebbgate.policy.observation import Decision, Observation, Protocol, Stage

_PROTOCOLS = {"udp": Protocol.UDP, "icmp": Protocol.ICMP}


def record_packet(context: GateContext, message: dict[str, Any]) -> None:
    """Journal one kind of refused packet. Nothing but TCP and DNS is ever carried, in audit mode neither."""
    address, port = str(message["address"]), int(message["port"])
    names = context.directory.names_at(address) if address else ()
    host, decision = _judge(context, str(message["protocol"]), address, port, names)
    context.reporter.event(
        Packet(
            protocol=str(message["protocol"]),
            address=address,
            port=port,
            host=context.reporter.publish_host(host),
            decision=decision_record(decision),
            enforced=context.enforce,
            count=int(message["count"]),
            origin=origin_from(message),
            time=float(message["time"]),
        )
    )


def _judge(context: GateContext, protocol: str, address: str, port: int, names: tuple[str, ...]) -> tuple[str, Decision]:
    """(name, decision): the most lenient over the names of the address, since QUIC to an allowed host falls back to TCP."""
    kind = _PROTOCOLS.get(protocol, Protocol.OTHER)
    judged = [
        (name or "", decide(context.policy, Observation(Stage.CONNECT, kind, name, port or None, address or None)))
        for name in (*names, None)
    ]
    return next((one for one in judged if one[1].quiet), judged[0])
