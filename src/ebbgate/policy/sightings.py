"""What journals show that a policy may be learned from, and what of them must not be learned without a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ebbgate.events.publish import is_whole
from ebbgate.events.reading import Run
from ebbgate.events.types import DnsQuestion, Exchange, Origin, Packet, Party
from ebbgate.policy.addresses import special_range
from ebbgate.policy.evidence import with_evidence
from ebbgate.policy.names import canonical_host, is_literal
from ebbgate.policy.never_by_default import never_by_default
from ebbgate.policy.observation import Action, Observation, Protocol, Reason, Stage
from ebbgate.policy.places import place_of

# What no rule should allow, and why.
_NEVER = {
    Reason.ADDRESS_MISMATCH: "it went to an address that is not the name's",
    Reason.HOST_MISMATCH: "its Host differed from the TLS server name",
    Reason.FOREIGN_CREDENTIAL: "it carried a credential that is none of the job's",
    Reason.UNINSPECTABLE: "it could not be read as a whole",
    Reason.MALFORMED: "it could not be read in one way only",
    Reason.DEFECT: "the guard failed while judging it",
    Reason.NO_NAME: "no name is known for it",
    Reason.EXPLICIT_DENY: "the run's policy denies it by name",
}
# Of special addresses those that services of a job have: containers, a company's own network.
_LEARNED_RANGES = ("private", "unique-local", "shared")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One attempt that may be learned. observation: what ``decide`` is asked. cidr: the special address that its name led to.

    run: index of the run. evidence: whether traffic was seen; a question alone is none.
    """

    observation: Observation
    run: int
    job: str
    time: float
    cidr: str = ""
    passthrough: bool = False
    step: str = ""
    executable: str = ""
    evidence: bool = True


@dataclass(frozen=True, slots=True)
class Bound:
    """A secret that was seen where it belongs. place: as a policy names it."""

    secret: str
    host: str
    place: str
    run: int
    job: str
    time: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is not learned. what: a destination in one word. why: for a person."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Of all runs together."""

    sightings: tuple[Sighting, ...]
    bound: tuple[Bound, ...]
    refused: tuple[Refused, ...]


def seen_in(runs: Sequence[Run], is_allowed: Callable[[Sighting], bool]) -> Seen:
    """What the runs show. A host that was ever sent a secret which does not belong there is not learned from any of them.

    is_allowed: whether a person has allowed it already; then it needs no second thought.
    """
    sightings: dict[Sighting, None] = {}
    bound: dict[Bound, None] = {}
    refused: dict[Refused, None] = {}
    tainted: set[str] = set()
    for index, run in enumerate(runs):
        for event in run.events:
            if not isinstance(event, Exchange | DnsQuestion | Packet) or event.origin.party != Party.JOB:
                continue
            found = [] if isinstance(event, Packet) else list(_sightings(event, index, run.started.job))
            why = _bad(event, tainted) or ("" if found and all(map(is_allowed, found)) else _doubtful(event))
            if why:
                refused[Refused(_what(event), why)] = None
            else:
                sightings.update(dict.fromkeys(found))
                if isinstance(event, Exchange):
                    bound.update(dict.fromkeys(_bound(event, index, run.started.job)))
    clean = [one for one in sightings if one.observation.host not in tainted]
    return Seen(_without_idle_questions(clean), tuple(one for one in bound if one.host not in tainted), tuple(refused))


def _what(event: Exchange | DnsQuestion | Packet) -> str:
    if isinstance(event, DnsQuestion):
        return f"dns:{event.name}"
    where = event.host or event.address
    method = f" {event.method}" if isinstance(event, Exchange) and event.method else ""
    return f"{event.protocol}://{where}:{event.port}{method}"


def _host(event: Exchange | DnsQuestion) -> str:
    return event.name if isinstance(event, DnsQuestion) else event.host or event.address


