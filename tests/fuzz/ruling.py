"""What says where traffic may go: policies, hosts, paths, DNS questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import cast

from ebbgate.errors import PolicyError
from ebbgate.events.types import Event, Origin
from ebbgate.gate.connections import Connections
from ebbgate.gate.context import GateContext
from ebbgate.gate.directory import Directory
from ebbgate.gate.known_values import KnownValues
from ebbgate.gate.reporter import Reporter
from ebbgate.gate.resolver import UDP_ANSWER, Resolver, _wire
from ebbgate.host import channel
from ebbgate.policy import names, paths
from ebbgate.policy.addresses import may_dial, special_range
from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_texts
from ebbgate.policy.observation import Observation, Protocol, Stage
from tests.fuzz.draw import Draw
from tests.fuzz.scanning import SCANNER

QUESTIONS_OF_ONE = 500  # that a resolver is asked before there is a new one: what it remembers is bounded, but grows until then
JOB = "build"
HEADS = (
    "",
    "version: 1\n",
    "version: 1\nallow:\n  - ",
    "version: 1\nallow:\n  - host: ",
    "version: 1\njobs:\n  build:\n    ",
    "version: 1\nsecrets:\n  ",
)


def policies(data: bytes) -> None:
    """Any text is a policy or a PolicyError, and a policy judges any host."""
    draw = Draw(data)
    head, form = draw.pick(HEADS), draw.number(4)
    text = head + draw.rest().decode("utf-8", "replace")
    try:
        if form == 0:
            policy = load_texts((), job=JOB, allow=[text], deny=[text[:20]], use=[text[:10]], given_by="--")
        else:
            policy = load_texts([("policy.yml", text)], job=JOB, given_by="--")
    except PolicyError:
        return
    for host in ("example.com", "192.0.2.1"):
        decide(policy, Observation(Stage.REQUEST, Protocol.TLS, host, 443, method="GET", path="/" + text[:40]))


def hosts(data: bytes) -> None:
    """A host is canonical or a ValueError, canonical hosts stay as they are, and paths and addresses can be asked for always."""
    text = data.decode("utf-8", "surrogateescape") if data[:1] != b"\xff" else data.decode("utf-16", "ignore")
    try:
        host = names.canonical_host(text)
    except ValueError:
        pass
    else:
        assert names.canonical_host(host if ":" not in host else f"[{host}]") == host
        names.registrable_domain(host)
    for read in (lambda: names.canonical_authority(text, 443), lambda: names.canonical_address(text)):
        _value_or_error(read)
    special_range(text)
    may_dial(text, ("10.0.0.0/8",))
    normal = paths.normal_path(text)
    assert normal is None or normal.startswith("/")
    paths.path_matches(text, (text[:64], "/**"))


def _value_or_error(read: Callable[[], object]) -> None:
    try:
        read()
    except ValueError:
        pass


class _Warden(Reporter):
    """Stands for the process at the other end, which owns the machine: it answers at once."""

    def __init__(self) -> None:
        super().__init__(cast("asyncio.StreamWriter", None), SCANNER.redact, SCANNER.redact)

    def ask_owner(self, _protocol: str, _local: tuple[str, int], _remote: tuple[str, int]) -> asyncio.Future[Origin]:
        known: asyncio.Future[Origin] = asyncio.get_running_loop().create_future()
        known.set_result(Origin())
        return known

    def send(self, message: dict[str, object]) -> None:
        channel.encode(message)


class _Asked:
    """A resolver that knows no world, and its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._left = 0
        self._defects: list[Event] = []

    def ask(self, data: bytes) -> None:
        if self._left == 0:
            self._left, self._resolver = QUESTIONS_OF_ONE, _resolver(self._defects)
        self._left -= 1
        answer = self._loop.run_until_complete(self._resolver.respond(data, "udp", ("127.0.0.1", 1), ""))
        assert not self._defects, self._defects
        if answer is not None:
            assert len(_wire(answer, UDP_ANSWER)) <= UDP_ANSWER


def _resolver(defects: list[Event]) -> Resolver:
    """Its policy allows nothing, so that nothing is asked of the world."""
    known = KnownValues(SCANNER, b"salt", allowed=lambda _host: False, bound=lambda _secret: False)
    directory = Directory(lambda _name: False, lambda: True, lambda _name: ())
    connections = Connections(lambda _client: None, defects.append)
    policy = load_texts((), job="", given_by="")
    return Resolver(GateContext(policy, True, SCANNER, directory, connections, _Warden(), known), "nonce", ("192.0.2.1",))


@cache
def _asked() -> _Asked:
    return _Asked()


def questions(data: bytes) -> None:
    """Any datagram is answered or dropped, an answer fits into one, and none is a defect."""
    _asked().ask(data)
