"""Length-prefixed messages over a stream socket between the guard's processes.

::

    warden ──▶ gate   configuration (once, pickled: the warden is trusted by the gate), origins, "finish"   (JSON)
    gate   ──▶ warden "ready", events, questions "who owns this socket?", "finished"                       (JSON only)
    warden ──▶ gate   descriptors of what may hold secrets, on a socket of their own ("values")             (JSON)
    enclosure ◀─▶ warden  sockets by SCM_RIGHTS, "release", "ended"                                        (JSON)

What comes from the gate is untrusted: it is JSON, bounded, and anything unexpected is an IntegrityError.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import Any  # JSON documents: their shape is checked where they are used

from ebbgate.errors import IntegrityError

MAX_MESSAGE = 32 << 20  # the largest is the configuration with a 10,000-entry policy
MAX_DESCRIPTORS = 16
VALUES = "values"  # name of the socket on which the warden hands over what may hold secrets
VAULT = "vault"  # name of the memory file with the secrets that are known from the start
_HEADER = struct.Struct("!I")


def encode(message: dict[str, Any]) -> bytes:
    """A JSON message with its length in front."""
    return frame(json.dumps(message, separators=(",", ":")).encode())


def frame(body: bytes) -> bytes:
    """A body with its length in front. IntegrityError when it is over the bound."""
    if len(body) > MAX_MESSAGE:
        raise IntegrityError("a message between parts of the guard is too large")
    return _HEADER.pack(len(body)) + body


class Receiver:
    """Puts messages together from whatever pieces arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Complete message bodies, in order. IntegrityError for a length over the bound."""
        self._buffer += data
        complete: list[bytes] = []
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > MAX_MESSAGE:
                raise IntegrityError("a message between parts of the guard is too large")
            if len(self._buffer) < _HEADER.size + length:
                break
            complete.append(bytes(self._buffer[_HEADER.size : _HEADER.size + length]))
            del self._buffer[: _HEADER.size + length]
        return complete


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object. IntegrityError when it is none."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise IntegrityError("a part of the guard sent something unreadable") from None
    if not isinstance(message, dict):
        raise IntegrityError("a part of the guard sent something unreadable")
    return message


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Block for one whole JSON message; None at the end of the stream."""
    header = _exactly(channel, _HEADER.size)
    if header is None:
        return None
    body = _exactly(channel, _HEADER.unpack(header)[0])
    return None if body is None else parse(body)


def receive_bytes(channel: socket.socket) -> bytes | None:
    """Block for one whole message as bytes; None at the end of the stream."""
    header = _exactly(channel, _HEADER.size)
    return None if header is None else _exactly(channel, _HEADER.unpack(header)[0])


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    if count > MAX_MESSAGE:
        raise IntegrityError("a message between parts of the guard is too large")
    parts = bytearray()
    while len(parts) < count:
        piece = channel.recv(min(count - len(parts), 1 << 16))
        if not piece:
            return None
        parts += piece
    return bytes(parts)


def send_sockets(channel: socket.socket, message: dict[str, Any], sockets: list[socket.socket]) -> None:
    """A JSON message with open sockets attached (SCM_RIGHTS, unix(7))."""
    send_descriptors(channel, message, [one.fileno() for one in sockets])


def send_descriptors(channel: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    """The same with descriptors of anything."""
    rights = array.array("i", descriptors)
    data = encode(message)
    sent = channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    channel.sendall(data[sent:])


def receive_sockets(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int], int]:
    """(message, descriptors, sender's pid in our numbering or 0); the message is None at the end of the stream."""
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(MAX_DESCRIPTORS * descriptors.itemsize) + socket.CMSG_SPACE(12)
    data, ancillary, _flags, _address = channel.recvmsg(_HEADER.size, space)
    sender = 0
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender = struct.unpack("=iii", payload)[0]
    if not data:
        return None, list(descriptors), sender
    if len(data) < _HEADER.size:
        data += _exactly(channel, _HEADER.size - len(data)) or b""
    body = _exactly(channel, _HEADER.unpack(data)[0])
    return (None if body is None else parse(body)), list(descriptors), sender
