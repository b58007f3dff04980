"""Addon: opaque connections (by tcp rule, or passed-through TLS): bytes are counted, and scanned where that has a meaning."""

from __future__ import annotations

from mitmproxy import tcp

from ebbgate.events.types import Inspection
from ebbgate.gate import judging
from ebbgate.gate.connections import GateConnection
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.policy.observation import Decision, Observation, Protocol, Stage
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.stream import StreamScan

_STATE = "ebbgate.opaque"


class Opaque:
    """One draft a connection. A secret in the workload's bytes cuts it before the secret's end has left."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    async def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """Begin the record and point the connection at the host it was judged by."""
        connection = self._context.connections.get(flow.client_conn.id)
        connection.judged = True
        host, protocol, decision = self._judge(connection)
        address, port = connection.chosen
        draft = Draft(connection.client_id, protocol, address, port)
        draft.host, draft.decision, draft.enforced = host, decision, self._context.enforce
        observation = Observation(Stage.CONNECT, protocol, host, port, address)
        draft.suggestion = judging.suggestion(observation, decision)
        connection.drafts[draft.id] = draft
        flow.server_conn.address = (host, port)
        scan = None
        if connection.passthrough is not None:
            draft.note_uninspected(connection.passthrough.reason, Inspection.NONE)
        else:
            scan = self._context.scanner.stream(Place(Carrier.OPAQUE), interactive=True)
        flow.metadata[_STATE] = (draft, scan)
        if self._context.enforce and not decision.allowed:
            draft.blocked = True
            self._context.connections.refuse_connection(connection.client_id)

    def _judge(self, connection: GateConnection) -> tuple[str, Protocol, Decision]:
        if connection.passthrough is None:
            host, decision = judging.judge_opaque(self._context.policy, connection)
            return host, Protocol.TCP, decision
        return connection.server_name or "", Protocol.TLS, connection.passthrough.decision

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """Count; scan what the workload sends; keep nothing."""
        message = flow.messages[-1]
        flow.messages.clear()  # mitmproxy keeps every message for its user interface
        draft, scan = _state(flow)
        if not message.from_client:
            draft.bytes_in += len(message.content)
        elif draft.blocked:
            draft.bytes_withheld += len(message.content)
            message.content = b""
        else:
            message.content = self._outgoing(flow, draft, scan, message.content)

    def _outgoing(self, flow: tcp.TCPFlow, draft: Draft, scan: StreamScan | None, data: bytes) -> bytes:
        if scan is None:
            draft.bytes_out += len(data)
            return data
        if draft.bytes_out == 0 and data.startswith(b"\x16\x03"):
            draft.note_uninspected("TLS inside a tcp rule", Inspection.NONE)
        release = scan.feed(data)
        findings = self._context.judge(release.findings, draft.host, tls=False)
        draft.add_findings(findings)
        if release.uninspected:
            draft.note_uninspected(release.uninspected)
        refused = any(not finding.permitted for finding in findings) or not draft.decision.allowed
        if self._context.enforce and refused:
            draft.blocked = True
            draft.bytes_withheld += len(data)
            self._context.connections.refuse_connection(flow.client_conn.id)
            return b""
        allowed = release.data + (scan.permit().data if findings else b"")
        draft.bytes_out += len(allowed)
        return allowed

    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        """The connection ended."""
        self._finish(flow, "")

    def tcp_error(self, flow: tcp.TCPFlow) -> None:
        """The connection could not be made or broke."""
        self._finish(flow, flow.error.msg if flow.error else "failed")

    def _finish(self, flow: tcp.TCPFlow, error: str) -> None:
        draft, _scan = _state(flow)
        draft.error = draft.error or error
        connection = self._context.connections.get(flow.client_conn.id)
        connection.drafts.pop(draft.id, None)
        self._context.reporter.finish_draft(draft, connection.origin)


def _state(flow: tcp.TCPFlow) -> tuple[Draft, StreamScan | None]:
    draft, scan = flow.metadata[_STATE]
    return draft, scan
