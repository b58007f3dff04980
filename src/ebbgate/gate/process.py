"""The gate's process: gets its configuration and sockets from the warden, serves, and ends when told or left alone.

Started as ``python -I`` in a session of its own, with an environment that holds nothing but search paths. It makes itself
undumpable before it is given anything. When the warden's end of the channel closes, it ends at once: closed.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import gzip
import importlib
import importlib.machinery
import os
import pickle
import pkgutil
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any  # messages of host.channel

import dns.asyncbackend
import dns.rdtypes
import dns.rdtypes.ANY
import dns.rdtypes.CH
import dns.rdtypes.IN

from ebbgate.events.types import Concern, Notice, Origin, Tampering
from ebbgate.gate import boundary, engine, judging, upstream_names, written_names
from ebbgate.gate.configuration import GateConfiguration
from ebbgate.gate.connections import Connections
from ebbgate.gate.contents import Contents
from ebbgate.gate.context import GateContext
from ebbgate.gate.directory import Directory
from ebbgate.gate.foreign import ForeignCredentials
from ebbgate.gate.found_values import FoundValues
from ebbgate.gate.gatekeeper import Gatekeeper
from ebbgate.gate.identity import Identity
from ebbgate.gate.job_rules import JobRules
from ebbgate.gate.known_values import MAX_LEARNED, KnownValues, outermost
from ebbgate.gate.minted_values import MintedValues
from ebbgate.gate.opaque import Opaque
from ebbgate.gate.packets import record_packet
from ebbgate.gate.protocols import Protocols
from ebbgate.gate.publisher import Publisher
from ebbgate.gate.recorder import Recorder
from ebbgate.gate.reporter import Reporter, origin_from, redacted
from ebbgate.gate.resolver import Resolver
from ebbgate.gate.websockets import WebSockets
from ebbgate.host import channel, kernel
from ebbgate.host.authority import Authority, new_authority
from ebbgate.host.name_sources import NameSources, load_name_services
from ebbgate.policy.suffixes import public_suffix_list, registry_suffix_list
from ebbgate.secrets.bindings import Bindings
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.found import FILE
from ebbgate.secrets.kinds import kind_of, marks_of
from ebbgate.secrets.prints import prints_of
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

# Order matters: who is it, what does it speak, may it, with whose credentials, what does it carry, what came of it.
ADDONS = (Identity, Protocols, Gatekeeper, ForeignCredentials, Contents, WebSockets, Opaque, Recorder, MintedValues)
_CLOSING_GRACE = 1.0  # seconds that open connections get when the command has ended


class Gate:
    """One run's gate. The addon classes are a parameter so that tests can put a failing one among them."""

    def __init__(
        self,
        configuration: GateConfiguration,
        given: Sequence[Secret],
        writer: asyncio.StreamWriter,
        addons: tuple[type, ...] = ADDONS,
    ) -> None:
        self._configuration = configuration
        scanner = Scanner(given, salt=configuration.salt)

        self._publisher = Publisher(scanner, configuration.salt)
        self._learned_any = False  # until then the warden has hidden everything there is to hide
        self.reporter = Reporter(writer, self._publisher.host, self._publisher.text)
        job = configuration.job
        self._sources = NameSources() if job is None else None  # a job's names come from nameservers that were fixed before
        self._sources_reported = self._told_of_crowd = False
        if job is None:
            load_name_services()
        self._roots = Path(configuration.system_bundle).read_bytes()
        self.authority = (
            new_authority(f"Ebbgate run {secrets.token_hex(4)}")
            if job is None
            else Authority.from_pem(job.authority_key, job.authority_certificate)
        )
        self.engine = engine.Engine(self.authority, _kept(self._roots), self._crashed)
        connections = Connections(self.engine.abort, self.reporter.event)

        def carries_secret(name: str) -> bool:
            return configuration.enforce and bool(scanner.scan_labels(name, Place(Carrier.DNS)).findings)

        enforce = configuration.enforce
        lookup = upstream_names.lookup(job.nameservers, dict(job.hosts)) if job else None
        directory = Directory(carries_secret, self._names_are_trustworthy, lookup)
        rules = JobRules(job.runner, enforce=enforce, inspect_containers=job.inspect_containers) if job else None
        policy = configuration.policy
        self._bindings = Bindings(policy.bindings, frozenset(policy.exceptions), dict(configuration.host_variables))
        self.known = self._known_values(scanner, given)
        self.context = GateContext(
            policy, enforce, scanner, directory, connections, self.reporter, self.known, self._bindings, rules
        )
        for addon in (self.engine.tls, *(kind(self.context) for kind in addons)):
            self.engine.add(boundary.guarded(addon, connections), boundary.HOOKS)
        self.resolver = Resolver(self.context, configuration.nonce, job.nameservers if job else ())

    def _known_values(self, scanner: Scanner, given: Sequence[Secret]) -> KnownValues:
        known = KnownValues(
            scanner,
            self._configuration.salt,
            allowed=partial(judging.speaks_for, self._configuration.policy),
            bound=self._is_bound,
            learned=self._learned,
            over=self._too_many,
        )
        known.name(given)
        for secret in given:
            if secret.sources or secret.origin == FILE:
                known.settle(secret)
        return known

    def _is_bound(self, secret: Secret) -> bool:
        """By the user, under its own name or that of the document it was in, or by a kind that its own shape shows.

        A name alone shows little: ``NPM_TOKEN`` is any registry's.
        """
        names = {secret.name, outermost(secret.name)}
        if names & {one.name for one in self._configuration.policy.bindings}:
            return True
        kind = kind_of("", secret.reveal())
        return self._bindings.names_a_host(kind, marks_of(kind, secret.reveal()))

    def _learned(self, new: list[Secret]) -> None:
        """Records from here on must not show them; nor must the warden's, which gets what it needs to recognise them."""
        self._publisher.forget()
        self._learned_any = True
        prints = [one.to_wire() for secret in new for one in prints_of(secret, self._configuration.salt)]
        self.reporter.send({"type": "prints", "prints": prints})

    def _too_many(self, origin: str) -> None:
        what = f"more secret-looking values in one kind of place ({origin}) than can be watched for: {MAX_LEARNED}"
        self.reporter.event(Notice(Concern.DEGRADED, what, time=time.time()))

    def _crashed(self, component: str, problem: BaseException) -> None:
        if isinstance(problem, Exception):
            self.reporter.event(boundary.defect(component, "crash", problem))

    def _values_failed(self, problem: Exception) -> None:
        self._crashed("FoundValues", problem)

    def _names_are_trustworthy(self) -> bool:
        """Only where the workload could write to the files: elsewhere a change is somebody else's, and rightful."""
        if self._sources is None or os.geteuid() != 0 or self._sources.intact():
            return True
        if not self._sources_reported:
            self._sources_reported = True
            self.reporter.event(Tampering(f"{self._sources.changed} was changed while the command ran", time=time.time()))
        return False

    def _layers_crashed(self, client_id: str, problem: BaseException) -> None:
        self._crashed("layers", problem)
        self.context.connections.refuse_connection(client_id)

    def _crowded(self) -> None:
        """A connection was ended before anything was read from it, as there were too many: counted, and told once."""
        self.reporter.dropped += 1
        if not self._told_of_crowd:
            self._told_of_crowd = True
            what = "more connections at once than the gate takes: those that came on top were ended, and only counted"
            self.reporter.event(Notice(Concern.DEGRADED, what, time=time.time()))

    async def serve(self, sockets: dict[str, socket.socket]) -> None:
        """Accept on the sockets that were made inside the enclosure."""
        for one in sockets.values():
            one.setblocking(False)

        def named(*names: str) -> list[socket.socket]:
            return [sockets[name] for name in names if name in sockets]

        values = FoundValues(sockets[channel.VALUES], self.known, self._configuration.public, self._values_failed)
        values.serve()
        self.reporter.visible = values.visible
        self.found_values = values
        await self.engine.serve(named("tcp4", "tcp6"), self._configuration.nonce, self._layers_crashed, self._crowded)
        await self.resolver.serve(named("dns4", "dns6"), named("dnstcp4", "dnstcp6"))

    def announce(self) -> None:
        """Tell the warden that the gate stands, and what the workload has to trust."""
        if self._configuration.job is not None:  # the warden made the authority, and the files
            self.reporter.send({"type": "ready"})
            return
        files = self.authority.trust_files(self._roots)
        self.reporter.send(
            {
                "type": "ready",
                "bundle": base64.b64encode(files.bundle).decode(),
                "java": base64.b64encode(files.java_store).decode(),
            }
        )

    async def handle(self, message: dict[str, Any]) -> None:
        """One message of the warden's, other than the last."""
        match message["type"]:
            case "packet":
                record_packet(self.context, message)
            case "origin":  # the connection is read only when the secrets of its process are known
                self.found_values.then(partial(self._answer, int(message["id"]), origin_from(message)))
            case "ping":
                self.reporter.send({"type": "pong", **self._counts()})
            case "flush":
                self._flushing = asyncio.create_task(self._flush(int(message["id"])))
            case "names":
                self._naming = asyncio.create_task(self._look_up_names())

    def _answer(self, number: int, origin: Origin) -> None:
        self.reporter.answer(number, redacted(origin, self._publisher.text) if self._learned_any else origin)

    async def _flush(self, number: int) -> None:
        """Every record that is ready goes out before the answer does."""
        await self.reporter.drain()
        self.reporter.send({"type": "flushed", "id": number, **self._counts()})

    async def _look_up_names(self) -> None:
        try:
            await written_names.look_up(self.context)
        except Exception as problem:
            self._crashed("written_names", problem)
        self.reporter.send({"type": "named"})

    def _counts(self) -> dict[str, int]:
        reporter = self.reporter
        return {
            "uninspected": reporter.uninspected_bytes,
            "dropped": reporter.dropped,
            "open": self.engine.open_connections(),
        }

    async def finish(self, *, at_once: bool = False) -> None:
        """End what is open, send every record, say goodbye. at_once: nothing that is open may go on, not even for a moment."""
        deadline = asyncio.get_running_loop().time() + (0.0 if at_once else _CLOSING_GRACE)
        while self.engine.open_connections() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - mitmproxy has no event for it
            await asyncio.sleep(0.02)
        await self.engine.stop()
        while self.engine.open_connections() and asyncio.get_running_loop().time() < deadline + _CLOSING_GRACE:  # noqa: ASYNC110 - mitmproxy has no event for it
            await asyncio.sleep(0.02)
        await self.reporter.drain()
        self.reporter.send({"type": "finished", **self._counts()})
        await self.reporter.drain()


