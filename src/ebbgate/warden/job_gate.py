"""The gate of a whole job, as the warden keeps it: started, watched, replaced when it is lost.

While there is no gate the redirect leads to sockets on which nobody accepts: connections wait, and nothing leaves.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any  # messages of host.channel

from ebbgate.errors import IntegrityError
from ebbgate.events.types import Defect, Event, GateLost, GateReplaced
from ebbgate.gate.configuration import GateConfiguration
from ebbgate.host.control_group import ControlGroup
from ebbgate.warden.gate_process import GateProcess

MAX_RESTARTS = 8  # of one job; a gate that keeps ending is attacked or broken, and the machine stays closed
PING_SECONDS = 5.0
SILENCE_SECONDS = 20.0  # without an answer a gate is taken for hung
START_SECONDS = 30.0
FINISH_SECONDS = 8.0  # that a gate may take to send its last records
SEND_SECONDS = 3.0  # that the warden waits for a gate to take a message; everything else waits meanwhile


class JobGate:
    """uid: whom the gate runs as. sockets: kept here, handed to every gate. on_message, on_event: into the warden's loop."""

    def __init__(
        self,
        environ: Mapping[str, str],
        uid: int,
        group: ControlGroup,
        selector: selectors.BaseSelector,
        on_message: Callable[[dict[str, Any]], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._environ, self._uid, self._group = environ, uid, group
        self._selector, self._on_message, self._on_event = selector, on_message, on_event
        self._configuration: GateConfiguration | None = None
        self._vault = -1
        self._sockets: Mapping[str, socket.socket] = {}
        self._process: GateProcess | None = None
        self._heard = self._asked = self._started = 0.0
        self._finish_by = 0.0
        self._lost_at: float | None = None
        self.restarts = 0
        self.serving = False
        self.on_replaced: Callable[[], None] = lambda: None
        self.counts: dict[str, int] = {}
        self._carried = {"uninspected": 0, "dropped": 0}

    @property
    def pid(self) -> int:
        """Of the gate that is there now, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def totals(self) -> tuple[int, int]:
        """(bytes that left unread, events that were only counted), over all gates so far."""
        return (
            self._carried["uninspected"] + self.counts.get("uninspected", 0),
            self._carried["dropped"] + self.counts.get("dropped", 0),
        )

    def start(self, configuration: GateConfiguration, vault: int, sockets: Mapping[str, socket.socket]) -> None:
        """The first gate. It serves when its "ready" has come."""
        self._configuration, self._vault, self._sockets = configuration, vault, sockets
        self._spawn()

    def _spawn(self) -> None:
        if self._configuration is None:
            return
        process = self._process = GateProcess.take(self._environ, self._uid, self._group.join)
        self._selector.register(process, selectors.EVENT_READ, lambda: self._receive(process))
        self._started = self._heard = time.monotonic()
        process.lose_patience(SEND_SECONDS)
        try:
            self._group.take_in(process.pid)  # one that was begun before there was a group
            process.configure(self._configuration, self._vault, self._sockets)
        except (IntegrityError, OSError) as problem:
            self._lose(problem.cause if isinstance(problem, IntegrityError) else process.how_it_ended())
            return
        if self._lost_at is not None:
            self.on_replaced()  # now: it takes in what it is given here before its first connection

    def send(self, message: dict[str, Any]) -> None:
        """Tell the gate that is there; without one the message is lost, as its receiver is."""
        if self._process is not None:
            self._process.send(message)

    def hand_over(self, message: dict[str, Any], descriptors: list[int]) -> bool:
        """Give the gate that is there something to read secrets in; whether it took it."""
        return self._process is not None and self._process.hand_over(message, descriptors)

    def _receive(self, process: GateProcess) -> None:
        messages = process.receive()
        if messages is None:
            self._lose(process.how_it_ended())
            return
        for message in messages:
            self._heard = time.monotonic()
            if message.get("type") == "ready":
                self._ready()
            elif message.get("type") == "pong":
                self.counts = {name: int(message[name]) for name in ("uninspected", "dropped", "open")}
            else:
                self._on_message(message)

    def _ready(self) -> None:
        self.serving = True
        if self._lost_at is not None:
            self._on_event(GateReplaced(round(time.monotonic() - self._lost_at, 3), time.time()))
            self._lost_at = None

    def _lose(self, how: str) -> None:
        if self._process is None:
            return
        self._selector.unregister(self._process)
        self._process.kill()
        self._process.close()
        self._process = None
        self.serving = False
        self._lost_at = self._lost_at or time.monotonic()
        for name in self._carried:
            self._carried[name] += self.counts.get(name, 0)
        self.counts = {}
        self._on_event(GateLost(how, time.time()))
        self.restarts += 1
        if self.restarts <= MAX_RESTARTS:
            self._spawn()
        else:
            self._on_event(Defect("JobGate", "restart", "TooMany", "", time.time()))

    def tick(self) -> None:
        """Called about once a second: ask, and give up on a gate that does not answer."""
        now = time.monotonic()
        if self._process is None:
            return
        if self._finish_by and now > self._finish_by:
            self.end()
            return
        silence = START_SECONDS if not self.serving else SILENCE_SECONDS
        if now - self._heard > silence:
            self._lose("no answer")
        elif self.serving and now - self._asked >= PING_SECONDS:
            self._asked = now
            self.send({"type": "ping"})

    def finish(self) -> None:
        """Have the gate cut what is open, send its last records and say goodbye. No other will be started."""
        if self._configuration is not None:
            self._configuration = None
            self.serving = False
            self._finish_by = time.monotonic() + FINISH_SECONDS
            self.send({"type": "finish", "at_once": True})

    def end(self) -> None:
        """End the gate for good."""
        self._configuration = None
        self.serving = False
        if self._process is not None:
            self._selector.unregister(self._process)
            self._process.kill()
            self._process.close()
            self._process = None
