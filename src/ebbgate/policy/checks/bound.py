"""Bindings of secrets that cannot hold, or hold too much."""

from __future__ import annotations

from collections.abc import Iterator

from ebbgate.policy.checks.finding import Remark
from ebbgate.policy.cover import covers_host
from ebbgate.policy.entries import is_shared
from ebbgate.policy.model import Entry, HostPattern, Policy
from ebbgate.policy.never_by_default import never_by_default
from ebbgate.policy.observation import Protocol


def unreachable(policy: Policy) -> Iterator[Remark]:
    """A secret bound to a host that nothing allows: it will be missed there, or the binding is a leftover."""
    for binding in policy.bindings:
        for to in binding.to:
            if not list(_ways(policy, to)):
                told = f"{binding.name} is bound to {to}, which no entry allows"
                yield Remark(binding.ref, told, f"allow {to}, or take it out of to:")


def unread(policy: Policy) -> Iterator[Remark]:
    """A secret bound to a host whose traffic is not read as requests over TLS: its place there is never judged."""
    for binding in policy.bindings:
        for to in binding.to:
            ways = list(_ways(policy, to))
            if ways and not any(entry.protocol is Protocol.TLS and not entry.passthrough for entry in ways):
                told = f"{binding.name} is bound to {to}, where no request over TLS is read: the binding has no effect"
                yield Remark(binding.ref, told, f"allow {to} over tls without passthrough")


def to_anybody(policy: Policy) -> Iterator[Remark]:
    """A secret bound to names that anybody can have, or to hosts that are for handing data on."""
    for binding in policy.bindings:
        for to in binding.to:
            if (to.wildcard and is_shared(to.host)) or never_by_default(to.host):
                told = f"{binding.name} may go to {to}, where anybody can be the reader"
                yield Remark(binding.ref, told, "bind it to hosts of its own service")


def _ways(policy: Policy, to: HostPattern) -> Iterator[Entry]:
    for entry in policy.allow:
        if entry.host is not None and (covers_host(entry.host, to) or covers_host(to, entry.host)):
            yield entry
