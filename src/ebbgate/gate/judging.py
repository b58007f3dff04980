"""From a connection or request to a decision: builds observations, and asks ``policy.decide`` and nothing else."""

from __future__ import annotations

import asyncio

from ebbgate.events.types import Origin
from ebbgate.gate.connections import GateConnection, Grant
from ebbgate.gate.directory import Directory
from ebbgate.gate.target import Target, candidates, is_named
from ebbgate.policy.addresses import may_dial
from ebbgate.policy.decide import decide
from ebbgate.policy.evidence import with_evidence
from ebbgate.policy.learn import allow_option
from ebbgate.policy.model import Policy
from ebbgate.policy.nameless import bare, opaque
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, Stage

ORIGIN_TIMEOUT = 5.0  # seconds; without an answer a connection is nobody's
EVERYWHERE = ("0.0.0.0/0", "::/0")


def judge_opaque(policy: Policy, connection: GateConnection) -> tuple[str, Decision]:
    """(host, decision) for an opaque connection: the first of its possible hosts that a tcp rule allows, or a refusal."""
    return opaque(policy, candidates(connection), connection.chosen)


def judge_bare_connection(policy: Policy, connection: GateConnection) -> tuple[str, Decision]:
    """As ``judge_opaque``, but any protocol counts: nothing was said yet, so any rule may have been meant."""
    return bare(policy, candidates(connection), connection.chosen)


async def judge_name(policy: Policy, directory: Directory, connection: GateConnection, host: str) -> Decision:
    """The decision about a TLS server name. The name is resolved only when a rule allows it: asking is telling."""
    address, port = connection.chosen
    decision = decide(policy, Observation(Stage.NAME, Protocol.TLS, host, port, address))
    if decision.allowed and not await address_known(directory, host, address):
        return _denied(decision, Reason.ADDRESS_MISMATCH)
    return decision


async def judge_request(
    policy: Policy, directory: Directory, connection: GateConnection, target: Target, method: str
) -> tuple[Observation, Decision]:
    """The decision about one HTTP request, and the addresses' part in it: special ones need a rule that names them."""
    protocol = Protocol.TLS if target.tls else Protocol.HTTP
    address = connection.chosen[0]
    observation = Observation(
        Stage.REQUEST, protocol, target.host, target.port, address, True, method.upper(), target.path, target.query
    )
    if any(entry.only is not None for entry in policy.allow_index.candidates(target.host)):
        observation = with_evidence(observation, await origin_of(connection))
    decision = decide(policy, observation)
    if not decision.allowed:
        return observation, decision
    if target.mismatch:
        return observation, _denied(decision, Reason.HOST_MISMATCH)
    if not await address_known(directory, target.host, address):
        return observation, _denied(decision, Reason.ADDRESS_MISMATCH)
    if await only_special(directory, target.host, decision):
        return observation, _denied(decision, Reason.SPECIAL_ADDRESS)
    return observation, decision


async def origin_of(connection: GateConnection) -> Origin:
    """Who opened a connection; nobody when that is not known in time."""
    try:
        return await asyncio.wait_for(asyncio.shield(connection.origin), ORIGIN_TIMEOUT)
    except TimeoutError:
        return Origin()


def _denied(decision: Decision, reason: Reason) -> Decision:
    return Decision(Action.DENY, reason, decision.rule)


async def address_known(directory: Directory, host: str, address: str) -> bool:
    """Whether the client's address is one of the host's."""
    return host == address if not is_named(host) else await directory.knows(host, address)


async def addresses_of(directory: Directory, host: str) -> tuple[str, ...]:
    """Where a host may be dialled, before ranges are considered."""
    return await directory.resolve(host) if is_named(host) else (host,)


async def only_special(directory: Directory, host: str, decision: Decision) -> bool:
    """Whether the host has addresses, and every one of them is special without a rule that says so."""
    addresses = await addresses_of(directory, host)
    return bool(addresses) and not any(may_dial(address, decision.permitted_ranges) for address in addresses)


def speaks_for(policy: Policy, host: str) -> bool:
    """Whether some rule allows TLS to a host on the usual port."""
    return decide(policy, Observation(Stage.NAME, Protocol.TLS, host, 443)).allowed


def grant_for(decision: Decision, connection: GateConnection, *, enforce: bool) -> Grant:
    """What may be dialled. In audit mode a refused attempt goes where the client chose, since audit changes nothing."""
    if decision.allowed or enforce:
        return Grant(decision.permitted_ranges)
    return Grant(EVERYWHERE, (connection.chosen[0],))


def suggestion(observation: Observation, decision: Decision) -> str:
    """The option that would allow it; empty when it is allowed, or when no option should."""
    hopeless = (
        Reason.ADDRESS_MISMATCH,
        Reason.HOST_MISMATCH,
        Reason.MALFORMED,
        Reason.UNINSPECTABLE,
        Reason.DEFECT,
        Reason.NOT_CARRIED,
    )
    return "" if decision.allowed or decision.reason in hopeless else allow_option(observation)
