"""Names that the local internet does not know, answered by the real one: for installs from registries.

Nothing is routed. Each name gets an address of its own in the local internet, where connections to the web's ports are carried on,
byte by byte, to the name's real address from the namespaces of the process that tests. TLS goes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import subprocess

from tests.world.internet import World, listen

_NETWORK = "198.51.100."  # a documentation range (RFC 5737) that the local internet has no other use for
_PORTS = (80, 443)


class Uplink:
    def __init__(self, world: World) -> None:
        self._world = world
        self._servers: list[asyncio.Future[asyncio.Server]] = []
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._numbers = iter(range(2, 255))
        # On loopback, an address with a prefix makes the whole range local.
        world.namespace.run(lambda: subprocess.run(["ip", "addr", "add", f"{_NETWORK}1/24", "dev", "lo"], check=True))
        world.elsewhere = self._address

    def _address(self, name: str) -> tuple[str, ...] | None:
        if name not in self._addresses:
            try:
                socket.getaddrinfo(name, None, socket.AF_INET)
            except OSError:
                return None
            own = f"{_NETWORK}{next(self._numbers)}"
            sockets = self._world.namespace.run(lambda: [listen(own, port) for port in _PORTS])
            for port, one in zip(_PORTS, sockets, strict=True):
                one.setblocking(False)
                self._servers.append(asyncio.ensure_future(asyncio.start_server(functools.partial(_carry, name, port), sock=one)))
            self._addresses[name] = (own,)
        return self._addresses[name]


async def _carry(name: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(name, port, family=socket.AF_INET)
    except OSError:
        writer.transport.abort()
        return
    await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    for one in (writer, far_writer):
        one.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    with contextlib.suppress(OSError):
        target.write_eof()
