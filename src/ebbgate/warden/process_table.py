"""Who descends from whom, and whose doing it is: the processes of a machine by the history of their forks.

::

    fork, exec, exit, uid ──apply()──▶ Entry ──parent──▶ Entry ──parent──▶ ... ──▶ the runner
                                         └──root──▶ first process of the step

A parent as /proc tells it changes when the real one ends (double fork, subreaper); the one in a fork event does not. So:

- RUNNER are the pids given, each until its end.
- JOB is what the runner forked and all below it, before arming or after; containers and their runtimes; what services start
  that start programs at the wish of others (``LAUNCHERS``); and everything whose parent is not known.
- MACHINE is what ran before the guard was armed and is none of these, and what *that* forks.

One trick changes the parent in a fork event: CLONE_PARENT makes the new process its maker's sibling. A job's process has
as real parent another of the job's, one of the runner's, or init, which adopts orphans. All three make JOB: what init
starts is MACHINE only where systemd has put it into the control group of a service that was there at arming and that the
runner is not in. A job with root's rights can move itself into such a group; without them it cannot.

A pid is remembered after the process' end until the kernel gives it to another, as a process whose first thread has ended
lives on under it. Ended processes are forgotten when RECENT others have ended since and nothing alive descends from them.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ebbgate.events.types import Container, Origin, Step
from ebbgate.host import containers, processes
from ebbgate.host.process_events import Executed, Exited, Forked, Lost, ProcessEvent, Traced, UserChanged
from ebbgate.warden.kinship import SETTLING_NS, can_be_next_step, is_sibling, launched, lineage, same_step, unit_of
from ebbgate.warden.process_entry import LAUNCHERS, Entry, Kind, Program
from ebbgate.warden.step_context import StepContext, step_context

RECENT = 4096  # ended processes that are remembered although nothing needs them
MAX_CLAIMS = 4096  # command files whose step is remembered
MAX_IMAGES = 256  # containers whose image is remembered
SAME_START_NS = 30_000_000  # start times in /proc have the resolution of a clock tick, 10 ms
KTHREADD = 2
_TRACES = frozenset({b"RUNNER_TRACKING_ID", b"GITHUB_ACTION"})  # the runner puts them into what it starts


class ProcessTable:
    """Feed it with ``apply``; ask it with ``origin``. redact: makes text of the job's making publishable."""

    def __init__(
        self,
        runner: Sequence[int],
        redact: Callable[[str], str],
        *,
        docker_root: Path = containers.DOCKER_ROOT,
        units: frozenset[str] = frozenset(),
    ) -> None:
        """:param units: names of systemd services whose files were there at arming, besides those that ran."""
        self.runner = frozenset(runner)
        self.redact = redact
        self.claims: OrderedDict[str, StepContext] = OrderedDict()  # command file -> the step it was given to
        self._units, self._docker_root = set(units), docker_root
        self._pids: dict[int, Entry] = {}
        self._live: dict[int, Entry] = {}  # in order of forking
        self._recent: deque[Entry] = deque()
        self._lingering: set[Entry] = set()  # first thread ended, others were there
        self._latest: dict[bool | None, Entry] = {}  # of all, of those in the machine's network namespace, and of the others
        self._ignored: set[int] = set()
        self._own_container = ""
        self._network = processes.network_namespace(os.getpid())
        self._images: OrderedDict[str, str] = OrderedDict()
        self._handlers: dict[type, Callable[..., None]] = {
            Forked: self._forked,
            Executed: self._executed,
            Exited: self._exited,
            UserChanged: self._user_changed,
            Traced: self._traced,
            Lost: lambda _event: self.resynchronise(),
        }

    # --- what happens -------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Take in what runs now. Events must be listened to already, so that nothing is between the two."""
        cgroups = {processes.cgroup(pid) for pid in self.runner}
        self._own_container = next((one for one in map(containers.container_id, cgroups) if one), "")
        births = {pid: birth for pid in processes.all_pids() if (birth := processes.birth(pid))}
        youngest = max((births[pid].started for pid in self.runner if pid in births), default=0)
        shared = {unit for unit in map(unit_of, cgroups) if unit}
        for pid in sorted(births, key=lambda one: (births[one].started, one)):
            entry = self._enter(pid, births[pid].started)
            parent = self._pids.get(births[pid].parent)
            cgroup = unit_of(processes.cgroup(pid))
            entry.put_below(parent, self._kind_at_arming(entry, parent, in_runners_unit=cgroup in shared, after=youngest))
            entry.settled = True
            if entry.kind is Kind.MACHINE and cgroup and cgroup not in shared:
                self._units.add(cgroup)
            if entry.kind is Kind.JOB:
                self._learn(entry)
        self._latest.clear()

    def _kind_at_arming(self, entry: Entry, parent: Entry | None, *, in_runners_unit: bool, after: int) -> Kind:
        name, above = entry.program.name, parent.kind if parent is not None else Kind.MACHINE
        if entry.pid in self._ignored or above is Kind.GUARD:
            return Kind.GUARD
        if entry.pid in self.runner:
            return Kind.RUNNER
        if above in (Kind.RUNNER, Kind.JOB):
            return Kind.JOB
        if name in containers.RUNTIMES or above is Kind.RUNTIME:
            return Kind.RUNTIME if name in containers.RUNTIMES and self._is_runtime(entry) else Kind.JOB
        # Something of the job, by what its environment or service says, that has left its parents before we came.
        if (in_runners_unit and entry.since > after) or processes.environment(entry.pid, _TRACES):
            return Kind.JOB
        return Kind.LAUNCHER if entry.pid in (1, KTHREADD) or name in LAUNCHERS else Kind.MACHINE

    def apply(self, event: ProcessEvent) -> None:
        """Take in one event; in the order in which they came."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _forked(self, event: Forked) -> None:
        parent = self._pids.get(event.parent) or self._adopt(event.parent)
        known = self._pids.get(event.child)
        if known is not None and not known.ended:
            if abs(known.since - event.time) < SAME_START_NS:  # found in /proc before its event was read
                if known.kind not in (Kind.RUNNER, Kind.GUARD):
                    known.put_below(parent, self._kind_below(parent, known.pid))
                return
            self._end(known)  # its end was lost
        if parent is None:
            entry = Entry(event.child, event.time, Program(processes.image(event.child)), processes.users(event.child))
        else:
            siblings = parent.kind in (Kind.RUNNER, Kind.LAUNCHER)  # a parent that was only named, by CLONE_PARENT
            users = processes.users(event.child) if siblings else parent.users
            entry = Entry(event.child, event.time, parent.program, users)
        self._inherit(entry, parent)

    def _inherit(self, entry: Entry, parent: Entry | None) -> None:
        entry.put_below(parent, self._kind_below(parent, entry.pid))
        if parent is not None and parent.kind is entry.kind:
            entry.container, entry.is_apart = parent.container, parent.is_apart
        self._pids[entry.pid] = entry
        self._live.pop(entry.pid, None)
        self._live[entry.pid] = entry
        if entry.kind is Kind.JOB:
            self._touch(entry)

    def _touch(self, entry: Entry) -> None:
        self._latest[None] = self._latest[entry.is_apart] = entry

    def _kind_below(self, parent: Entry | None, pid: int) -> Kind:
        if pid in self._ignored:
            return Kind.GUARD
        if parent is None or parent.kind is Kind.RUNNER:
            return Kind.JOB
        if parent.kind is Kind.LAUNCHER:  # kernel threads are the machine's, the programs that the kernel starts are not
            return Kind.MACHINE if parent.pid == KTHREADD else Kind.JOB
        return parent.kind

    def _executed(self, event: Executed) -> None:
        entry = self._pids.get(event.pid) or self._adopt(event.pid)
        if entry is None:
            return
        if entry.ended:  # another thread than the first called exec, which ended the first
            entry.ended = False
            self._live[entry.pid] = entry
        self._lingering.discard(entry)
        entry.program = Program(processes.image(event.pid))
        self._reconsider(entry)
        if entry.kind is Kind.JOB:
            self._learn(entry)
            self._touch(entry)

    def _reconsider(self, entry: Entry) -> None:
        """Whose doing a process is can show only when it runs a program: a service of init's, a container's first process."""
        parent = entry.parent
        if parent is not None and parent.kind is Kind.LAUNCHER and not entry.settled:
            entry.settled = parent.pid == 1 and unit_of(processes.cgroup(entry.pid)) in self._units
            service = Kind.LAUNCHER if entry.program.name in LAUNCHERS else Kind.MACHINE
            entry.put_below(parent, service if entry.settled else Kind.JOB)
        named = entry.program.name in containers.RUNTIMES
        if named and (entry.kind is Kind.MACHINE or (entry.kind is Kind.JOB and launched(entry))):
            entry.put_below(parent, Kind.RUNTIME if self._is_runtime(entry) else Kind.JOB)
        elif entry.kind is Kind.RUNTIME and not (named and self._is_runtime(entry)):
            entry.put_below(parent, Kind.JOB)

    def _is_runtime(self, entry: Entry) -> bool:
        """Whether what has a runtime's name is one: root's, and outside of every container. Anybody may call a program of theirs
        "dockerd" and become init's child with it, and what a runtime fetches is not read.
        """
        return entry.users == (0, 0) and not entry.container and not self._container_of(entry.pid)

    def _container_of(self, pid: int) -> str:
        found = containers.container_id(processes.cgroup(pid))
        return "" if found == self._own_container else found

    def _learn(self, entry: Entry) -> None:
        """What is to be known about a program of the job, while it is there."""
        entry.container = self._container_of(entry.pid) or entry.container  # who moves out of its group is what it was
        if entry.container:
            entry.is_apart = processes.network_namespace(entry.pid) not in (0, self._network)
            self._container(entry)  # Docker forgets a container that is removed; what it sent may be heard of later
        if entry.root.step is None and entry.step is None:
            entry.step = step_context(entry.pid, entry.program.image.arguments if entry.program.image else b"")
            for file in entry.step.files if entry.step else ():
                self.claims.setdefault(file, entry.step)  # type: ignore[arg-type] # the loop is empty without a step
            while len(self.claims) > MAX_CLAIMS:
                self.claims.popitem(last=False)

    def _exited(self, event: Exited) -> None:
        entry = self._pids.get(event.pid)
        if entry is None or entry.ended:
            return
        if processes.threads(event.pid) > 1:
            self._lingering.add(entry)
        else:
            self._end(entry)

    def _end(self, entry: Entry) -> None:
        entry.ended = True
        self._lingering.discard(entry)
        if self._live.get(entry.pid) is entry:
            del self._live[entry.pid]
        if entry.kind is Kind.JOB:
            self._touch(entry)
        self._recent.append(entry)
        if len(self._recent) > RECENT:
            oldest = self._recent.popleft()
            if self._pids.get(oldest.pid) is oldest and oldest.ended:
                del self._pids[oldest.pid]

    def _user_changed(self, event: UserChanged) -> None:
        entry = self._pids.get(event.pid)
        if entry is not None:
            entry.escalated = 0 in (event.real, event.effective) and 0 not in entry.users
            entry.users = event.real, event.effective

    def _traced(self, event: Traced) -> None:
        """Who is traced does what the tracer wants."""
        tracer, traced = self._pids.get(event.tracer), self._pids.get(event.pid)
        if tracer is None or traced is None or tracer.kind.party is not Kind.JOB.party:
            return
        if traced.kind in (Kind.MACHINE, Kind.LAUNCHER):
            traced.kind, traced.root, traced.depth, traced.settled = Kind.JOB, tracer.root, tracer.depth, True

    def tick(self) -> None:
        """Now and then: processes whose first thread had ended may have ended altogether."""
        for entry in [one for one in self._lingering if processes.threads(one.pid) <= 1]:
            self._end(entry)

    def resynchronise(self) -> None:
        """Events were lost: compare with /proc. A parent that ended meanwhile is not known, and that makes JOB."""
        births = {pid: birth for pid in processes.all_pids() if (birth := processes.birth(pid))}
        for pid, entry in list(self._live.items()):
            if pid not in births or abs(births[pid].started - entry.since) > SAME_START_NS:
                self._end(entry)
        for pid in sorted(births, key=lambda one: (births[one].started, one)):
            # Arguments lie in the process' own memory, which it can have lead into a file system of its own that never
            # answers; they are read right after exec, or when there is a reason.
            known = self._pids.get(pid)
            if known is None or known.ended:
                self._adopt(pid)
            elif known.program.image is None or processes.exe(pid) != known.program.image.exe:
                known.program = Program(processes.image(pid))

    def _adopt(self, pid: int) -> Entry | None:
        """A process nobody told us of, with the parent it has now. It gets no better place by that than by its event."""
        birth = processes.birth(pid)
        if birth is None:
            return None
        entry = self._enter(pid, birth.started)
        self._inherit(entry, self._pids.get(birth.parent))
        self._reconsider(entry)
        if entry.kind is Kind.JOB:
            self._learn(entry)
        return entry

    def _enter(self, pid: int, since: int) -> Entry:
        entry = Entry(pid, since, Program(processes.image(pid)), processes.users(pid))
        self._pids[pid] = self._live[pid] = entry
        return entry

    def ignore(self, pid: int) -> None:
        """A process of the guard itself, and what it starts: nobody's doing."""
        self._ignored.add(pid)
        own = self._pids.get(pid)
        for entry in self.live() if own is not None else ():
            if entry is own or any(one is own for one in lineage(entry)):
                entry.kind = Kind.GUARD

    def forget_shown(self) -> None:
        """There is more to be hidden in command lines than before."""
        for entry in self._pids.values():
            entry.program.forget_shown()

    # --- what is asked ------------------------------------------------------------------------------------------

    def look(self, pid: int) -> Entry | None:
        """The process that has a pid, or had it last."""
        return self._pids.get(pid) or self._adopt(pid)

    def live(self) -> list[Entry]:
        """All that run, newest first."""
        return list(reversed(self._live.values()))

    def newest_first(self) -> Iterator[Entry]:
        """The same one by one, for whoever will stop early. Nothing may be taken in meanwhile."""
        return reversed(self._live.values())

    def latest(self, *, is_apart: bool | None = None) -> Entry | None:
        """Whoever of the job began or ended last. is_apart: whether in a network namespace of a container's own."""
        return self._latest.get(is_apart)

    def origin(self, pid: int, *, certain: bool = True) -> Origin:
        """Process, ancestors by fork history up to the step's first process, step, container and party."""
        entry = self.look(pid)
        return Origin() if entry is None else self.origin_of(entry, certain=certain)

    def origin_of(self, entry: Entry, *, certain: bool = True) -> Origin:
        """The same, of an entry."""
        if entry.program.image is None and not entry.ended:
            entry.program = Program(processes.image(entry.pid))
        chain = list(entry.ancestors())
        if len(chain) > processes.MAX_ANCESTRY:
            chain = [*chain[: processes.MAX_ANCESTRY - 1], chain[-1]]
        return Origin(
            entry.shown(self.redact, certain=certain and entry.program.image is not None),
            tuple(one.shown(self.redact, certain=certain) for one in chain),
            self._step(entry.context()),
            self._container(entry),
            str(entry.kind.party),
        )

    def _step(self, context: StepContext | None) -> Step | None:
        if context is None:
            return None
        step = context.step
        return Step(self.redact(step.name), self.redact(step.action), self.redact(step.script))

    def _container(self, entry: Entry) -> Container | None:
        """Of what a runtime started, and of a runtime itself, which fetches for containers. Not of anything else, which could
        have moved itself into a control group of that name.
        """
        if entry.kind is Kind.RUNTIME:
            return Container("runtime", entry.program.name)
        full, above = entry.container, entry.root.parent
        if not full or above is None or above.kind is not Kind.RUNTIME:
            return None
        image = self._images.get(full)
        if not image:
            image = self._images[full] = self.redact(containers.image_of(full, self._docker_root))
            if len(self._images) > MAX_IMAGES:
                self._images.popitem(last=False)
        return Container(containers.short_id(full), image)

    def step_root(self, pid: int) -> int | None:
        """The first process of a step (of a container, of what a service was asked to start); None for what is not the job's."""
        entry = self.look(pid)
        return entry.root.pid if entry is not None and entry.kind is Kind.JOB else None

    def descendants(self, pid: int) -> list[int]:
        """Running processes that descend from one, itself included, whatever their parents are now. Newest first."""
        top = self.look(pid)
        return [] if top is None else [one.pid for one in self.live() if one is top or any(up is top for up in lineage(one))]

    def step_members(self, pid: int) -> list[Entry]:
        """Running processes of the same step or container. Newest first."""
        entry = self.look(pid)
        if entry is None or entry.kind is not Kind.JOB:
            return []
        root, container = entry.root, entry.container
        return [
            one
            for one in self.live()
            if one.kind is Kind.JOB
            and (one.root is root or (container and one.container == container) or same_step(one.root, root))
        ]

    def is_settling(self, pid: int, until: int) -> bool:
        """Whether something that had begun at a time runs of which it will show within a moment whether it belongs to the step of
        a process.
        """
        entry = self.look(pid)
        if entry is None or entry.kind is not Kind.JOB:
            return False
        now, root = time.monotonic_ns(), entry.root
        siblings = (one for one in self.live() if one.step is None and root.since <= one.since <= until and is_sibling(one, root))
        return any(now - one.since < SETTLING_NS and can_be_next_step(one) for one in siblings)
