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
import resource
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast  # Any: signatures that mitmproxy and asyncio leave open

import ebbgate.gate.lean  # noqa: F401 - before the addons

# isort: split
from mitmproxy import certs, connection, http, options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.hooks import Hook
from mitmproxy.master import Master
from mitmproxy.platform import linux
from mitmproxy.proxy import events, layer, mode_servers, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.tls import TlsData

from ebbgate.host import links
from ebbgate.host.authority import Authority

CONNECTION_TIMEOUT = 900  # seconds without a byte in either direction
_BACKLOG = 4096  # connections that wait to be accepted; the kernel's own bound is the same
_ACCEPTED_A_TURN = 4  # of the loop: questions for names, asked meanwhile by the same crowd, are answered between them
MAX_CONNECTIONS = 8192  # from clients at once, at 40 to 80 KB each; those that come on top are ended at once
_OTHER_DESCRIPTORS = 64  # than two for each connection

# Addresses vetted for the dial that the current task is about to make (host -> addresses); set by ``server_connect``.
DIAL: ContextVar[tuple[str, tuple[str, ...]] | None] = ContextVar("DIAL", default=None)

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
        on_crowd: Callable[[], None],
    ) -> None:
        super().__init__(GateMode.parse("gate"), manager)
        self._on_crowd = on_crowd
        self._limit = min(MAX_CONNECTIONS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_DESCRIPTORS) // 2)
        self._handed = sockets
        self._nonce = nonce
        self._on_crash = on_crash

    async def listen(self, host: str, port: int) -> Any:
        """Serve the handed sockets; host and port are mitmproxy's and have no meaning here."""
        servers = []
        for one in self._handed:
            servers.append(await asyncio.start_server(self.handle_stream, sock=one, backlog=_ACCEPTED_A_TURN))
            one.listen(_BACKLOG)  # asyncio takes as many a turn as may wait
        return servers

    async def handle_stream(self, reader: Any, writer: Any = None) -> None:
        if self._is_selftest(writer):
            writer.write(self._nonce.encode())
            writer.close()
            return
        if len(self.manager.connections) >= self._limit:
            writer.transport.abort()
            self._on_crowd()
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

    async def serve(
        self,
        sockets: list[socket.socket],
        nonce: str,
        on_crash: Callable[[str, BaseException], None],
        on_crowd: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to accept. on_crash: told the client connection whose layers raised, and what. on_crowd: told of each
        connection that was one too many.
        """
        server = TransparentServer(self.server, sockets, nonce, on_crash, on_crowd)
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
