"""The warden's control socket: anybody on the machine may ask how things stand, only root may end the guard.

One request and one answer a connection, both as ``host.channel`` frames. Who asks is what the kernel says (SO_PEERCRED).
The server lives in the warden's loop and never waits for a client.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any  # messages of host.channel

from ebbgate.errors import EbbgateError, IntegrityError
from ebbgate.host import channel

SOCKET = "control.sock"
MAX_CLIENTS = 256  # at once; for a new one another has to go, see ``_make_room``
BACKLOG = 1024  # of those that nobody has accepted yet: a full one turns askers away at once
MAX_ACCEPTED = 64  # in one go, so that other descriptors get their turn
MAX_REQUEST = 4096  # bytes
RETRY_SECONDS = 0.2  # until a client that was turned away asks again
CLIENT_SECONDS = 10.0  # after which a client that says nothing, or takes nothing, is forgotten
_CREDENTIALS = struct.Struct("=iii")


@dataclass(slots=True, eq=False)
class Client:
    """One connection. uid: as the kernel knows it."""

    connection: socket.socket
    uid: int
    since: float
    receiver: channel.Receiver = field(default_factory=channel.Receiver)
    received: int = 0
    has_asked: bool = False
    answer: bytes | memoryview = b""

    def fileno(self) -> int:
        """For selectors."""
        return self.connection.fileno()


class ControlServer:
    """handle: takes (request, client) and answers through ``reply``, now or later."""

    def __init__(self, state: Path, selector: selectors.BaseSelector, handle: Callable[[dict[str, Any], Client], None]) -> None:
        self._selector, self._handle = selector, handle
        self._clients: dict[Client, None] = {}  # in order of coming
        self._path = state / SOCKET
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o666)  # noqa: S103 - reading is for everybody; what may be asked depends on the peer
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._inode = os.stat(self._path).st_ino
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def is_in_place(self) -> bool:
        """Whether the socket's path still leads to this server."""
        try:
            found = os.lstat(self._path)
        except OSError:
            return False
        return found.st_ino == self._inode and found.st_uid == os.geteuid()

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED):
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            client = Client(connection, _CREDENTIALS.unpack(raw)[1], time.monotonic())
            self._make_room()
            self._clients[client] = None
            self._selector.register(client, selectors.EVENT_READ, partial(self._receive, client))
            self._receive(client)  # who asks at once, as honest ones do, has asked before others come

    def _make_room(self) -> None:
        """Who says nothing, or does not take the answer, must not keep others from asking. Root goes last."""
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(min(self._clients, key=lambda one: (one.uid == 0, one.has_asked, not one.answer)))

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(MAX_REQUEST)
            client.received += len(data)
            if not data or client.received > MAX_REQUEST:
                self._drop(client)
                return
            for body in client.receiver.feed(data):
                self._selector.unregister(client)
                client.has_asked = True
                self._handle(channel.parse(body), client)
                return
        except BlockingIOError:
            return
        except (OSError, EbbgateError):
            self._drop(client)

    def reply(self, client: Client, message: dict[str, Any] | bytes) -> None:
        """Answer, without waiting for the client to take it. bytes: a message that is encoded already, for several clients."""
        if client not in self._clients:
            return
        client.answer = memoryview(message if isinstance(message, bytes) else channel.encode(message))
        client.since = time.monotonic()
        self._selector.register(client, selectors.EVENT_WRITE, lambda: self._send(client))

    def _send(self, client: Client) -> None:
        try:
            client.answer = client.answer[client.connection.send(client.answer) :]
        except BlockingIOError:
            return
        except OSError:
            client.answer = b""
        if not client.answer:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        try:
            self._selector.unregister(client)
        except (KeyError, ValueError):
            pass
        client.connection.close()
        self._clients.pop(client, None)

    def is_answering(self) -> bool:
        """Whether a client has not taken its answer yet."""
        return any(client.answer for client in self._clients)

    def expire(self) -> None:
        """Forget clients that do nothing."""
        for client in [one for one in self._clients if time.monotonic() - one.since > CLIENT_SECONDS]:
            self._drop(client)

    def part_with(self, client: Client, message: dict[str, Any]) -> None:
        """The last answer: nobody else is listened to any more."""
        for other in self._clients.keys() - {client}:
            self._drop(other)
        self._selector.unregister(self._listener)
        self._listener.close()
        self.reply(client, message)

    def close(self) -> None:
        """End the server and take its path away."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)


def warden_of(state: Path) -> int:
    """Pid of the warden that listens, even if it does not answer; 0 when there is none, or it is not root's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(state / SOCKET))
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
        pid, uid, _group = _CREDENTIALS.unpack(raw)
        return int(pid) if uid == 0 else 0


class _TurnedAway(Exception):
    """Too many others ask at this moment."""


def ask(state: Path, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
    """Ask the warden. timeout: seconds for the whole. IntegrityError when nobody, or somebody who is not root, answers."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _ask_once(state, request, deadline)
        except _TurnedAway:
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise IntegrityError("the guard does not answer", "too many others ask it", "nothing leaves any more") from None
            time.sleep(RETRY_SECONDS)


def _ask_once(state: Path, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            connection.connect(str(state / SOCKET))
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(raw)[1] != 0:
                raise IntegrityError(
                    "somebody else answers in the guard's place", f"{state / SOCKET}", "treat this machine as lost"
                )
            connection.sendall(channel.encode(request))
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            answer = channel.receive(connection)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            raise _TurnedAway from None
        except OSError as problem:
            raise IntegrityError(
                "the guard does not answer", f"{state / SOCKET}: {problem.strerror or problem}", "nothing leaves any more"
            ) from None
    if answer is None:
        raise _TurnedAway
    return answer
