"""One sealed run from beginning to end.

::

    starting ──enclosure stands, gate serves──▶ proving ──self-test──▶ armed ──command ended──▶ draining ──▶ ended
        │                                          │                     │ gate lost, exfiltration: kill
        └── PlatformError: nothing was run         └── IntegrityError    └──▶ draining

The loop is single-threaded: messages from the gate, the enclosure's channel, refused packets, signals. Whatever raises
in it ends the command first and becomes a defect, so the verdict is ``broken``.
"""

from __future__ import annotations

import os
import resource
import secrets
import selectors
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any  # messages of host.channel

from ebbgate.enclosure.sealed import SealedEnclosure, Workload
from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.events.codec import from_json, to_json
from ebbgate.events.journal import Journal
from ebbgate.events.publish import printable
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    Defect,
    DnsQuestion,
    Event,
    Exchange,
    GateLost,
    Origin,
    Process,
    RunEnded,
    RunStarted,
    Tampering,
)
from ebbgate.gate.configuration import GateConfiguration
from ebbgate.host import kernel, netlink, trust
from ebbgate.policy.model import Policy
from ebbgate.secrets.bindings import hosts_from
from ebbgate.secrets.known import public_values
from ebbgate.secrets.prints import Redactor
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from ebbgate.secrets.shapes import masked
from ebbgate.warden.attribution import Attribution
from ebbgate.warden.environments import Environments
from ebbgate.warden.gate_process import GateProcess
from ebbgate.warden.packets import Packets
from ebbgate.warden.vault import fill, prints_from

MAX_PUBLISHED = 1000  # characters of one argument
DRAIN_TIMEOUT = 15.0  # seconds after the command's end in which the gate must have said goodbye
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = 0x80  # si_code SI_KERNEL: the terminal sent it to the whole foreground group, the command included


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run and under what. started: the journal's first event, complete but for its time."""

    workload: Workload
    policy: Policy
    secrets: tuple[Secret, ...]
    salt: bytes
    started: RunStarted
    enforce: bool
    kill_on_exfiltration: bool
    seal_imports: Callable[[], None] = field(default=lambda: None)


