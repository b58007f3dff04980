"""Runs made of a few words, for tests of what is learned from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ebbgate.events.reading import Run
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    DecisionRecord,
    DnsQuestion,
    Event,
    Exchange,
    FindingRecord,
    Origin,
    Process,
    RunEnded,
    RunStarted,
    Step,
)

DENIED = DecisionRecord("deny", "no-rule")
ALLOWED = DecisionRecord("allow", "rule", "ci.yml:3 tls://a.example.com:443")
DAY = 86400.0
BEGIN = 1_790_000_000.0  # 2026-09-21


def origin(step: str = "build", exe: str = "/usr/bin/curl", party: str = "job") -> Origin:
    return Origin(Process(7, exe, "curl ..."), (), Step(step), None, party)


def exchange(url: str = "https://a.example.com/", method: str = "GET", **changes: Any) -> Exchange:
    """protocol://host[:port]/path; protocol "https", "http" or "tcp"."""
    scheme, _, rest = url.partition("://")
    where, slash, path = rest.partition("/")
    host, _, port = where.partition(":")
    protocol = "tls" if scheme == "https" else scheme
    known: dict[str, Any] = {
        "id": "x1", "protocol": protocol, "host": host, "port": int(port or {"https": 443, "http": 80}[scheme]),
        "address": "203.0.113.10", "method": "" if protocol == "tcp" else method, "path": "" if protocol == "tcp" else slash + path or "/",
        "status": 200, "decision": DENIED, "enforced": False, "would_deny": True, "blocked": False, "bytes_out": 10, "bytes_in": 20,
        "bytes_withheld": 0, "inspection": "full", "uninspected": "", "origin": origin(), "time": BEGIN,
    }  # fmt: skip
    return Exchange(**{**known, **changes})


def question(name: str, **changes: Any) -> DnsQuestion:
    known: dict[str, Any] = {
        "name": name, "qtype": "A", "transport": "udp", "server": "", "decision": DENIED, "enforced": False, "would_deny": True,
        "blocked": False, "forwarded": True, "origin": origin(), "time": BEGIN,
    }  # fmt: skip
    return DnsQuestion(**{**known, **changes})


def finding(
    secret: str = "TOKEN", place: str = "header:authorization", field: str = "auth:bearer", *, permitted: bool = True
) -> FindingRecord:
    return FindingRecord(secret, "f", place, ("raw",), 0, permitted, "", field)


def run(*events: Event, job: str = "", workflow: str = "", repository: str = "octo/demo", name: str = "run") -> Run:
    started = RunStarted("1", "audit", "make", (), "d", (), (), BEGIN, repository, "main", workflow, job)
    return Run(
        name,
        started,
        (started, Armed(0.1, "job" if job else "sealed"), *events, CommandEnded(0, False, 1.0), RunEnded(True, 0, 0)),
    )


def requests(urls: Iterable[str]) -> list[Exchange]:
    return [exchange(url) for url in urls]
