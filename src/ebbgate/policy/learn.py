"""From what was seen to what should be written: a suggested policy, and the option that would allow one attempt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


def suggested_policy(items: Iterable[Learned], *, mode: str = "enforce", notes: Iterable[str] = ()) -> str:
    """YAML that ``load_policy`` accepts: one entry for each host, port and protocol; sorted, so that diffs are small."""
    lines = ["version: 1", f"mode: {mode}"]
    lines += [f"# {note}" for note in notes]
    merged = _merged(items)
    lines.append("allow:" if merged else "allow: []")
    for item in merged:
        lines.append(f"  - host: {_quoted(item.host)}  # {item.count} {'time' if item.count == 1 else 'times'}")
        if item.port != _DEFAULT_PORTS.get(item.protocol):
            lines.append(f"    port: {item.port}")
        if item.protocol != "tls":
            lines.append(f"    protocol: {item.protocol}")
        if item.methods and item.protocol != "tcp":
            lines.append(f"    methods: [{', '.join(item.methods)}]")
        if item.cidrs:
            lines.append(f"    cidr: [{', '.join(_quoted(one) for one in item.cidrs)}]")
    return "\n".join(lines) + "\n"


def _merged(items: Iterable[Learned]) -> list[Learned]:
    found: dict[tuple[str, int, str], Learned] = {}
    for item in items:
        key = (item.host, item.port, item.protocol)
        before = found.get(key, Learned(item.host, item.port, item.protocol, count=0))
        methods = tuple(sorted({*before.methods, *item.methods}))
        cidrs = tuple(sorted({*before.cidrs, *item.cidrs}))
        found[key] = Learned(*key, methods, cidrs, before.count + item.count)
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
