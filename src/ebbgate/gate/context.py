"""What every addon of one run shares."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ebbgate.events.types import FindingRecord
from ebbgate.gate.connections import Connections
from ebbgate.gate.directory import Directory
from ebbgate.gate.draft import Draft
from ebbgate.gate.job_rules import JobRules
from ebbgate.gate.known_values import KnownValues, outermost
from ebbgate.gate.pieces import MAX_DATA, Pieces
from ebbgate.gate.reporter import Reporter
from ebbgate.policy.model import Policy
from ebbgate.secrets.bindings import Bindings, Carries
from ebbgate.secrets.finding import Finding, Place
from ebbgate.secrets.parts import Part, tree
from ebbgate.secrets.scanner import Scanner

MAX_JUDGED = 1024  # parts of requests with a secret in them, whose judgement is remembered


@dataclass(frozen=True, slots=True)
class GateContext:
    """The run's policy, secrets and registers. enforce: False in audit mode, where nothing is stopped.

    known: values that became known meanwhile, and where they belong. bindings: where its secrets belong. job: what else is
    considered where a whole machine is served; None for a sealed command.
    """

    policy: Policy
    enforce: bool
    scanner: Scanner
    directory: Directory
    connections: Connections
    reporter: Reporter
    known: KnownValues
    bindings: Bindings = Bindings()
    job: JobRules | None = None
    pieces: Pieces = field(default_factory=Pieces)
    _judged: OrderedDict[tuple[object, ...], list[FindingRecord]] = field(default_factory=OrderedDict, repr=False)

    def look_for_pieces(self, data: bytes, place: Place, draft: Draft) -> bool:
        """Add up what parts of secrets leave, and judge it; whether there were any. What is there as a whole is not in parts."""
        whole = {name for one in draft.findings for name in (one.secret, outermost(one.secret))}
        found = self.scanner.fragments(data, but=whole) if len(data) <= MAX_DATA else {}
        if found:
            findings = self.pieces.take(draft.id, draft.host, place, found, self.scanner.identity)
            draft.add_findings(self.judge(findings, draft.host, tls=draft.protocol == "tls"))
        return bool(found)

    def judge(self, findings: Iterable[Finding], host: str, *, tls: bool, part: Part | None = None) -> list[FindingRecord]:
        """Findings as journalled: each permitted only at its bound host in its bound place. part: where all of them were seen.

        Clients send the same header with each request, and taking it apart takes longer than all else: what bindings say is
        remembered, by a digest, until more values are known.
        """
        known = tuple(_outer(findings))
        if not known or part is None:
            return self._home(known, self._bound(known, host, tls=tls, part=part), host, tls=tls)
        content = hashlib.blake2b(part.data, digest_size=16).digest()
        key = (known, host, tls, part.place, part.content_type, content, len(self.scanner.secrets))
        if key not in self._judged:
            self._judged[key] = self._bound(known, host, tls=tls, part=part)
            while len(self._judged) > MAX_JUDGED:
                self._judged.popitem(last=False)
        return self._home(known, self._judged[key], host, tls=tls)

    def _home(self, known: Sequence[Finding], bound: Sequence[FindingRecord], host: str, *, tls: bool) -> list[FindingRecord]:
        """Records of what bindings permit, and what goes home besides: its first use changes that, so it is asked each time."""
        return [
            record if record.permitted else replace(record, permitted=self.known.permits(found, host, tls=tls))
            for found, record in zip(known, bound, strict=True)
        ]

    def _bound(self, known: Sequence[Finding], host: str, *, tls: bool, part: Part | None) -> list[FindingRecord]:
        return [self._record(found, host, tls=tls, part=part) for found in known]

    def _record(self, found: Finding, host: str, *, tls: bool, part: Part | None) -> FindingRecord:
        """By a binding of any name of its value, or of the document's that it was in."""
        carries = self._carries(found)
        names = self.known.named(found)
        permitted = any(self.bindings.permitted(one, host, tls=tls, part=part, carries=carries) for one in names)
        within = tree(part).deepest(lambda text: carries(text) is not None) if part is not None else ""
        return FindingRecord(
            found.secret,
            found.fingerprint,
            str(found.place),
            found.encodings,
            found.offset,
            permitted,
            found.kind,
            self.reporter.publish(within),
        )

    def _carries(self, found: Finding) -> Carries:
        """Whether a text carries the secret of a finding."""

        def carries(text: bytes) -> tuple[str, ...] | None:
            seen = self.scanner.scan(text, found.place).findings
            return next(
                (one.encodings for one in seen if (one.secret, one.fingerprint) == (found.secret, found.fingerprint)), None
            )

        return carries


def _outer(findings: Iterable[Finding]) -> list[Finding]:
    """Where a whole document is seen, what is inside of it says nothing more."""
    every = list(findings)
    names = {found.secret for found in every}
    return [found for found in every if outermost(found.secret) not in names - {found.secret}]
