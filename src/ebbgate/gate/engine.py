"""mitmproxy as a library: every use of its internals that is not a public hook stands here.

::

    listening sockets (made inside the enclosure) ──▶ TransparentServer ──▶ layers ──▶ hooks ──▶ our addons
                                                                              │
                                            GateLoop.getaddrinfo ◀── dial ◀───┘  only addresses vetted for this dial

What mitmproxy would do in doubt and we do not: an exception in an addon lets the flow go on (``boundary`` denies), an
unknown protocol becomes raw TCP (``next_layer`` is ours), a name is resolved while dialling (``GateLoop``), a body for a
denied host is buffered without bound (``GuardedStream``).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Never, cast  # Any: signatures that mitmproxy and asyncio leave open

import h11
import wsproto.events
from h11._readers import ChunkedReader
from mitmproxy import certs, connection, flow, http, options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.hooks import Hook
from mitmproxy.master import Master
from mitmproxy.net.http import status_codes
from mitmproxy.platform import linux
from mitmproxy.proxy import commands, events, layer, mode_servers, mode_specs
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
from mitmproxy.tls import ClientHello, TlsData

from ebbgate.host import links
from ebbgate.host.authority import Authority

SINK_BOUND = 1 << 20  # bytes of a denied request or connection that are read in order to say what it would have sent
IDLE_SINK_SECONDS = 3.0  # a denied connection on which the client waits for the server to speak first
MAX_HEAD = 1 << 18  # bytes of a request's head; servers take 8 to 64 KB
MAX_HELLO = 1 << 16  # bytes of a TLS ClientHello; those with post-quantum keys have 2 KB
MAX_MESSAGE = 16 << 20  # bytes of one WebSocket message, which is held until it is complete; most servers take 1 MB
CONTROL_FRAME = "ebbgate.control-frame"  # in a flow's metadata: judges a control frame's payload, False drops it
TOO_LONG = "ebbgate.too-long"  # in a flow's metadata: ends a WebSocket whose message is over the bound
CONNECTION_TIMEOUT = 900  # seconds without a byte in either direction
_BACKLOG = 1024

# Addresses vetted for the dial that the current task is about to make (host -> addresses); set by ``server_connect``.
DIAL: ContextVar[tuple[str, tuple[str, ...]] | None] = ContextVar("DIAL", default=None)

_ReadFrames = Callable[[], Iterator[wsproto.events.Event]]

logger = logging.getLogger(__name__)


class GateLoop(asyncio.SelectorEventLoop):
    """An event loop that resolves no name by itself: a dial goes to addresses that were vetted for it, or nowhere."""

    async def getaddrinfo(  # type: ignore[override]  # asyncio leaves the signature open
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio names it so
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        """Vetted addresses only. gaierror for any other name."""
        vetted = DIAL.get()
        if vetted is None or vetted[0] != host:
            raise socket.gaierror(socket.EAI_NONAME, "not vetted for this dial")
        found: list[tuple[int, int, int, str, tuple[Any, ...]]] = []
        for address in vetted[1]:
            version = socket.AF_INET6 if ":" in address else socket.AF_INET
            end = (address, port, 0, 0) if version == socket.AF_INET6 else (address, port)
            if family in (0, version):
                found.append((version, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", end))
        return found


def _leaf_certificates(authority: Authority) -> certs.CertStore:
    """Mitmproxy's store of leaf certificates, in memory only."""
    return certs.CertStore(
        default_privatekey=authority.key,
        default_ca=certs.Cert(authority.certificate),
        default_chain_file=None,
        default_crl=b"",
        dhparams=None,  # type: ignore[arg-type]  # no finite-field DH is offered
    )


class GateTls(TlsConfig):
    """mitmproxy's TLS with an authority in memory, and HTTP/1.1 wherever the client speaks it.

    Bodies over HTTP/2 cost four times those over HTTP/1.1 in mitmproxy; a client that offers only h2 (gRPC) gets it.
    """

    def __init__(self, authority: Authority) -> None:
        self.certstore = _leaf_certificates(authority)

    def configure(self, updated: Any) -> None:
        """Nothing is read from or written to a configuration directory."""

    def running(self) -> None:
        """As configure."""

    def request(self, flow: http.HTTPFlow) -> None:
        """No magic revocation list."""

    def tls_start_client(self, tls_start: TlsData) -> None:
        offers = tls_start.context.client.alpn_offers
        preferred = next((one for one in (b"http/1.1", b"h2", b"http/1.0") if one in offers), None)
        if preferred is not None:
            tls_start.context.client.alpn = preferred
        super().tls_start_client(tls_start)

    def tls_start_server(self, tls_start: TlsData) -> None:
        server = cast("connection.Server", tls_start.conn)
        server.alpn_offers = [tls_start.context.client.alpn or b"http/1.1"]
        super().tls_start_server(tls_start)


