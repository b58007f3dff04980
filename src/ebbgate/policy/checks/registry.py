"""Every rule of ``ebbgate check``, and the one function that applies them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ebbgate.policy.checks import bound, destinations, redundant
from ebbgate.policy.checks.finding import Finding, Rule, Severity
from ebbgate.policy.load import policies_of
from ebbgate.policy.model import Policy
from ebbgate.policy.yaml_source import PolicyProblems

INVALID: Mapping[str, str] = {
    "invalid": "no valid policy: it is not applied",
    "unknown-preset": "there is no preset of this name",
}
_WARNING, _NOTE = Severity.WARNING, Severity.NOTE
RULES = (
    Rule("duplicate", "an entry is given twice", _WARNING, redundant.duplicates),
    Rule("shadowed", "another entry covers it: it does nothing, or is never reached", _WARNING, redundant.shadowed),
    Rule("denied", "a deny entry refuses all that it allows", _WARNING, redundant.denied),
    Rule("public-suffix", "a wildcard over everybody's domains", Severity.ERROR, destinations.public_suffix),
    Rule("anyone-below", "a wildcard over names that anybody can have", _WARNING, destinations.anyone_below),
    Rule("never-by-default", "paste sites, tunnels, webhook catchers and the like", _WARNING, destinations.never),
    Rule("doh-resolver", "names can be asked past the guard's resolver", _WARNING, destinations.resolvers),
    Rule("writable-host", "any account can store data there, and the entry is not narrowed", _WARNING, destinations.writable),
    Rule("not-read", "opaque or passed through: carried and not read", _WARNING, destinations.opaque),
    Rule("clear-text", "plain HTTP with methods that send data", _WARNING, destinations.clear_text),
    Rule("binding-unreachable", "a secret is bound to a host that nothing allows", _WARNING, bound.unreachable),
    Rule("binding-unread", "a secret is bound to a host where no request is read", _WARNING, bound.unread),
    Rule("binding-anybody", "a secret is bound to names that anybody can have", _WARNING, bound.to_anybody),
)
MEANINGS = {**INVALID, **{rule.name: rule.meaning for rule in RULES}}


def review(policy: Policy) -> list[Finding]:
    """What the rules say about a policy, in the order of its files."""
    found: dict[Finding, None] = {}
    for rule in RULES:
        for remark in rule.find(policy):
            severity = _NOTE if remark.accepted and rule.severity is _WARNING else rule.severity
            ref = remark.ref
            found[Finding(rule.name, severity, ref.source, ref.line, ref.column, remark.message, remark.fix)] = None
    return in_order(found)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By file and place."""
    return sorted(findings, key=lambda one: (one.source, one.line, one.column, one.rule, one.message))


def review_file(path: Path) -> tuple[Policy | None, list[Finding]]:
    """A file's policy without its jobs, None when it cannot be applied; and what is to be said of it, every job included."""
    try:
        policies = policies_of(path)
    except PolicyProblems as problems:
        return None, [
            Finding(one.rule, Severity.ERROR, one.source, one.line, one.column, one.message, one.fix) for one in problems.problems
        ]
    return policies[""], in_order(dict.fromkeys(one for policy in policies.values() for one in review(policy)))
