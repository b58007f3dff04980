"""Addon: who is on the other end of an accepted connection, and which names its address was handed out for."""

from __future__ import annotations

import asyncio

from mitmproxy.connection import Client

from ebbgate.events.types import NOTHING_SENT, FindingRecord
from ebbgate.gate.connections import GateConnection
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.gate.judging import judge_bare_connection
from ebbgate.gate.reporter import ORIGIN_TIMEOUT
from ebbgate.policy.observation import Protocol
from ebbgate.secrets.finding import Carrier, Place


class Identity:
    """Opens and closes the register's entry of a client connection."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    async def client_connected(self, client: Client) -> None:
        """Ask the warden for the owner at once, and read nothing before it has answered: a process that is answered may end,
        and then nobody can tell whose the connection was.
        """
        chosen = (client.sockname[0].partition("%")[0], client.sockname[1])
        peer = (client.peername[0].partition("%")[0], client.peername[1])
        names = self._context.directory.names_at(chosen[0])
        origin = self._context.reporter.ask_owner("tcp", peer, chosen)
        self._context.connections.add(GateConnection(client.id, peer, chosen, names, origin))
        await asyncio.wait([origin], timeout=ORIGIN_TIMEOUT)

    def client_disconnected(self, client: Client) -> None:
        """Record what was left open, and connections on which nothing was ever said."""
        connection = self._context.connections.remove(client.id)
        if connection is None:
            return
        if not connection.judged:
            self._record_silence(connection)
        for draft in list(connection.drafts.values()):
            draft.error = draft.error or "the connection ended before the exchange did"
            self._context.reporter.finish_draft(draft, connection.origin)

    def _record_silence(self, connection: GateConnection) -> None:
        """A connection to an address no rule speaks of is refused even if no byte was sent on it. So is a TLS connection
        that says a name no rule speaks of, or one that carries a secret, and nothing else.
        """
        host, decision = judge_bare_connection(self._context.policy, connection)
        findings: list[FindingRecord] = []
        protocol = Protocol.TCP
        if connection.name_decision is not None and connection.server_name:
            host, decision, protocol = connection.server_name, connection.name_decision, Protocol.TLS
            found = self._context.scanner.scan_labels(host, Place(Carrier.HOST)).findings
            findings = self._context.judge(found, host, tls=False)
        if decision.allowed and not findings:
            return
        draft = Draft(connection.client_id, protocol, connection.chosen[0], connection.chosen[1])
        draft.host, draft.decision, draft.enforced = host, decision, self._context.enforce
        draft.add_findings(findings)
        draft.blocked = self._context.enforce
        draft.error = NOTHING_SENT
        self._context.reporter.finish_draft(draft, connection.origin)
