"""Another guard's lists as a policy: one line an endpoint, and behind it what the line leaves open."""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.policy.addresses import special_range
from ebbgate.policy.checks.writable import written_by_anybody
from ebbgate.policy.entries import DEFAULT_PORTS
from ebbgate.policy.imports.listing import Endpoint, LeftOut, Listing, protocol_of, shown
from ebbgate.policy.never_by_default import never_by_default
from ebbgate.policy.observation import Protocol
from ebbgate.policy.presets import preset, preset_names

_RUNNER = "github-runner"  # for the runner's own processes, never for steps
_MIN_SHARE = 0.5  # of a preset's hosts that must be listed before it is suggested


def policy_text(guard: str, unlisted: str, source: str, listings: list[Listing], *, every_port: bool) -> str:
    """The policy. What every job has stands at the top; what only some have, below jobs."""
    common = [one for one in listings[0].endpoints if all(one.key in _keys(other) for other in listings)]
    everything = [one for listing in listings for one in listing.endpoints]
    suggested = _suggested({one.host for one in everything if not one.is_address and not one.wildcard})
    audit = all(listing.audit for listing in listings)
    lines = [
        f"# Made by `ebbgate import` from what {guard} was told in {shown(source)}.",
        "# Hosts are all that such a list knows: each line says what it leaves open. Narrow it, with methods: and paths:.",
        f"# {guard} lets through unlisted: {unlisted}.",
        "# What a job needs of GitHub is in `use: [github-actions]`; the runner's own traffic needs no entry.",
    ]
    if suggested:
        lines.append("# These presets stand for listed hosts, with fewer methods and paths. Use one instead of its lines:")
        lines += [f"#   {name}: {' '.join(hosts)}" for name, hosts in suggested.items()]
    lines += [f"# {note}" for note in dict.fromkeys(note for listing in listings for note in listing.notes)]
    lines += ["version: 1", f"mode: {'audit' if audit else 'enforce'}"]
    lines += [f"use: [{', '.join(use)}]"] if (use := dict.fromkeys(one for listing in listings for one in listing.use)) else []
    lines += _section(common, [one for one in listings if len(listings) == 1], "", suggested, every_port=every_port)
    if len(listings) > 1:
        lines += _jobs(listings, {one.key for one in common}, suggested, audit=audit, every_port=every_port)
    return "\n".join(lines) + "\n"


def _keys(listing: Listing) -> set[tuple[str, bool, int | None]]:
    return {one.key for one in listing.endpoints}


def _jobs(
    listings: list[Listing],
    common: set[tuple[str, bool, int | None]],
    suggested: dict[str, list[str]],
    *,
    audit: bool,
    every_port: bool,
) -> list[str]:
    lines = ["jobs:"]
    for listing in listings:
        own = [one for one in listing.endpoints if one.key not in common]
        body = [f"    mode: {'audit' if listing.audit else 'enforce'}"] if listing.audit != audit else []
        body += _section(own, [listing], "    ", suggested, every_port=every_port)
        says = any(not line.lstrip().startswith("#") for line in body)
        lines += [f'  "{listing.job}":' if says else f'  "{listing.job}": {{}}', *body]
    return lines


def _section(
    endpoints: Iterable[Endpoint],
    listings: list[Listing],
    indent: str,
    suggested: dict[str, list[str]],
    *,
    every_port: bool,
) -> list[str]:
    """``allow:`` with its lines; below it, as comments, what was left out."""
    unique = {one.key: one for one in reversed(list(endpoints))}
    lines = [f"{indent}allow:"] if unique else []
    for one in reversed(unique.values()):
        told = "; ".join(
            _open(one, every_port=every_port) + [f"preset {name}" for name, hosts in suggested.items() if one.host in hosts]
        )
        lines.append(f"{indent}  - {_entry(one)}  # {told}")
    return [*lines, *(f"{indent}# {_left(one)}" for listing in listings for one in listing.left_out)]


def _left(one: LeftOut) -> str:
    return f"left out, line {one.line}: {one.text}: {one.why}"


def _entry(one: Endpoint) -> str:
    host = f'"*.{one.host}"' if one.wildcard else f'"{one.host}"' if ":" in one.host else one.host
    port = one.port or DEFAULT_PORTS[Protocol.TLS]
    protocol = protocol_of(port)
    parts = [f"{'cidr' if '/' in one.host else 'host'}: {host}"]
    parts += [f"port: {port}"] if port != DEFAULT_PORTS.get(protocol) else []
    parts += [f"protocol: {protocol}"] if protocol is not Protocol.TLS else []
    return host if len(parts) == 1 and "/" not in one.host else f"{{ {', '.join(parts)} }}"


def _open(one: Endpoint, *, every_port: bool) -> list[str]:
    """What an entry leaves open, in words."""
    port = one.port or DEFAULT_PORTS[Protocol.TLS]
    protocol = protocol_of(port)
    told = ["opaque: nothing is judged but the name" if protocol is Protocol.TCP else "any method, any path"]
    if port not in DEFAULT_PORTS.values():
        told.append(f"port {port}, taken for {'opaque bytes' if protocol is Protocol.TCP else protocol}")
    if protocol is Protocol.HTTP:
        told.append("plain HTTP, readable by every hop")
    if one.port is None and every_port:
        told.append("every port was open, here 443 alone")
    if one.is_address:
        told.append("an address: whose it is, nothing tells")
        where = special_range(one.host) if "/" not in one.host else None
        told += [f"special range: {where}"] if where else []
    elif one.wildcard:
        told.append("every name below it")
    told += [why for why in (written_by_anybody(one.host), never_by_default(one.host)) if why]
    return told + ([f"one of {one.origin}"] if one.origin else [])


def _suggested(hosts: set[str]) -> dict[str, list[str]]:
    """Presets of which enough is listed, those that stand for most first; each stands for hosts that none before it does."""
    found: dict[str, list[str]] = {}
    left = set(hosts)
    shares = {name: _of_preset(name) for name in preset_names() if name != _RUNNER}
    for name in sorted(shares, key=lambda one: (-len(shares[one] & hosts), len(shares[one]), one)):
        if len(shares[name] & hosts) >= _MIN_SHARE * len(shares[name]) and shares[name] & left:
            found[name] = sorted(shares[name] & left)
            left -= shares[name]
    return found


def _of_preset(name: str) -> set[str]:
    return {entry.host.host for entry in preset(name).entries if entry.host is not None and not entry.host.wildcard}