class Run:
    """One run. ``execute`` returns the command's exit code; the journal holds what the verdict is made of."""

    def __init__(self, request: RunRequest, journal: Journal, scanner: Scanner) -> None:
        self._request, self._journal, self._scanner = request, journal, scanner
        self._enclosure = SealedEnclosure(request.workload)
        self._gate: GateProcess | None = None
        self._began = time.monotonic()
        self._command_began = self._began
        self._armed = False
        self._code: int | None = None
        self._killed_by_guard = False
        self._goodbye: dict[str, Any] | None = None
        self._packets = Packets()
        self._learned = Redactor((), request.salt)  # what became known since; its values are in the gate alone
        self._attribution: Attribution | None = None
        self._environments: Environments | None = None

    def execute(self) -> int:
        """Run the command. PlatformError when the machine forbids it (nothing was run)."""
        self._journal.append(self._request.started)
        gate = self._gate = GateProcess.take(self._request.workload.environ)
        try:
            self._arm(gate)
            self._loop(gate)
        except PlatformError:
            if self._armed:
                raise IntegrityError("the machine failed while the command ran") from None
            raise  # nothing was run
        except IntegrityError as problem:
            self._enclosure.kill()
            self._journal.append(Defect("Run", problem.title, "IntegrityError", problem.cause, time.time()))
        except Exception as problem:
            self._enclosure.kill()
            self._journal.append(Defect("Run", "supervise", type(problem).__name__, place_of(problem), time.time()))
        finally:
            self._enclosure.kill()
            gate.kill()
            self._enclosure.reap()
        self._finish()
        return 1 if self._code is None else self._code

    # --- arming -------------------------------------------------------------------------------------------------

    def _arm(self, gate: GateProcess) -> None:
        self._enclosure.start()
        self._harden()
        request = self._request
        configuration = GateConfiguration(
            policy=request.policy,
            enforce=request.enforce,
            salt=request.salt,
            nonce=secrets.token_hex(16),
            system_bundle=trust.system_bundle(request.workload.environ),
            public=public_values(request.workload.environ),
            host_variables=tuple(hosts_from(request.workload.environ).items()),
        )
        sockets = dict(self._enclosure.sockets)
        self._packets_socket = sockets.pop("packets")
        diagnostics = sockets.pop("diagnostics")
        vault = fill(request.secrets)
        gate.configure(configuration, vault, sockets)
        os.close(vault)
        for one in sockets.values():
            one.close()
        program = shutil.which(request.workload.argv[0], path=request.workload.environ.get("PATH")) or ""
        command = Process(0, program, request.started.command, certain=False)
        self._attribution = Attribution(self._enclosure.init_pid, diagnostics, self._publish, command)
        self._environments = Environments(gate.hand_over)
        files = gate.await_ready()
        request.seal_imports()
        self._signals = self._take_signals()
        self._enclosure.release(
            {"ca-bundle.pem": files.bundle, "truststore.p12": files.java_store},
            trust.variables(request.workload.environ, "/run/ebbgate/ca-bundle.pem", "/run/ebbgate/truststore.p12"),
            configuration.nonce,
        )
        self._command_began = time.monotonic()
        self._armed = True
        self._journal.append(Armed(round(self._command_began - self._began, 3), "sealed", time.time()))

    def _harden(self) -> None:
        """The command has been forked, so this is of ourselves alone: no core dump, no inspection by the same user."""
        kernel.forbid_inspection()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _publish(self, text: str) -> str:
        """Text of the workload's own making, as it may be shown: no secret, nothing that a terminal would obey."""
        return printable(masked(self._learned.redact(self._scanner.redact(text))), MAX_PUBLISHED)

    def _take_signals(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        return kernel.signal_descriptor(FORWARDED)

    # --- the loop -----------------------------------------------------------------------------------------------

    def _loop(self, gate: GateProcess) -> None:
        self._packets_socket.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(gate, selectors.EVENT_READ, lambda: self._from_gate(gate))
            selector.register(self._enclosure, selectors.EVENT_READ, self._from_enclosure)
            selector.register(self._packets_socket, selectors.EVENT_READ, self._from_packets)
            selector.register(self._signals, selectors.EVENT_READ, self._from_signals)
            while self._code is None:
                for key, _mask in selector.select():
                    key.data()
            self._from_packets()
            selector.unregister(self._enclosure)
            selector.unregister(self._signals)
            self._drain(gate, selector)

    def _drain(self, gate: GateProcess, selector: selectors.DefaultSelector) -> None:
        for message in self._packets.taken():
            gate.send(message)
        gate.send({"type": "finish"})
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._goodbye is None and time.monotonic() < deadline:
            for key, _mask in selector.select(timeout=1.0):
                key.data()
            if not selector.get_map():
                return

    def _from_gate(self, gate: GateProcess) -> None:
        messages = gate.receive()
        if messages is None:
            if self._goodbye is None:
                self._gate_lost(gate)
            return
        for message in messages:
            self._handle(gate, message)

    def _handle(self, gate: GateProcess, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "event":
            self._record(from_json(message["event"]))
        elif kind == "who":
            gate.send({"type": "origin", "id": message["id"], "carrier": self._owner(message)})
        elif kind == "prints":
            self._learned.add(prints_from(message))
        elif kind == "finished":
            self._goodbye = message
        else:
            raise IntegrityError("the gate sent something unexpected")

    def _owner(self, message: dict[str, Any]) -> dict[str, Any]:
        local, remote = message["local"], message["remote"]
        origin = Origin()
        if self._attribution is not None and self._code is None:
            origin = self._attribution.connection(
                str(message["protocol"]), (str(local[0]), int(local[1])), (str(remote[0]), int(remote[1]))
            )
            if origin.process is not None and self._environments is not None:
                self._environments.tell(one.pid for one in (origin.process, *origin.ancestry) if one.pid > 0)
        return to_json(Tampering("", origin))

    def _record(self, event: Event) -> None:
        if isinstance(event, RunStarted | Armed | CommandEnded | RunEnded | GateLost):
            raise IntegrityError("the gate spoke for the warden")
        self._journal.append(event)
        leaks = isinstance(event, Exchange | DnsQuestion) and any(not one.permitted for one in event.findings)
        if leaks and self._request.enforce and self._request.kill_on_exfiltration and self._code is None:
            self._killed_by_guard = True
            self._enclosure.kill()

    def _gate_lost(self, gate: GateProcess) -> None:
        """Nothing leaves any more: the redirect leads nowhere. The command cannot go on, and its record would be blind."""
        self._enclosure.kill()
        self._journal.append(GateLost(gate.how_it_ended(), time.time()))
        self._code = 1 if self._code is None else self._code
        self._goodbye = {}

    def _from_enclosure(self) -> None:
        message = self._enclosure.receive()
        if message is None:
            self._code = 128 + signal.SIGKILL if self._code is None else self._code
        elif message["type"] == "ended":
            self._code = int(message["code"])
        elif message["type"] == "failed":
            raise IntegrityError(str(message["title"]), str(message["cause"]))

    def _from_packets(self) -> None:
        while True:
            try:
                data = self._packets_socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: a flood; what was lost is refused all the same
                self._packets.lost += 1
                return
            for packet in netlink.refused_packets(data):
                self._packets.add(packet, self._attribution.packet if self._attribution else None)

    def _from_signals(self) -> None:
        while (pending := kernel.read_signal(self._signals)) is not None:
            number, code, _sender = pending
            if code != _FROM_TERMINAL and self._enclosure.command_pid > 0:
                signal_process(self._enclosure.command_pid, number)

    # --- the end ------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        now = time.time()
        seconds = round(time.monotonic() - self._command_began, 3)
        complete = bool(self._goodbye)
        if not complete:
            for event in self._packets.events(enforced=self._request.enforce):
                self._journal.append(event)
        self._journal.append(CommandEnded(self._code if self._code is not None else 1, self._killed_by_guard, seconds, now))
        goodbye = self._goodbye or {}
        dropped = int(goodbye.get("dropped", 0)) + self._packets.lost
        self._journal.append(RunEnded(complete, int(goodbye.get("uninspected", 0)), dropped, now))


def signal_process(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def place_of(problem: BaseException) -> str:
    """Where in the guard an exception arose: "file.py:line"."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
