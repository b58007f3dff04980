"""From what was seen to what should be written: a suggested policy, and the option that would allow one attempt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ebbgate.policy.model import METHODS
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Observation, Protocol, Stage

_DEFAULT_PORTS = {"tls": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Learned:
    """One destination as seen. cidrs: special addresses that its name resolved to. count: how often."""

    host: str
    port: int
    protocol: str
    methods: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    count: int = 1
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """A secret seen where it belongs. place: as a policy names it, e.g. "authorization"."""

    secret: str
    host: str
    place: str


def suggested_policy(
    items: Iterable[Learned],
    *,
    mode: str = "enforce",
    denied: Iterable[str] = (),
    bound: Iterable[Bound] = (),
    notes: Iterable[str] = (),
) -> str:
    """YAML that ``load_policy`` accepts: one entry for each host, port and protocol; sorted, so that diffs are small.

    notes: comments, one line each.
    """
    lines = ["version: 1", f"mode: {mode}"]
    lines += [f"# {' '.join(note.split())}" for note in notes]
    merged = _merged(items)
    lines.append("allow:" if merged else "allow: []")
    for item in merged:
        lines.append(f"  - host: {_quoted(item.host)}  # {_times(item.count)}")
        if item.port != _DEFAULT_PORTS.get(item.protocol):
            lines.append(f"    port: {item.port}")
        if item.protocol != "tls":
            lines.append(f"    protocol: {item.protocol}")
        if _can_name(item):
            lines.append(f"    methods: [{', '.join(item.methods)}]")
        if item.cidrs:
            lines.append(f"    cidr: [{', '.join(_quoted(one) for one in item.cidrs)}]")
        if item.passthrough:
            lines.append("    tls: passthrough")
    if refused := sorted(denied):
        lines += ["deny:", *(f"  - {_quoted(host)}" for host in refused)]
    return "\n".join([*lines, *_secrets(bound)]) + "\n"


def _can_name(item: Learned) -> bool:
    """Whether the entry may list its methods: not for opaque bytes, nor when one of them is none that a policy knows."""
    return bool(item.methods) and item.protocol != "tcp" and not item.passthrough and set(item.methods) <= set(METHODS)


def _times(count: int) -> str:
    return "asked for, never connected to" if count == 0 else "1 time" if count == 1 else f"{count} times"


def _secrets(bound: Iterable[Bound]) -> list[str]:
    places: dict[str, tuple[set[str], set[str]]] = {}
    for one in bound:
        hosts, where = places.setdefault(one.secret, (set(), set()))
        hosts.add(one.host)
        where.add(one.place)
    lines = ["secrets:"] if places else []
    for name, (hosts, where) in sorted(places.items()):
        to, within = (", ".join(map(_quoted, sorted(group))) for group in (hosts, where))
        lines.append(f"  {name}: {{ to: [{to}], in: [{within}] }}")
    return lines


def _merged(items: Iterable[Learned]) -> list[Learned]:
    found: dict[tuple[str, int, str], Learned] = {}
    for item in items:
        key = (item.host, item.port, item.protocol)
        before = found.get(key, Learned(item.host, item.port, item.protocol, count=0))
        methods = tuple(sorted({*before.methods, *item.methods}))
        cidrs = tuple(sorted({*before.cidrs, *item.cidrs}))
        passthrough = before.passthrough or item.passthrough
        found[key] = Learned(*key, methods, cidrs, before.count + item.count, passthrough)
    return [found[key] for key in sorted(found, key=lambda one: (is_literal(one[0]), one))]


def _quoted(text: str) -> str:
    """Plain where YAML reads it as this very text, quoted otherwise."""
    plain = text[:1].isalnum() and all(one.isalnum() or one in ".-_/" for one in text)
    return text if plain else "'" + text.replace("'", "''") + "'"


def allow_option(observation: Observation) -> str:
    """``--allow ...`` that would allow an attempt; "" when no option could."""
    if observation.host is None or observation.protocol in (Protocol.UDP, Protocol.ICMP, Protocol.OTHER):
        return ""
    host = f"[{observation.host}]" if ":" in observation.host else observation.host
    if observation.stage is Stage.DNS or observation.port is None:
        return f"--allow {host}"
    protocol = str(observation.protocol)
    port = "" if observation.port == _DEFAULT_PORTS.get(protocol) else f":{observation.port}"
    return f"--allow {'' if protocol == 'tls' else protocol + '://'}{host}{port}"
