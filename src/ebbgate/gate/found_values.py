"""Secrets in what the warden hands over: credential files and environments of processes, as open descriptors.

::

    warden ──descriptors, "values" socket──▶ FoundValues.drain() ──thread──▶ parsers ──▶ KnownValues ──▶ scanner
    warden ──"origin" of a connection──────▶ waits for what was handed over before it

Their contents are the job's, so they are hostile: read to a bound, in a thread, and waited for only so long. A file that cannot
be read in that time is read all the same when it can.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any  # messages of host.channel

from ebbgate.events.types import Origin
from ebbgate.gate.known_values import KnownValues
from ebbgate.host import channel
from ebbgate.host.opening import contents
from ebbgate.secrets.found import secrets_in_environment, secrets_in_file
from ebbgate.secrets.known import Public
from ebbgate.secrets.secret import Secret

MAX_READERS = 4
MAX_REMEMBERED = 1024  # processes of which it is known which secrets they can see
MAX_MESSAGES = 64  # taken in one go, so that connections get their turn
PATIENCE = 1.0  # seconds that a connection waits for the environment of its process; reading takes less than a millisecond
_MESSAGE = 1 << 14


class FoundValues:
    """own: the gate's end of the socket. public: what the job says of itself, which is no secret."""

    def __init__(self, own: socket.socket, known: KnownValues, public: Public, report: Callable[[Exception], None]) -> None:
        own.setblocking(False)
        self._socket, self._known, self._public, self._report = own, known, public, report
        # Threads of its own: whoever makes a read hang must not keep names from being resolved.
        self._readers = ThreadPoolExecutor(MAX_READERS, "values")
        self._visible: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._files: set[asyncio.Task[None]] = set()
        self._environments: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    def serve(self) -> None:
        """Take in what comes from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self.drain)

    def drain(self) -> None:
        """Begin to read everything that was handed over until now."""
        for _ in range(MAX_MESSAGES):
            space = socket.CMSG_SPACE(channel.MAX_DESCRIPTORS * array.array("i").itemsize)
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(_MESSAGE, space)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._socket)
                return
            descriptors = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
            self._begin(json.loads(data), list(descriptors))

    def _begin(self, message: dict[str, Any], descriptors: list[int]) -> None:
        task = asyncio.get_running_loop().create_task(self._take(message, descriptors))
        tasks = self._files if message["type"] == "file" else self._environments
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            read, found = await asyncio.get_running_loop().run_in_executor(self._readers, self._read, message, descriptors)
            self._known.add(found)
            for pid, data in zip(message.get("pids", ()), read, strict=message["type"] != "file"):
                self._remember(int(pid), data)
        except Exception as problem:
            self._report(problem)

    def _read(self, message: dict[str, Any], descriptors: list[int]) -> tuple[list[bytes], list[Secret]]:
        """In a thread."""
        read = _contents(descriptors)
        if message["type"] == "file":
            return read, [one for data in read for one in secrets_in_file(message["path"], data, self._public)]
        # A step's first process, whose environment is the runner's doing, before its children.
        return read, [one for data in reversed(read) for one in secrets_in_environment(data, self._public)]

    def _remember(self, pid: int, environment: bytes) -> None:
        """Which secrets stand in a process' environment: by name, for the record of what it may have taken besides."""
        self._visible[pid] = self._known.names_in(environment)
        self._visible.move_to_end(pid)
        while len(self._visible) > MAX_REMEMBERED:
            self._visible.popitem(last=False)

    def visible(self, origin: Origin) -> tuple[str, ...]:
        """Names of the secrets in the environment of a process, or of its nearest ancestor that has some."""
        pids = [one.pid for one in (origin.process, *origin.ancestry) if one is not None]
        return next((names for pid in pids if (names := self._visible.get(pid, ()))), ())

    def then(self, action: Callable[[], None]) -> None:
        """Do something once the environments that were handed over so far are known: at once when there are none."""
        self.drain()
        waiting = list(self._environments)
        if not waiting:
            action()
            return
        task = asyncio.get_running_loop().create_task(_after(waiting, action))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)


def _contents(descriptors: list[int]) -> list[bytes]:
    """The descriptors are closed."""
    found: list[bytes] = []
    for descriptor in descriptors:
        try:
            found.append(contents(descriptor))
        finally:
            os.close(descriptor)
    return found


async def _after(tasks: list[asyncio.Task[None]], action: Callable[[], None]) -> None:
    try:
        await asyncio.wait(tasks, timeout=PATIENCE)
    finally:
        action()
