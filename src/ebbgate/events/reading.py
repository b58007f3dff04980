"""Journals back from files. A journal may come from anywhere, so every line is checked, and the first wrong one is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Never  # Any: JSON documents

from ebbgate.errors import IntegrityError, PolicyError
from ebbgate.events.codec import from_json
from ebbgate.events.publish import printable
from ebbgate.events.types import DnsQuestion, Event, Exchange, Packet, Party, RunEnded, RunStarted
from ebbgate.policy.observation import Action, Protocol, Reason
from ebbgate.secrets.finding import Carrier

JOURNAL = "events.jsonl"
MAX_LINE = 8 << 20  # bytes; the longest legitimate one lists a thousand secrets, each with its hosts
MAX_LINES = 1_000_000  # five times what a run keeps in memory
MAX_PORT = 65535
MAX_TIME = 2.0**36  # seconds since the epoch; the year 4147, which calendars still know
_CARRIED = (Protocol.TLS, Protocol.HTTP, Protocol.TCP)
_FIX = "give a run's events.jsonl as it was written, or the directory it is in"


@dataclass(frozen=True, slots=True)
class Run:
    """One run, whole. source: the file. started: its first event."""

    source: str
    started: RunStarted
    events: tuple[Event, ...]


def read_run(path: Path) -> Run:
    """The run of a journal's file, or of the directory that holds it. PolicyError with file:line for anything else."""
    file = path / JOURNAL if path.is_dir() else path
    source = printable(str(file), 500)
    try:
        with file.open("rb") as stream:
            events = tuple(_events(stream, source))
    except OSError as problem:
        raise PolicyError(f"the journal cannot be read: {source}", problem.strerror or "", _FIX) from None
    if not events or not isinstance(events[0], RunStarted):
        _refuse(source, 1, "a journal begins with RunStarted")
    if not isinstance(events[-1], RunEnded):
        _refuse(source, len(events), "the journal ends here, before its run did")
    return Run(source, events[0], events)


def _events(stream: BinaryIO, source: str) -> Iterator[Event]:
    for number in range(1, MAX_LINES + 1):
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            _refuse(source, number, f"longer than {MAX_LINE >> 20} MiB")
        if not line.endswith(b"\n"):
            _refuse(source, number, "cut off")
        yield _event(line, source, number)
    _refuse(source, MAX_LINES, "more lines than a run writes")


def _event(line: bytes, source: str, number: int) -> Event:
    try:
        document = json.loads(line, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        _refuse(source, number, "not JSON")
    if isinstance(document, dict) and document.get("seq") != number - 1:
        _refuse(source, number, f"a line is missing before it, or it is from elsewhere (seq is not {number - 1})")
    try:
        event = from_json(document)
    except IntegrityError as problem:
        _refuse(source, number, problem.title)
    if not _is_plausible(event):
        _refuse(source, number, "an event with a word that no run writes")
    if isinstance(event, RunStarted) and number > 1:
        _refuse(source, number, "a second run begins here")
    return event


def _is_plausible(event: Event) -> bool:
    """Whether texts that stand for something stand for something known."""
    if not isinstance(event, Exchange | DnsQuestion | Packet):
        return True
    known = (
        0 <= event.time < MAX_TIME
        and event.decision.action in set(Action)
        and event.decision.reason in set(Reason)
        and event.origin.party in set(Party)
    )
    if isinstance(event, Exchange):
        known = known and event.protocol in _CARRIED and bool(event.address) and 0 < event.port <= MAX_PORT
    places = () if isinstance(event, Packet) else [one.place.partition(":")[0] for one in event.findings]
    return known and set(places) <= set(Carrier)


def _no_number(_text: str) -> Never:
    raise ValueError


def _finite(text: str) -> Any:
    if not math.isfinite(value := float(text)):
        raise ValueError
    return value


def _refuse(source: str, line: int, why: str) -> Never:
    raise PolicyError(f"not a journal: {source}:{line}: {why}", "", _FIX)
