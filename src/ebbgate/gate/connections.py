"""What the gate knows about each client connection, and what it was permitted: nothing, until a decision says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ebbgate.events.types import Defect, Origin
from ebbgate.policy.observation import Decision

if TYPE_CHECKING:
    from ebbgate.gate.draft import Draft

PASSED_BY_RULE = "TLS passed through by rule"
MAX_GRANTS = 256  # destinations permitted on one client connection; one is normal, a browser coalesces a few


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission to dial one (host, port).

    permitted_ranges: special ranges the rule names. addresses: fixed ones to dial instead of resolving (audit mode, where
    the client's own choice is followed); empty for the normal case.
    """

    permitted_ranges: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passthrough:
    """TLS that goes on unread. decision: by the server name. reason: why it is not read, for the record."""

    decision: Decision
    reason: str


@dataclass(slots=True)
class GateConnection:
    """One accepted connection. chosen: the destination the client chose. names: what our resolver had handed it out for."""

    client_id: str
    peer: tuple[str, int]
    chosen: tuple[str, int]
    names: tuple[str, ...]
    origin: asyncio.Future[Origin]
    server_name: str | None = None
    name_decision: Decision | None = None
    has_server_name: bool = False
    passthrough: Passthrough | None = None
    refused: bool = False
    judged: bool = False
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)

    def permit(self, host: str, port: int, grant: Grant) -> None:
        """Allow a dial. Beyond the bound nothing more is permitted."""
        if not self.refused and len(self.grants) < MAX_GRANTS:
            self.grants[(host, port)] = grant

    def revoke(self) -> None:
        """Permit nothing any more."""
        self.refused = True
        self.grants.clear()


class Connections:
    """All open client connections. It is what the boundary refuses through."""

    def __init__(self, abort: Callable[[str], None], report: Callable[[Defect], None]) -> None:
        self._open: dict[str, GateConnection] = {}
        self._abort = abort
        self._report = report

    def add(self, connection: GateConnection) -> None:
        """Register an accepted connection."""
        self._open[connection.client_id] = connection

    def get(self, client_id: str) -> GateConnection:
        """The connection. LookupError when unknown, which the boundary turns into a refusal."""
        return self._open[client_id]

    def find(self, client_id: str) -> GateConnection | None:
        """The connection or None."""
        return self._open.get(client_id)

    def remove(self, client_id: str) -> GateConnection | None:
        """Forget a closed connection."""
        return self._open.pop(client_id, None)

    def refuse_connection(self, client_id: str) -> None:
        """Permit nothing more for this client connection and abort it."""
        connection = self._open.get(client_id)
        if connection is not None:
            connection.revoke()
            for draft in connection.drafts.values():
                draft.blocked = True
        self._abort(client_id)

    def report_defect(self, defect: Defect) -> None:
        """Tell the warden."""
        self._report(defect)
