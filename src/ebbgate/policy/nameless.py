"""Connections that do not say where they go: judged by the names that their address was handed out for, and by the address."""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.policy.decide import decide
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, Stage


def opaque(policy: Policy, hosts: Iterable[str], chosen: tuple[str, int]) -> tuple[str, Decision]:
    """(host, decision): the first of the hosts that a tcp rule allows, or a refusal. chosen: the client's address and port."""
    return _first_allowed(policy, hosts, chosen, (Protocol.TCP,), Stage.CONNECT)


def bare(policy: Policy, hosts: Iterable[str], chosen: tuple[str, int]) -> tuple[str, Decision]:
    """As ``opaque``, but any protocol counts: nothing was said yet, so any rule may have been meant."""
    known = tuple(hosts)
    host, decision = opaque(policy, known, chosen)
    if decision.allowed:
        return host, decision
    named, by_name = _first_allowed(policy, known, chosen, (Protocol.TLS, Protocol.HTTP), Stage.NAME)
    return (named, by_name) if by_name.allowed else (host, decision)


def _first_allowed(
    policy: Policy, hosts: Iterable[str], chosen: tuple[str, int], protocols: tuple[Protocol, ...], stage: Stage
) -> tuple[str, Decision]:
    refusal: tuple[str, Decision] | None = None
    for host in hosts:
        for protocol in protocols:
            decision = decide(policy, Observation(stage, protocol, host, chosen[1], chosen[0]))
            if decision.allowed:
                return host, decision
            refusal = refusal or (host, decision)
    return refusal or ("", Decision(Action.DENY, Reason.NO_NAME))
