"""An explanation for a person."""

from __future__ import annotations

from collections.abc import Iterator

from ebbgate.events.publish import printable
from ebbgate.policy.explain import Explanation
from ebbgate.policy.observation import Reason, RuleRef, Stage

_MAX_LINE = 500
_REASONS = {
    Reason.RULE: "an entry allows it",
    Reason.EXPLICIT_DENY: "a deny entry refuses it; quietly, so that the job does not fail",
    Reason.NO_RULE: "no entry names this host",
    Reason.NO_NAME: "no name is known",
    Reason.LOCAL: "the guard answers it itself",
    Reason.PORT: "other ports only",
    Reason.PROTOCOL: "another protocol only",
    Reason.METHOD: "other methods only",
    Reason.PATH: "other paths only",
    Reason.QUERY: "other query parameters only",
    Reason.ONLY: "other steps, programs or actions only",
    Reason.ADDRESS_MISMATCH: "the address is not one of this name's",
    Reason.SPECIAL_ADDRESS: "an internal address that no entry names",
    Reason.NOT_CARRIED: "never carried",
    Reason.MALFORMED: "it can be read in more than one way",
    Reason.DEFECT: "the guard failed while judging it",
}


def to_text(told: Explanation, mode: str, secret: str = "") -> str:
    """Lines that each say one thing; nothing in them can change a terminal."""
    return "".join(f"{printable(line, _MAX_LINE)}\n" for line in _lines(told, mode, secret))


def _lines(told: Explanation, mode: str, secret: str) -> Iterator[str]:
    seen, decision = told.seen, told.decision
    word = "allowed" if decision.allowed else "denied"
    request = f"{seen.method} {seen.path} at " if seen.stage is Stage.REQUEST else ""
    yield f"{word}: {request}{seen.protocol}://{seen.host}:{seen.port}"
    yield f"  because {_REASONS.get(decision.reason, str(decision.reason))}"
    if decision.rule is not None:
        yield f"  rule    {place(decision.rule)}: {decision.rule.text}"
    yield from (f"          {text}" for text in _manner(told))
    if mode == "audit" and not decision.allowed:
        yield "          mode audit: it would be recorded and go on"
    for near in told.near:
        if near.rule != decision.rule or decision.allowed:
            yield f"  not by  {place(near.rule)}: {near.rule.text} ({_REASONS.get(near.reason, str(near.reason))})"
    if told.fix:
        yield f"  to allow {'it, add below allow:' if told.is_entry else 'it:'}"
        yield f"    {told.fix}"
    if told.places is not None:
        yield from _places(told, secret)


def _places(told: Explanation, secret: str) -> Iterator[str]:
    if told.decision.passthrough:
        yield f"  secret  {secret}: nothing is read here, so nothing would be found"
    elif told.places:
        yield f"  secret  {secret} may be there in: {', '.join(told.places)}"
    else:
        yield f"  secret  {secret} may not be in it: an attempt to steal (bind it with secrets: if that is wrong)"


def _manner(told: Explanation) -> Iterator[str]:
    decision = told.decision
    if decision.passthrough:
        yield "passed through: neither method nor path nor content is read"
    if decision.own_credentials:
        yield "with the job's own credentials only"
    if decision.inspected_only:
        yield "if all of it can be read"


def place(rule: RuleRef) -> str:
    """``file:line``, or what stands in its place."""
    return f"{rule.source}:{rule.line}" if rule.line else rule.source
