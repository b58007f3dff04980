"""What every addon of one run shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ebbgate.events.types import FindingRecord
from ebbgate.gate.connections import Connections
from ebbgate.gate.directory import Directory
from ebbgate.gate.job_rules import JobRules
from ebbgate.gate.known_values import KnownValues
from ebbgate.gate.reporter import Reporter
from ebbgate.policy.model import Policy
from ebbgate.secrets.bindings import permitted
from ebbgate.secrets.finding import Finding
from ebbgate.secrets.scanner import Scanner


@dataclass(frozen=True, slots=True)
class GateContext:
    """The run's policy, secrets and registers. enforce: False in audit mode, where nothing is stopped.

    known: values that became known meanwhile, and where they belong. job: what else is considered where a whole machine is
    served; None for a sealed command.
    """

    policy: Policy
    enforce: bool
    scanner: Scanner
    directory: Directory
    connections: Connections
    reporter: Reporter
    known: KnownValues
    job: JobRules | None = None

    def judge(self, findings: Sequence[Finding], host: str, *, tls: bool) -> list[FindingRecord]:
        """Findings as journalled: each permitted only at its bound host in its bound place.

        Where a whole document is seen, what is inside of it says nothing more.
        """
        names = {found.secret for found in findings}
        return [
            FindingRecord(
                found.secret,
                found.fingerprint,
                str(found.place),
                found.encodings,
                found.offset,
                self._permitted(found, host, tls=tls),
            )
            for found in findings
            if found.secret.partition(" (")[0] not in names - {found.secret}
        ]

    def _permitted(self, found: Finding, host: str, *, tls: bool) -> bool:
        """By a binding of its name or of the document's that it was in, or because it goes where it came from."""
        bound = any(permitted(self.policy.bindings, one, host, tls) for one in self.known.named(found))
        return bound or self.known.permits(found, host, tls=tls)
