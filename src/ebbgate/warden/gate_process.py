"""Starting the gate and speaking with it. What it sends is untrusted: typed, bounded, and judged as broken if odd."""

from __future__ import annotations

import array
import base64
import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar  # Any: messages of host.channel

from ebbgate.errors import IntegrityError
from ebbgate.host import channel
from ebbgate.host.trust import TrustFiles

if TYPE_CHECKING:
    from ebbgate.gate.configuration import GateConfiguration

# What the gate may see of the environment: where trust and names come from, and no values that could be secrets.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "RES_OPTIONS", "LOCALDOMAIN")
_START_TIMEOUT = 30.0  # seconds; it takes 0.6 s on an idle machine
_SO_SNDBUFFORCE = 32  # include/uapi/asm-generic/socket.h
_SEND_BUFFER = 4 << 20  # bytes; answers to five thousand questions about owners, about
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from ebbgate.gate.process import main; main(int(sys.argv[2]))"


class GateProcess:
    """The gate as a child process in a session of its own.

    uid: whom it runs as; None to stay who we are. prepare: called in the child before the interpreter starts and before it
    gives privileges away; what it raises ends the child.
    """

    _begun: ClassVar[GateProcess | None] = None

    def __init__(self, environ: Mapping[str, str], uid: int | None = None, prepare: Callable[[], None] | None = None) -> None:
        def become() -> None:
            if prepare is not None:
                prepare()
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(__file__).resolve().parent.parent.parent)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module; the warden has one thread
                [sys.executable, "-I", "-c", _PROGRAM, root, str(theirs.fileno())],
                env={name: environ[name] for name in _ENVIRONMENT if name in environ},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("EBBGATE_DEBUG") else subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                preexec_fn=None if uid is None else become,  # noqa: PLW1509 - the warden has one thread
            )
        self.uid = uid
        self._channel = ours
        self._receiver = channel.Receiver()
        self._values: socket.socket | None = None

    @classmethod
    def begin(cls, environ: Mapping[str, str], uid: int | None = None) -> None:
        """Start the gate that ``take`` will give."""
        cls._begun = cls(environ, uid)

    @classmethod
    def begun_uid(cls) -> int | None:
        """Whom the gate that was begun runs as."""
        return cls._begun.uid if cls._begun is not None else None

    @classmethod
    def take(cls, environ: Mapping[str, str], uid: int | None = None, prepare: Callable[[], None] | None = None) -> GateProcess:
        """The gate that was begun as this user, which was not prepared, or a new one."""
        begun = cls._begun
        if begun is None or begun.uid != uid:
            return cls(environ, uid, prepare)
        cls._begun = None
        return begun

    @property
    def pid(self) -> int:
        """The gate's process id."""
        return self._process.pid

    def configure(self, configuration: GateConfiguration, vault: int, sockets: Mapping[str, socket.socket]) -> None:
        """Hand over configuration, secrets (a descriptor) and sockets. IntegrityError when the gate is gone."""
        body = channel.frame(pickle.dumps(configuration))
        with contextlib.suppress(OSError):  # root's; a gate that is still starting does not keep a large policy's sender waiting
            self._channel.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(body) + _SEND_BUFFER)
        self._values, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._values.setblocking(False)
        with theirs:
            handed = {
                **{name: one.fileno() for name, one in sockets.items()},
                channel.VALUES: theirs.fileno(),
                channel.VAULT: vault,
            }
            try:
                channel.send_descriptors(self._channel, {"names": list(handed)}, list(handed.values()))
                self._channel.sendall(body)
            except OSError:
                raise self._lost() from None

    def await_ready(self) -> TrustFiles:
        """Block until the gate serves. IntegrityError when it does not."""
        self._channel.settimeout(_START_TIMEOUT)
        try:
            message = channel.receive(self._channel)
        except OSError:
            raise self._lost() from None
        if message is None or message.get("type") != "ready":
            raise self._lost()
        return TrustFiles(base64.b64decode(message["bundle"]), base64.b64decode(message["java"]))

    def _lost(self) -> IntegrityError:
        return IntegrityError("the gate did not start", self.how_it_ended(), "run again with EBBGATE_DEBUG=1")

    def fileno(self) -> int:
        """For selectors: readable when ``receive`` has something to say."""
        return self._channel.fileno()

    def receive(self) -> list[dict[str, Any]] | None:
        """Messages that have arrived; None when the gate is gone."""
        try:
            data = self._channel.recv(1 << 18)
        except OSError:
            return None
        return [channel.parse(body) for body in self._receiver.feed(data)] if data else None

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; a gate that is gone, or takes nothing any more, shows itself on the next ``receive``."""
        try:
            self._channel.sendall(channel.encode(message))
        except OSError:
            self._give_up()

    def hand_over(self, message: dict[str, Any], descriptors: list[int]) -> bool:
        """Give the gate something to read secrets in. What it is sent after this it takes in after it. Whether it took it."""
        if self._values is None:
            return False
        rights = array.array("i", descriptors)
        try:
            self._values.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:  # full, or gone
            return False
        return True

    def _give_up(self) -> None:
        """A message may have gone half: nothing more can be said, so let the next ``receive`` find the end."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def lose_patience(self, seconds: float) -> None:
        """From now on a gate that takes nothing for so long counts as gone."""
        self._channel.settimeout(seconds)

    def how_it_ended(self) -> str:
        """In words: "signal 9", "exit 1", or "no answer" while it still runs."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "no answer"
        return f"signal {-code}" if code < 0 else f"exit {code}"

    def close(self) -> None:
        """Let go of the channels."""
        self._channel.close()
        if self._values is not None:
            self._values.close()

    def kill(self) -> None:
        """End it at once. Safe to call again."""
        self._process.kill()
        self._process.wait()
