"""The record of one exchange while it is being made; ``finish`` turns it into the journal's frozen event."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ebbgate.events.publish import publishable_query
from ebbgate.events.types import DecisionRecord, Exchange, FindingRecord, ForeignRecord, Inspection, Origin
from ebbgate.policy.observation import Action, Decision, Protocol, Reason
from ebbgate.secrets import inflate

MAX_FINDINGS = 64  # per exchange; the first ones say what there is to say
_NUMBERS = count(1)
UNDECIDED = Decision(Action.DENY, Reason.DEFECT)


@dataclass(slots=True)
class Draft:
    """Fields are those of ``events.types.Exchange``. ``host`` and ``path`` are as judged; publishing happens at the end."""

    connection_id: str
    protocol: Protocol
    address: str
    port: int
    host: str = ""
    method: str = ""
    overrides: tuple[str, ...] = ()
    path: str = ""
    query: str = ""
    decision: Decision = UNDECIDED
    enforced: bool = True
    blocked: bool = False
    status: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    bytes_withheld: int = 0
    inspection: Inspection = Inspection.FULL
    uninspected: str = ""
    findings: list[FindingRecord] = field(default_factory=list)
    foreign: list[ForeignRecord] = field(default_factory=list)
    suggestion: str = ""
    error: str = ""
    content_type: str = ""  # of the request's body, which is taken apart by it
    finished: bool = False
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)  # clocks on walls jump
    id: str = field(default_factory=lambda: f"x{next(_NUMBERS)}")

    @property
    def leaks(self) -> bool:
        """Whether a secret was seen where it may not go."""
        return any(not finding.permitted for finding in self.findings)

    @property
    def refused(self) -> bool:
        """Whether it must not reach the world, in enforce mode."""
        return not self.decision.allowed or self.leaks

    def add_findings(self, findings: list[FindingRecord]) -> None:
        """Keep findings, bounded; an unpermitted one is never crowded out by permitted ones."""
        for finding in findings:
            if len(self.findings) < MAX_FINDINGS or (not finding.permitted and not self.leaks):
                self.findings.append(finding)

    def refuse_if_misnamed(self, encoding: str) -> None:
        """Deny a body that is not in the coding its sender announced: what cannot be judged does not leave."""
        misnamed = self.uninspected.removeprefix(inflate.MALFORMED) in inflate.codings(encoding)
        if self.decision.allowed and self.uninspected.startswith(inflate.MALFORMED) and misnamed:
            self.decision = Decision(Action.DENY, Reason.MALFORMED, self.decision.rule)
            self.error = self.error or "the body is not in the content-encoding that was announced"

    def note_uninspected(self, reason: str, level: Inspection = Inspection.PARTIAL) -> None:
        """Record that some of it was not read."""
        if self.inspection is not Inspection.NONE:
            self.inspection = level
        self.uninspected = self.uninspected or reason
        if self.decision.allowed and self.decision.inspected_only:
            self.decision = Decision(Action.DENY, Reason.UNINSPECTABLE, self.decision.rule)
            self.error = self.error or f"not inspected: {reason}"

    def finish(self, origin: Origin, publish_host: Callable[[str], str], publish: Callable[[str], str]) -> Exchange:
        """The journal's record."""
        self.finished = True
        return Exchange(
            id=self.id,
            protocol=str(self.protocol),
            host=publish_host(self.host),
            port=self.port,
            address=self.address,
            method=publish(self.method),
            path=publish(self.path),
            status=self.status,
            decision=decision_record(self.decision),
            enforced=self.enforced,
            would_deny=self.refused,
            blocked=self.blocked,
            bytes_out=self.bytes_out,
            bytes_in=self.bytes_in,
            bytes_withheld=self.bytes_withheld,
            inspection=str(self.inspection),
            uninspected=self.uninspected,
            findings=tuple(self.findings),
            foreign=tuple(self.foreign),
            overrides=tuple(map(publish, self.overrides)),
            query=publish(publishable_query(self.query)),
            origin=origin,
            suggestion=publish(self.suggestion),
            error=publish(self.error),
            duration=time.monotonic() - self.began,
            time=self.started,
        )


def decision_record(decision: Decision) -> DecisionRecord:
    """A decision as journalled."""
    rule = decision.rule
    text = "" if rule is None else f"{rule.source}:{rule.line} {rule.text}" if rule.line else f"{rule.source} {rule.text}"
    return DecisionRecord(str(decision.action), str(decision.reason), text, decision.quiet)