def _kept(roots: bytes) -> Path:
    """The trusted roots in memory: the file they came from may be the workload's to write to, and is read for each dial."""
    descriptor = os.memfd_create("roots")
    os.write(descriptor, roots)
    return Path(f"/proc/self/fd/{descriptor}")


def seal_imports() -> None:
    """Load what the gate imports only when it meets it (record types, codecs), and from here on nothing from the disk.

    The enclosure makes the packages read-only, but whoever may write to a directory above them can put others in its place.
    """
    for package in (dns.rdtypes, dns.rdtypes.ANY, dns.rdtypes.IN, dns.rdtypes.CH):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    dns.asyncbackend.get_backend("asyncio")
    importlib.import_module("concurrent.futures.thread")  # the loop's executor, which asks for names
    for codec in (
        "ascii",
        "cp437",
        "idna",
        "latin-1",
        "punycode",
        "raw-unicode-escape",
        "unicode-escape",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
    ):
        codecs.lookup(codec)
    public_suffix_list()
    registry_suffix_list()
    rehearsal = Scanner([Secret("rehearsal", b"rehearsal", "")], salt=b"rehearsal")  # loads what scanning needs, whatever that is
    rehearsal.add([Secret("again", b"once more", "")])
    rehearsal.scan(gzip.compress(b'{"a": "cmVoZWFyc2Fs%20\\u0041"}'), Place(Carrier.BODY))
    rehearsal.redact("rehearsal")
    rehearsal.stream(Place(Carrier.BODY), content_encoding="gzip").finish()
    importlib.import_module("ebbgate.secrets.decoders")  # which views load when they first read
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]


