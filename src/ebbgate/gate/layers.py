"""mitmproxy's protocol layers with what they lack: bounds, trailers, judged control frames, and a sink for what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Never  # Any: objects that mitmproxy and h11 leave open

import h11
import wsproto.events
from h11._readers import ChunkedReader
from mitmproxy import flow, http
from mitmproxy.net.http import http1, status_codes
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, TCPLayer
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.tls import parse_client_hello
from mitmproxy.proxy.layers.websocket import WebsocketLayer, WebsocketStartHook
from mitmproxy.tls import ClientHello

SINK_BOUND = 1 << 20  # bytes of a denied request or connection that are read in order to say what it would have sent
IDLE_SINK_SECONDS = 3.0  # a denied connection on which the client waits for the server to speak first
MAX_HEAD = 1 << 18  # bytes of a request's head; servers take 8 to 64 KB
MAX_HELLO = 1 << 16  # bytes of a TLS ClientHello; those with post-quantum keys have 2 KB
MAX_MESSAGE = 16 << 20  # bytes of one WebSocket message, which is held until it is complete; most servers take 1 MB
CONTROL_FRAME = "ebbgate.control-frame"  # in a flow's metadata: judges a control frame's payload, False drops it
TOO_LONG = "ebbgate.too-long"  # in a flow's metadata: ends a WebSocket whose message is over the bound

_ReadFrames = Callable[[], Iterator[wsproto.events.Event]]


class GuardedHttp1(Http1Server):
    """HTTP/1 from the client, with a bound for heads, and with trailers where mitmproxy has an exception."""

    def __init__(self, context: Context, head_too_long: Callable[[bytes], None]) -> None:
        super().__init__(context)
        self._head_too_long = head_too_long

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        yield from super().read_headers(event)
        if self.state == self.read_headers and len(self.buf) > MAX_HEAD:
            self.state = self.done
            self._head_too_long(bytes(self.buf))
            answer = refusal(431, "ebbgate: the request's head is longer than the guard reads\n")
            answer.headers["connection"] = "close"
            yield commands.SendData(self.conn, http1.assemble_response(answer))
            yield commands.CloseConnection(self.conn)

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(self.body_reader, ChunkedReader) and not isinstance(self.body_reader, _WithTrailers):
            self.body_reader = _WithTrailers(self.body_reader)
        for command in super().read_body(event):
            ends = isinstance(command, ReceiveHttp) and isinstance(command.event, RequestEndOfMessage)
            if ends and isinstance(self.body_reader, _WithTrailers) and self.body_reader.trailers:
                trailers = http.Headers(self.body_reader.trailers)
                yield ReceiveHttp(RequestTrailers(self.stream_id, trailers))
            yield command


class _WithTrailers(ChunkedReader):
    """h11's reader of chunked bodies; trailers are put aside instead of into the end of the message."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self.trailers: list[tuple[bytes, bytes]] = []

    def __call__(self, buf: Any) -> Any:
        event = self._reader(buf)
        if isinstance(event, h11.EndOfMessage) and event.headers:
            self.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            return h11.EndOfMessage()
        return event

    def read_eof(self) -> Never:
        self._reader.read_eof()


class GuardedWebsocket(WebsocketLayer):
    """A WebSocket whose control frames are judged like its messages, and whose messages have a bound.

    mitmproxy passes pings, pongs and reasons for closing on without asking anybody; each carries up to 125 bytes.
    """

    def start(self, event: events.Event) -> layer.CommandGenerator[None]:
        for command in super().start(event):
            if isinstance(command, WebsocketStartHook):
                self.client_ws.events = self._bounded(self.client_ws, self._judged(self.client_ws.events))
                self.server_ws.events = self._bounded(self.server_ws, self.server_ws.events)
            yield command

    _handle_event = start

    def _judged(self, read: _ReadFrames) -> _ReadFrames:
        def judged() -> Iterator[wsproto.events.Event]:
            for event in read():
                if isinstance(event, wsproto.events.Ping | wsproto.events.Pong):
                    payload = bytes(event.payload)
                elif isinstance(event, wsproto.events.CloseConnection):
                    payload = (event.reason or "").encode("utf-8", "surrogateescape")
                else:
                    payload = b""
                if not payload or self.flow.metadata[CONTROL_FRAME](payload):
                    yield event

        return judged

    def _bounded(self, connection: Any, read: _ReadFrames) -> _ReadFrames:
        def bounded() -> Iterator[wsproto.events.Event]:
            for event in read():
                yield event
                if sum(map(len, connection.frame_buf)) > MAX_MESSAGE:
                    self.flow.metadata[TOO_LONG]()
                    return

        return bounded


