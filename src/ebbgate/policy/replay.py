"""A journal judged again, by another policy: observations made of events, decided by ``decide`` and bindings as in the gate.

What the gate found out besides, and a policy cannot change, is taken from the record: that an address was not the name's, that
names disagreed, that something could not be read, which credentials were foreign. What it did not find out, since the host was
refused before, is taken to be in order.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from ebbgate.events.publish import is_whole
from ebbgate.events.reading import Run
from ebbgate.events.types import (
    NOTHING_SENT,
    Armed,
    DecisionRecord,
    DnsQuestion,
    Exchange,
    FindingRecord,
    Packet,
    Party,
)
from ebbgate.policy.addresses import may_dial, special_range
from ebbgate.policy.decide import decide
from ebbgate.policy.evidence import with_evidence
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.nameless import bare, opaque
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, RuleRef, Stage
from ebbgate.policy.placeholders import REF, REPOSITORY, context_of
from ebbgate.policy.presets import RUNNER_PRESET
from ebbgate.secrets.bindings import Bindings
from ebbgate.secrets.credentials import Severity, credentials
from ebbgate.secrets.finding import Carrier, Finding, Place

type Attempt = Exchange | DnsQuestion | Packet

# Addresses inside the enclosure that stand for names; they say nothing of the name's own (``host.links``).
SINKHOLES = (ipaddress.ip_network("198.19.0.0/16"), ipaddress.ip_network("fd65:6262:6761:1::/64"))
_LOOPBACK = ("127.0.0.1", "::1")  # what such an address stands for where the name was allowed
_RULE_HOST = re.compile(r"(?:^| )(?:tls|http|tcp)://(?P<host>[^ ]+):[\d,*]+(?P<ranges> in )?")
_PACKETS = {"udp": Protocol.UDP, "icmp": Protocol.ICMP}
# What an allow entry let through before something else was found.
_AFTER_A_RULE = (Reason.RULE, Reason.FOREIGN_CREDENTIAL, Reason.UNINSPECTABLE)


@dataclass(frozen=True, slots=True)
class Replayed:
    """before: as it was recorded. after: the same under the policy. rule: the entry that decided, if one did."""

    before: Attempt
    after: Attempt
    rule: RuleRef | None

    @property
    def is_denied(self) -> bool:
        """Whether the policy would have refused it."""
        return self.after.decision.action == Action.DENY or any(not one.permitted for one in _findings(self.after))

    @property
    def was_denied(self) -> bool:
        """Whether the run's own policy did."""
        return self.before.decision.action == Action.DENY or any(not one.permitted for one in _findings(self.before))


def replay(policy: Policy, run: Run) -> Iterator[Replayed]:
    """Every attempt of a run, judged by a policy as if it were enforced."""
    bindings = Bindings(policy.bindings, frozenset(policy.exceptions))
    bound = {one.name: one.bound_to for one in run.started.secrets if one.bound_to}
    job = any(isinstance(event, Armed) and event.enclosure == "job" for event in run.events)
    judge = _Judge(policy, _runner() if job else None, bindings, bound, same=policy.digest == run.started.policy_digest)
    for event in run.events:
        if isinstance(event, Exchange | DnsQuestion | Packet):
            yield judge.replayed(event)


def policy_of(run: Run, source: str, text: str) -> Policy:
    """A policy's text as it holds for a run: with what its job adds. PolicyProblems when it is none."""
    return load_texts([(source, text)], job=run.started.job, given_by="--", context=context_of_run(run))


def context_of_run(run: Run) -> dict[str, str]:
    """What placeholders stand for in a run."""
    return context_of({REPOSITORY: run.started.repository, REF: run.started.ref})


@cache
def _runner() -> Policy:
    return load_texts((), job="", use=(RUNNER_PRESET,), given_by="")


def _findings(event: Attempt) -> tuple[FindingRecord, ...]:
    return () if isinstance(event, Packet) else event.findings


