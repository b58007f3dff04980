"""Addon: WebSocket messages from the workload, unmasked and inflated by mitmproxy, scanned before they are sent on."""

from __future__ import annotations

from mitmproxy import http

from ebbgate.gate import layers
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.gatekeeper import draft_of
from ebbgate.secrets.finding import Carrier, Place

_STREAM = "ebbgate.websocket"


class WebSockets:
    """Each message is scanned by itself, decoded, and all of them together as one stream for secrets in pieces."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        """Begin the stream over all messages."""
        flow.metadata[layers.CONTROL_FRAME] = lambda payload: self._judge(flow, draft_of(flow), payload)
        flow.metadata[layers.TOO_LONG] = lambda: self._too_long(flow, draft_of(flow))
        flow.metadata[_STREAM] = self._context.scanner.stream(Place(Carrier.WEBSOCKET), interactive=True)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Count, scan, keep nothing."""
        if flow.websocket is None:
            raise LookupError("not a WebSocket")
        message = flow.websocket.messages[-1]
        flow.websocket.messages.clear()  # mitmproxy keeps every message for its user interface
        draft = draft_of(flow)
        if not message.from_client:
            draft.bytes_in += len(message.content)
            return
        if not self._judge(flow, draft, message.content):
            message.drop()

    def _too_long(self, flow: http.HTTPFlow, draft: Draft) -> None:
        draft.error = f"a WebSocket message over {layers.MAX_MESSAGE >> 20} MB"
        self._context.connections.refuse_connection(flow.client_conn.id)

    def _judge(self, flow: http.HTTPFlow, draft: Draft, content: bytes) -> bool:
        """Whether a message, or the payload of a control frame, may be sent on."""
        whole = self._context.scanner.scan(content, Place(Carrier.WEBSOCKET))
        pieces = flow.metadata[_STREAM].feed(content)
        draft.add_findings(self._context.judge((*whole.findings, *pieces.findings), draft.host, tls=False))
        self._context.look_for_pieces(content, Place(Carrier.WEBSOCKET), draft)
        if reason := whole.uninspected or pieces.uninspected:
            draft.note_uninspected(reason)
        if pieces.findings:
            flow.metadata[_STREAM].permit()
        if self._context.enforce and draft.refused:
            draft.blocked = True
            draft.bytes_withheld += len(content)
            self._context.connections.refuse_connection(flow.client_conn.id)
            return False
        draft.bytes_out += len(content)
        return True