class GuardedStream(HttpStream):
    """An HTTP stream whose buffered body has a bound: beyond it, what was read is judged and answered at once."""

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData) and len(self.request_body_buf) + len(event.data) > SINK_BOUND:
            self.flow.metadata["ebbgate.truncated"] = True
            self.request_body_buf += event.data[: max(0, SINK_BOUND - len(self.request_body_buf))]
            self.flow.request.data.content = bytes(self.request_body_buf)
            self.request_body_buf.clear()
            yield HttpRequestHook(self.flow)
            yield from self._answer_and_close()
            return
        yield from super().state_consume_request_body(event)

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        """Frame an HTTP/2 body of unknown length for an HTTP/1 server: unframed, it would be read as further requests."""
        connected = yield from super().make_server_connection()
        request = self.flow.request
        framed = "content-length" in request.headers or "transfer-encoding" in request.headers
        streaming = request.stream and self.client_state == self.state_wait_for_request_headers
        if connected and streaming and not framed and self.context.server.alpn != b"h2":
            request.headers["transfer-encoding"] = "chunked"
        return connected

    def state_stream_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData) and not event.data:
            return  # to the callable that scans a stream, no bytes mean its end
        yield from super().state_stream_request_body(event)

    def flow_done(self) -> layer.CommandGenerator[None]:
        """As mitmproxy's, with our WebSocket layer."""
        if self.flow.response is None or self.flow.response.status_code != status_codes.SWITCHING or not self.flow.websocket:
            yield from super().flow_done()
            return
        self.child_layer = GuardedWebsocket(self.context, self.flow)
        self._handle_event = self.passthrough
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _answer_and_close(self) -> layer.CommandGenerator[None]:
        """Our own answer, then the end of the connection: the rest of the body is not wanted."""
        answer = self.flow.response or http.Response.make(413, b"")
        answer.headers["connection"] = "close"
        self.client_state = self.server_state = self.state_errored
        yield SendHttp(ResponseHeaders(self.stream_id, answer, end_stream=False), self.context.client)
        yield SendHttp(ResponseData(self.stream_id, answer.raw_content or b""), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
        yield commands.CloseConnection(self.context.client)


class GuardedHttp(HttpLayer):
    """mitmproxy's HTTP layer with our streams and our reading of HTTP/1."""

    def __init__(self, context: Context, head_too_long: Callable[[bytes], None]) -> None:
        super().__init__(context, HTTPMode.transparent)
        if context.client.alpn != b"h2":
            self.connections[context.client] = GuardedHttp1(context.fork(), head_too_long)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        self.streams[stream_id] = GuardedStream(self.context.fork(), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


class Sink(layer.Layer):
    """Reads a refused opaque connection briefly, tells what came, and closes it. Nothing is dialled."""

    def __init__(self, context: Context, done: Callable[[bytes, bool], None]) -> None:
        super().__init__(context)
        self._done = done
        self._data = bytearray()
        self._finished = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._finished:
            return
        if isinstance(event, events.Start):
            yield commands.RequestWakeup(IDLE_SINK_SECONDS)
        elif isinstance(event, events.DataReceived):
            self._data += event.data[: SINK_BOUND - len(self._data)]
            if len(self._data) >= SINK_BOUND:
                yield from self._finish(truncated=True)
        elif isinstance(event, events.ConnectionClosed | events.Wakeup):
            yield from self._finish(truncated=False)

    def _finish(self, *, truncated: bool) -> layer.CommandGenerator[None]:
        self._finished = True
        self._done(bytes(self._data), truncated)
        yield commands.CloseConnection(self.context.client)


def http_layer(context: Context, head_too_long: Callable[[bytes], None]) -> layer.Layer:
    """HTTP inside what came so far; the version follows the negotiated or announced protocol.

    head_too_long: told the beginning of a head over the bound, which is refused.
    """
    return GuardedHttp(context, head_too_long)


def tls_layer(context: Context) -> layer.Layer:
    """TLS from the client; the server's side is made when a request is dialled."""
    return ClientTLSLayer(context)


def opaque_layer(context: Context) -> layer.Layer:
    """Bytes both ways, with hooks."""
    return TCPLayer(context)


def client_hello(data: bytes) -> ClientHello | Literal[False] | None:
    """The TLS ClientHello that bytes begin with: False when they do not, None when more bytes are needed to say."""
    if not data.startswith(b"\x16\x03"[: len(data)]) or len(data) > MAX_HELLO:
        return False
    try:
        return parse_client_hello(data)
    except ValueError:
        return False


def kill_flow(target: flow.Flow) -> None:
    """Have mitmproxy drop a flow at its next step, where it looks."""
    if target.killable:
        target.kill()


def refusal(status: int, text: str) -> http.Response:
    """An answer of our own."""
    reason = status_codes.RESPONSES.get(status, "Refused")
    response = http.Response.make(status, text, {"content-type": "text/plain; charset=utf-8", "via": "ebbgate"})
    response.reason = reason
    return response
