"""What a change of a policy lets out, and what it no longer does: capabilities, not lines of text.

An entry is taken apart into atoms: one port, one method, one path pattern, one address range each. An atom is reachable before
when one entry of the old policy covers it and every denial that it had is still there. So "nothing becomes reachable" is certain;
an atom that the old policy allowed by several entries together only is told although nothing changed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from ebbgate.policy.cover import covers, covers_host, covers_methods, covers_paths
from ebbgate.policy.entries import describe
from ebbgate.policy.model import Entry, HostPattern, Policy
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import RuleRef

EVERY_JOB = ""
_INSIDE = "x"  # a label that stands for every name below a wildcard


@dataclass(frozen=True, slots=True)
class Change:
    """One capability that comes or goes. kind: "reach", "reading", "binding" or "setting". job: "" for all. ref: its place."""

    widens: bool
    kind: str
    what: str
    job: str = EVERY_JOB
    ref: RuleRef = RuleRef("", 0, 0, "")


def differences(old: Policy, new: Policy) -> list[Change]:
    """Changes from one policy to another, those that widen first."""
    found = [*_one_way(old, new, widens=True), *_one_way(new, old, widens=False)]
    return list(dict.fromkeys(sorted(found, key=lambda one: not one.widens)))


def differences_of_jobs(old: dict[str, Policy], new: dict[str, Policy]) -> list[Change]:
    """The same for policies by job; the one of "" is what every job has, and what a job has that is not named."""
    found = differences(old[EVERY_JOB], new[EVERY_JOB])
    known = {replace(one, ref=RuleRef("", 0, 0, "")) for one in found}
    for job in dict.fromkeys([*new, *old]):
        if job != EVERY_JOB:
            of_job = differences(old.get(job, old[EVERY_JOB]), new.get(job, new[EVERY_JOB]))
            found += [replace(one, job=job) for one in of_job if replace(one, ref=RuleRef("", 0, 0, "")) not in known]
    return sorted(found, key=lambda one: not one.widens)


def _one_way(old: Policy, new: Policy, *, widens: bool) -> Iterator[Change]:
    """What ``new`` can do and ``old`` cannot."""
    change = partial(Change, widens)
    for entry in new.allow:
        fresh = [atom for atom in _atoms(entry) if not _is_denied(new, atom) and not _was_reachable(old, new, atom)]
        for what in _joined(entry, fresh):
            yield change("reach", what, ref=entry.ref)
        if not fresh and (laxer := _laxer(old, new, entry)):
            yield change("reading", f"{_reach(entry)}: {', '.join(laxer)}", ref=entry.ref)
    for denial in old.deny:
        if not _is_kept(denial, new.deny) and (part := _part_denied(new, denial)):
            word = "which was denied" if widens else "which is denied now"
            yield change("reach", f"{_where(denial)}, {word}", ref=part.ref)
    yield from (change("binding", text, ref=ref) for text, ref in _bound(old, new))
    yield from (change("setting", text) for text in _settings(old, new))


def _part_denied(new: Policy, denial: Entry) -> Entry | None:
    """An entry of which the denial is a part; one that it denies whole is told as such."""
    for entry in new.allow:
        whole = entry.host is not None and denial.host is not None and covers_host(denial.host, entry.host)
        if not whole and _overlap(entry, denial) and not _is_denied(new, entry):
            return entry
    return None


def _where(denial: Entry) -> str:
    return describe(denial).partition("://")[2].removesuffix(":*")


def _atoms(entry: Entry) -> Iterator[Entry]:
    """An entry's smallest parts. An empty tuple stays: all methods, all paths."""
    special = _singly(entry.cidrs) if entry.host is None or not entry.cidrs else [(), *_singly(entry.cidrs)]
    for port in entry.ports:
        for methods in _singly(entry.methods):
            for paths in _singly(entry.paths):
                for cidrs in special:
                    yield replace(entry, ports=(port,), methods=methods, paths=paths, cidrs=cidrs)


