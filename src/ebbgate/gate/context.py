"""What every addon of one run shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ebbgate.events.types import FindingRecord
from ebbgate.gate.connections import Connections
from ebbgate.gate.directory import Directory
from ebbgate.gate.job_rules import JobRules
from ebbgate.gate.reporter import Reporter
from ebbgate.policy.model import Policy
from ebbgate.secrets.bindings import permitted
from ebbgate.secrets.finding import Finding
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
