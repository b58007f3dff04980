"""Entries that do nothing: given twice, below a wider one, or always denied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ebbgate.policy.checks.finding import Remark, place, written
from ebbgate.policy.cover import covers
from ebbgate.policy.model import Entry, Policy

MAX_COMPARED = 500  # entries of one host, and of addresses; with more, those after them are not compared
_INSIDE = "x"  # a label that stands for every name below a wildcard


def duplicates(policy: Policy) -> Iterator[Remark]:
    """The same entry again: the first one says it already."""
    for entries in (policy.allow, policy.deny):
        first: dict[str, Entry] = {}
        for entry in entries:
            known = first.setdefault(entry.ref.text, entry)
            if known is entry or (known.is_of_preset and entry.is_of_preset):
                continue
            late, early = (known, entry) if entry.is_of_preset else (entry, known)
            yield Remark(late.ref, f"{entry.ref.text} is given twice, the other time on {place(early.ref)}", "remove it")


def shadowed(policy: Policy) -> Iterator[Remark]:
    """An entry that another one covers. If that one is judged first, what this one says has no effect."""
    for entry in written(policy):
        rivals = list(_rivals(policy, entry))[:MAX_COMPARED]
        own = next((at for at, rival in enumerate(rivals) if rival is entry), len(rivals))
        for at, rival in enumerate(rivals):
            if at == own or rival.ref.text == entry.ref.text or not covers(rival, entry):
                continue
            if _manner(policy, rival) == _manner(policy, entry):
                yield Remark(entry.ref, f"{rival.ref.text} on {place(rival.ref)} allows all of it already", "remove it")
                break
            if at < own:
                told = f"never reached: {rival.ref.text} on {place(rival.ref)} is judged first, and is read differently"
                yield Remark(entry.ref, told, "put it first, or narrow the other")
                break


def denied(policy: Policy) -> Iterator[Remark]:
    """An allow entry whose every request a deny entry refuses."""
    for entry in written(policy):
        if entry.host is None:
            continue
        for refusal in policy.deny_index.candidates(_inside(entry)):
            always = not refusal.ports or set(entry.ports) <= set(refusal.ports)
            if always and refusal.host is not None and (refusal.host.wildcard or not entry.host.wildcard):
                yield Remark(entry.ref, f"{refusal.ref.text} on {place(refusal.ref)} denies all of it", "remove one of them")
                break


def _rivals(policy: Policy, entry: Entry) -> Iterable[Entry]:
    """Entries that may cover it, in the order in which ``decide`` asks them."""
    return policy.allow_index.ranges if entry.host is None else policy.allow_index.candidates(_inside(entry))


def _inside(entry: Entry) -> str:
    """A name that the entry means, and no narrower entry does by name."""
    if entry.host is None:
        return ""
    return f"{_INSIDE}.{entry.host.host}" if entry.host.wildcard else entry.host.host


def _manner(policy: Policy, entry: Entry) -> tuple[bool, bool, bool]:
    """How what it allows is read."""
    own = policy.own_credentials if entry.own_credentials is None else entry.own_credentials
    only = policy.inspected_only if entry.inspected_only is None else entry.inspected_only
    return entry.passthrough, own, only