def _bad(event: Exchange | DnsQuestion | Packet, tainted: set[str]) -> str:
    """Why no rule should allow an attempt; "" when one may. Hosts that were sent a secret are added to ``tainted``."""
    if isinstance(event, Packet):
        return "" if event.decision.quiet else "only TCP and DNS are ever carried"
    leak = next((one for one in event.findings if not one.permitted), None)
    if leak is not None:
        tainted.add(_host(event))
        place = place_of(leak.place, leak.field)
        return f"it was sent the secret {leak.secret} ({place}); if that is right, bind it under secrets:"
    if event.decision.reason == Reason.LOCAL:
        return ""
    if not _is_canonical(_host(event)):
        return "its name looks like data, not like a name"
    if isinstance(event, Exchange) and any(one.checked != "fails" for one in event.foreign):
        return _NEVER[Reason.FOREIGN_CREDENTIAL]
    return _NEVER.get(Reason(event.decision.reason), "")


def _doubtful(event: Exchange | DnsQuestion | Packet) -> str:
    """Why a person has to say that an attempt is wanted; "" when none has to."""
    if isinstance(event, Packet) or event.decision.reason == Reason.LOCAL:
        return ""
    if reason := never_by_default(_host(event)):
        return reason
    if event.enforced and event.decision.action == Action.DENY:
        return "it was blocked; if it is wanted, write the entry"
    return _doubtful_address(event) if isinstance(event, Exchange) else ""


def _doubtful_address(event: Exchange) -> str:
    special = special_range(event.address)
    if special is not None and special not in _LEARNED_RANGES:
        return f"it leads to an address of the machine or its platform ({special})"
    if special is None and is_literal(_host(event)):
        return "an address without a name: nobody can tell whose it is tomorrow"
    return ""


def _is_canonical(host: str) -> bool:
    try:
        return is_whole(host) and canonical_host(host) == host
    except ValueError:
        return False


def _sightings(event: Exchange | DnsQuestion, run: int, job: str) -> Iterable[Sighting]:
    step, executable = _who(event.origin)
    if isinstance(event, DnsQuestion):
        if event.decision.reason != Reason.LOCAL:
            asked = Observation(Stage.DNS, Protocol.DNS, _service(event.name))
            yield Sighting(asked, run, job, event.time, "", False, step, executable, evidence=False)
        return
    host, protocol = event.host or event.address, Protocol(event.protocol)
    special = special_range(event.address) is not None and not is_literal(host)
    cidr = f"{event.address}/{128 if ':' in event.address else 32}" if special else ""
    passthrough = event.decision.rule.endswith(" passthrough")
    stage = Stage.CONNECT if protocol is Protocol.TCP else Stage.REQUEST if event.method else Stage.NAME
    for method in (event.method.upper(), *event.overrides) if event.method else (None,):
        path, query = (event.path, event.query) if method else (None, None)
        observation = Observation(stage, protocol, host, event.port, None, True, method, path, query)
        observation = with_evidence(observation, event.origin) if method else observation
        yield Sighting(observation, run, job, event.time, cidr, passthrough, step, executable)


def _service(name: str) -> str:
    """``_http._tcp.deb.debian.org`` asks about ``deb.debian.org``."""
    while name.startswith("_") and "." in name:
        name = name.partition(".")[2]
    return name


def _who(origin: Origin) -> tuple[str, str]:
    step = origin.step.name if origin.step else ""
    return step, origin.process.exe.rpartition("/")[2] if origin.process else ""


def _bound(event: Exchange, run: int, job: str) -> Iterable[Bound]:
    for one in event.findings:
        yield Bound(one.secret, event.host or event.address, place_of(one.place, one.field), run, job, event.time)


def _without_idle_questions(found: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Without questions about hosts that were then reached: their entries answer the question too."""
    known = tuple(found)
    reached = {(one.job, one.observation.host) for one in known if one.evidence}
    return tuple(one for one in known if one.evidence or (one.job, one.observation.host) not in reached)
