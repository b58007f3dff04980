"""Addon: the decision about every server name and request, and the dials that follow from it."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from ebbgate.events.types import Inspection
from ebbgate.gate import engine, judging
from ebbgate.gate.connections import GateConnection
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.target import Ambiguous, Target, methods_of, target_of
from ebbgate.policy.addresses import may_dial
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, Stage

DRAFT = "ebbgate.draft"  # key of the draft in a flow's metadata
NO_SERVER_ERROR = "not permitted"


def draft_of(flow: http.HTTPFlow) -> Draft:
    """The draft that the gatekeeper began for a flow. LookupError (a refusal) when there is none."""
    draft = flow.metadata[DRAFT]
    if not isinstance(draft, Draft):
        raise LookupError("no draft")
    return draft


class Gatekeeper:
    """Decides and grants. ``server_connect`` refuses whatever carries no grant, whoever asks."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    async def tls_failed_client(self, data: TlsData) -> None:
        """The client hung up on our certificate: say which client and host, it may pin or not know our authority."""
        connection = self._context.connections.get(data.context.client.id)
        connection.judged = True
        host = connection.server_name or connection.chosen[0]
        policy, directory = self._context.policy, self._context.directory
        decision = await judging.judge_name(policy, directory, connection, host)
        draft = self._draft(connection, Protocol.TLS, host, decision)
        draft.blocked = self._context.enforce and not decision.allowed
        draft.error = "the client refused the guard's certificate or ended the handshake"
        draft.note_uninspected("the handshake did not complete", Inspection.NONE)
        address, port = connection.chosen
        draft.suggestion = judging.suggestion(Observation(Stage.NAME, Protocol.TLS, host, port, address), decision)
        self._context.reporter.finish_draft(draft, connection.origin)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Judge one request and point it at the host it was judged by."""
        connection = self._context.connections.get(flow.client_conn.id)
        connection.judged = True
        tls = flow.client_conn.tls_established
        draft = self._draft(connection, Protocol.TLS if tls else Protocol.HTTP, "", Decision(Action.DENY, Reason.MALFORMED))
        draft.method = flow.request.method
        flow.metadata[DRAFT] = draft
        try:
            if flow.error is not None:
                raise Ambiguous("mitmproxy refused the request as malformed")
            target = target_of(flow.request, connection, tls=tls)
        except ValueError as problem:
            draft.host = connection.server_name or connection.chosen[0]
            draft.error = str(problem) if isinstance(problem, Ambiguous) else "a request that cannot be read"
            draft.blocked = True  # also in audit mode: there is no one place where it could go
            return
        await self._judge(flow, connection, draft, target)

    async def _judge(self, flow: http.HTTPFlow, connection: GateConnection, draft: Draft, target: Target) -> None:
        policy, directory = self._context.policy, self._context.directory
        methods = methods_of(flow.request)
        draft.overrides = methods[1:]
        for method in methods:
            observation, decision = await judging.judge_request(policy, directory, connection, target, method)
            if not decision.allowed:
                break
        draft.host, draft.path, draft.query, draft.decision = target.host, target.path, target.query, decision
        draft.suggestion = judging.suggestion(observation, decision)
        draft.blocked = self._context.enforce and not decision.allowed
        if draft.blocked:
            return
        connection.permit(target.host, target.port, judging.grant_for(decision, connection, enforce=self._context.enforce))
        flow.request.data.host, flow.request.data.port = target.host, target.port
        flow.request.data.scheme = b"https" if target.tls else b"http"
        if not flow.request.is_http2:
            flow.request.data.authority = b""
        if flow.request.headers.get("upgrade", "").lower() not in ("", "websocket"):
            del flow.request.headers["upgrade"]  # h2c and others would leave HTTP, and with it what is inspected

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """The last word before a dial: a grant, and addresses outside of special ranges."""
        connection = self._context.connections.find(data.client.id)
        address = data.server.address
        grant = connection.grants.get((address[0], address[1])) if connection and address else None
        if grant is None or address is None or connection is None or connection.refused:
            data.server.error = NO_SERVER_ERROR
            return
        found = grant.addresses or await judging.addresses_of(self._context.directory, address[0])
        vetted = tuple(one for one in found if may_dial(one, grant.permitted_ranges))
        if not vetted:
            data.server.error = "the name does not resolve" if not found else NO_SERVER_ERROR
            return
        engine.DIAL.set((address[0], vetted))

    def _draft(self, connection: GateConnection, protocol: Protocol, host: str, decision: Decision) -> Draft:
        address, port = connection.chosen
        draft = Draft(connection.client_id, protocol, address, port)
        draft.host, draft.decision, draft.enforced = host, decision, self._context.enforce
        connection.drafts[draft.id] = draft
        return draft
