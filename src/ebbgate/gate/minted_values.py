"""Addon: credentials in responses become known before the client has the byte that completes them. Nothing is held back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

from mitmproxy import http

from ebbgate.gate import boundary
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.gatekeeper import draft_of
from ebbgate.secrets import inflate
from ebbgate.secrets.found import RESPONSE
from ebbgate.secrets.minted import MAX_DOCUMENT, minted
from ebbgate.secrets.secret import Secret

_TYPES = ("json", "xml", "x-www-form-urlencoded", "text/plain")
MAX_READINGS = 16  # of one body before its end: a server that sends it byte by byte must not cost more than one that does not
_ENDS = (b"}", b">")


class MintedValues:
    """Comes after the recorder, whose stream it goes on with."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Look at the body on its way, when it may be such a document."""
        draft, response = draft_of(flow), flow.response
        if response is None or draft.blocked or not callable(response.stream) or not _may_be(response):
            return
        codings = inflate.codings(response.headers.get("content-encoding", ""))
        machines = [inflate.inflater(one, limit=MAX_DOCUMENT) for one in codings]
        known = [one for one in machines if one is not None]
        if len(known) == len(machines):
            response.stream = _Tap(response.stream, known, lambda body: self._learn(draft, body))

    def _learn(self, draft: Draft, body: bytes) -> bool:
        """Whether something was found."""
        try:
            found = minted(body)
            host = draft.host
            self._context.known.add(
                Secret(f"minted by {host} ({one.label})", value.encode("utf-8", "surrogateescape"), RESPONSE, sources=(host,))
                for one in found
                for value in dict.fromkeys((one.value, unquote(one.value)))
            )
            return bool(found)
        except Exception as problem:
            self._context.connections.report_defect(boundary.defect("MintedValues", "learn", problem))
            return True


def _may_be(response: http.Response) -> bool:
    length = response.headers.get("content-length", "0")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    fits = length.isdigit() and int(length) <= MAX_DOCUMENT
    return 200 <= response.status_code < 300 and fits and (not kind or kind.endswith(_TYPES))


class _Tap:
    """Passes everything on at once. Whenever a document could be complete, it is read first."""

    def __init__(
        self,
        onward: Callable[[bytes], Iterable[bytes] | bytes],
        machines: list[inflate.Inflater],
        learn: Callable[[bytes], bool],
    ) -> None:
        self._onward, self._machines, self._learn = onward, machines, learn
        self._body: bytearray | None = bytearray()
        self._readings = 0

    def __call__(self, data: bytes) -> Iterable[bytes] | bytes:
        if self._body is not None:
            self._take(data)
        return self._onward(data)

    def _take(self, data: bytes) -> None:
        if self._body is None:
            return
        try:
            for machine in self._machines:
                data = machine.feed(data) if data else data
        except (inflate.BoundReached, inflate.Malformed):
            self._body = None
            return
        self._body += data
        if len(self._body) > MAX_DOCUMENT:
            self._body = None
        elif not data or (self._readings < MAX_READINGS and self._body[-8:].rstrip().endswith(_ENDS)):
            self._readings += 1
            found = self._learn(bytes(self._body))
            self._body = None if found or not data else self._body