@dataclass(frozen=True, slots=True)
class _Judge:
    """runner: what a job's runner may reach; None for a sealed run. bound: hosts by secret, as the run's policy had them.

    same: whether the policy is the run's own.
    """

    policy: Policy
    runner: Policy | None
    bindings: Bindings
    bound: dict[str, tuple[str, ...]]
    same: bool

    def replayed(self, event: Attempt) -> Replayed:
        decision = self._decision(event)
        record = DecisionRecord(str(decision.action), str(decision.reason), _told(decision.rule), decision.quiet)
        if isinstance(event, Packet):
            return Replayed(event, replace(event, decision=record, enforced=True), decision.rule)
        findings = tuple(replace(one, permitted=self._permitted(one, event)) for one in event.findings)
        denied = not decision.allowed or any(not one.permitted for one in findings)
        changes = {"decision": record, "enforced": True, "findings": findings, "would_deny": denied, "blocked": denied}
        return Replayed(event, replace(event, **changes), decision.rule)  # type: ignore[arg-type]  # names checked by replace

    def _decision(self, event: Attempt) -> Decision:
        if isinstance(event, Packet):
            kind = _PACKETS.get(event.protocol, Protocol.OTHER)
            seen = Observation(Stage.CONNECT, kind, event.host or None, event.port or None, event.address or None)
            return decide(self.policy, seen)
        recorded = event.decision
        if recorded.reason == Reason.DEFECT or (recorded.reason == Reason.MALFORMED and not recorded.rule):
            return Decision(Action.DENY, Reason(recorded.reason))
        if isinstance(event, DnsQuestion):
            return self._of_a_name(Observation(Stage.DNS, Protocol.DNS, event.name))
        if event.protocol == Protocol.TCP:
            chosen, hosts = (event.address, event.port), _hosts(event)
            judged = bare if event.error == NOTHING_SENT else opaque
            return _with_contents(event, judged(self.policy, hosts, chosen)[1])
        return _with_contents(event, self._of_a_request(event) if event.method else self._of_a_server_name(event))

    def _of_a_name(self, seen: Observation) -> Decision:
        decision = decide(self.policy, seen)
        if decision.allowed or decision.quiet or self.runner is None:
            return decision
        own = decide(self.runner, seen)
        return own if own.allowed else decision

    def _of_a_request(self, event: Exchange) -> Decision:
        host, recorded = _hosts(event)[0], event.decision.reason
        decision = Decision(Action.DENY, Reason.MALFORMED)
        for method in dict.fromkeys((event.method.upper(), *event.overrides)):
            seen = Observation(
                Stage.REQUEST, Protocol(event.protocol), host, event.port, event.address, True, method, event.path, event.query
            )
            decision = decide(self.policy, with_evidence(seen, event.origin))
            if decision.allowed and recorded in (Reason.HOST_MISMATCH, Reason.ADDRESS_MISMATCH):
                decision = Decision(Action.DENY, Reason(recorded), decision.rule)
            elif decision.allowed and not _may_lead(event, host, decision):
                decision = Decision(Action.DENY, Reason.SPECIAL_ADDRESS, decision.rule)
            if not decision.allowed:
                break
        return decision

    def _of_a_server_name(self, event: Exchange) -> Decision:
        """TLS that was not read, or on which no request came."""
        host, recorded = _hosts(event)[0], event.decision
        seen = Observation(Stage.NAME, Protocol(event.protocol), host, event.port, event.address)
        decision = decide(self.policy, seen)
        if decision.allowed and recorded.reason == Reason.ADDRESS_MISMATCH:
            decision = Decision(Action.DENY, Reason.ADDRESS_MISMATCH, decision.rule)
        if decision.allowed and decision.passthrough:
            return decision
        if self.runner is not None and event.origin.party == Party.RUNNER:
            own = decide(self.runner, seen)
            if own.allowed:
                return own
        if recorded.reason == Reason.PROTOCOL and not recorded.rule:  # inside of it something else than HTTP was spoken
            return Decision(Action.DENY, Reason.PROTOCOL)
        return decision

    def _permitted(self, one: FindingRecord, event: Exchange | DnsQuestion) -> bool:
        """Bindings that neither policy changes are as recorded: what else was known of the value is not in the journal."""
        if isinstance(event, DnsQuestion):
            return one.permitted
        carrier, _, name = one.place.partition(":")
        host, tls = _hosts(event)[0], event.protocol == Protocol.TLS
        place = Place(Carrier(carrier), name)
        names = (one.secret, one.secret.partition(" (")[0])
        findings = [Finding(name, one.fingerprint, place, one.encodings, one.offset, one.kind) for name in dict.fromkeys(names)]

        def says(bindings: Bindings) -> bool:
            return any(bindings.permitted_field(found, host, one.field, tls=tls) for found in findings)

        now = {name: tuple(str(to) for to in each.to) for each in self.bindings.of_user if (name := each.name) in names}
        before = {name: self.bound[name] for name in names if name in self.bound}
        if now or before:
            return says(self.bindings) or (one.permitted and self.same)
        needs_exception = one.permitted and not says(Bindings()) and says(Bindings((), _every_exception()))
        return says(self.bindings) if needs_exception else one.permitted or says(self.bindings)