class GuardedHttp1(Http1Server):
    """HTTP/1 from the client, with a bound for heads, and with trailers where mitmproxy has an exception."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        yield from super().read_headers(event)
        if self.state == self.read_headers and len(self.buf) > MAX_HEAD:
            self.state = self.done
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

    def __init__(self, context: Context) -> None:
        super().__init__(context, HTTPMode.transparent)
        if context.client.alpn != b"h2":
            self.connections[context.client] = GuardedHttp1(context.fork())

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


def http_layer(context: Context) -> layer.Layer:
    """HTTP inside what came so far; the version follows the negotiated or announced protocol."""
    return GuardedHttp(context)


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


class GateMode(mode_specs.TransparentMode):
    """mitmproxy registers one server class for each mode; this one is ours."""


class TransparentServer(mode_servers.AsyncioServerInstance[GateMode]):
    """Accepts on sockets that were made elsewhere, and answers the enclosure's self-test."""

    def __init__(
        self,
        manager: Proxyserver,
        sockets: list[socket.socket],
        nonce: str,
        on_crash: Callable[[str, BaseException], None],
    ) -> None:
        super().__init__(GateMode.parse("gate"), manager)
        self._handed = sockets
        self._nonce = nonce
        self._on_crash = on_crash

    async def listen(self, host: str, port: int) -> Any:
        """Serve the handed sockets; host and port are mitmproxy's and have no meaning here."""
        return [await asyncio.start_server(self.handle_stream, sock=one, backlog=_BACKLOG) for one in self._handed]

    async def handle_stream(self, reader: Any, writer: Any = None) -> None:
        if self._is_selftest(writer):
            writer.write(self._nonce.encode())
            writer.close()
            return
        await super().handle_stream(reader, writer)

    def _is_selftest(self, writer: asyncio.StreamWriter) -> bool:
        try:
            chosen = linux.original_addr(writer.get_extra_info("socket"))
        except OSError:
            return False  # super() closes the connection: no original destination
        return chosen[0] in (links.SELFTEST_V4, links.SELFTEST_V6) and chosen[1] == links.SELFTEST_PORT

    def make_top_layer(self, context: Context) -> layer.Layer:
        return _Top(context, self._on_crash)


class _Top(layer.Layer):
    """The outermost layer. It asks at once which protocol follows: some servers speak first.

    mitmproxy logs an exception in a layer and feeds the layer on. Here a connection whose layers failed is ended.
    """

    def __init__(self, context: Context, on_crash: Callable[[str, BaseException], None]) -> None:
        super().__init__(context)
        self._on_crash = on_crash
        self._crashed = False
        self._next = layer.NextLayer(context, ask_on_start=True)

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._crashed:
            return
        try:
            yield from super().handle_event(event)
        except Exception as problem:
            self._crashed = True
            self._on_crash(self.context.client.id, problem)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self._next.handle_event(event)


class _DefectHandler(logging.Handler):
    """Crashes that mitmproxy only logs are defects of the guard."""

    def __init__(self, report: Callable[[str, BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._report(record.name, record.exc_info[1])


class Engine:
    """The running proxy core. Add addons through ``boundary.guarded`` only."""

    def __init__(self, authority: Authority, trusted_roots: Path, on_crash: Callable[[str, BaseException], None]) -> None:
        self.master = Master(options.Options())
        self.server = Proxyserver()
        self.tls = GateTls(authority)
        self.master.addons.add(self.server, self.tls)
        self.master.addons.handle_lifecycle = self._dispatch  # type: ignore[method-assign]
        self._hooks: dict[str, list[Callable[..., Awaitable[None]]]] = {}
        self.master.options.update(
            connection_strategy="lazy",
            upstream_cert=False,
            validate_inbound_headers=True,
            rawtcp=False,
            http2=True,
            http3=False,
            websocket=True,
            show_ignored_hosts=True,
            ssl_insecure=False,
            ssl_verify_upstream_trusted_ca=str(trusted_roots),
            store_streamed_bodies=False,
            server=False,
            tcp_timeout=CONNECTION_TIMEOUT,
        )
        logging.getLogger("mitmproxy").setLevel(logging.ERROR)
        logging.getLogger("mitmproxy").addHandler(_DefectHandler(on_crash))
        logging.getLogger("mitmproxy").propagate = False
        self._servers: list[TransparentServer] = []

    def add(self, addon: object, names: Iterable[str]) -> None:
        """Add a guarded addon's hooks of these names, after those of earlier addons."""
        for name in names:
            hook = getattr(addon, name, None)
            if hook is not None:
                self._hooks.setdefault(name, []).append(hook)

    async def _dispatch(self, event: Hook) -> None:
        """In place of mitmproxy's own, which swallows exceptions and asks each addon for each hook anew."""
        for hook in self._hooks.get(event.name, ()):
            await hook(*event.args())

    def rehearse(self) -> None:
        """Sign a certificate that nobody gets, so that what signing imports is there."""
        self.tls.certstore.get_cert(links.SELFTEST_NAME, [])

    async def serve(self, sockets: list[socket.socket], nonce: str, on_crash: Callable[[str, BaseException], None]) -> None:
        """Begin to accept. on_crash: told the client connection whose layers raised, and what."""
        server = TransparentServer(self.server, sockets, nonce, on_crash)
        await server.start()
        self._servers.append(server)

    async def stop(self) -> None:
        """Stop accepting and end what is still open, so that every exchange gets its record."""
        for server in self._servers:
            await server.stop()
        for client_id in list(self.server.connections):
            self.abort(str(client_id))

    def open_connections(self) -> int:
        """How many client connections are being handled."""
        return len(self.server.connections)

    def abort(self, client_id: str) -> None:
        """End a client connection and every upstream connection made for it; what is still in our buffers is dropped."""
        handler = self.server.connections.get(client_id)
        if handler is None:
            return
        for end, io in list(handler.transports.items()):
            if end is not handler.client and io.writer is not None:
                cast("asyncio.StreamWriter", io.writer).transport.abort()
        for io in list(handler.transports.values()):
            if io.handler is not None:
                io.handler.cancel("ended by the guard")
            if io.writer is not None:
                io.writer.close()  # a handler that is cancelled before it first ran closes nothing


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
