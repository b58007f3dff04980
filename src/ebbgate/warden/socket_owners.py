"""Which process holds a socket, in the machine's network namespace and in those that containers have."""

from __future__ import annotations

import os
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from pathlib import Path

import psutil

from ebbgate.host import netlink, processes
from ebbgate.host.network_namespace import inside
from ebbgate.warden.process_entry import Entry, Kind
from ebbgate.warden.process_table import ProcessTable

MAX_CACHED = 1024  # sockets whose owner is remembered
MANY, MAX_SEEN = 64, 20_000  # descriptors of one process: where they are is remembered between these bounds
MAX_CROWDED = 32  # such processes
MAX_NAMESPACES = 64  # with a socket of ours in each; a workload with more gets guesses for the oldest
ADDRESSES_KNOWN_FOR = 1.0  # seconds; interfaces of containers come and go
MAX_SCANNED = 20_000  # processes looked at for one socket


class SocketOwners:
    """Looks at the job's processes before the runner's and the machine's, newest first: a child that inherited a socket is
    nearer to the act than its parent, and a socket that the job shares with somebody counts as the job's.
    """

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._machine = processes.network_namespace(os.getpid())
        self._cache: OrderedDict[int, tuple[Entry, Entry | None]] = OrderedDict()
        self._seen: OrderedDict[int, dict[str, str]] = OrderedDict()
        self._sockets: OrderedDict[int, socket.socket] = OrderedDict()
        self._addresses: dict[int, tuple[float, frozenset[str]]] = {}

    def owner(self, inode: int) -> Entry | None:
        """Who has the socket with this inode open now; None when nobody has (io_uring can hold one without a descriptor)."""
        known, newest = self._cache.get(inode, (None, None))
        if known is not None and not known.ended and self._holds(known.pid, inode):
            newer = takewhile(
                lambda one: one is not newest, self._running(job=True)
            )  # a child forked since has inherited it, perhaps
            found: Entry | None = next((one for one in newer if self._holds(one.pid, inode)), known)
        else:
            everybody = chain(self._running(job=True), self._running(job=False))
            found = next((one for one in everybody if self._holds(one.pid, inode)), None)
        if found is not None:
            self._cache[inode] = found, next(self._running(job=True), None)
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return found

    def _holds(self, pid: int, inode: int) -> bool:
        seen = self._seen.pop(pid, {})
        found = processes.holds_socket(pid, inode, seen)
        if MANY < len(seen) < MAX_SEEN:
            self._seen[pid] = seen
            if len(self._seen) > MAX_CROWDED:
                self._seen.popitem(last=False)
        return found

    def _running(self, *, job: bool) -> Iterator[Entry]:
        """The job's processes, or all others, newest first: the one in question is among the first of thousands."""
        return islice((one for one in self._table.newest_first() if (one.kind is Kind.JOB) is job), MAX_SCANNED)

    def namespaces(self) -> dict[int, int]:
        """Network namespaces of the job's processes besides the machine's: inode of the namespace, a pid in it. Newest first."""
        found: dict[int, int] = {}
        for entry in self._table.live():
            if entry.kind is Kind.JOB:
                space = processes.network_namespace(entry.pid)
                if space not in (0, self._machine):
                    found.setdefault(space, entry.pid)
        for gone in self._sockets.keys() - found.keys():
            self._sockets.pop(gone).close()  # an open socket keeps the namespace, and its interfaces, alive
            self._addresses.pop(gone, None)
        return dict(list(found.items())[:MAX_NAMESPACES])

    def diagnostics(self, space: int, pid: int) -> socket.socket | None:
        """A sock_diag socket of a namespace; None when it is gone or may not be entered."""
        known = self._sockets.get(space)
        if known is not None:
            return known
        try:
            made = inside(Path(f"/proc/{pid}/ns/net"), netlink.diagnostic_socket)
        except OSError:
            return None
        self._sockets[space] = made
        return made

    def has_address(self, space: int, pid: int, address: str) -> bool:
        """Whether an interface of a namespace has an address."""
        until, known = self._addresses.get(space, (0.0, frozenset[str]()))
        if address not in known and time.monotonic() > until:
            try:
                known = inside(Path(f"/proc/{pid}/ns/net"), interface_addresses)
            except OSError:
                known = frozenset()
            self._addresses[space] = time.monotonic() + ADDRESSES_KNOWN_FOR, known
        return address in known

    def newest(self, space: int) -> Entry | None:
        """Whoever of the job began last among those who run in a namespace."""
        job = (one for one in self._table.live() if one.kind is Kind.JOB)
        return next((one for one in job if processes.network_namespace(one.pid) == space), None)

    def tick(self) -> None:
        """Now and then: let go of namespaces that no process of the job is in any more."""
        if self._sockets:
            self.namespaces()

    def close(self) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()


def interface_addresses() -> frozenset[str]:
    """Of all interfaces in the calling thread's network namespace."""
    known = psutil.net_if_addrs().values()
    return frozenset(one.address.partition("%")[0] for interface in known for one in interface)
