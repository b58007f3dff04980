"""What else is considered where the gate serves a whole machine: whose connection it is, and who can be asked to trust us.

Containers have root certificates of their own and do not know our authority. Their TLS to an allowed host is judged by name
and goes on unread, counted as uninspected, unless the policy demands inspection; then it is ours, and the client will refuse it.
The runner's own processes talk to their service with a trust store that was loaded before us: by name and unread alike, and
only to the hosts that the service is known to need.
"""

from __future__ import annotations

import errno
import socket

from ebbgate.events.types import Origin, Party
from ebbgate.gate.connections import PASSED_BY_RULE, GateConnection, Passthrough
from ebbgate.gate.judging import origin_of
from ebbgate.policy.decide import decide
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Decision, Observation, Protocol, Stage

CONTAINER = "TLS of a container, which does not know the guard's authority"
RUNNER = "TLS of the CI runner itself"


class JobRules:
    """runner: what the runner's own processes may reach."""

    def __init__(self, runner: Policy, *, enforce: bool, inspect_containers: bool) -> None:
        self._runner, self._enforce, self._inspect = runner, enforce, inspect_containers

    def name_decision(self, decision: Decision, observation: Observation) -> Decision:
        """For a DNS question: what the runner needs may be asked by anybody, since stubs ask for others."""
        if decision.allowed or decision.quiet:
            return decision
        own = decide(self._runner, observation)
        return own if own.allowed else decision

    async def passthrough(self, connection: GateConnection, decision: Decision) -> Passthrough | None:
        """Whether a TLS connection goes on unread, after ``decision`` about its server name; None: it is ours to read."""
        if decision.allowed and decision.passthrough:
            return Passthrough(decision, PASSED_BY_RULE)
        origin = await origin_of(connection)
        if origin.party == Party.RUNNER and connection.has_server_name:
            address, port = connection.chosen
            own = decide(self._runner, Observation(Stage.NAME, Protocol.TLS, connection.server_name, port, address))
            if own.allowed:
                return Passthrough(own, RUNNER)
        unaware = not (self._inspect or decision.inspected_only) and is_container(origin, connection)
        return Passthrough(decision, CONTAINER) if unaware and (decision.allowed or not self._enforce) else None


def is_container(origin: Origin, connection: GateConnection) -> bool:
    """Whether the client is a container's process, or a runtime fetching for one.

    The warden says so only of what does not descend from a step, so that a step cannot pass for one; an address that is
    not the machine's can only be that of an interface which needs root to make.
    """
    return origin.container is not None or not _is_own(connection.peer[0])


def _is_own(address: str) -> bool:
    """Whether an address is one of this network namespace's: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as problem:
        return problem.errno != errno.EADDRNOTAVAIL
    return True
