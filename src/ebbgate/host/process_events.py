"""What processes do, told by the kernel as it happens: the proc connector.

::

    kernel ──fork, exec, exit, uid, gid, ptrace, comm──▶ netlink group CN_IDX_PROC ──filter──▶ ProcessEvents.read()

The connector speaks only in the initial network, PID and user namespaces, so the socket is made by a thread that enters the
network namespace given. Formats: include/uapi/linux/{connector,cn_proc}.h. Events about threads are dropped in the kernel
by a socket filter: a runtime that starts thousands of threads must not push out what matters.

The parent in a fork event is the new process's parent, which is not always the one that called: clone(2) with CLONE_PARENT
names the caller's own parent. ``warden.process_table`` says what follows from it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ebbgate.host.network_namespace import inside

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC, _CN_VAL_PROC = 1, 1
_LISTEN, _IGNORE = 1, 2
_NLMSG_DONE = 3
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33

_ACK, _FORK, _EXEC, _UID, _GID, _PTRACE, _COMM, _EXIT = 0, 0x1, 0x2, 0x4, 0x40, 0x100, 0x200, 0x80000000
_WHAT, _DATA = 36, 52  # offsets: nlmsghdr 16, cn_msg 20; struct proc_event: what, cpu, timestamp_ns, event_data
_HEAD = struct.Struct("=IIQ")
_FOUR = struct.Struct("=4I")

RECEIVE_BUFFER = 32 << 20  # bytes; an event takes about 1 KiB of it, so 20,000 or more wait before any is lost
MAX_BATCH = 4096  # events in one read, so that other descriptors get their turn
ACK_TIMEOUT = 2.0  # seconds; outside the initial PID namespace the kernel does not even answer


@dataclass(slots=True)
class Forked:
    """A process was made. time: nanoseconds of CLOCK_MONOTONIC, as in all events here."""

    parent: int
    child: int
    time: int


@dataclass(slots=True)
class Executed:
    """A process runs another program now."""

    pid: int
    time: int


@dataclass(slots=True)
class Exited:
    """The first thread of a process ended; usually the process. status: as from wait(2)."""

    pid: int
    status: int
    time: int


@dataclass(slots=True)
class UserChanged:
    """User ids changed, by a system call or by running a set-user-ID program."""

    pid: int
    real: int
    effective: int
    time: int


@dataclass(slots=True)
class GroupChanged:
    """Group ids changed."""

    pid: int
    real: int
    effective: int
    time: int


@dataclass(slots=True)
class Traced:
    """A process attached to another with ptrace(2). PTRACE_TRACEME and process_vm_readv(2) are not told."""

    pid: int
    tracer: int
    time: int


@dataclass(slots=True)
class Renamed:
    """A thread changed its name: evidence of nothing, except that names are no evidence."""

    pid: int
    name: str
    time: int


@dataclass(slots=True)
class Lost:
    """Events were lost before this point: what is known must be compared with /proc."""

    time: int


type ProcessEvent = Forked | Executed | Exited | UserChanged | GroupChanged | Traced | Renamed | Lost


class ProcessSource(Protocol):
    """Where process events come from. degraded: why they are not the kernel's own, "" when they are. gaps: how often
    events were lost.
    """

    degraded: str
    gaps: int

    def fileno(self) -> int: ...

    def read(self) -> list[ProcessEvent]:
        """What has happened since the last call; never waits."""

    def close(self) -> None: ...


class ProcessEvents:
    """The connector's socket. Made by ``open_process_events``."""

    degraded = ""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self.gaps = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[ProcessEvent]:
        """Everything that waits, up to MAX_BATCH; a ``Lost`` where the kernel had to drop something."""
        events: list[ProcessEvent] = []
        receive = self._socket.recvfrom
        for _ in range(MAX_BATCH):
            try:
                data, sender = receive(4096)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno == errno.EINTR:
                    continue
                if problem.errno != errno.ENOBUFS:
                    raise
                self.gaps += 1
                events.append(Lost(time.monotonic_ns()))
                continue
            if sender[0] == 0:  # the kernel; root could send to this socket too
                event = parse(data)
                if event is not None:
                    events.append(event)
        return events

    def close(self) -> None:
        """Say goodbye, so that the kernel need not make events for nobody."""
        try:
            _ask(self._socket, _IGNORE)
        except OSError:
            pass
        self._socket.close()


def parse(data: bytes) -> ProcessEvent | None:
    """One datagram of the connector; None for what is not ours to know (an acknowledgement, another kind)."""
    if len(data) < _DATA + _FOUR.size:
        return None
    what, _cpu, when = _HEAD.unpack_from(data, _WHAT)
    make = _MAKE.get(what)
    return make(data, when, *_FOUR.unpack_from(data, _DATA)) if make is not None else None


