"""Servers that remember every byte they were sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import struct
from dataclasses import dataclass, field

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
KEPT = 4 << 20  # bytes of one connection that are kept; the rest is hashed and counted
TAIL = 1 << 16
ANSWERS: dict[str, tuple[bytes, dict[str, str]]] = {}  # body and headers by path, of every server; who sets one takes it away


@dataclass
class Connection:
    """What one client sent, after TLS. requests: (method, path, headers, body digest, body size)."""

    server: str
    peer: tuple[str, int]
    received: bytearray = field(default_factory=bytearray)
    tail: bytes = b""
    total: int = 0
    requests: list[Request] = field(default_factory=list)
    closed: bool = False

    def note(self, data: bytes) -> None:
        self.total += len(data)
        if len(self.received) < KEPT:
            self.received += data[: KEPT - len(self.received)]
        self.tail = (self.tail + data)[-TAIL:]


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    size: int = 0
    digest: str = ""
    complete: bool = False


class HttpServer:
    """HTTP/1.1, plain or TLS. Paths: ``/bytes/N`` answers with N bytes; ``/redirect/HOST/PATH`` sends there with 307, so that
    method and body go along; anything else says what was asked.
    """

    def __init__(self, name: str, connections: list[Connection]) -> None:
        self.name, self.connections = name, connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Connection(self.name, writer.get_extra_info("peername")[:2])
        self.connections.append(seen)
        try:
            while await self._one(reader, writer, seen):
                if seen.requests[-1].headers.get("upgrade", "").lower() == "websocket":
                    await self._websocket(reader, writer, seen)
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, ValueError, TimeoutError):
            pass
        finally:
            seen.closed = True
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Connection) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as partial:
            seen.note(partial.partial)
            return False
        except asyncio.LimitOverrunError:
            return False
        seen.note(head)
        lines = head.decode("latin-1").split("\r\n")
        method, path, _version = (lines[0].split(" ") + ["", ""])[:3]
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        request = Request(method, path, headers)
        seen.requests.append(request)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self._body(reader, seen, request)
        request.complete = True
        await self._answer(writer, request)
        return headers.get("connection", "").lower() != "close"

    async def _websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Connection) -> None:
        """Frames from clients are masked (RFC 6455, 5.2); each message is noted unmasked and answered with its length."""
        while True:
            first, second = await reader.readexactly(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            mask = await reader.readexactly(4)
            data = bytes(byte ^ mask[place % 4] for place, byte in enumerate(await reader.readexactly(size)))
            if first & 15 == 8:
                writer.write(b"\x88\x00")
                return
            seen.note(data)
            answer = b"ack %d" % size
            writer.write(bytes([0x81, len(answer)]) + answer)
            await writer.drain()

    async def _body(self, reader: asyncio.StreamReader, seen: Connection, request: Request) -> None:
        digest = hashlib.sha256()

        async def take(count: int) -> None:
            while count:
                data = await reader.read(min(count, 1 << 18))
                if not data:
                    raise ConnectionError
                count -= len(data)
                seen.note(data)
                digest.update(data)
                request.size += len(data)
                if len(request.body) < KEPT:
                    request.body += data
            request.digest = digest.hexdigest()

        if "chunked" in request.headers.get("transfer-encoding", ""):
            while True:
                size = int((await reader.readuntil(b"\r\n")).strip().partition(b";")[0], 16)
                if size == 0:
                    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                        seen.note(line)
                    return
                await take(size)
                await reader.readexactly(2)
        elif "content-length" in request.headers:
            await take(int(request.headers["content-length"]))

    async def _answer(self, writer: asyncio.StreamWriter, request: Request) -> None:
        if request.headers.get("upgrade", "").lower() == "websocket":
            accept = hashlib.sha1((request.headers["sec-websocket-key"] + WEBSOCKET_GUID).encode()).digest()
            head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            writer.write(head + b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n")
            await writer.drain()
            return
        if request.path.startswith("/bytes/"):
            count = int(request.path.split("/")[2].partition("?")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
            block = pattern(1 << 20)
            for start in range(0, count, 1 << 20):
                writer.write(block[: min(1 << 20, count - start)])
                await writer.drain()
            return
        if request.path in ANSWERS:
            body, headers = ANSWERS[request.path]
            lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
            writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (lines, len(body)) + body)
            await writer.drain()
            return
        if request.path.startswith("/redirect/"):
            target = request.path.removeprefix("/redirect/").encode()
            writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://%s\r\nContent-Length: 0\r\n\r\n" % target)
            await writer.drain()
            return
        body = f"{self.name} got {request.method} {request.path} {request.size} {request.digest}\n".encode()
        extra = b'Alt-Svc: h3=":443"\r\n' if request.path == "/h3" else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (extra, len(body)) + body)
        await writer.drain()


def pattern(size: int) -> bytes:
    """Bytes that do not compress and hold no text, the same each time."""
    block = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(1 << 11))
    return (block * (size // len(block) + 1))[:size]


class RawServer:
    """Takes whatever comes; greets first where it has a greeting."""

    def __init__(self, name: str, connections: list[Connection], greeting: bytes = b"") -> None:
        self.name, self.connections, self.greeting = name, connections, greeting

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Connection(self.name, writer.get_extra_info("peername")[:2])
        self.connections.append(seen)
        try:
            if self.greeting:
                writer.write(self.greeting)
            while data := await reader.read(1 << 16):
                seen.note(data)
                writer.write(b"ack %d\n" % len(data))
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            seen.closed = True
            writer.close()


class Sniffer:
    """Every packet on the namespace's loopback, so that "nothing arrived" means nothing: no SYN, no datagram, no echo."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(3))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE

    def lost(self) -> int:
        """Number of packets that found no room since the last call."""
        return struct.unpack("II", self.socket.getsockopt(263, 6, 8))[1]  # SOL_PACKET, PACKET_STATISTICS: packet(7)

    def destinations(self) -> set[tuple[str, int, int]]:
        """(address, protocol, port) of each packet since the last call."""
        found: set[tuple[str, int, int]] = set()
        while True:
            try:
                packet = self.socket.recv(1 << 17)[14:]
            except BlockingIOError:
                return found
            if packet[0] >> 4 == 4:
                header, protocol = (packet[0] & 15) * 4, packet[9]
                target = socket.inet_ntop(socket.AF_INET, packet[16:20])
            elif packet[0] >> 4 == 6:
                header, protocol = 40, packet[6]
                target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
            else:
                continue
            port = int.from_bytes(packet[header + 2 : header + 4], "big") if protocol in (6, 17) else 0
            found.add((target, protocol, port))
