"""Addon: which protocol a connection speaks, by its first bytes. What no rule speaks of is read briefly and closed."""

from __future__ import annotations

import asyncio
import re

from mitmproxy.proxy.layer import Layer, NextLayer
from mitmproxy.tls import ClientHello

from ebbgate.gate import judging, layers
from ebbgate.gate.connections import PASSED_BY_RULE, GateConnection, Passthrough
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.policy.names import canonical_host
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, Stage
from ebbgate.secrets.finding import Carrier, Place

_H2_PREFACE = b"PRI * HTTP/2.0\r\n"
_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}"  # RFC 9110, 5.6.2; no registered method is longer than 18
_HTTP_START = re.compile(_TOKEN + rb" (?:/|\*|[A-Za-z][A-Za-z0-9+.-]{0,16}://|[^ \r\n]{1,255}:\d)")
_MAYBE_HTTP = re.compile(_TOKEN + rb"?(?: [^ \r\n]{0,255})?\Z")


class Protocols:
    """mitmproxy guesses raw TCP in doubt; this addon takes its place and closes in doubt."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    async def next_layer(self, nextlayer: NextLayer) -> None:
        """TLS, HTTP/1, HTTP/2; opaque bytes only where a tcp rule allows them."""
        connection = self._context.connections.get(nextlayer.context.client.id)
        data = nextlayer.data_client()
        if nextlayer.context.client.tls_established:
            self._inside_tls(nextlayer, connection, data)
        elif self._opaque_allowed(connection):
            nextlayer.layer = layers.opaque_layer(nextlayer.context)
        elif data:
            await self._first_bytes(nextlayer, connection, data)
        elif not judging.judge_bare_connection(self._context.policy, connection)[1].allowed:
            self._await_bytes(nextlayer, connection)

    def _opaque_allowed(self, connection: GateConnection) -> bool:
        """A tcp rule for this address and port: relay at once, since the server may be the one to speak first."""
        host, decision = judging.judge_opaque(self._context.policy, connection)
        if decision.allowed:
            connection.permit(host, connection.chosen[1], judging.grant_for(decision, connection, enforce=True))
        return decision.allowed

    async def _first_bytes(self, nextlayer: NextLayer, connection: GateConnection, data: bytes) -> None:
        hello = layers.client_hello(data)
        if isinstance(hello, ClientHello):
            await self._tls(nextlayer, connection, hello.sni)
        elif data.startswith(_H2_PREFACE):
            nextlayer.context.client.alpn = b"h2"
            nextlayer.layer = self._http(nextlayer, connection)
        elif _HTTP_START.match(data):
            nextlayer.layer = self._http(nextlayer, connection)
        elif hello is False and not _MAYBE_HTTP.match(data) and not _H2_PREFACE.startswith(data):
            self._refuse_opaque(nextlayer, connection)

    async def _tls(self, nextlayer: NextLayer, connection: GateConnection, sni: str | None) -> None:
        """Judge the server name. A refused one goes on to our own TLS and HTTP, which answer in the server's place."""
        connection.has_server_name = bool(sni)
        connection.server_name = _server_name(connection, sni)
        policy, directory = self._context.policy, self._context.directory
        decision = await judging.judge_name(policy, directory, connection, connection.server_name)
        connection.name_decision = decision
        if self._context.job is not None:
            connection.passthrough = await self._context.job.passthrough(connection, decision)
        elif decision.allowed and decision.passthrough:
            connection.passthrough = Passthrough(decision, PASSED_BY_RULE)
        if connection.passthrough is not None:
            host, port, decision = connection.server_name, connection.chosen[1], connection.passthrough.decision
            connection.permit(host, port, judging.grant_for(decision, connection, enforce=self._context.enforce))
            nextlayer.layer = layers.opaque_layer(nextlayer.context)
        else:
            nextlayer.layer = layers.tls_layer(nextlayer.context)

    def _inside_tls(self, nextlayer: NextLayer, connection: GateConnection, data: bytes) -> None:
        if nextlayer.context.client.alpn == b"h2" or _HTTP_START.match(data):
            nextlayer.layer = self._http(nextlayer, connection)
        elif data and not _MAYBE_HTTP.match(data):
            decision = Decision(Action.DENY, Reason.PROTOCOL)
            nextlayer.layer = self._sink(nextlayer, connection, Protocol.TLS, connection.server_name or "", decision)

    def _refuse_opaque(self, nextlayer: NextLayer, connection: GateConnection) -> None:
        host, decision = judging.judge_opaque(self._context.policy, connection)
        if self._context.enforce:
            nextlayer.layer = self._sink(nextlayer, connection, Protocol.TCP, host, decision)
            return
        connection.permit(host, connection.chosen[1], judging.grant_for(decision, connection, enforce=False))
        nextlayer.layer = layers.opaque_layer(nextlayer.context)

    def _await_bytes(self, nextlayer: NextLayer, connection: GateConnection) -> None:
        """Nothing can be allowed here. A client that speaks first is answered in its own protocol; a silent one is
        waiting for a server's greeting, which never comes: close it (in audit mode, connect it to its server).
        """
        asyncio.get_running_loop().call_later(layers.IDLE_SINK_SECONDS, self._end_silence, nextlayer, connection)

    def _end_silence(self, nextlayer: NextLayer, connection: GateConnection) -> None:
        if nextlayer.layer is None and not nextlayer.data_client():
            self._context.connections.refuse_connection(connection.client_id)

    def _sink(
        self, nextlayer: NextLayer, connection: GateConnection, protocol: Protocol, host: str, decision: Decision
    ) -> layers.Sink:
        draft = self._refused(connection, protocol, host, decision)
        address, port = connection.chosen
        observation = Observation(Stage.CONNECT, Protocol.TCP, host or None, port, address)
        draft.suggestion = judging.suggestion(observation, decision)

        def told(data: bytes, truncated: bool) -> None:  # noqa: FBT001 - the engine's callback
            self._sunk(draft, connection, data, truncated=truncated)

        return layers.Sink(nextlayer.context, told)

    def _http(self, nextlayer: NextLayer, connection: GateConnection) -> Layer:
        def head_too_long(data: bytes) -> None:
            protocol = Protocol.TLS if nextlayer.context.client.tls_established else Protocol.HTTP
            host = connection.server_name or connection.chosen[0]
            draft = self._refused(connection, protocol, host, Decision(Action.DENY, Reason.UNINSPECTABLE))
            draft.error = "the request's head is longer than the guard reads"
            self._sunk(draft, connection, data, truncated=True)

        return layers.http_layer(nextlayer.context, head_too_long)

    def _refused(self, connection: GateConnection, protocol: Protocol, host: str, decision: Decision) -> Draft:
        connection.judged = True
        address, port = connection.chosen
        draft = Draft(connection.client_id, protocol, address, port)
        draft.host, draft.decision, draft.enforced, draft.blocked = host, decision, self._context.enforce, True
        return draft

    def _sunk(self, draft: Draft, connection: GateConnection, data: bytes, *, truncated: bool) -> None:
        """What the workload would have sent: look for secrets in it, so that the incident can name them."""
        result = self._context.scanner.scan(data, Place(Carrier.OPAQUE))
        draft.add_findings(self._context.judge(result.findings, draft.host, tls=False))
        draft.bytes_withheld = len(data)
        if truncated or result.uninspected:
            draft.note_uninspected(result.uninspected or "more than the guard reads of a refused connection")
        self._context.reporter.finish_draft(draft, connection.origin)


def _server_name(connection: GateConnection, sni: str | None) -> str:
    """The name a TLS connection is judged by: the server name; without one, the only name handed out, or the address.

    ValueError (a refusal) for a server name that is none.
    """
    if sni:
        return canonical_host(sni)
    return connection.names[0] if len(connection.names) == 1 else connection.chosen[0]
