"""Addon: credentials that are none of the job's. Attackers bring their own keys, so that an allowed host works for them.

Looked for in requests to allowed hosts: in heads, seen through Basic and percent signs, and in bodies that are read whole.
Responses are never judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote_to_bytes

from mitmproxy import http

from ebbgate.events.types import ForeignRecord
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.gatekeeper import draft_of
from ebbgate.policy.observation import Action, Decision, Reason
from ebbgate.secrets.credentials import Severity
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.parts import Part, tree
from ebbgate.secrets.shapes import Sighting, masked, shapes

MAX_FOREIGN = 16  # of one exchange; one is enough to act on


class ForeignCredentials:
    """Before ``Contents``, which refuses what is denied here."""

    def __init__(self, context: GateContext) -> None:
        self._context = context
        shapes(heads=True), shapes(heads=False)  # made now: no file is read once the gate serves

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """The head."""
        draft = draft_of(flow)
        path, _, query = flow.request.data.path.partition(b"?")
        parts = [Part(Place(Carrier.URL, "path"), path), Part(Place(Carrier.URL, "query"), query)]
        for name, value in flow.request.headers.fields:
            parts.append(Part(Place(Carrier.HEADER, name.decode("latin-1").lower()), value))
        for part in parts:
            note(self._context, draft, part)

    def request(self, flow: http.HTTPFlow) -> None:
        """A body that was held until it was whole. One that is streamed tells ``BodyStream``."""
        draft, content = draft_of(flow), flow.request.raw_content
        if content and not flow.request.stream and "content-encoding" not in flow.request.headers:
            note(self._context, draft, Part(Place(Carrier.BODY), content, draft.content_type))


def note(context: GateContext, draft: Draft, part: Part) -> None:
    """Record what is foreign in a part, and deny the request where only the job's own credentials may be used."""
    if not draft.decision.allowed or not part.data:
        return
    own_only = draft.decision.own_credentials
    known = shapes(heads=part.place.carrier is not Carrier.BODY)
    seen: set[bytes] = set()
    for text in (part.data, *_read(part)):
        sightings, complete = known.examine(text)
        if own_only and not complete:
            draft.error = draft.error or "more that looks like credentials than is read"
            _deny(draft)
        for one in sightings:
            value = text[one.start : one.end]
            # Where only the job's own may be used, what a step could have laid into a file or a variable is none of them.
            is_own = context.known.was_given if own_only else context.scanner.holds
            if value not in seen and not is_own(value):
                _record(context, draft, part, one, value, own_only=own_only)
            seen.add(value)
    if part.place == Place(Carrier.URL, "path"):
        draft.path = masked(draft.path)


def _record(context: GateContext, draft: Draft, part: Part, one: Sighting, value: bytes, *, own_only: bool) -> None:
    denied = own_only and one.kind.severity is Severity.HIGH and one.checked is not False
    if denied:
        _deny(draft)
    if len(draft.foreign) < MAX_FOREIGN or (denied and not any(known.denied for known in draft.foreign)):
        field = context.reporter.publish(tree(part).deepest(partial(_carries, value)))
        checked = {True: "holds", False: "fails", None: ""}[one.checked]
        record = ForeignRecord(one.kind.id, str(part.place), field, checked, denied)
        draft.foreign += [record] if record not in draft.foreign else []


def _deny(draft: Draft) -> None:
    if draft.decision.allowed:
        draft.decision = Decision(Action.DENY, Reason.FOREIGN_CREDENTIAL, draft.decision.rule)


def _carries(value: bytes, text: bytes) -> bool:
    return value in text


def _read(part: Part) -> Iterator[bytes]:
    if part.place.carrier is Carrier.URL and b"%" in part.data:
        yield unquote_to_bytes(part.data)
    elif part.place.name in ("authorization", "proxy-authorization"):
        for outer in tree(part).children:
            yield from (inner.value for inner in outer.children)