async def _run(
    configuration: GateConfiguration, given: Sequence[Secret], sockets: dict[str, socket.socket], control: socket.socket
) -> None:
    control.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=control)
    gate = Gate(configuration, given, writer)
    await gate.serve(sockets)
    gate.engine.rehearse()
    if configuration.job is None:  # for a job the packages are root's, and the job is not
        seal_imports()
    gate.announce()
    receiver = channel.Receiver()
    while True:
        data = await reader.read(1 << 16)
        if not data:
            os._exit(1)  # the warden is gone: nothing more leaves
        for body in receiver.feed(data):
            message = channel.parse(body)
            if message["type"] == "finish":
                await gate.finish(at_once=bool(message.get("at_once")))
                return
            await gate.handle(message)


def harden() -> None:
    """No core dump, no inspection by the same user, no privileges to gain, end with the warden."""
    kernel.forbid_inspection()
    kernel.no_new_privileges()
    kernel.die_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))


def main(descriptor: int) -> None:
    """Entry point of the process. descriptor: the gate's end of the channel to the warden."""
    harden()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the warden decides when the gate ends
    control = socket.socket(fileno=descriptor)
    message, descriptors, _sender = channel.receive_sockets(control)
    body = channel.receive_bytes(control)
    if message is None or body is None:
        sys.exit(1)
    configuration = pickle.loads(body)  # noqa: S301 - from the warden, which this process trusts; never the other way
    if not isinstance(configuration, GateConfiguration):
        sys.exit(1)
    handed = dict(zip(message["names"], descriptors, strict=True))
    given = [Secret.from_wire(wire) for wire in _from_vault(handed.pop(channel.VAULT))]
    sockets = {name: socket.socket(fileno=number) for name, number in handed.items()}
    runner = asyncio.Runner(loop_factory=engine.GateLoop)
    with runner:
        runner.run(_run(configuration, given, sockets, control))


def _from_vault(descriptor: int) -> list[tuple[object, ...]]:
    """Read at its own position, which is this file's and not every gate's."""
    with open(f"/proc/self/fd/{descriptor}", "rb") as file:
        content = file.read()
    os.close(descriptor)
    found: list[tuple[object, ...]] = pickle.loads(content)  # noqa: S301 - sealed, and written by the warden's starter
    return found
