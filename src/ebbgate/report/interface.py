"""What every renderer is given: the run's facts, taken from the journal and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ebbgate.events.incidents import Incident, destination, incidents
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    Container,
    DnsQuestion,
    Event,
    Exchange,
    Inspection,
    Notice,
    Packet,
    Party,
    RunEnded,
    RunStarted,
    SecretInfo,
)
from ebbgate.events.verdict import Verdict, verdict
from ebbgate.policy.observation import Action, Reason
from ebbgate.report.rotation import Rotation, kind_name, rotations
from ebbgate.report.suggested import suggest

MAX_PROGRAMS = 8  # named for one destination
MAX_NOTICES = 200
MAX_FOREIGN = 100
MAX_LISTED = 5000  # destinations, and kinds of quiet denials, named one by one; the rest is one entry with their sum


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination that was reached. bytes_out, bytes_in: payload, headers included. failed: exchanges without an answer.

    steps, containers: of the job that went there. party: whose processes, see ``events.types.Party``; several are joined.

    uninspected: reasons why some of what left was not read; empty when all of it was.
    """

    host: str
    port: int
    protocol: str
    exchanges: int
    methods: tuple[str, ...]
    bytes_out: int
    bytes_in: int
    failed: int
    error: str
    uninspected: tuple[str, ...]
    programs: tuple[str, ...]
    secrets: tuple[str, ...]
    steps: tuple[str, ...]
    party: str
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Foreign:
    """Credentials of one kind that are none of the job's, at one destination. denied: by ``credentials: own``.

    checked: "holds", "fails" or "" for the format's own test; programs, steps: that sent them.
    """

    kind: str
    kind_name: str
    destination: str
    place: str
    checked: str
    denied: bool
    count: int
    programs: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run. rotations: what to do about secrets on their way out. foreign: credentials that are none of the job's.

    suggested: a policy learned from it, in audit mode. quiet: denials that ask nobody to act, by text. left_out: incidents,
    destinations and others that ``report.json`` has no room for.
    """

    verdict: Verdict
    exit_code: int
    mode: str
    command: str
    version: str
    policy: tuple[str, ...]
    policy_digest: str
    secrets: tuple[SecretInfo, ...]
    doors_opened: tuple[str, ...]
    armed_seconds: float
    command_exit_code: int
    killed_by_guard: bool
    seconds: float
    incidents: tuple[Incident, ...]
    destinations: tuple[Destination, ...]
    quiet: tuple[tuple[str, int], ...]
    uninspected_bytes: int
    dropped_events: int
    complete: bool
    suggested: str | None
    notices: tuple[Notice, ...] = ()
    rotations: tuple[Rotation, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    left_out: int = 0


@dataclass(slots=True)
class _Reached:
    exchanges: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    failed: int = 0
    error: str = ""
    methods: dict[str, None] = field(default_factory=dict)
    uninspected: dict[str, None] = field(default_factory=dict)
    programs: dict[str, None] = field(default_factory=dict)
    secrets: dict[str, None] = field(default_factory=dict)
    steps: dict[str, None] = field(default_factory=dict)
    containers: dict[Container, None] = field(default_factory=dict)
    parties: dict[str, None] = field(default_factory=dict)


_SUMS = ("exchanges", "bytes_out", "bytes_in", "failed")  # the first fields of ``_Reached``


def build_report(events: Iterable[Event], exit_code: int) -> RunReport:
    """The report of a journal. exit_code: what ``ebbgate run`` ends with."""
    known = list(events)
    started = next((one for one in known if isinstance(one, RunStarted)), RunStarted("", "enforce", "", (), "", ()))
    armed = next((one.seconds for one in known if isinstance(one, Armed)), 0.0)
    command = next((one for one in known if isinstance(one, CommandEnded)), CommandEnded(1, False, 0.0))
    ended = next((one for one in known if isinstance(one, RunEnded)), RunEnded(False, 0, 0))
    found = tuple(incidents(known))
    return RunReport(
        verdict=verdict(known),
        exit_code=exit_code,
        mode=started.mode,
        command=started.command,
        version=started.version,
        policy=started.policy,
        policy_digest=started.policy_digest,
        secrets=started.secrets,
        doors_opened=started.doors_opened,
        armed_seconds=armed,
        command_exit_code=command.exit_code,
        killed_by_guard=command.killed_by_guard,
        seconds=command.seconds,
        incidents=found,
        destinations=tuple(_destinations(known)),
        quiet=tuple(_quiet(known)),
        uninspected_bytes=ended.uninspected_bytes,
        dropped_events=ended.dropped_events,
        complete=ended.complete,
        suggested=suggest(known) if started.mode == "audit" else None,
        notices=tuple(one for one in known if isinstance(one, Notice))[:MAX_NOTICES],
        rotations=rotations(found),
        foreign=tuple(_foreign(known))[:MAX_FOREIGN],
    )


def _destinations(events: list[Event]) -> list[Destination]:
    reached: dict[tuple[str, int, str], _Reached] = {}
    for event in events:
        if isinstance(event, Exchange) and (event.bytes_out or event.bytes_in) and not (event.blocked and not event.bytes_out):
            _count(reached.setdefault((event.host or event.address, event.port, event.protocol), _Reached()), event)
    listed = sorted(reached.items(), key=lambda item: -item[1].bytes_out)
    if len(listed) > MAX_LISTED:
        rest = [one for _key, one in listed[MAX_LISTED:]]
        together = _Reached(*(sum(getattr(one, name) for one in rest) for name in _SUMS))
        together.uninspected = {reason: None for one in rest for reason in one.uninspected}
        listed[MAX_LISTED:] = [((f"{len(rest)} more destinations", 0, "any"), together)]
    return [
        Destination(
            *key,
            one.exchanges,
            tuple(one.methods),
            one.bytes_out,
            one.bytes_in,
            one.failed,
            one.error,
            tuple(one.uninspected),
            tuple(one.programs)[:MAX_PROGRAMS],
            tuple(one.secrets),
            tuple(one.steps)[:MAX_PROGRAMS],
            ", ".join(one.parties),
            tuple(one.containers)[:MAX_PROGRAMS],
        )
        for key, one in listed
    ]


def _count(reached: _Reached, event: Exchange) -> None:
    reached.exchanges += 1
    reached.bytes_out += event.bytes_out
    reached.bytes_in += event.bytes_in
    if event.method:
        reached.methods[event.method] = None
    if event.error:
        reached.failed += 1
        reached.error = event.error
    if event.inspection != Inspection.FULL:
        reached.uninspected[event.uninspected] = None
    if event.origin.process is not None:
        reached.programs[event.origin.process.exe.rpartition("/")[2] or "?"] = None
    reached.parties[event.origin.party] = None
    if event.origin.container is not None:
        reached.containers[event.origin.container] = None
    if event.origin.step is not None:
        reached.steps[event.origin.step.name] = None
    for finding in event.findings:
        if finding.permitted:
            reached.secrets[finding.secret] = None


def _foreign(events: list[Event]) -> Iterator[Foreign]:
    seen: dict[tuple[str, str, str, str, bool], list[Exchange]] = {}
    for event in events:
        if isinstance(event, Exchange):
            for one in event.foreign:
                seen.setdefault((one.kind, destination(event), one.place, one.checked, one.denied), []).append(event)
    for (kind, where, place, checked, denied), exchanges in seen.items():
        programs = (one.origin.process.exe.rpartition("/")[2] or "?" for one in exchanges if one.origin.process is not None)
        steps = (one.origin.step.name for one in exchanges if one.origin.step is not None)
        yield Foreign(
            kind,
            kind_name(kind),
            where,
            place,
            checked,
            denied,
            len(exchanges),
            tuple(dict.fromkeys(programs))[:MAX_PROGRAMS],
            tuple(dict.fromkeys(steps))[:MAX_PROGRAMS],
        )


def _quiet(events: list[Event]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for event in events:
        if not isinstance(event, Exchange | DnsQuestion | Packet) or event.decision.action != Action.DENY:
            continue
        elsewhere = event.origin.party != Party.JOB and event.decision.reason != Reason.LOCAL
        if event.decision.quiet or elsewhere:
            name = event.name if isinstance(event, DnsQuestion) else event.host or event.address
            protocol = "dns" if isinstance(event, DnsQuestion) else event.protocol
            text = f"{protocol} {name} ({event.decision.reason})" + (f", by the {event.origin.party}" if elsewhere else "")
            found[text] = found.get(text, 0) + (event.count if isinstance(event, Packet) else 1)
    if len(found) > MAX_LISTED:
        rest = list(found)[MAX_LISTED:]
        found[f"{len(rest)} more kinds"] = sum(found.pop(text) for text in rest)
    return sorted(found.items())
