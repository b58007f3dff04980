"""Addon: responses. Streamed through and counted; the exchange's record is finished when they end."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http
from mitmproxy.net.http import http1

from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.gatekeeper import draft_of

# Advertisements of HTTP/3: UDP is never carried, and a client that tries it first only waits.
_ADVERTISEMENTS = ("alt-svc", "alternate-protocol")


class Recorder:
    """Nothing of a response is kept."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream the body; drop advertisements of protocols that cannot be used."""
        draft = draft_of(flow)
        if flow.response is None:
            return
        draft.status = flow.response.status_code
        if draft.blocked:
            return
        for name in _ADVERTISEMENTS:
            flow.response.headers.pop(name, None)
        draft.bytes_in += len(http1.assemble_response_head(flow.response))
        if draft.status != 101:
            flow.response.stream = _counter(draft)

    def response(self, flow: http.HTTPFlow) -> None:
        """The response ended; an upgraded connection goes on."""
        if flow.websocket is None:
            self._finish(flow, "")

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """A WebSocket ended."""
        self._finish(flow, "")

    def error(self, flow: http.HTTPFlow) -> None:
        """The exchange broke: upstream unreachable, client gone, refused as malformed, or ended by us."""
        self._finish(flow, flow.error.msg if flow.error else "failed")

    def _finish(self, flow: http.HTTPFlow, error: str) -> None:
        draft = draft_of(flow)
        draft.error = draft.error or error
        connection = self._context.connections.find(flow.client_conn.id)
        if connection is not None:
            connection.drafts.pop(draft.id, None)
            self._context.reporter.finish_draft(draft, connection.origin)


def _counter(draft: Draft) -> Callable[[bytes], bytes]:
    def count(data: bytes) -> bytes:
        draft.bytes_in += len(data)
        return data

    return count
