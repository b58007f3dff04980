"""Destinations that are more than they look: anybody's names, anybody's storage, ways around names, and what nobody reads."""

from __future__ import annotations

from collections.abc import Iterator

from ebbgate.policy.checks.finding import Remark, written
from ebbgate.policy.checks.writable import written_by_anybody
from ebbgate.policy.entries import is_shared
from ebbgate.policy.model import Entry, Policy
from ebbgate.policy.never_by_default import NEVER_BY_DEFAULT, never_by_default
from ebbgate.policy.observation import Protocol
from ebbgate.policy.suffixes import registry_suffix_list

_RESOLVER = NEVER_BY_DEFAULT["dns.google"]  # the reason why resolvers are on that list
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def anyone_below(policy: Policy) -> Iterator[Remark]:
    """A wildcard over names that anybody can have."""
    for entry in written(policy):
        if entry.host is not None and entry.host.wildcard and is_shared(entry.host.host) and not _is_registry(entry.host.host):
            told = f"anybody can have a name below {entry.host.host}, and read what is sent there"
            yield Remark(entry.ref, told, "name the hosts that are yours", bool(entry.reason))


def public_suffix(policy: Policy) -> Iterator[Remark]:
    """A wildcard over a top-level domain or another suffix of a registry: no reason makes that one a list."""
    for entry in written(policy):
        if entry.host is not None and entry.host.wildcard and _is_registry(entry.host.host):
            yield Remark(entry.ref, f"everybody's domains are below {entry.host.host}", "name the hosts")


def _is_registry(host: str) -> bool:
    return registry_suffix_list().publicsuffix(host) == host or "." not in host


def resolvers(policy: Policy) -> Iterator[Remark]:
    """DNS over HTTPS goes past the guard's own resolver."""
    for entry, why in _never(policy):
        if why == _RESOLVER:
            yield Remark(entry.ref, why, "let the system's resolver be asked: the guard answers for it", bool(entry.reason))


def never(policy: Policy) -> Iterator[Remark]:
    """Hosts that are for handing data to anybody."""
    for entry, why in _never(policy):
        if why != _RESOLVER:
            yield Remark(entry.ref, f"{entry.host}: {why}", "remove it, or say in reason: why it is needed", bool(entry.reason))


def _never(policy: Policy) -> Iterator[tuple[Entry, str]]:
    for entry in written(policy):
        if entry.host is None:
            continue
        below = "." + entry.host.host
        inside = (why for host, why in NEVER_BY_DEFAULT.items() if entry.host.wildcard and host.endswith(below))
        if why := never_by_default(entry.host.host) or next(inside, ""):
            yield entry, why


def writable(policy: Policy) -> Iterator[Remark]:
    """An allowed host where any account can store data, not narrowed to what is yours."""
    for entry in written(policy):
        if entry.host is None or entry.protocol is Protocol.TCP:
            continue
        why = written_by_anybody(entry.host.host)
        may_write = entry.passthrough or not entry.methods or not _READING.issuperset(entry.methods)
        if why and may_write and not entry.paths and entry.own_credentials is not True:
            fix = "narrow it with methods: and paths:, or with credentials: own"
            yield Remark(entry.ref, f"{entry.host}: {why}", fix, bool(entry.reason))


def opaque(policy: Policy) -> Iterator[Remark]:
    """Traffic that is carried and not understood."""
    for entry in written(policy):
        if entry.protocol is Protocol.TCP:
            told = "opaque bytes: only secrets that are written plainly are recognised, no method or path is judged"
            yield Remark(entry.ref, told, "use tls or http where the service speaks it", bool(entry.reason))
        elif entry.passthrough:
            told = "passed through: judged by server name, and nothing of it is read"
            yield Remark(entry.ref, told, "leave tls: out unless the client pins its certificate", bool(entry.reason))


def clear_text(policy: Policy) -> Iterator[Remark]:
    """Plain HTTP that may carry more than a download."""
    for entry in written(policy):
        if entry.protocol is Protocol.HTTP and (not entry.methods or not _READING.issuperset(entry.methods)):
            told = "plain HTTP, readable by every hop, with methods that send data"
            yield Remark(entry.ref, told, "methods: [GET], or protocol tls", bool(entry.reason))
