"""One job's guard: the warden's loop over a whole machine.

::

    arming   sockets ─▶ gate serves ─▶ trust laid ─▶ rules laid ─▶ proven from a step's side ─▶ locks ─▶ armed
    armed    events from the gate, refused packets, processes, files, rules, interfaces, questions on the control socket
    ended    by root's ``stop`` alone; the job's end does not open anything

The loop has one thread and waits for nobody. Before the rules stand, a failure undoes what was done and is the answer of
``start``. After that it is a defect: the rules stay, so the machine is closed, and the verdict is ``broken``.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any  # messages of host.channel

from ebbgate.enclosure.job import JobEnclosure
from ebbgate.errors import EbbgateError, IntegrityError
from ebbgate.events.codec import from_json, redacted_event, to_json
from ebbgate.events.incidents import incidents
from ebbgate.events.journal import Journal
from ebbgate.events.publish import printable
from ebbgate.events.types import Armed, Concern, Defect, DnsQuestion, Event, Exchange, Notice, Origin, Tampering
from ebbgate.events.verdict import verdict
from ebbgate.host import channel, kernel, links, netlink
from ebbgate.host.lockdown import Lock
from ebbgate.secrets.prints import Print, Redactor
from ebbgate.secrets.shapes import masked
from ebbgate.warden.control import Client, ControlServer
from ebbgate.warden.integrity import Integrity
from ebbgate.warden.job_gate import JobGate
from ebbgate.warden.job_monitor import JobMonitor
from ebbgate.warden.job_report import PAGE, code_of, conclusion, ending, journal_page
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.packets import Packets
from ebbgate.warden.run import MAX_PUBLISHED, place_of
from ebbgate.warden.vault import prints_from

TICK = 1.0  # seconds
FLUSH_SECONDS = 5.0  # that a question for the verdict waits for the gate's last records
STATUS_SHARE = 20  # what status says of the journal may be so many times as old as finding it out takes
LOCK_INTERVAL = 60.0  # seconds between two trials of the locks while nobody asks
LOCK_SECONDS = 3.0  # between two trials although somebody asks


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Who waits for the verdict: until the gate has answered the flush with this number, or, monotonic, for so long."""

    number: int
    client: Client
    deadline: float


