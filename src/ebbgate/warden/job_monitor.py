"""What the warden knows of the machine's processes, in one place: who they are, what they did, and how to end them."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import PlatformError
from ebbgate.events.types import Concern, Event, Notice, Origin, Party
from ebbgate.host import processes, runner_identity
from ebbgate.host.file_events import MODIFIED, WRITTEN
from ebbgate.host.netlink import RefusedPacket
from ebbgate.host.process_memory import MAX_HANGS, MemoryReader
from ebbgate.warden.credential_watch import CredentialPlaces, places_of
from ebbgate.warden.environments import Environments
from ebbgate.warden.impostors import Impostors
from ebbgate.warden.job_attribution import JobAttribution
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.last_step import LastStep
from ebbgate.warden.process_monitor import ProcessMonitor, known_units, open_source
from ebbgate.warden.process_table import ProcessTable
from ebbgate.warden.socket_owners import SocketOwners
from ebbgate.warden.watches import HandOver, WatchedPaths, Watches, program_directories, system_files, trust_store

MAX_RUNNER = 32  # ancestors of the steps
INITIAL = Path("/run/netns/initial")


@dataclass(frozen=True, slots=True)
class Guarding:
    """What watching needs to know of the guard. gate_group: directory of the gate's control group. must_fail: whether the job
    must not pass, as things stand.
    """

    gate_uid: int
    gate_group: Path | None
    gate_pid: Callable[[], int]
    must_fail: Callable[[], bool]


class JobMonitor:
    """diagnostics: a sock_diag socket of the machine's network namespace. gate_port: to which TCP is redirected.
    publish: makes text showable. tell: the journal.

    hand_over: takes what may hold secrets to the gate.
    """

    def __init__(
        self,
        request: JobRequest,
        diagnostics: socket.socket,
        gate_port: int,
        publish: Callable[[str], str],
        tell: Callable[[Event], None],
        hand_over: HandOver,
    ) -> None:
        self._request, self._tell, self._publish, self._hand_over = request, tell, publish, hand_over
        self._environments = Environments(hand_over)
        self.watches: Watches | None = None
        self.runner = runner_pids(request.runner.pid)
        self.table = ProcessTable(self.runner, publish, units=known_units())
        self.table.ignore(os.getpid())
        self._memory = MemoryReader(self._hung, self.table.ignore)
        processes.read_memory = self._memory.read
        self.processes = ProcessMonitor(open_source(_connector(request.target.connector_netns)), self.table, tell)
        self._attribution = JobAttribution(self.processes, diagnostics, gate_port)
        self._owners = SocketOwners(self.table)

    def watch(self, selector: selectors.BaseSelector, environment: Mapping[str, str], guard: Guarding) -> None:
        """Listen, within the warden's loop. environment: what the guard's own step gives to later ones."""
        selector.register(self.processes, selectors.EVENT_READ, self.processes.read)
        self.watches = Watches(self.processes, self._watched(environment), self._tell, self._hand_over)
        selector.register(self.watches, selectors.EVENT_READ, self.watches.read)
        impostors = Impostors(self.watches.findings, guard.gate_uid, guard.gate_pid)
        if guard.gate_group is not None:
            self.watches.watch(guard.gate_group, MODIFIED | WRITTEN, impostors)
        last = LastStep(self._request.runner, self.table, self._tell, guard.must_fail)
        self.processes.observers += [impostors.observe, last.observe]

    def _watched(self, environment: Mapping[str, str]) -> WatchedPaths:
        """The runner's directories, as the job's context and the action's own place tell them."""
        context, root = self._request.context, self._request.target.root
        temp, action = context.get("RUNNER_TEMP", ""), self._request.runner.action
        actions = next((one for one in Path(action).parents if one.name == "_actions"), None) if action else None
        tools = context.get("RUNNER_TOOL_CACHE", "")
        return WatchedPaths(
            commands=Path(temp) / "_runner_file_commands" if temp else None,
            actions=actions,
            tools=Path(tools) if tools else None,
            system=(*system_files(root / "etc"), *trust_store(root)),
            programs=program_directories(root),
            own_environment=environment,
            credentials=self._credentials(),
        )

    def _credentials(self) -> CredentialPlaces | None:
        """Where the job's tools keep credentials; None when the runner's process is gone."""
        root = self._request.target.root
        try:
            runner = runner_identity.runner_of(self._request.runner.pid, root=root, proc=self._request.target.proc)
        except PlatformError:
            return None
        home = runner_identity.home_of(runner.uid, root)
        return places_of(runner, str(home or ""), self._request.context)

    def gate_replaced(self) -> None:
        """Its successor knows nothing of what was found meanwhile."""
        self._environments.forget()
        if self.watches is not None and self.watches.credentials is not None:
            self.watches.credentials.tell_again()

    def ignore(self, pid: int) -> None:
        """A process of the guard's own."""
        self.table.ignore(pid)

    def _hung(self, pid: int) -> None:
        """A process' memory does not answer: what it is called is not known, all else is."""
        more = "; more of them are not told" if self._memory.hangs == MAX_HANGS else ""
        name = self._publish(processes.exe(pid) or "a process")
        what = f"{name} (pid {pid}) kept the guard from reading its arguments, on purpose perhaps{more}"
        self._tell(Notice(Concern.PROCESS, what, Origin(), time.time()))

    def tick(self) -> None:
        """About once a second."""
        self.processes.tick()
        self._attribution.tick()
        if self.watches is not None:
            self.watches.tick()

    def owner_of(self, inode: int) -> Origin:
        """Who has a socket open now; empty when nobody has."""
        entry = self._owners.owner(inode) if inode else None
        return self.table.origin_of(entry) if entry is not None else Origin()

    def origin_of(self, pid: int) -> Origin:
        """A process, by its id."""
        return self.table.origin(pid)

    def connection(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> Origin:
        """The owner of a TCP connection or UDP socket, by its ends as its process sees them. What its environment holds goes to
        the gate before the answer does.
        """
        origin = self._attribution.connection(protocol, local, remote)
        if origin.party == Party.JOB and origin.process is not None:
            self._environments.tell(one.pid for one in (origin.process, *origin.ancestry))
        return origin

    def packet(self, packet: RefusedPacket) -> Origin:
        """The sender of a refused packet."""
        return self._attribution.packet(packet)

    def suspect(self) -> Origin:
        """Whoever of the job did something last: a guess at who changed something of the machine's network."""
        self.processes.update()
        latest = self.table.latest(is_apart=False) or self.table.latest()
        return self.table.origin_of(latest, certain=False) if latest is not None else Origin()

    def kill_step(self, pid: int) -> None:
        """End the whole step, or container, of a process."""
        self.processes.kill_step(pid)


def _connector(given: Path | None) -> Path | None:
    """The kernel tells of processes in the initial network namespace only. Where the machine is in another, that one can be
    attached under a name (``ip netns attach initial 1``).
    """
    return given or (INITIAL if INITIAL.exists() else None)


def runner_pids(pid: int) -> tuple[int, ...]:
    """The process that starts the steps and its ancestors, init apart."""
    found: list[int] = []
    while pid > 1 and len(found) < MAX_RUNNER:
        found.append(pid)
        pid = processes.parent(pid)
    return tuple(found)
