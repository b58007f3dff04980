"""Names and addresses: what the world says, what we told the workload, and which addresses stand for denied names.

The gate dials addresses that *it* resolved. The address a client chose is evidence only: it must be one that our
resolver handed out for the name in this run, or one to which the name resolves now.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ebbgate.host import links

CACHE_SECONDS = 30.0  # as long as mitmproxy's users and CDNs expect; names rotate slower
NEGATIVE_CACHE_SECONDS = 5.0
RESOLVE_TIMEOUT = 15.0  # seconds; glibc gives up after 10 with its defaults
MAX_NAMES = 50_000  # per run; a workload that asks for more gets refusals, never wrong answers
MAX_NAMES_PER_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses of a name, and until when (monotonic seconds) they are used."""

    addresses: tuple[str, ...]
    until: float


class Directory:
    """One run's view of names. Bounded; lives in the gate.

    carries_secret: whether a name must never be asked of the world, whoever wants to know it and whatever allows it.
    trustworthy: whether the machine's own resolver still answers from what it answered from at the start.
    lookup: asks the world, in a thread; getaddrinfo by default. OSError when there is no answer.
    """

    def __init__(
        self,
        carries_secret: Callable[[str], bool],
        trustworthy: Callable[[], bool],
        lookup: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        self._carries_secret, self._trustworthy = carries_secret, trustworthy
        self._lookup = lookup or _system_lookup
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Answer]] = {}
        self._handed: dict[str, dict[str, None]] = {}
        self._sinkholes: dict[str, int] = {}
        self._names_of_sinkhole: list[str] = []
        self._v4 = ipaddress.IPv4Network(links.SINKHOLE_V4)
        self._v6 = ipaddress.IPv6Network(links.SINKHOLE_V6)

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Addresses of a canonical name, IPv4 and IPv6, in the order the system prefers; empty when there are none."""
        known = self._answers.get(name)
        if known is not None and known.until > time.monotonic():
            return known.addresses
        if self._carries_secret(name) or not self._trustworthy():
            return ()
        task = self._pending.get(name)
        if task is None:
            task = asyncio.ensure_future(self._ask(name))
            self._pending[name] = task
            task.add_done_callback(lambda _done: self._pending.pop(name, None))
        return (await asyncio.shield(task)).addresses

    async def _ask(self, name: str) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.wait_for(loop.run_in_executor(None, self._lookup, name), RESOLVE_TIMEOUT)
        except (OSError, TimeoutError, UnicodeError):
            found = ()
        if not self._trustworthy():
            found = ()
        seconds = CACHE_SECONDS if found else NEGATIVE_CACHE_SECONDS
        answer = Answer(found, time.monotonic() + seconds)
        self._answers[name] = answer
        while len(self._answers) > MAX_NAMES:
            self._answers.popitem(last=False)
        return answer

    def hand_out(self, name: str, addresses: tuple[str, ...]) -> None:
        """Remember that the workload was told these addresses for the name."""
        for address in addresses:
            names = self._handed.setdefault(address, {})
            if len(names) < MAX_NAMES_PER_ADDRESS and len(self._handed) < MAX_NAMES:
                names[name] = None

    def names_at(self, address: str) -> tuple[str, ...]:
        """Names the workload was told this address for; the denied name when it is a sinkhole address."""
        index = self._sinkhole_index(address)
        if index is not None:
            return (self._names_of_sinkhole[index],) if index < len(self._names_of_sinkhole) else ()
        return tuple(self._handed.get(address, ()))

    def is_sinkhole(self, address: str) -> bool:
        """Whether an address stands for a denied name."""
        return self._sinkhole_index(address) is not None

    async def knows(self, name: str, address: str) -> bool:
        """Whether the address is one of the name's: handed out for it in this run, or resolved just now."""
        if name in self._handed.get(address, ()) or name in self.names_at(address):
            return True
        return address in await self.resolve(name)

    def sinkhole(self, name: str) -> tuple[str, str]:
        """(IPv4, IPv6) addresses inside the enclosure that stand for a denied name; the last one is shared when full."""
        index = self._sinkholes.get(name)
        if index is None:
            index = min(len(self._names_of_sinkhole), MAX_NAMES)
            if index < MAX_NAMES:
                self._sinkholes[name] = index
                self._names_of_sinkhole.append(name)
        return str(self._v4[index + 1]), str(self._v6[index + 1])

    def _sinkhole_index(self, address: str) -> int | None:
        parsed = ipaddress.ip_address(address)
        network = self._v4 if parsed.version == 4 else self._v6
        return int(parsed) - int(network.network_address) - 1 if parsed in network else None


def _system_lookup(name: str) -> tuple[str, ...]:
    """getaddrinfo: honours nsswitch and /etc/hosts, and sorts by reachability (RFC 6724)."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