class JobGuard:
    """Everything of one guarded job. Made and driven by ``daemon``; ``loop`` ends when root says stop."""

    def __init__(self, request: JobRequest, journal: Journal, redactor: Redactor, selector: selectors.BaseSelector) -> None:
        self.request, self.journal, self.redactor, self.selector = request, journal, redactor, selector
        self.enclosure = JobEnclosure(request.target.netns)
        self.monitor: JobMonitor | None = None
        self.gate: JobGate | None = None
        self.control: ControlServer | None = None
        self.integrity: Integrity | None = None
        self.armed_at = 0.0
        self.stopped = False
        self.locks: Sequence[Lock] = ()
        self._locks_tried = 0.0
        self.flushed = 0
        self._names_known = False
        self.began = time.monotonic()
        self.on_stop: Callable[[], None] = lambda: None
        self._packets = Packets()
        self._waiting: list[_Waiting] = []
        self._concluded: tuple[tuple[object, ...], bytes] | None = None
        self._summed_up = ("", 0)
        self._summed_up_until = 0.0
        self._number = 0
        self._flushed_by = 0.0  # a gate that has not answered by then is not waited for
        self._ticked = 0.0

    # --- the loop -------------------------------------------------------------------------------------------------

    def loop(self, until: Callable[[], bool]) -> None:
        """Serve until told otherwise. What raises in one source is a defect, and the loop goes on."""
        while not until():
            for key, _mask in self.selector.select(timeout=TICK / 2):
                self.guarded("serve", key.data)
                if self.journal.failed:
                    self._close()
            if time.monotonic() - self._ticked >= TICK:
                self._ticked = time.monotonic()
                self.guarded("tick", self._tick)

    def guarded(self, operation: str, action: Callable[[], object]) -> None:
        """Run something; an exception becomes a defect, and so the verdict ``broken``."""
        try:
            action()
        except Exception as problem:
            self.journal.append(Defect("JobGuard", operation, type(problem).__name__, place_of(problem), time.time()))

    def _close(self) -> None:
        """What cannot be written down must not leave: the gate ends for good. What is in memory still makes the verdict."""
        if self.gate is not None:
            self.gate.finish()

    def watch(self) -> None:
        """Listen to what the enclosure tells."""
        self.enclosure.packets.setblocking(False)
        self.selector.register(self.enclosure.packets, selectors.EVENT_READ, self._from_packets)
        self.selector.register(self.enclosure.rule_events, selectors.EVENT_READ, self.check_rules)
        self.selector.register(self.enclosure.link_events, selectors.EVENT_READ, self.check_links)

    def listen_for_signals(self, numbers: Sequence[signal.Signals]) -> None:
        """Blocked signals that would have ended the guard: who sent them is recorded."""
        descriptor = kernel.signal_descriptor(numbers)
        self.selector.register(descriptor, selectors.EVENT_READ, lambda: self._from_signals(descriptor))

    def _from_signals(self, descriptor: int) -> None:
        while (pending := kernel.read_signal(descriptor)) is not None:
            sender = pending[2]
            origin = self.monitor.origin_of(sender) if self.monitor is not None and sender else Origin()
            self.tampered(f"somebody told the guard to end ({signal.Signals(pending[0]).name})", origin)

    def _tick(self) -> None:
        if self.gate is not None:
            self.gate.tick()
        if self.control is not None:
            self.control.expire()
        if any(time.monotonic() > one.deadline for one in self._waiting):
            self._conclude(max(one.number for one in self._waiting if time.monotonic() > one.deadline), complete=False)
        if self.monitor is not None:
            self.monitor.tick()
        if self.armed_at and self.integrity is not None:
            self._flush_packets()
            self.check_rules()
            if time.monotonic() - self._locks_tried > LOCK_INTERVAL:
                self.check_locks()
            for what in self.integrity.problems():
                self.record(Tampering(what, Origin(), time.time()))

    # --- the gate -------------------------------------------------------------------------------------------------

    def from_gate(self, message: dict[str, Any]) -> None:
        """One message of the gate's, other than of its health."""
        kind = message.get("type")
        if kind == "event":
            event = from_json(message["event"])
            if not isinstance(event, Exchange | DnsQuestion | Defect | Notice) and type(event).__name__ != "Packet":
                raise IntegrityError("the gate spoke for the warden")
            self.record(event)
        elif kind == "who":
            self._tell_owner(message)
        elif kind == "prints":
            self._learn(prints_from(message))
        elif kind == "flushed":
            if self.gate is not None:
                self.gate.counts = {name: int(message[name]) for name in ("uninspected", "dropped", "open")}
            self.flushed = int(message["id"])
            self._conclude(self.flushed, complete=True)
            if self._waiting:
                self.flush()
        elif kind == "finished" and self.gate is not None:
            self.gate.end()
            self._conclude(self._number + 1, complete=False)
        elif kind == "named":
            self._names_known = True
        else:
            raise IntegrityError("the gate sent something unexpected")

    def _learn(self, prints: list[Print]) -> None:
        """Values that became known to the gate: they stand in no record of ours from here on."""
        self.redactor.add(prints)
        if self.monitor is not None:
            self.monitor.table.forget_shown()

    def gate_replaced(self) -> None:
        """There is a new gate, which is about to serve."""
        if self.monitor is not None:
            self.monitor.gate_replaced()

    def _tell_owner(self, message: dict[str, Any]) -> None:
        local, remote = message["local"], message["remote"]
        origin = Origin()
        try:
            if self.monitor is not None:
                ends = (str(local[0]), int(local[1])), (str(remote[0]), int(remote[1]))
                origin = self.monitor.connection(str(message["protocol"]), *ends)
        finally:
            if self.gate is not None:
                answer = {"type": "origin", "id": message["id"], "carrier": to_json(Tampering("", origin))}
                self.gate.send(answer)

    def record(self, event: Event) -> None:
        """Into the journal; an exfiltration attempt ends the step that made it."""
        if not self.armed_at and _is_proof(event):
            return
        self.journal.append(event)
        if not isinstance(event, Exchange | DnsQuestion) or all(one.permitted for one in event.findings):
            return
        kill = self.request.enforce and self.request.on_exfiltration == "kill"
        if kill and self.monitor is not None and event.origin.process is not None:
            self.monitor.kill_step(event.origin.process.pid)

    def publish(self, text: str) -> str:
        """Text of the job's own making, as it may be shown."""
        return printable(masked(self.redactor.redact(text)), MAX_PUBLISHED)

    # --- the enclosure --------------------------------------------------------------------------------------------

    def _from_packets(self) -> None:
        while True:
            try:
                data = self.enclosure.packets.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: a flood; what was lost is refused all the same
                self._packets.lost += 1
                return
            for packet in netlink.refused_packets(data):
                if not self.armed_at and packet.address == links.DENIED_V4:
                    continue  # the guard's own proof
                self._packets.add(packet, self.monitor.packet if self.monitor else None)

    def _flush_packets(self) -> None:
        if self.gate is None or not self.gate.serving:
            return
        for message in self._packets.taken():
            self.gate.send(message)

    def check_rules(self) -> None:
        """Read the rules back."""
        if self.armed_at:
            change = self.enclosure.rule_change()
            if change is not None:
                self.tampered(change.what)

    def check_links(self) -> None:
        """Follow the interfaces."""
        if self.armed_at:
            for change in self.enclosure.link_changes():
                self.tampered(change.what)

    _told: frozenset[str] = frozenset()

    def tampered(self, what: str, origin: Origin | None = None) -> None:
        """Record a change once; without an origin whoever ran last is named, as a guess."""
        if what not in self._told:
            self._told |= {what}
            if origin is None:
                origin = self.monitor.suspect() if self.monitor is not None else Origin()
            self.record(Tampering(what, origin, time.time()))

    # --- questions ------------------------------------------------------------------------------------------------

    def asked(self, request: dict[str, Any], client: Client) -> None:
        """A request on the control socket."""
        if self.control is None:
            return
        kind = request.get("type")
        if kind == "status":
            self.control.reply(client, self.status())
        elif kind == "verdict":
            self._flush_packets()
            self.check_locks()
            idle = self.flushed == self._number or time.monotonic() > self._flushed_by
            number = self.flush() if idle else self._number + 1  # one at a time, so that many askers do not fill the channel
            self._waiting.append(_Waiting(number, client, time.monotonic() + FLUSH_SECONDS))
            if self.gate is None or not self.gate.pid:
                self._conclude(number, complete=False)  # nobody is there to wait for
        elif kind == "journal" and client.uid in (0, self.request.runner.uid):
            self.control.reply(client, self._journal_page(request.get("from")))
        elif kind == "stop" and client.uid == 0:
            self.on_stop()
            self.control.part_with(client, {"type": "stopped"})
            self.stopped = True
        else:
            self.control.reply(client, {"type": "refused", "why": "only root may" if kind == "stop" else "unknown"})

    def flush(self) -> int:
        """Ask the gate for every record that is ready; the number that ``flushed`` will have when they are here."""
        self._number += 1
        self._flushed_by = time.monotonic() + FLUSH_SECONDS
        if self.gate is not None:
            self.gate.send({"type": "flush", "id": self._number})
        return self._number

    def is_answering(self) -> bool:
        """Whether somebody has not taken an answer yet."""
        return self.control is not None and self.control.is_answering()

    def _conclude(self, number: int, *, complete: bool) -> None:
        """Answer all who asked until then, with the same words."""
        ready = [one for one in self._waiting if one.number <= number]
        self._waiting = [one for one in self._waiting if one.number > number]
        if self.control is None or not ready:
            return
        answer = self._conclusion(complete=complete)
        for one in ready:
            self.control.reply(one.client, answer)

    def _conclusion(self, *, complete: bool) -> bytes:
        """It takes a moment with a long journal, so it is made anew only when something has happened."""
        uninspected, dropped = self.gate.totals() if self.gate is not None else (0, 0)
        dropped += self._packets.lost
        key = self.journal.position, self.redactor.count, complete, uninspected, dropped
        if self._concluded is None or self._concluded[0] != key:
            answer = conclusion(
                self.request, self._shown_events(), self.seconds(), complete=complete, uninspected=uninspected, dropped=dropped
            )
            self._concluded = key, channel.encode(answer)
        return self._concluded[1]

    def _shown_events(self, begin: int = 0, end: int | None = None) -> list[Event]:
        """What the warden itself told before a value was known may show it, so it is looked at once more."""
        own = (Notice, Tampering)
        shown = self.journal.events[begin:end]
        return [redacted_event(one, self.redactor.redact) if isinstance(one, own) else one for one in shown]

    def _journal_page(self, begin: Any) -> dict[str, Any]:
        """A part of the record, small enough to be told between other things."""
        first = begin if isinstance(begin, int) and begin >= 0 else 0
        uninspected, dropped = self.gate.totals() if self.gate is not None else (0, 0)
        complete = self._concluded is not None and bool(self._concluded[0][2])
        end = ending(self.seconds(), complete=complete, uninspected=uninspected, dropped=dropped + self._packets.lost)
        return journal_page(self._shown_events(first, first + PAGE), first, len(self.journal.events), end)

    def seconds(self) -> float:
        """Since it was armed."""
        return round(time.monotonic() - self.armed_at, 3) if self.armed_at else 0.0

    def status(self) -> dict[str, Any]:
        """How things stand, in plain values."""
        events = self.journal.events
        if (began := time.monotonic()) >= self._summed_up_until:
            found = verdict([*events, *ending(0.0, complete=True, uninspected=0, dropped=0)])
            self._summed_up = str(found), len(incidents(events))
            self._summed_up_until = began + STATUS_SHARE * (time.monotonic() - began)
        return {
            "type": "status",
            "armed": bool(self.armed_at),
            "mode": self.request.policy.mode,
            "seconds": self.seconds(),
            "verdict_so_far": self._summed_up[0],
            "incidents": self._summed_up[1],
            "events": len(events),
            "warden": os.getpid(),
            "gate": self.gate.pid if self.gate is not None else 0,
            "gate_restarts": self.gate.restarts if self.gate is not None else 0,
            "open_connections": self.gate.counts.get("open", 0) if self.gate is not None else 0,
            "names_known": self._names_known,
            "warnings": [one.what for one in events if isinstance(one, Notice) and one.concern == Concern.NAME],
        }

    def check_locks(self) -> None:
        """Try again from the job's side what the locks are to stop; not too often, since it takes a moment."""
        if time.monotonic() - self._locks_tried < LOCK_SECONDS:
            return
        self._locks_tried = time.monotonic()
        for lock in self.locks:
            try:
                lock.verify()
            except EbbgateError as problem:
                self.tampered(f"the lock on {lock.name} was taken off: {problem.title}")

    def must_fail(self) -> bool:
        """Whether the job must not pass, as things stand."""
        events = [*self.journal.events, *ending(0.0, complete=True, uninspected=0, dropped=0)]
        return bool(code_of(self.request, verdict(events)))

    def armed(self) -> None:
        """The proof has been given. What is still waiting in the packet log is of the proof, or was refused before."""
        self._from_packets()
        self.armed_at = self._locks_tried = time.monotonic()
        self.record(Armed(round(self.armed_at - self.began, 3), "job", time.time()))
        if self.gate is not None:
            self.gate.send({"type": "names"})  # what it finds comes whenever it does


def _is_proof(event: Event) -> bool:
    """Whether an event, from before the guard is armed, is of its own proof that what is denied is refused."""
    if isinstance(event, Exchange):
        return event.host == links.DENIED_NAME or event.address == links.DENIED_V4
    return isinstance(event, DnsQuestion) and event.name == links.DENIED_NAME
