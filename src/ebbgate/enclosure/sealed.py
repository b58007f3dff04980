"""The sealed enclosure: one command in namespaces of its own, without root.

::

    ebbgate (warden) ──fork──▶ shim ──fork──▶ init (pid 1 inside) ──fork──▶ the command
                               │              │ user ns A, network, mount, IPC, PID       │ user ns B, mount ns B
                               │              │ links, rules, covers, listening sockets   │ no capability over A
                               └ waits        └ sockets to the warden (SCM_RIGHTS)        └ seccomp, then exec

The command gets a user namespace of its own (B) below the one that owns network and mounts (A): it has no capability
over A, so it can change neither rules nor covers, and mounts inherited from A are locked. Ids are mapped to themselves.
When the init ends, the kernel ends everything inside. When the warden dies, the kernel ends shim and init with it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any  # messages of host.channel

from ebbgate.enclosure.inside import Inside
from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import channel, nftables
from ebbgate.host.doors import Doors

SOCKET_NAMES = ("tcp4", "tcp6", "dns4", "dns6", "dnstcp4", "dnstcp6", "packets", "diagnostics")
_START_TIMEOUT = 30.0  # seconds until the inside must stand; it takes 0.1 s on an idle machine


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be run: the command, its environment and the doors of this machine. name: the command as it may be shown."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    doors: Doors
    name: str


class SealedEnclosure:
    """One sealed command. Use: ``start`` (sockets), ``release`` (trust, self-test, run), ``receive`` until ended."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._channel: socket.socket | None = None
        self._shim = 0
        self.init_pid = 0
        self.command_pid = 0
        self.sockets: dict[str, socket.socket] = {}

    def start(self) -> None:
        """Build the namespaces. PlatformError when this machine forbids them; nothing was run then."""
        nft = nftables.program_path()
        ip = nftables.required_program("ip", "iproute2")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sys.stdout.flush()
        sys.stderr.flush()
        warden = os.getpid()
        self._shim = os.fork()
        if self._shim == 0:
            ours.close()
            workload = self._workload
            Inside(workload.argv, workload.environ, workload.doors, theirs, nft, ip, warden, workload.name).enter()
        theirs.close()
        ours.settimeout(_START_TIMEOUT)
        self._channel = ours
        self._map_ids()
        message = self._expect("sockets")
        names = [name for name in SOCKET_NAMES if name in message["names"]]
        self.sockets = {name: socket.socket(fileno=fd) for name, fd in zip(names, message["fds"], strict=True)}

    def _map_ids(self) -> None:
        """Write the shim's id maps: only a privileged parent may map more than one id (user_namespaces(7))."""
        message = self._expect("unshared")
        write_id_maps(self._shim, whole=bool(message["root"]))
        self._send({"type": "mapped"})

    def release(self, files: Mapping[str, bytes], variables: Mapping[str, str], nonce: str) -> None:
        """Hand over trust files and variables, have the inside prove itself against the gate, and start the command.

        Returns when the command is about to be executed. IntegrityError when the proof failed.
        """
        self._send({"type": "release", "variables": dict(variables), "nonce": nonce, "files": sorted(files)})
        for name in sorted(files):
            self._sendall(channel.frame(files[name]))
        self._expect("running")

    def _send(self, message: dict[str, Any]) -> None:
        self._sendall(channel.encode(message))

    def _sendall(self, data: bytes) -> None:
        if self._channel is None:
            raise IntegrityError("the enclosure is not started")
        try:
            self._channel.sendall(data)
        except OSError:
            raise IntegrityError("the enclosure ended unexpectedly") from None

    def fileno(self) -> int:
        """For selectors: readable when ``receive`` has something to say."""
        return self._channel.fileno() if self._channel is not None else -1

    def receive(self) -> dict[str, Any] | None:
        """The next message from inside; None when the inside is gone."""
        if self._channel is None:
            return None
        try:
            message, descriptors, sender = channel.receive_sockets(self._channel)
        except OSError:
            return None
        if message is not None:
            message["fds"] = descriptors
            message["sender"] = sender
        return message

    def _expect(self, wanted: str) -> dict[str, Any]:
        while True:
            message = self.receive()
            if message is None:
                raise PlatformError("the enclosure could not be built", "its first process ended without a word", "")
            if message["type"] == "failed":
                raise _failure(message)
            if message["type"] == "init":
                self.init_pid = int(message["sender"])
            elif message["type"] == "command":
                self.command_pid = int(message["sender"])
            if message["type"] == wanted:
                return message

    def kill(self) -> None:
        """End everything inside, at once. Safe to call at any time and again."""
        for pid in (self.init_pid, self._shim):
            if pid > 0:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def reap(self) -> None:
        """Wait for the shim, which ends after the init."""
        if self._shim > 0:
            try:
                os.waitpid(self._shim, 0)
            except ChildProcessError:
                pass
            self._shim = self.init_pid = 0


def write_id_maps(pid: int, *, whole: bool) -> None:
    """Map ids to themselves in a process's new user namespace: all that we have (root), or only our own."""
    if whole:
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/self/{kind}") as ours:
                lines = [line.split() for line in ours]
            text = "".join(f"{inside} {inside} {count}\n" for inside, _outside, count in lines)
            with open(f"/proc/{pid}/{kind}", "w") as theirs:
                theirs.write(text)
        return
    with open(f"/proc/{pid}/setgroups", "w") as file:
        file.write("deny")
    for kind, number in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        with open(f"/proc/{pid}/{kind}", "w") as file:
            file.write(f"{number} {number} 1\n")


def _failure(message: dict[str, Any]) -> PlatformError | IntegrityError:
    family = IntegrityError if message.get("integrity") else PlatformError
    return family(str(message["title"]), str(message["cause"]), str(message["next_step"]))
