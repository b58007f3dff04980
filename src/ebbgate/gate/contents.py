"""Addon: secrets in requests. Nothing of a body leaves before it was scanned.

::

    head      scanned whole, before the dial
    body      up to BUFFERED bytes: held, decoded and scanned whole, then sent
              longer: streamed; bytes leave when the scanner lets go of them, and never the end of a secret
    trailers  scanned when they come; the request is not complete before
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.net.http import http1

from ebbgate.gate import layers
from ebbgate.gate.body import BodyStream
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.gatekeeper import draft_of
from ebbgate.gate.refusal_text import explain
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.parts import Part

BUFFERED = layers.SINK_BOUND
MAX_CLEAN, MAX_REMEMBERED = 4096, 512  # parts of heads known to be clean, and the bytes of one
STREAM = "ebbgate.stream"
# Content types whose requests wait for answers before their body is complete: holding the first part would deadlock.
_INTERACTIVE = ("application/grpc", "application/connect+", "application/x-ndjson")


class Contents:
    """Looks for known secrets in everything a request carries."""

    def __init__(self, context: GateContext) -> None:
        self._context = context
        self._clean: OrderedDict[bytes | tuple[bytes, ...], None] = OrderedDict()
        self._clean_of = context.scanner.compiled

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Scan the head; decide how the body will be read."""
        draft = draft_of(flow)
        draft.content_type = flow.request.headers.get("content-type", "")
        self._scan_head(flow, draft)
        if (self._context.enforce and draft.refused) or draft.blocked:
            self._refuse(flow, draft)
            return
        draft.bytes_out += len(http1.assemble_request_head(flow.request))
        if self._is_large(flow.request):
            flow.request.stream = self._stream(flow, draft)

    def _scan_head(self, flow: http.HTTPFlow, draft: Draft) -> None:
        path, _, query = flow.request.path.partition("?")
        parts = [(path.encode("utf-8", "surrogateescape"), Place(Carrier.URL, "path"))]
        if query:
            parts.append((query.encode("utf-8", "surrogateescape"), Place(Carrier.URL, "query")))
        parts += [
            (value, Place(Carrier.HEADER, name.decode("latin-1").lower())) for name, value in flow.request.headers.fields if value
        ]
        names = b"\n".join(name for name, _value in flow.request.headers.fields)
        parts.append((names, Place(Carrier.HEADER, "")))
        parts.append((flow.request.data.method, Place(Carrier.URL, "method")))
        self._scan_pieces([value for _name, value in flow.request.headers.fields], draft)
        for data, place in parts:
            self._scan_part(data, place, draft)
        labels = self._context.scanner.scan_labels(draft.host, Place(Carrier.HOST))
        draft.add_findings(self._context.judge(labels.findings, draft.host, tls=False))

    def _scan_pieces(self, values: list[bytes], draft: Draft) -> None:
        """A secret spread over several headers."""
        if self._context.scanner.compiled is not self._clean_of:  # a value has become known since
            self._clean.clear()
            self._clean_of = self._context.scanner.compiled
        together = tuple(values)  # of another type than a value: of one header it would be that value, whole and unread
        if together in self._clean:
            return
        findings = self._context.scanner.scan_pieces(values, Place(Carrier.HEADER)).findings
        draft.add_findings(self._context.judge(findings, draft.host, tls=False))
        if not findings:
            self._remember(together, sum(map(len, values)))

    def _remember(self, data: bytes | tuple[bytes, ...], size: int) -> None:
        if size <= MAX_REMEMBERED:
            self._clean[data] = None
            while len(self._clean) > MAX_CLEAN:
                self._clean.popitem(last=False)

    def _scan_part(self, data: bytes, place: Place, draft: Draft) -> None:
        """A part of a head. Clients repeat most of them with each request; what was clean once is not read again."""
        if data in self._clean:
            return
        found, uninspected = len(draft.findings), draft.uninspected
        self._scan(data, place, draft)
        in_pieces = self._context.look_for_pieces(data, place, draft)
        if not in_pieces and len(draft.findings) == found and draft.uninspected == uninspected:
            self._remember(data, len(data))

    def _scan(self, data: bytes, place: Place, draft: Draft, encoding: str = "") -> None:
        result = self._context.scanner.scan(data, place, content_encoding=encoding)
        part = Part(place, data, draft.content_type)
        draft.add_findings(self._context.judge(result.findings, draft.host, tls=draft.protocol == "tls", part=part))
        if result.uninspected:
            draft.note_uninspected(result.uninspected)

    def _refuse(self, flow: http.HTTPFlow, draft: Draft) -> None:
        """The body is still read, within the engine's bound, to see what it would have carried; then it is answered."""
        draft.blocked = True
        flow.request.stream = False
        draft.bytes_withheld = len(http1.assemble_request_head(flow.request))
        connection = self._context.connections.get(flow.client_conn.id)
        connection.grants.pop((flow.request.data.host, flow.request.data.port), None)

    def _is_large(self, request: http.Request) -> bool:
        """Whether a body is, or may become, larger than what is buffered."""
        length = request.headers.get("content-length")
        if length is not None:
            return not length.isdigit() or int(length) > BUFFERED
        return "transfer-encoding" in request.headers or request.is_http2

    def _stream(self, flow: http.HTTPFlow, draft: Draft) -> Callable[[bytes], bytes | list[bytes]]:
        interactive = flow.request.headers.get("content-type", "").lower().startswith(_INTERACTIVE)
        encoding = flow.request.headers.get("content-encoding", "").strip().lower()
        hold = 0 if interactive or "content-length" in flow.request.headers else BUFFERED
        client_id = flow.client_conn.id

        def cut() -> None:
            self._context.connections.refuse_connection(client_id)

        stream = BodyStream(self._context, draft, encoding, hold=hold, interactive=interactive, cut=cut)
        flow.metadata[STREAM] = stream
        return stream

    def request(self, flow: http.HTTPFlow) -> None:
        """The whole request is here (buffered, refused), or its end (streamed)."""
        draft = draft_of(flow)
        if flow.request.trailers is not None:
            for name, value in flow.request.trailers.fields:
                self._scan(name + b": " + value, Place(Carrier.TRAILER, name.decode("latin-1").lower()), draft)
            if flow.server_conn.alpn != b"h2":
                flow.request.trailers = None  # anybody may drop them (RFC 9110, 6.5.1), and mitmproxy's HTTP/1 has to
        if STREAM in flow.metadata:
            self._finish_streamed(flow, draft)
            return
        content = flow.request.raw_content or b""
        encoding = flow.request.headers.get("content-encoding", "").strip().lower()
        if content:
            self._scan(content, Place(Carrier.BODY), draft, encoding)
            self._context.look_for_pieces(content, Place(Carrier.BODY), draft)
            draft.refuse_if_misnamed(encoding)
        self._decide_buffered(flow, draft, len(content))

    def _finish_streamed(self, flow: http.HTTPFlow, draft: Draft) -> None:
        if draft.blocked or (self._context.enforce and draft.refused):
            flow.request.trailers = None
            draft.blocked = True
            self._context.connections.refuse_connection(flow.client_conn.id)

    def _decide_buffered(self, flow: http.HTTPFlow, draft: Draft, size: int) -> None:
        if flow.metadata.get("ebbgate.truncated"):
            draft.note_uninspected("more than the guard reads of a refused request")
            draft.blocked = True
        if draft.blocked or (self._context.enforce and draft.refused):
            draft.bytes_withheld += size + (0 if draft.blocked else draft.bytes_out)
            draft.bytes_out = 0
            draft.blocked = True
            flow.response = layers.refusal(403, explain(draft))
        else:
            draft.bytes_out += size
