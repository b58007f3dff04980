"""What to do about a secret that was on its way out, in order: isolate, revoke on the issuer's page, replace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ebbgate.events.incidents import Incident, Kind
from ebbgate.secrets.credentials import CANARY, CredentialKind, credentials

# Malware of 2025 and 2026 keeps asking with a stolen GitHub or npm token, and wipes home directories once it is refused.
WATCHED_BY_THIEVES = ("github-", "npm-")
_ISOLATE = (
    "isolate before you revoke: take this runner, and every machine that may run the same code, off the network and keep"
    " its disk; thieves watch tokens of this kind, and wipe what they can reach when one stops working"
)
_CANARY = (
    "nothing to revoke: the value was planted by the guard and is valid nowhere; whoever used it had read it, so take every"
    " secret in its reach for read too"
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """One secret. kind: id, "" when unknown. page: of the issuer, "" when there is none. left: the value left the machine.

    steps: in this order. Where the value did not leave, they are for the case that nobody meant it to be sent.
    """

    secret: str
    kind: str
    kind_name: str
    page: str
    left: bool
    steps: tuple[str, ...]


def rotations(incidents: Iterable[Incident]) -> tuple[Rotation, ...]:
    """One for each secret that an exfiltration attempt is about, those that left first."""
    worst: dict[str, Incident] = {}
    for one in incidents:
        if one.kind is Kind.exfiltration and (one.secret not in worst or worst[one.secret].stopped):
            worst[one.secret] = one
    return tuple(sorted(map(_rotation, worst.values()), key=lambda one: not one.left))


def _rotation(incident: Incident) -> Rotation:
    kind = credentials().by_id.get(incident.credential)
    page = kind.revoke if kind is not None else ""
    steps = (_CANARY,) if incident.credential == CANARY else tuple(_steps(incident, kind))
    return Rotation(incident.secret, incident.credential, kind_name(incident.credential), page, not incident.stopped, steps)


def _steps(incident: Incident, kind: CredentialKind | None) -> Iterable[str]:
    if incident.credential.startswith(WATCHED_BY_THIEVES):
        yield _ISOLATE
    yield f"revoke {incident.secret}" + (f": {kind.revoke}" if kind is not None and kind.revoke else " where it was issued")
    yield "make a new one that may do and reach less, and put it into the CI system's secrets only"
    yield "look through its issuer's log for uses that were not yours since this run"


def kind_name(kind_id: str) -> str:
    """In words."""
    if kind_id == CANARY:
        return "a canary, planted by the guard"
    kind = credentials().by_id.get(kind_id)
    return kind.name if kind is not None else ""
