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
from ebbgate.secrets.bindings import Bindings, Carries
from ebbgate.secrets.finding import Finding
from ebbgate.secrets.parts import Part, tree
from ebbgate.secrets.scanner import Scanner


@dataclass(frozen=True, slots=True)
class GateContext:
    """The run's policy, secrets and registers. enforce: False in audit mode, where nothing is stopped.

    bindings: where its secrets belong. job: what else is considered where a whole machine is served; None for a sealed command.
    """

    policy: Policy
    enforce: bool
    scanner: Scanner
    directory: Directory
    connections: Connections
    reporter: Reporter
    bindings: Bindings = Bindings()
    job: JobRules | None = None

    def judge(self, findings: Iterable[Finding], host: str, *, tls: bool, part: Part | None = None) -> list[FindingRecord]:
        """Findings as journalled: each permitted only at its bound host in its bound place. part: where all of them were seen.

        Two names can hold one value. It is permitted where one of them may be.
        """
        known = list(findings)
        allowed = {
            found.fingerprint
            for found in known
            if self.bindings.permitted(found, host, tls=tls, part=part, carries=self._carries(found))
        }
        return [self._record(found, part, permitted=found.fingerprint in allowed) for found in known]

    def _record(self, found: Finding, part: Part | None, *, permitted: bool) -> FindingRecord:
        carries = self._carries(found)
        field = tree(part).deepest(lambda text: carries(text) is not None) if part is not None else ""
        return FindingRecord(
            found.secret,
            found.fingerprint,
            str(found.place),
            found.encodings,
            found.offset,
            permitted,
            found.kind,
            self.reporter.publish(field),
        )

    def _carries(self, found: Finding) -> Carries:
        """Whether a text carries the secret of a finding."""

        def carries(text: bytes) -> tuple[str, ...] | None:
            seen = self.scanner.scan(text, found.place).findings
            return next(
                (one.encodings for one in seen if (one.secret, one.fingerprint) == (found.secret, found.fingerprint)), None
            )

        return carries
