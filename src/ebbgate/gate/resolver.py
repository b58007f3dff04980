"""The gate's resolver: every DNS question of the workload ends here, whichever server it was meant for.

Asked of the world: only names that some rule could allow (in audit mode: all). Everything else is answered with an address
that stands for the denied name inside the enclosure, so that the connection that follows reaches the gate and can be
judged, explained and scanned. Nothing that is denied is ever forwarded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from ebbgate.events.types import DnsQuestion, FindingRecord, Origin
from ebbgate.gate import boundary, judging, upstream_names
from ebbgate.gate.context import GateContext
from ebbgate.gate.datagrams import Datagrams, Peer, Reply
from ebbgate.gate.draft import decision_record
from ebbgate.host.links import SELFTEST_NAME
from ebbgate.policy.addresses import special_range
from ebbgate.policy.decide import decide
from ebbgate.policy.names import canonical_host
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, Stage
from ebbgate.secrets.finding import Carrier, Place

TTL = 30  # seconds; as long as the directory's cache
OWNER_TIMEOUT = 1.5  # seconds that an answer waits for the warden's; the most impatient stub resolvers ask again after 2
UPSTREAM_TIMEOUT = 8.0  # seconds, below the 10 that most stub resolvers wait in all
RECEIVE_BUFFER = 1 << 20  # bytes; the kernel gives what it allows, twice 212,992 by default
UDP_ANSWER = 1232  # bytes; what DNS servers agreed not to exceed over UDP (DNS flag day 2020)
MAX_IN_FLIGHT = 2048  # questions being answered at once; more are dropped, as an overloaded server would
MAX_TCP_SECONDS = 30.0
MAX_RECORDED = 4000  # questions journalled one by one; beyond it only counted, except for those that carry a secret
# HTTPS and SVCB records advertise HTTP/3 and encrypted server names: neither can be used here, so there are none.
_WITHHELD = (dns.rdatatype.HTTPS, dns.rdatatype.SVCB)
_ADDRESSES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_INSIDE = ("loopback", "unspecified")  # would reach the enclosure's own loopback; the gate speaks for the machine's
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Resolver:
    """Serves handed sockets, UDP and TCP. Every exception denies the question and is a defect."""

    def __init__(self, context: GateContext, nonce: str, nameservers: tuple[str, ...] = ()) -> None:
        self._context = context
        self._nonce = nonce
        self._recorded: set[tuple[str, ...]] = set()
        self._count = 0
        self._upstream = upstream_names.async_resolver(nameservers) if nameservers else _system_resolver()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, datagrams: list[socket.socket], streams: list[socket.socket]) -> None:
        """Begin to answer."""
        for one in datagrams:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._datagrams = [Datagrams(one, self.datagram) for one in datagrams]
        for one in streams:
            await asyncio.start_server(self._serve_stream, sock=one)

    def datagram(self, data: bytes, peer: Peer, reply: Reply) -> None:
        """A question over UDP."""
        if len(self._tasks) < MAX_IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._answer_datagram(data, peer, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, data: bytes, peer: Peer, reply: Reply) -> None:
        answer = await self.respond(data, "udp", peer, "")
        if answer is not None:
            reply(_wire(answer, UDP_ANSWER))

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(MAX_TCP_SECONDS):
                peer = writer.get_extra_info("peername")
                while True:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(length)
                    answer = await self.respond(data, "tcp", (peer[0], peer[1]), "")
                    if answer is None:
                        break
                    wire = _wire(answer, 65535)
                    writer.write(len(wire).to_bytes(2, "big") + wire)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            pass
        finally:
            writer.close()

    async def respond(self, data: bytes, transport: str, peer: tuple[str, int], server: str) -> dns.message.Message | None:
        """The answer to one question in wire format; None when it is not worth one."""
        try:
            query = dns.message.from_wire(data, ignore_trailing=True)
            if query.flags & dns.flags.QR or len(query.question) != 1:
                return None
            return await self._respond_to(query, transport, peer, server)
        except (dns.exception.DNSException, ValueError):
            return None
        except Exception as problem:
            self._context.connections.report_defect(boundary.defect("Resolver", "respond", problem))
            return None

    async def _respond_to(
        self, query: dns.message.Message, transport: str, peer: tuple[str, int], server: str
    ) -> dns.message.Message:
        question = query.question[0]
        text = question.name.to_text(omit_final_dot=True)
        if text.lower() == SELFTEST_NAME:
            return self._text(query, self._nonce)
        origin = self._context.reporter.ask_owner(transport, peer, ("", 53))
        decision, name = self._decide(text)
        findings = self._findings(text)
        leaks = any(not finding.permitted for finding in findings)
        denied = not decision.allowed or leaks
        stop = self._context.enforce and denied
        forward = not stop and question.rdtype not in _WITHHELD and question.rdclass == dns.rdataclass.IN
        kind = dns.rdatatype.to_text(question.rdtype)
        self._record(name or text, kind, transport, server, decision, findings, origin, forwarded=forward)
        if stop or not name:
            answer = self._refusal(query, name or text, decision)
        else:
            answer = await self._forward(query, name) if forward else dns.message.make_response(query)
        # Not before the warden has looked: a program that is answered closes its socket, and may end.
        await asyncio.wait([origin], timeout=OWNER_TIMEOUT)
        return answer

    def _decide(self, text: str) -> tuple[Decision, str]:
        try:
            name = canonical_host(text)
        except ValueError:
            return Decision(Action.DENY, Reason.MALFORMED), ""
        observation = Observation(Stage.DNS, Protocol.DNS, name)
        decision, job = decide(self._context.policy, observation), self._context.job
        return (decision if job is None else job.name_decision(decision, observation)), name

    def _findings(self, text: str) -> list[FindingRecord]:
        result = self._context.scanner.scan_labels(text, Place(Carrier.DNS))
        return self._context.judge(result.findings, text, tls=False)

    def _refusal(self, query: dns.message.Message, name: str, decision: Decision) -> dns.message.Message:
        """A denied name: an address of ours, so that what follows reaches the gate; other types have no data."""
        answer = dns.message.make_response(query, recursion_available=True)
        version = _ADDRESSES.get(query.question[0].rdtype)
        if decision.reason is Reason.LOCAL:
            local = name == "localhost" or name.endswith(".localhost")
            if not local:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif version is not None:
                _add(answer, query, [_LOOPBACK[version]])
        elif version is not None:
            _add(answer, query, [self._context.directory.sinkhole(name)[0 if version == 4 else 1]])
        return answer

    async def _forward(self, query: dns.message.Message, name: str) -> dns.message.Message:
        """Ask the world. Addresses come from the same lookup that dialling uses."""
        version = _ADDRESSES.get(query.question[0].rdtype)
        if version is None:
            return await self._forward_other(query, name)
        answer = dns.message.make_response(query, recursion_available=True)
        addresses = await self._context.directory.resolve(name)
        if not addresses:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer
        fitting = [one for one in addresses if ipaddress.ip_address(one).version == version]
        if self._context.job is None and any(special_range(one) in _INSIDE for one in fitting):
            fitting = [self._context.directory.sinkhole(name)[0 if version == 4 else 1]]
        self._context.directory.hand_out(name, tuple(fitting))
        _add(answer, query, fitting)
        return answer

    async def _forward_other(self, query: dns.message.Message, name: str) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        if self._upstream is None:
            return answer
        try:
            found = await self._upstream.resolve(
                name + ".", query.question[0].rdtype, raise_on_no_answer=False, lifetime=UPSTREAM_TIMEOUT
            )
        except dns.exception.DNSException as problem:
            answer.set_rcode(_rcode_of(problem))
            return answer
        if found.rrset is not None:
            answer.answer.append(dns.rrset.from_rdata_list(query.question[0].name, TTL, list(found.rrset)))
        return answer

    def _text(self, query: dns.message.Message, text: str) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        answer.use_edns(False)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 0, "IN", "TXT", f'"{text}"'))
        return answer

    def _record(
        self,
        name: str,
        kind: str,
        transport: str,
        server: str,
        decision: Decision,
        findings: list[FindingRecord],
        origin: asyncio.Future[Origin],
        *,
        forwarded: bool,
    ) -> None:
        """One record for each different question of each different asker; every one that carries a secret."""
        reporter, enforce = self._context.reporter, self._context.enforce
        leaks = any(not finding.permitted for finding in findings)
        denied = not decision.allowed or leaks
        observation = Observation(Stage.DNS, Protocol.DNS, name)
        suggestion = judging.suggestion(observation, decision) if not decision.quiet else ""

        def send(known: Origin) -> None:
            if not leaks and not self._is_new((name, kind, str(decision.reason), transport, *_asker(known))):
                return
            reporter.event(
                DnsQuestion(
                    name=reporter.publish_host(name),
                    qtype=kind,
                    transport=transport,
                    server=server,
                    decision=decision_record(decision),
                    enforced=enforce,
                    would_deny=denied,
                    blocked=enforce and denied,
                    forwarded=forwarded,
                    findings=tuple(findings),
                    origin=known,
                    suggestion=reporter.publish(suggestion),
                ),
                essential=denied,
            )

        reporter.later(origin, send)

    def _is_new(self, question: tuple[str, ...]) -> bool:
        """Whether a question is to be recorded: once, and not when there are too many."""
        if question in self._recorded:
            return False
        self._count += 1
        if self._count > MAX_RECORDED:
            self._context.reporter.dropped += 1
            return False
        self._recorded.add(question)
        return True


def _asker(origin: Origin) -> tuple[str, str, str]:
    """Program, step and container, as far as they are known."""
    program, step = origin.process.exe if origin.process else "", origin.step.name if origin.step else ""
    return program, step, origin.container.id if origin.container else ""


def _add(answer: dns.message.Message, query: dns.message.Message, addresses: list[str]) -> None:
    question = query.question[0]
    if addresses:
        kind = dns.rdatatype.to_text(question.rdtype)
        answer.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *addresses))


def _wire(answer: dns.message.Message, limit: int) -> bytes:
    try:
        return answer.to_wire(max_size=limit)
    except dns.exception.TooBig:
        answer.flags |= dns.flags.TC
        answer.answer.clear()
        return answer.to_wire()


def _system_resolver() -> dns.asyncresolver.Resolver | None:
    """The machine's own nameservers, for record types that getaddrinfo does not know."""
    try:
        return dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        return None


def _rcode_of(problem: dns.exception.DNSException) -> dns.rcode.Rcode:
    return dns.rcode.NXDOMAIN if isinstance(problem, dns.resolver.NXDOMAIN) else dns.rcode.SERVFAIL
