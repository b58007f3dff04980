"""What a person must act on: the journal's bad news, each thing once.

A client that tries again, or asks for a name and then connects to it, makes many events and one incident.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ebbgate.events.types import (
    Defect,
    DnsQuestion,
    Event,
    Exchange,
    FindingRecord,
    GateLost,
    Origin,
    Packet,
    RunEnded,
    Tampering,
)
from ebbgate.events.verdict import Verdict, said_by

MAX_INCIDENTS = 500  # different ones; a scan of the whole network makes thousands, and nobody reads them
MAX_LEAKS = 1000  # the same, with leaks counted in: blocked destinations take up half of the room at most


class Kind(StrEnum):
    """From worst to least."""

    exfiltration = "exfiltration"
    tampered = "tampered"
    broken = "broken"
    blocked = "blocked"


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing to act on.

    destination: "tls://host:443", "udp://address:53", "dns name"; "" when it has none. reason: of the decision.
    secret, place, field, offset, encodings: of a finding, else empty; credential: id of the secret's kind; visible: other secrets
    that the same process could see. stopped: nothing of it went on; False in audit mode.
    bytes_left: payload bytes that were handed to the network in these attempts. count: attempts.
    suggestion: the option that would allow it; "" when none would or should. detail: what happened, for kinds without a
    destination.
    """

    kind: Kind
    destination: str
    host: str
    reason: str
    count: int
    stopped: bool
    bytes_left: int
    bytes_withheld: int
    secret: str = ""
    fingerprint: str = ""
    place: str = ""
    encodings: tuple[str, ...] = ()
    origin: Origin = Origin()
    suggestion: str = ""
    detail: str = ""
    time: float = 0.0
    credential: str = ""
    field: str = ""
    offset: int = -1
    visible: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    first: Incident
    count: int = 0
    stopped: bool = True
    left: int = 0
    withheld: int = 0

    def add(self, event: Exchange | DnsQuestion | Packet) -> None:
        self.count += event.count if isinstance(event, Packet) else 1
        if isinstance(event, Exchange):
            self.stopped = self.stopped and event.blocked
            self.left += event.bytes_out
            self.withheld += event.bytes_withheld
        elif isinstance(event, DnsQuestion):
            self.stopped = self.stopped and not event.forwarded


def incidents(events: Iterable[Event]) -> list[Incident]:
    """All incidents, worst first, then in order of time."""
    groups: dict[tuple[object, ...], _Group] = {}
    questions: dict[tuple[object, ...], _Group] = {}
    others: list[Incident] = []
    for event in events:
        if isinstance(event, Exchange | DnsQuestion | Packet):
            _collect(event, groups, questions)
        else:
            others += _of_the_guard(event)
    named = {group.first.host for group in groups.values()}
    groups |= {key: group for key, group in questions.items() if group.first.host not in named}
    found = [*others[:MAX_INCIDENTS], *(_finished(group) for group in groups.values())]
    order = list(Kind)
    return sorted(found, key=lambda one: (order.index(one.kind), one.time))


def _collect(
    event: Exchange | DnsQuestion | Packet,
    groups: dict[tuple[object, ...], _Group],
    questions: dict[tuple[object, ...], _Group],
) -> None:
    meaning = said_by(event)
    if meaning is Verdict.clean:
        return
    if meaning is Verdict.exfiltration and not isinstance(event, Packet):
        for finding in event.findings:
            if not finding.permitted:
                leak = _leak(event, finding)
                key = (leak.destination, leak.secret, leak.place, leak.encodings)
                _add(groups, key, leak, event)
        return
    blocked = _blocked(event)
    program = event.origin.process.exe if event.origin.process else ""
    target = questions if isinstance(event, DnsQuestion) else groups
    _add(target, (blocked.destination, blocked.reason, program), blocked, event)


def _add(
    groups: dict[tuple[object, ...], _Group],
    key: tuple[object, ...],
    incident: Incident,
    event: Exchange | DnsQuestion | Packet,
) -> None:
    if key not in groups:
        if len(groups) >= (MAX_INCIDENTS if incident.kind is Kind.blocked else MAX_LEAKS):
            return
        groups[key] = _Group(incident)
    groups[key].add(event)


def _leak(event: Exchange | DnsQuestion, finding: FindingRecord) -> Incident:
    return Incident(
        kind=Kind.exfiltration,
        destination=destination(event),
        host=event.name if isinstance(event, DnsQuestion) else event.host or event.address,
        reason=event.decision.reason,
        count=0,
        stopped=True,
        bytes_left=0,
        bytes_withheld=0,
        secret=finding.secret,
        fingerprint=finding.fingerprint,
        place=finding.place,
        encodings=finding.encodings,
        origin=event.origin,
        time=event.time,
        credential=finding.kind,
        field=finding.field,
        offset=finding.offset,
        visible=tuple(name for name in event.visible if name != finding.secret),
    )


def _blocked(event: Exchange | DnsQuestion | Packet) -> Incident:
    return Incident(
        kind=Kind.blocked,
        destination=destination(event),
        host=event.name if isinstance(event, DnsQuestion) else event.host or event.address,
        reason=event.decision.reason,
        count=0,
        stopped=True,
        bytes_left=0,
        bytes_withheld=0,
        origin=event.origin,
        suggestion="" if isinstance(event, Packet) else event.suggestion,
        detail=f"{event.method} {event.path}".strip() if isinstance(event, Exchange) else "",
        time=event.time,
    )


def destination(event: Exchange | DnsQuestion | Packet) -> str:
    """Where an event was headed, in one word."""
    if isinstance(event, DnsQuestion):
        return f"dns:{event.name}"
    host = event.host or event.address
    host = f"[{host}]" if ":" in host else host
    return f"{event.protocol}://{host}:{event.port}" if event.port else f"{event.protocol}://{host}"


def _finished(group: _Group) -> Incident:
    return replace(group.first, count=group.count, stopped=group.stopped, bytes_left=group.left, bytes_withheld=group.withheld)


def _of_the_guard(event: Event) -> list[Incident]:
    if isinstance(event, Tampering):
        return [_plain(Kind.tampered, event.what, event.time, event.origin)]
    if isinstance(event, Defect):
        where = f" at {event.location}" if event.location else ""
        return [_plain(Kind.broken, f"{event.component} failed in {event.operation}: {event.error}{where}", event.time)]
    if isinstance(event, GateLost):
        return [
            _plain(
                Kind.broken,
                f"the gate ended although the run had not ({event.how}); nothing left after that",
                event.time,
            )
        ]
    if isinstance(event, RunEnded) and not event.complete:
        return [_plain(Kind.broken, "the record may lack its end", event.time)]
    return []


def _plain(kind: Kind, detail: str, time: float, origin: Origin | None = None) -> Incident:
    return Incident(kind, "", "", "", 1, True, 0, 0, origin=origin or Origin(), detail=detail, time=time)
