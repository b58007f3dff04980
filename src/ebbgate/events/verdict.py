"""The verdict: a pure function of the journal, and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from ebbgate.events.types import (
    Armed,
    CommandEnded,
    Defect,
    DnsQuestion,
    Event,
    Exchange,
    GateLost,
    Packet,
    Party,
    RunEnded,
    Tampering,
)
from ebbgate.exit_codes import BLOCKED, BROKEN, EXFILTRATION, TAMPERED
from ebbgate.policy.observation import Action, Reason


class Verdict(StrEnum):
    """From best to worst."""

    clean = "clean"
    blocked = "blocked"
    broken = "broken"
    tampered = "tampered"
    exfiltration = "exfiltration"


_ORDER = tuple(Verdict)


def verdict(events: Iterable[Event]) -> Verdict:
    """The worst that any event says; ``broken`` when the record itself is incomplete."""
    found = Verdict.clean
    armed = ended = complete = False
    for event in events:
        found = _worse(found, said_by(event))
        armed = armed or isinstance(event, Armed)
        ended = ended or isinstance(event, CommandEnded)
        complete = complete or (isinstance(event, RunEnded) and event.complete)
    return found if armed and ended and complete else _worse(found, Verdict.broken)


def _worse(first: Verdict, second: Verdict) -> Verdict:
    return max(first, second, key=_ORDER.index)


def said_by(event: Event) -> Verdict:
    """What one event says by itself."""
    if isinstance(event, Exchange | DnsQuestion) and any(not finding.permitted for finding in event.findings):
        return Verdict.exfiltration
    if isinstance(event, Exchange | DnsQuestion | Packet):
        decision = event.decision
        counts = decision.action == Action.DENY and not decision.quiet and decision.reason != Reason.LOCAL
        counts = counts and event.origin.party == Party.JOB  # what else is refused to the machine fails nobody's job
        return Verdict.blocked if counts else Verdict.clean
    if isinstance(event, Tampering):
        return Verdict.tampered
    return Verdict.broken if isinstance(event, Defect | GateLost) else Verdict.clean


def exit_code(found: Verdict, *, mode: str, command_code: int, on_exfiltration: str = "kill", on_blocked: str = "fail") -> int:
    """The exit code of a run or job. Audit mode never fails a command for what it did, only for a guard that failed."""
    match found:
        case Verdict.tampered:
            return TAMPERED
        case Verdict.broken:
            return BROKEN
        case Verdict.blocked if mode == "enforce" and on_blocked != "warn":
            return BLOCKED
        case Verdict.exfiltration if mode == "enforce" and on_exfiltration != "warn":
            return EXFILTRATION
    return command_code
