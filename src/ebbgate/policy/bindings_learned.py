"""Bindings for secrets that were seen at home: which went where, in which place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ebbgate.policy.entries_learned import Evidence
from ebbgate.policy.insertion import Item, quoted
from ebbgate.policy.model import Policy
from ebbgate.policy.sightings import Bound
from ebbgate.secrets.bindings import COARSE, FINE

_NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_FIELD = re.compile(rf"(?:{'|'.join(FINE)}):[\w.*#-]{{1,80}}\Z", re.ASCII)


@dataclass(slots=True)
class LearnedBindings:
    """items: by job, "" for the policy itself. notes: bindings of the file that do not cover what was seen."""

    items: dict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)


def learned_bindings(
    bound: Sequence[Bound], jobs: Sequence[str], policies: Sequence[Policy], evidence: Evidence
) -> LearnedBindings:
    """Bindings of secrets by name, for names that a policy can bind. A binding that a person wrote is never added to."""
    found = LearnedBindings()
    by_name: dict[str, list[Bound]] = defaultdict(list)
    for one in bound:
        if _NAME.match(one.secret) and (one.place in COARSE or _FIELD.match(one.place)):
            by_name[one.secret].append(one)
    for name, seen in sorted(by_name.items()):
        new = [one for one in seen if not _is_bound(name, policies[one.run])]
        found.notes += sorted({_uncovered(one) for one in seen if one not in new and not _covers(one, policies[one.run])})
        users = {one.job for one in new}
        if "" in users or (len(jobs) > 1 and users == set(jobs)):
            found.items[""].append(_item(name, new, evidence))
        else:
            for job in sorted(users):
                found.items[job].append(_item(name, [one for one in new if one.job == job], evidence))
    return found


def _is_bound(name: str, policy: Policy) -> bool:
    return any(one.name == name for one in policy.bindings)


def _covers(one: Bound, policy: Policy) -> bool:
    mine = [binding for binding in policy.bindings if binding.name == one.secret]
    return any(
        one.place in (binding.places or COARSE[:1]) or _coarse(one.place) in (binding.places or COARSE[:1])
        for binding in mine
        if any(to.matches(one.host) for to in binding.to)
    )


def _coarse(place: str) -> str:
    kind = place.partition(":")[0]
    return {"auth": "authorization", "form": "body", "json": "body", "multipart": "body"}.get(kind, kind)


def _uncovered(one: Bound) -> str:
    return f"{one.secret} was seen at {one.host} ({one.place}); its binding in the file does not say so, and was left as it is"


def _item(name: str, seen: Sequence[Bound], evidence: Evidence) -> Item:
    hosts = ", ".join(quoted(host) for host in sorted({one.host for one in seen}))
    places = ", ".join(quoted(place) for place in sorted({one.place for one in seen}))
    return Item(f"{name}: {{ to: [{hosts}], in: [{places}] }}", evidence.text(seen))
