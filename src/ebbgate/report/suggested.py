"""Audit mode's answer: the policy under which the same command runs clean, and what it deliberately leaves out."""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.events.publish import is_whole
from ebbgate.events.types import DnsQuestion, Event, Exchange, Packet
from ebbgate.policy.addresses import special_range
from ebbgate.policy.learn import Bound, Learned, suggested_policy
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Action, Reason
from ebbgate.policy.places import place_of

# What no rule should allow, and why, in the words of a comment.
_NOT_LEARNED = {
    Reason.ADDRESS_MISMATCH: "went to an address that is not the name's",
    Reason.HOST_MISMATCH: "its Host differed from the TLS server name",
    Reason.FOREIGN_CREDENTIAL: "it carried a credential that is none of the job's",
    Reason.UNINSPECTABLE: "could not be read as a whole",
    Reason.MALFORMED: "could not be read in one way only",
    Reason.DEFECT: "the guard failed while judging it",
    Reason.NO_NAME: "no name is known for it",
}


def suggest(events: Iterable[Event]) -> str:
    """A policy in YAML."""
    known = list(events)
    learned: list[Learned] = []
    asked: dict[str, None] = {}
    denied: dict[str, None] = {}
    bound: list[Bound] = []
    notes: dict[str, None] = {}
    for event in known:
        if isinstance(event, Exchange):
            _from_exchange(event, learned, denied, bound, notes)
        elif isinstance(event, DnsQuestion):
            _from_question(event, asked, denied, notes)
        elif isinstance(event, Packet) and not event.decision.quiet:
            notes[f"never carried: {event.protocol} to {event.host or event.address} {event.port or ''}".rstrip()] = None
    hosts = {one.host for one in learned} | {one.host for one in known if isinstance(one, Exchange)}
    learned += [Learned(name, 443, "tls", ("GET",), count=0) for name in asked if name not in hosts]
    return suggested_policy(learned, denied=tuple(denied), bound=tuple(bound), notes=tuple(notes))


def _from_exchange(
    event: Exchange, learned: list[Learned], denied: dict[str, None], bound: list[Bound], notes: dict[str, None]
) -> None:
    host = event.host or event.address
    reason = event.decision.reason
    leaks = [finding for finding in event.findings if not finding.permitted]
    for leak in leaks:
        place = place_of(leak.place, leak.field)
        notes[f"not suggested: {host} was sent the secret {leak.secret} ({place}); if that is right, bind it under secrets:"] = (
            None
        )
    if leaks or not is_whole(host):
        return
    if reason == Reason.EXPLICIT_DENY:
        denied[host] = None
        return
    if event.decision.action == Action.DENY and reason in _NOT_LEARNED:
        notes[f"not suggested: {host}: {_NOT_LEARNED[Reason(reason)]}"] = None
        return
    special = special_range(event.address) is not None and not is_literal(host)
    cidrs = (f"{event.address}/{128 if ':' in event.address else 32}",) if special else ()
    methods = (event.method,) if event.method else ()
    passthrough = event.decision.rule.endswith(" passthrough")
    learned.append(Learned(host, event.port, event.protocol, methods, cidrs, passthrough=passthrough))
    bound += [
        Bound(finding.secret, host, place_of(finding.place, finding.field)) for finding in event.findings if finding.permitted
    ]


def _from_question(event: DnsQuestion, asked: dict[str, None], denied: dict[str, None], notes: dict[str, None]) -> None:
    reason = event.decision.reason
    if any(not finding.permitted for finding in event.findings):
        notes[f"not suggested: a question for {event.name} carried a secret"] = None
    elif not is_whole(event.name) or not event.name:
        notes[f"not suggested: {event.name} looks like data, not like a name"] = None
    elif reason == Reason.EXPLICIT_DENY:
        denied[event.name] = None
    elif reason == Reason.NO_RULE or event.decision.action == Action.ALLOW:
        asked[event.name] = None
