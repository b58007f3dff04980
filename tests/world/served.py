"""Servers of a test's own in the world: TLS that the world's authority vouches for, at an address and under names of their own."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.world.internet import World, listen

OWN = "203.0.113.20"  # of a documentation range (RFC 5737); nobody else in the world has it


def settle(world: World, *names: str, address: str = OWN) -> None:
    """Give names an address, which the world has from then on."""
    world.namespace.run(lambda: subprocess.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"], check=True))
    world.names |= dict.fromkeys(names, (address,))


def trusted(world: World, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    world.authority.issue_cert(*names).configure_cert(context)
    return context


@contextlib.contextmanager
def serving(
    world: World, handler: Callable[..., BaseHTTPRequestHandler], *names: str, address: str = OWN, port: int = 443
) -> Iterator[None]:
    """Answer requests to these names."""
    settle(world, *names, address=address)
    server = _Server((address, port), handler, bind_and_activate=False)
    server.socket.close()
    listening = world.namespace.run(lambda: listen(address, port))
    # Hands are shaken in the thread that answers: who connects and says nothing must not keep others waiting.
    server.socket = trusted(world, *names).wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break, and are cut."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with bodies of either framing. ConnectionError: a body that is not whole."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class
        """Nobody reads it."""

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self._exactly(int(self.headers.get("content-length", 0)))
        found = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0] or b"-1", 16):
            found += self._exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return bytes(found)

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size) if size >= 0 else b""
        if len(data) != size:
            raise ConnectionError
        return data

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
