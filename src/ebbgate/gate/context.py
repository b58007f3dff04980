"""What every addon of one run shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ebbgate.events.types import FindingRecord
from ebbgate.gate.connections import Connections
from ebbgate.gate.directory import Directory
from ebbgate.gate.draft import Draft
from ebbgate.gate.job_rules import JobRules
from ebbgate.gate.pieces import MAX_DATA, Pieces
from ebbgate.gate.reporter import Reporter
from ebbgate.policy.model import Policy
from ebbgate.secrets.bindings import permitted
from ebbgate.secrets.finding import Finding, Place
from ebbgate.secrets.scanner import Scanner


@dataclass(frozen=True, slots=True)
class GateContext:
    """The run's policy, secrets and registers. enforce: False in audit mode, where nothing is stopped.

    job: what else is considered where a whole machine is served; None for a sealed command.
    """

    policy: Policy
    enforce: bool
    scanner: Scanner
    directory: Directory
    connections: Connections
    reporter: Reporter
    job: JobRules | None = None
    pieces: Pieces = field(default_factory=Pieces)

    def look_for_pieces(self, data: bytes, place: Place, draft: Draft) -> bool:
        """Add up what parts of secrets leave, and judge it; whether there were any. What is there as a whole is not in parts."""
        whole = {one.secret for one in draft.findings}
        found = self.scanner.fragments(data, but=whole) if len(data) <= MAX_DATA else {}
        if found:
            findings = self.pieces.take(draft.id, draft.host, place, found, self.scanner.identity)
            draft.add_findings(self.judge(findings, draft.host, tls=draft.protocol == "tls"))
        return bool(found)

    def judge(self, findings: Iterable[Finding], host: str, *, tls: bool) -> list[FindingRecord]:
        """Findings as journalled: each permitted only at its bound host in its bound place."""
        return [
            FindingRecord(
                found.secret,
                found.fingerprint,
                str(found.place),
                found.encodings,
                found.offset,
                permitted(self.policy.bindings, found, host, tls),
            )
            for found in findings
        ]
