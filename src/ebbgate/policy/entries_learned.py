"""Entries for what was seen: one for each destination and group of methods, with its evidence."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ebbgate.policy.entries import DEFAULT_PORTS
from ebbgate.policy.insertion import Item, quoted
from ebbgate.policy.model import METHODS
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Protocol
from ebbgate.policy.path_patterns import READING, Unwritable, path_globs
from ebbgate.policy.rotating import rotation_of
from ebbgate.policy.sightings import Bound, Sighting

MAX_NAMED = 3  # steps and programs in one comment


@dataclass(frozen=True, slots=True)
class Evidence:
    """jobs: of the runs, in order. repository: "owner/name", "" when unknown. rotating: hosts that are collapsed."""

    jobs: tuple[str, ...]
    repository: str
    rotating: frozenset[str] = frozenset()

    def text(self, seen: Sequence[Sighting | Bound]) -> str:
        """Since when, how often and by whom: of how many runs of the same jobs."""
        jobs = {one.job for one in seen}
        count, total = len({one.run for one in seen}), sum(job in jobs for job in self.jobs)
        first, last = (time.strftime("%Y-%m-%d", time.gmtime(pick(one.time for one in seen))) for pick in (min, max))
        parts = [f"seen in {count} of {total} runs, {first}" + (f" to {last}" if last != first else "")]
        sightings = [one for one in seen if isinstance(one, Sighting)]
        steps = _few({one.step for one in sightings})
        parts += [f"step {steps}"] if steps else []
        parts += [names] if (names := _few({one.executable for one in sightings})) else []
        return "; ".join(parts)


def _few(names: set[str]) -> str:
    """Some of the names. They come from whoever ran, and stand in a comment: nothing that could end it, or look like more."""
    shown = sorted({clean for name in names if (clean := "".join(one for one in name if one.isalnum() or one in "._-+@/")[:60])})
    return ", ".join(shown[:MAX_NAMED]) + (f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else "")


@dataclass(slots=True)
class Target:
    """One destination. hosts: as entries name it; several for a family. reason: why it is more than what was seen."""

    hosts: tuple[str, ...]
    port: int
    protocol: Protocol
    passthrough: bool
    reason: str = ""
    cidrs: tuple[str, ...] = ()
    sightings: list[Sighting] = field(default_factory=list)

    def order(self) -> tuple[bool, list[str], int, str]:
        """Addresses last, names by domain, so that diffs are small."""
        host = self.hosts[0]
        return is_literal(host), host.split(".")[::-1], self.port, str(self.protocol)


type Unlearnable = list[tuple[Sighting, str]]


def targets_of(needs: Iterable[Sighting], evidence: Evidence) -> tuple[list[Target], Unlearnable]:
    """Sightings by destination, and those that no entry can name without allowing more than was done."""
    found: dict[tuple[object, ...], Target] = {}
    unlearnable: Unlearnable = []
    for one in needs:
        seen = one.observation
        if seen.method is not None and seen.method not in METHODS:
            unlearnable.append((one, "its method is none that a policy can name"))
            continue
        host = seen.host or ""
        rotation = rotation_of(host) if host in evidence.rotating else None
        hosts, reason = (rotation.hosts, rotation.reason) if rotation else ((host,), "")
        protocol = Protocol.TLS if seen.protocol is Protocol.DNS else seen.protocol
        key = (hosts, seen.port or DEFAULT_PORTS[Protocol.TLS], protocol, one.passthrough)
        found.setdefault(key, Target(*key, reason)).sightings.append(one)
    kept: list[Target] = []
    for target in found.values():
        target.sightings, rest = _writable(target.sightings, evidence)
        unlearnable += rest
        kept += [target] if target.sightings else []
    cidrs: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for target in kept:
        cidrs[target.hosts].update(one.cidr for one in target.sightings if one.cidr)
    for target in kept:  # the first entry that matches decides where a name may lead
        target.cidrs = tuple(sorted(cidrs[target.hosts]))
    return kept, unlearnable


def _writable(sightings: list[Sighting], evidence: Evidence) -> tuple[list[Sighting], Unlearnable]:
    kept, rest = list(sightings), []
    for method in {one.observation.method for one in sightings if one.observation.method} - set(READING):
        mine = [one for one in sightings if one.observation.method == method]
        try:
            path_globs((one.observation.path or "/" for one in mine), method, evidence.repository)
        except Unwritable as problem:
            rest += [(one, f"{method} there is not learned: {problem}") for one in mine]
            kept = [one for one in kept if one not in mine]
    return kept, rest


def entry_items(target: Target, evidence: Evidence) -> list[Item]:
    """The entries of a destination."""
    found: list[Item] = []
    for methods, globs, seen in _groups(target, evidence):
        comment = evidence.text(seen) + _remark(seen)
        for host in target.hosts:
            found.append(Item(_entry(host, target, methods, globs), comment))
    return found


def _remark(seen: Sequence[Sighting]) -> str:
    if not any(one.evidence for one in seen):
        return "; asked for, never connected to"
    if all(one.observation.method is None and one.observation.protocol is not Protocol.TCP for one in seen):
        return "; no request was read"
    return "; not read, any bytes may pass" if seen[0].observation.protocol is Protocol.TCP else ""


def _groups(target: Target, evidence: Evidence) -> list[tuple[list[str], tuple[str, ...], list[Sighting]]]:
    """(methods, globs, evidence): methods with the same globs together; one group without methods where there are no requests."""
    if target.protocol is Protocol.TCP or target.passthrough:
        return [([], (), target.sightings)]
    by_method: dict[str, list[Sighting]] = defaultdict(list)
    for one in target.sightings:
        by_method[one.observation.method or ""].append(one)
    silent = by_method.pop("", [])
    if "GET" in by_method and "HEAD" in by_method:  # whoever may read may ask for the head
        by_method["GET"] += by_method.pop("HEAD")
    groups: dict[tuple[str, ...], tuple[list[str], list[Sighting]]] = {}
    for method, seen in sorted(by_method.items()):
        globs = path_globs((one.observation.path or "/" for one in seen), method, evidence.repository)
        methods, known = groups.setdefault(globs, ([], []))
        methods.append(method)
        known += seen
    if not groups:
        return [(["GET"], (), silent)]
    return [(methods, globs, seen + silent) for globs, (methods, seen) in groups.items()]


def _entry(host: str, target: Target, methods: Sequence[str], globs: Sequence[str]) -> str:
    parts = [f"host: {quoted(host)}"]
    if target.port != DEFAULT_PORTS.get(target.protocol):
        parts.append(f"port: {target.port}")
    if target.protocol is not Protocol.TLS:
        parts.append(f"protocol: {target.protocol}")
    if methods:
        parts.append(f"methods: [{', '.join(methods)}]")
    if globs:
        parts.append(f"paths: [{', '.join(map(_string, globs))}]")
    if target.cidrs:
        parts.append(f"cidr: [{', '.join(map(_string, target.cidrs))}]")
    if target.passthrough:
        parts.append("tls: passthrough")
    if target.reason:
        parts.append(f"reason: {_string(target.reason)}")
    return f"{{ {', '.join(parts)} }}"


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