@cache
def _every_exception() -> frozenset[str]:
    return frozenset(credentials().exceptions)


def _told(rule: RuleRef | None) -> str:
    """As in the journal (``gate.draft``)."""
    if rule is None:
        return ""
    return f"{rule.source}:{rule.line} {rule.text}" if rule.line else f"{rule.source} {rule.text}"


def _hosts(event: Exchange) -> tuple[str, ...]:
    """By which it may be judged: the name, then the address. A name with hidden labels is told by the rule that allowed it."""
    host = event.host
    if host and not is_whole(host):
        match = _RULE_HOST.search(event.decision.rule)
        if match and _may_be(host, match["host"]):
            host = match["host"]
    return tuple(dict.fromkeys(one for one in (host, event.address) if one))


def _may_be(shown: str, host: str) -> bool:
    pairs = list(zip(shown.split("."), host.split("."), strict=False))
    same = len(pairs) == shown.count(".") + 1 == host.count(".") + 1
    return same and all(one == other or one.startswith("[") for one, other in pairs)


def _may_lead(event: Exchange, host: str, decision: Decision) -> bool:
    """Whether the gate would dial the name's addresses, as far as the record tells them."""
    if is_literal(host):
        return may_dial(host, decision.permitted_ranges)
    recorded, match = event.decision, _RULE_HOST.search(event.decision.rule)
    ranged = match is not None and match["ranges"] is not None
    passed = recorded.reason in _AFTER_A_RULE or (recorded.reason == Reason.MALFORMED and bool(recorded.rule))
    if _is_sinkhole(event.address):
        addresses: tuple[str, ...] = _LOOPBACK if recorded.reason == Reason.SPECIAL_ADDRESS or ranged else ()
    else:
        addresses = () if passed and not ranged else (event.address,)  # it had ordinary addresses besides
    return not addresses or any(may_dial(one, decision.permitted_ranges) for one in addresses)


def _is_sinkhole(address: str) -> bool:
    if special_range(address) in (None, "malformed"):
        return False
    return any(ipaddress.ip_address(address) in network for network in SINKHOLES)


def _with_contents(event: Exchange, decision: Decision) -> Decision:
    """The decision, after what was found in the traffic itself."""
    if not decision.allowed:
        return decision
    recorded = event.decision.reason
    reason: Reason | None = None
    foreign = recorded == Reason.FOREIGN_CREDENTIAL or any(_is_telling(one.kind, one.checked) for one in event.foreign)
    if decision.own_credentials and foreign and event.protocol != Protocol.TCP and event.method:
        reason = Reason.FOREIGN_CREDENTIAL
    elif decision.inspected_only and event.uninspected:
        reason = Reason.UNINSPECTABLE
    elif recorded == Reason.MALFORMED:
        reason = Reason.MALFORMED
    return decision if reason is None else Decision(Action.DENY, reason, decision.rule)


def _is_telling(kind: str, checked: str) -> bool:
    """Whether a foreign credential is denied where only the job's own may be used (``gate.foreign``)."""
    known = credentials().by_id.get(kind)
    return known is not None and known.severity is Severity.HIGH and checked != "fails"