# Each with the first four numbers of its event_data: pids come as thread and process (tgid), of which the second is meant.
_MAKE: dict[int, Callable[[bytes, int, int, int, int, int], ProcessEvent | None]] = {
    _FORK: lambda _data, when, _a, parent, thread, child: Forked(parent, child, when) if thread == child else None,
    _EXEC: lambda _data, when, _a, pid, _c, _d: Executed(pid, when),
    _EXIT: lambda _data, when, thread, pid, status, _d: Exited(pid, status, when) if thread == pid else None,
    _UID: lambda _data, when, _a, pid, real, effective: UserChanged(pid, real, effective, when),
    _GID: lambda _data, when, _a, pid, real, effective: GroupChanged(pid, real, effective, when),
    _PTRACE: lambda _data, when, _a, pid, _c, tracer: Traced(pid, tracer, when) if tracer else None,  # 0: detached
    _COMM: lambda data, when, _a, pid, _c, _d: Renamed(pid, _text(data[_DATA + 8 : _DATA + 24]), when),
}


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def open_process_events(netns: Path | None = None) -> ProcessEvents:
    """Listen from now on. netns: the initial network namespace, None when the caller is in it.

    :raises OSError: not permitted, not in the initial namespaces, or a kernel without CONFIG_PROC_EVENTS.
    """
    opened = inside(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR))
    try:
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        _attach_filter(opened)
        opened.bind((0, _CN_IDX_PROC))
        _listen(opened)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return ProcessEvents(opened)


def _listen(opened: socket.socket) -> None:
    """Ask for events and wait for the kernel's yes, which has our own token in it."""
    token = _ask(opened, _LISTEN)
    deadline = time.monotonic() + ACK_TIMEOUT
    while (left := deadline - time.monotonic()) > 0:
        opened.settimeout(left)
        try:
            data, sender = opened.recvfrom(4096)
        except TimeoutError:
            break
        what = struct.unpack_from("=I", data, _WHAT)[0]
        acknowledged = struct.unpack_from("=I", data, 28)[0]  # cn_msg.ack: ours plus one
        if sender[0] == 0 and what == _ACK and acknowledged == token + 1:
            code = struct.unpack_from("=I", data, _DATA)[0]
            if code:
                raise OSError(code, f"proc connector: {os.strerror(code)}")
            return
    raise OSError(errno.EOPNOTSUPP, "the proc connector does not answer")


def _ask(opened: socket.socket, operation: int) -> int:
    token = int.from_bytes(os.urandom(3))
    message = struct.pack("=IIIIHHI", _CN_IDX_PROC, _CN_VAL_PROC, 0, token, 4, 0, operation)
    opened.send(struct.pack("=IHHII", 16 + len(message), _NLMSG_DONE, 0, 0, 0) + message)
    return token


# Classic BPF: opcodes of linux/bpf_common.h. A load turns bytes into a big-endian number, so constants are turned likewise.
_LOAD, _TO_X, _IF_EQUAL, _IF_EQUAL_X, _RETURN = 0x20, 0x07, 0x15, 0x1D, 0x06


def _program() -> list[tuple[int, int, int, int]]:
    """Forks and exits of processes, not of threads; the other kinds that are read here; nothing else."""

    def constant(value: int) -> int:
        return int.from_bytes(struct.pack("=I", value), "big")

    others = (_EXEC, _UID, _GID, _PTRACE, _COMM, _ACK)
    same_pids = [(_TO_X, 0, 0, 0), None, (_IF_EQUAL_X, 0, 1, 0), (_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)]

    def compare(first: int, second: int) -> list[tuple[int, int, int, int]]:
        return [(_LOAD, 0, 0, first), *((_LOAD, 0, 0, second) if one is None else one for one in same_pids)]

    head = [(_LOAD, 0, 0, _WHAT)]
    fork, ended = compare(_DATA + 8, _DATA + 12), compare(_DATA, _DATA + 4)
    checks = [(_IF_EQUAL, 0, len(fork), constant(_FORK)), *fork, (_IF_EQUAL, 0, len(ended), constant(_EXIT)), *ended]
    accept = [(_IF_EQUAL, len(others) - index, 0, constant(kind)) for index, kind in enumerate(others)]
    return [*head, *checks, *accept, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFF)]


def _attach_filter(opened: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *one) for one in _program())
    held = ctypes.create_string_buffer(code, len(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(code) // 8, ctypes.addressof(held)))
