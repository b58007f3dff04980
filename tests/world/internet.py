"""The world: who is where, what it answers, what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import trustme

from tests.world.guard import Guard
from tests.world.namespace import NetworkNamespace
from tests.world.servers import Connection, HttpServer, RawServer, Sniffer

API, MIRROR, FILES, EVIL, EVIL2 = "203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.66", "203.0.113.67"
EVIL6, METADATA, INTERNAL, RESOLVER = "2001:db8::66", "169.254.169.254", "10.0.0.5", "203.0.113.53"
PLATFORM = "168.63.129.16"  # of the cloud that hosted runners are in, beside its metadata service
ATTACKERS = (EVIL, EVIL2, EVIL6)
NAMES: dict[str, tuple[str, ...]] = {
    "api.example.com": (API, "2001:db8::10"),
    "mirror.example.com": (MIRROR,),
    "files.example.net": (FILES,),
    "db.example.com": (MIRROR,),
    "attacker.example.org": (EVIL,),
    "metadata.example.com": (METADATA,),  # a public name that somebody pointed inwards
    "internal.example.com": (INTERNAL,),
    "localhost.example.com": ("127.0.0.1",),
    "mixed.example.com": (API, INTERNAL),
}
# (address, port, kind). Attackers answer on everything a client may try.
_LISTENING = (
    *((address, 80, "http") for address in (API, MIRROR, FILES, EVIL, EVIL2, METADATA, PLATFORM, INTERNAL, EVIL6)),
    *((address, 443, "https") for address in (API, MIRROR, FILES, EVIL, EVIL2, INTERNAL, EVIL6, "2001:db8::10")),
    ("127.0.0.1", 443, "https"),
    (EVIL, 4444, "raw"),
    (EVIL, 22, "ssh"),
    (EVIL, 8443, "https"),
    (EVIL, 853, "raw"),
    (MIRROR, 5432, "raw"),
    (MIRROR, 2222, "ssh"),
    (API, 8443, "https"),
)


class World:
    """Use as a context manager. ``connections``: everything that was sent to a server. ``questions``: DNS names asked of the world."""

    def __init__(self, *also: tuple[str, int, str]) -> None:
        self._listening = (*_LISTENING, *also)
        self.connections: list[Connection] = []
        self.questions: list[tuple[str, str]] = []
        self.wires: list[bytes] = []
        self.names = dict(NAMES)
        self.elsewhere: Callable[[str], tuple[str, ...] | None] = lambda _name: None  # addresses of names that it does not know
        self.delay = 0.0  # seconds that an answer to a name takes
        self.spoiled: Callable[[bytes], bytes] = lambda answer: answer  # what becomes of it on the way; b"" for nothing
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.namespace = self._stack.enter_context(NetworkNamespace())
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ebbgate-world-")))
        self.directory.chmod(0o755)
        self._write_files()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        sockets = self.namespace.run(self._sockets)
        asyncio.run_coroutine_threadsafe(self._serve(sockets), self._loop).result(30)
        self.sniffer: Sniffer = self.namespace.run(Sniffer)
        self.guard = Guard(self.namespace.fd, self.directory)
        return self

    def __exit__(self, *_exc: object) -> None:
        asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._stack.close()

    def _write_files(self) -> None:
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(self.directory / "ca.pem")
        (self.directory / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:2 attempts:1\n")
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.directory / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        for file in self.directory.iterdir():
            file.chmod(0o644)

    def _sockets(self) -> dict[tuple[str, int, str], socket.socket]:
        found = {}
        for address, port, kind in self._listening:
            found[address, port, kind] = listen(address, port)
        for address in (RESOLVER, EVIL):
            found[address, 53, "dns-tcp"] = listen(address, 53)
        for address in (RESOLVER, EVIL):
            datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagram.bind((address, 53))
            found[address, 53, "dns"] = datagram
        return found

    async def _serve(self, sockets: dict[tuple[str, int, str], socket.socket]) -> None:
        context = self._tls()
        for (address, port, kind), one in sockets.items():
            one.setblocking(False)
            name = f"{address}:{port}"
            if kind == "dns":
                await self._loop.create_datagram_endpoint(lambda: _Names(self), sock=one)
            elif kind == "dns-tcp":
                await asyncio.start_server(self._dns_stream, sock=one)
            else:
                server = (
                    RawServer(name, self.connections, b"SSH-2.0-recorder\r\n" if kind == "ssh" else b"")
                    if kind in ("raw", "ssh")
                    else HttpServer(name, self.connections)
                )
                await asyncio.start_server(server.serve, sock=one, ssl=context if kind == "https" else None, limit=1 << 20)

    def _tls(self) -> ssl.SSLContext:
        """The attacker's certificate is valid: anybody can have one for a name of their own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = [*self.names, "*.example.com", *ATTACKERS, API, "localhost"]
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    async def _dns_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = self.spoiled(self.answer(await reader.readexactly(size)))
                writer.write(len(answer).to_bytes(2, "big") + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, wire: bytes) -> bytes:
        """Answer a DNS query, and remember it."""
        self.wires.append(wire)
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.questions.append((name, dns.rdatatype.to_text(question.rdtype)))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        known = self.names[name] if name in self.names else self.elsewhere(name)
        version = {dns.rdatatype.A: ".", dns.rdatatype.AAAA: ":"}.get(question.rdtype)
        addresses = [one for one in known or () if version and version in one]
        if addresses:
            response.answer.append(
                dns.rrset.from_text(question.name, 1, "IN", dns.rdatatype.to_text(question.rdtype), *addresses)
            )
        elif known is None:
            response.set_rcode(3)
        return response.to_wire()

    # --- looking back ---------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Forget what was seen so far."""
        self.sniffer.destinations()
        self.sniffer.lost()
        self.connections.clear()
        self.questions.clear()
        self.wires.clear()

    def at(self, *addresses: str) -> list[Connection]:
        """Connections that servers at these addresses got."""
        return [one for one in self.connections if one.server.rpartition(":")[0] in addresses]

    def received(self, *addresses: str) -> bytes:
        """All bytes these servers were sent, heads and tails."""
        return b"\n".join(bytes(one.received) + b"\n" + one.tail for one in self.at(*addresses))

    def packets_to(self, *addresses: str) -> set[tuple[str, int, int]]:
        """(address, protocol number, port) of packets on the wire to these addresses, since ``forget``."""
        found = self.sniffer.destinations()
        assert not self.sniffer.lost(), "packets came faster than they were looked at"
        return {one for one in found if one[0] in addresses}


async def _end_others() -> None:
    """Connections that clients have left open."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class _Names(asyncio.DatagramProtocol):
    def __init__(self, world: World) -> None:
        self._world = world

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._world.spoiled(self._world.answer(data))
        if answer:
            self._world._loop.call_later(self._world.delay, self._transport.sendto, answer, addr)


def listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # with the protocol said, asyncio sets TCP_NODELAY
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    one.listen(128)
    return one


def has_programs(*names: str) -> bool:
    return all(shutil.which(name) for name in names)


def is_root() -> bool:
    return os.geteuid() == 0
