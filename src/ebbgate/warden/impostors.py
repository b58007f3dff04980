"""Who passes for the gate: the rules know it by user id and control group, and root can take on both.

The kernel tells of changed user ids and of writes to the group's list of processes as they happen, so that one who does it
for a moment is seen too. Not seen is root that changes the owner of a socket (fchown(2)) and reaches the group through a
mount of its own; nothing in a machine is hidden from its root, and root is asked to be taken away for that reason.
"""

from __future__ import annotations

from collections.abc import Callable

from ebbgate.host.file_events import FileEvent
from ebbgate.host.process_events import ProcessEvent, UserChanged
from ebbgate.warden.findings import Findings


class Impostors:
    """uid: the gate's. gate: gives the pid of the gate that is there, 0 when there is none."""

    def __init__(self, findings: Findings, uid: int, gate: Callable[[], int]) -> None:
        self._findings, self._uid, self._gate = findings, uid, gate

    def observe(self, event: ProcessEvent) -> None:
        """A process event that the table has taken in."""
        if isinstance(event, UserChanged) and self._uid in (event.real, event.effective) and event.pid != self._gate():
            self._tell(event.pid)

    def changed(self, event: FileEvent) -> None:
        """Somebody wrote to a file of the gate's control group."""
        if event.pid != self._gate():
            self._tell(event.pid)

    def _tell(self, pid: int) -> None:
        self._findings.tampering(f"process {pid} passes for the gate", self._findings.table.look(pid), pid)
