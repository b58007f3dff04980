"""Processes of the job that become root by other ways than sudo.

The kernel tells of changed user ids; running a set-user-ID program is one such change, told just before the program itself.
So a process that has become root is judged when its next event comes: a program was run, and which; or none was.
"""

from __future__ import annotations

import time

from ebbgate.events.types import Concern
from ebbgate.host.process_events import Executed, Exited, Forked, ProcessEvent, UserChanged
from ebbgate.warden.findings import Findings
from ebbgate.warden.process_entry import Entry, Kind

PATIENCE = 1.0  # seconds until a process that ran no program after it became root is spoken of
MAX_WAITING = 1024

# Programs that are meant to make people root or do one thing as root, as distributions install them; by full path, since
# who can write there is root already.
SUDO = frozenset({"/usr/bin/sudo", "/bin/sudo", "/usr/lib/cargo/bin/sudo", "/usr/bin/sudo-rs"})
_HARMLESS = ("newuidmap", "newgidmap", "fusermount", "fusermount3", "mount", "umount", "unix_chkpwd", "ping")
HELPERS = frozenset(f"{directory}/{name}" for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin") for name in _HARMLESS)


class Privileges:
    """Fed with process events after the table."""

    def __init__(self, findings: Findings, expected: frozenset[str] = SUDO | HELPERS) -> None:
        self._findings, self._table, self._expected = findings, findings.table, expected
        self._waiting: dict[Entry, float] = {}

    def observe(self, event: ProcessEvent) -> None:
        """A process event that the table has taken in."""
        if isinstance(event, UserChanged):
            entry = self._table.look(event.pid)
            if entry is not None and entry.escalated and entry.kind is Kind.JOB and len(self._waiting) < MAX_WAITING:
                entry.escalated = False
                if entry not in self._waiting:
                    self._waiting[entry] = time.monotonic()
        elif self._waiting and isinstance(event, Executed | Forked | Exited):
            entry = self._table.look(event.parent if isinstance(event, Forked) else event.pid)
            if entry is not None and self._waiting.pop(entry, None) is not None:
                self._judge(entry, ran=isinstance(event, Executed))

    def _judge(self, entry: Entry, *, ran: bool) -> None:
        program = entry.program.image.exe if entry.program.image else ""
        if program in self._expected:
            return
        if ran:
            what = f"a process became root by running {self._findings.show(program) or 'a program that was gone already'}"
        else:
            what = "a process became root without running a program that makes root"
        self._findings.notice(Concern.PROCESS, what, entry, "root", program)

    def tick(self) -> None:
        """Those after whose change nothing came."""
        now = time.monotonic()
        for entry in [one for one, since in self._waiting.items() if now - since > PATIENCE]:
            del self._waiting[entry]
            self._judge(entry, ran=False)
