"""Reading what lies in a process' own memory, its arguments and environment, without waiting for ever.

::

    warden ──(pid, what, how much)──▶ reader, a fork of it ──▶ /proc/PID/cmdline, /proc/PID/environ
           ◀─────── the bytes ───────┘     may hang: the pages can be of a file system or of a userfaultfd(2) of the
                                           process' own, which never answers; only a deadly signal ends such a read

The reader is killed and replaced when it hangs. One that is only kept from the processor is waited for. An environment holds
secrets: only the variables that are asked for are taken out of it, and where it was read is overwritten.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Never

from ebbgate.host import kernel

FILES = ("cmdline", "environ")
PATIENCE = 0.25  # seconds; on an idle machine an answer takes 0.02 ms
SHORT_PATIENCE = 0.05  # for one that was waited for already, and for all once those were MAX_HANGS: somebody can start many
MAX_HANGS = 4
MAX_STARVED = 5.0  # seconds that a reader may wait for the processor
_REQUEST = struct.Struct("=iiII")  # pid, index in FILES, bytes at most, bytes of names that follow: of variables, a zero between
_ANSWER = struct.Struct("=i")  # bytes that follow, -1 when the process is gone


class MemoryReader:
    """told: called with the pid of each process whose memory did not answer; begun: with the pid of each reader."""

    def __init__(self, told: Callable[[int], None], begun: Callable[[int], None] = lambda _pid: None) -> None:
        self._told, self._begun = told, begun
        self._owner = os.getpid()
        self._pid = 0
        self._ended: set[int] = set()
        self._hung: set[int] = set()
        self._start()

    @property
    def hangs(self) -> int:
        """How many processes' memory did not answer, MAX_HANGS at most."""
        return len(self._hung)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs)
        theirs.close()
        self._channel = ours
        self._begun(self._pid)

    def read(self, pid: int, file: str, size: int, wanted: frozenset[bytes] = frozenset()) -> bytes | None:
        """As the function ``read``; b"" when the process' memory does not answer."""
        names = b"\0".join(wanted)
        for _attempt in range(2):
            try:
                self._channel.sendall(_REQUEST.pack(pid, FILES.index(file), size, len(names)) + names)
                self._channel.settimeout(SHORT_PATIENCE if pid in self._hung or self.hangs == MAX_HANGS else PATIENCE)
                return self._answer()
            except TimeoutError:
                self._replace()
                if pid not in self._hung and self.hangs < MAX_HANGS:
                    self._hung.add(pid)
                    self._told(pid)
                return b""
            except OSError:  # somebody ended the reader
                self._replace()
        return b""

    def _answer(self) -> bytes | None:
        (size,) = _ANSWER.unpack(self._receive(_ANSWER.size))
        return self._receive(size) if size >= 0 else None

    def _receive(self, size: int) -> bytes:
        found = bytearray()
        given_up = time.monotonic() + MAX_STARVED
        while len(found) < size:
            try:
                data = self._channel.recv(size - len(found))
            except TimeoutError:
                if self._is_running() and time.monotonic() < given_up:
                    continue
                raise
            if not data:
                raise ConnectionResetError
            found += data
        return bytes(found)

    def _is_running(self) -> bool:
        """Whether the reader is not stuck in the kernel, but has not been given a processor yet."""
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:
                return file.read(1024).rpartition(b") ")[2].startswith(b"R")
        except OSError:
            return False

    def _replace(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        """End the reader."""
        self._channel.close()
        if self._pid and self._owner == os.getpid():
            os.kill(self._pid, signal.SIGKILL)
            self._ended.add(self._pid)
            self._pid = 0
        for pid in list(self._ended):  # without waiting: what it hangs in decides when it ends
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._ended.discard(pid)


def read(pid: int, file: str, size: int, wanted: frozenset[bytes] = frozenset()) -> bytes | None:
    """Of the first so many bytes of a file of a process all or, with names of variables, the entries of those. In this process,
    for as long as it takes; None when the process is gone.
    """
    try:
        descriptor = os.open(f"/proc/{pid}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    content, end = bytearray(size), 0
    try:
        with memoryview(content) as view:
            while count := os.readv(descriptor, [view[end:]]):  # /proc answers at most a page or so at a time
                end += count
            return b"\0".join(_entries(view, content, end, wanted)) if wanted else bytes(view[:end])
    except OSError:
        return None
    finally:
        content[:] = bytes(size)
        os.close(descriptor)


def _entries(view: memoryview, content: bytearray, end: int, wanted: frozenset[bytes]) -> Iterator[bytes]:
    """No other entry is copied."""
    at = 0
    while at < end:
        stop = content.find(b"\0", at, end)
        stop = end if stop < 0 else stop
        sign = content.find(b"=", at, stop)
        if sign >= 0 and bytes(view[at:sign]) in wanted:
            yield bytes(view[at:stop])
        at = stop + 1


def _serve(channel: socket.socket) -> Never:
    """The reader's life: it has nothing open but the channel, and ends with the warden."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        gc.disable()
        kept = channel.fileno()
        os.closerange(0, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        while request := channel.recv(_REQUEST.size, socket.MSG_WAITALL):
            pid, file, size, names = _REQUEST.unpack(request)
            wanted = channel.recv(names, socket.MSG_WAITALL).split(b"\0") if names else ()
            found = read(pid, FILES[file], size, frozenset(wanted))
            channel.sendall(_ANSWER.pack(-1 if found is None else len(found)) + (found or b""))
    finally:
        os._exit(0)