def _singly(texts: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [(one,) for one in texts] or [()]


def _joined(entry: Entry, fresh: list[Entry]) -> list[str]:
    """Atoms as few texts: the whole entry when all of it is fresh."""
    if not fresh:
        return []
    if len(fresh) == len(list(_atoms(entry))):
        return [_reach(entry)]
    return [_reach(atom) for atom in fresh]


def _reach(entry: Entry) -> str:
    return describe(replace(entry, own_credentials=None, inspected_only=None))


def _was_reachable(old: Policy, new: Policy, atom: Entry) -> bool:
    if any(_overlap(atom, denial) and not _is_kept(denial, new.deny) for denial in old.deny if _is_for_port(denial, atom)):
        return _is_told_otherwise(old, new, atom)
    return _is_covered(old, atom)


def _is_told_otherwise(old: Policy, new: Policy, atom: Entry) -> bool:
    """A denial that is gone is told by itself, when the rest of the atom was reachable."""
    gone = [one for one in old.deny if _is_for_port(one, atom) and _overlap(atom, one) and not _is_kept(one, new.deny)]
    whole = any(one.host is not None and atom.host is not None and covers_host(one.host, atom.host) for one in gone)
    return not whole and _is_covered(old, atom)


def _is_covered(policy: Policy, atom: Entry) -> bool:
    if atom.host is None:
        return any(_covers_range(one, atom) for one in policy.allow_index.ranges)
    return any(covers(one, atom) for one in policy.allow_index.candidates(_inside(atom.host)))


def _covers_range(one: Entry, atom: Entry) -> bool:
    inner = [ipaddress.ip_network(text) for text in atom.cidrs]
    outer = [ipaddress.ip_network(text) for text in one.cidrs]
    if any(not any(a.version == b.version and a.subnet_of(b) for b in outer) for a in inner):  # type: ignore[arg-type]
        return False
    return (
        one.protocol is atom.protocol
        and one.only in (None, atom.only)
        and set(atom.ports) <= set(one.ports)
        and covers_methods(one.methods, atom.methods)
        and covers_paths(one.paths, atom.paths)
        and (not one.query or (bool(atom.query) and set(atom.query) <= set(one.query)))
    )


def _inside(host: HostPattern) -> str:
    return f"{_INSIDE}.{host.host}" if host.wildcard else host.host


def _is_for_port(denial: Entry, atom: Entry) -> bool:
    return not denial.ports or bool(set(atom.ports) & set(denial.ports))


def _is_denied(policy: Policy, atom: Entry) -> bool:
    """Whether a deny entry refuses all of it."""
    return any(
        one.host is not None
        and atom.host is not None
        and covers_host(one.host, atom.host)
        and (not one.ports or set(atom.ports) <= set(one.ports))
        for one in policy.deny_index.candidates(_inside(atom.host) if atom.host else None)
    )


def _is_kept(denial: Entry, by: Iterable[Entry]) -> bool:
    """Whether what a deny entry refuses is refused still."""
    return any(_denies_all_of(one, denial) for one in by)


def _denies_all_of(one: Entry, other: Entry) -> bool:
    if one.ports and not (other.ports and set(other.ports) <= set(one.ports)):
        return False
    if one.host is None or other.host is None:
        return one.host is None and other.host is None and set(other.cidrs) <= set(one.cidrs)
    return covers_host(one.host, other.host)


def _overlap(entry: Entry, denial: Entry) -> bool:
    """Whether some destination is meant by both."""
    if entry.ports and denial.ports and not set(entry.ports) & set(denial.ports):
        return False
    if entry.host is None or denial.host is None:
        return all(is_literal(one.host.host) for one in (entry, denial) if one.host is not None)  # told rather than missed
    return covers_host(entry.host, denial.host) or covers_host(denial.host, entry.host)


def _laxer(old: Policy, new: Policy, entry: Entry) -> list[str]:
    """In what this entry's requests are read less than before: what the entry says that was asked first then."""
    found: dict[str, None] = {}
    manner = _manner(new, entry)
    position_before = _position(old, new, entry)
    for at, rival in enumerate(_rivals(old, entry)):
        if at >= position_before or rival.protocol is not entry.protocol or not set(rival.ports) & set(entry.ports):
            continue
        weaker = _weaker(_manner(old, rival), manner)
        if weaker and not _is_still_first(old, new, rival, entry):
            found |= dict.fromkeys(weaker)
    return list(found)


def _position(old: Policy, new: Policy, entry: Entry) -> int:
    """Where the entry itself stood among its rivals: those after it never had a say where it allowed the same."""
    same = (_same(old, rival, new, entry) for rival in _rivals(old, entry))
    return next((at for at, is_same in enumerate(same) if is_same), len(old.allow))


def _is_still_first(old: Policy, new: Policy, rival: Entry, entry: Entry) -> bool:
    for one in _rivals(new, entry):
        if one is entry:
            return False
        if _same(old, rival, new, one):
            return True
    return False


def _same(old: Policy, one: Entry, new: Policy, other: Entry) -> bool:
    return _reach(one) == _reach(other) and _manner(old, one) == _manner(new, other)


def _rivals(policy: Policy, entry: Entry) -> list[Entry]:
    """Entries with which it shares hosts, in the order of judging."""
    if entry.host is None:
        return list(policy.allow_index.ranges)
    found = policy.allow_index.candidates(_inside(entry.host))
    if entry.host.wildcard:
        below = [
            one for one in policy.allow if one.host is not None and one.host != entry.host and covers_host(entry.host, one.host)
        ]
        found = [*below, *found]
    return found


def _manner(policy: Policy, entry: Entry) -> tuple[bool, bool, bool]:
    own = policy.own_credentials if entry.own_credentials is None else entry.own_credentials
    only = policy.inspected_only if entry.inspected_only is None else entry.inspected_only
    return not entry.passthrough, own and not entry.passthrough, only and not entry.passthrough


# Capabilities, as everything here is told.
_LAXER = ("passed through unread", "with anybody's credentials", "with what cannot be read")


def _weaker(before: tuple[bool, bool, bool], after: tuple[bool, bool, bool]) -> list[str]:
    return [text for text, was, now in zip(_LAXER, before, after, strict=True) if was and not now]


def _bound(old: Policy, new: Policy) -> Iterator[tuple[str, RuleRef]]:
    """Secrets that may go where the old policy did not let them; and those of which nothing is said any more."""
    for binding in new.bindings:
        before = [one for one in old.bindings if one.name == binding.name]
        for to in binding.to:
            held = {place for one in before if any(covers_host(wide, to) for wide in one.to) for place in _places(one.places)}
            fresh = [place for place in _places(binding.places) if place not in held]
            if fresh:
                yield f"{binding.name} may go to {to} in {', '.join(fresh)}", binding.ref
    named = {one.name for one in new.bindings}
    for gone in old.bindings:
        if gone.name not in named:
            yield f"{gone.name} may go where its kind belongs", gone.ref


def _places(given: tuple[str, ...]) -> tuple[str, ...]:
    return given or ("authorization",)


def _settings(old: Policy, new: Policy) -> Iterator[str]:
    if (old.mode, new.mode) == ("enforce", "audit"):
        yield "mode audit: everything, and only watched"
    if old.inspect_containers and not new.inspect_containers:
        yield "TLS from containers to allowed hosts, unread"
    if old.canary and not new.canary:
        yield "thieves that use any credential they find: no canary is planted"
    for name in new.exceptions:
        if name not in old.exceptions:
            yield f"exception {name}: a use of credentials that is against the rule"
