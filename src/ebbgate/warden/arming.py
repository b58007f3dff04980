"""Arming a machine for one job, step by step; undone where it fails before the rules stand, closed where it fails after."""

from __future__ import annotations

import os
import secrets
import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any  # the answer's JSON

from ebbgate.errors import EbbgateError, IntegrityError, PlatformError
from ebbgate.events.journal import Journal
from ebbgate.events.types import Concern, Defect, Notice, Origin
from ebbgate.gate.configuration import GateConfiguration, JobSettings
from ebbgate.host import (
    early_connections,
    home_files,
    lockdown,
    name_service,
    nftables,
    runner_identity,
    runner_platform,
    sudo_environment,
    system_trust,
    trust,
)
from ebbgate.host.authority import new_authority
from ebbgate.host.control_group import ControlGroup
from ebbgate.host.early_connections import EarlyConnection
from ebbgate.host.lock_containers import ContainerLock
from ebbgate.host.lock_memory import MemoryFiles, MemoryLock
from ebbgate.host.lock_sudo import SudoLock
from ebbgate.secrets.bindings import hosts_from
from ebbgate.secrets.known import public_values
from ebbgate.secrets.prints import Redactor
from ebbgate.warden import proof
from ebbgate.warden.control import SOCKET, ControlServer
from ebbgate.warden.detached import BEGAN, ENVIRONMENT
from ebbgate.warden.gate_process import GateProcess
from ebbgate.warden.integrity import Integrity
from ebbgate.warden.job import JobGuard
from ebbgate.warden.job_gate import JobGate
from ebbgate.warden.job_monitor import Guarding, JobMonitor
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.run import place_of

ARMING_SECONDS = 45.0  # for any one step; on an idle machine the whole takes about one second
MAX_EARLY = 50  # connections from before that are told one by one
EVENTS, BUNDLE, JAVA, CA, SUDO = "events.jsonl", "ca-bundle.pem", "truststore.p12", "ca.pem", "sudo.env"
_KEPT = ("sudo.kept", "containers.kept", "ports.kept", "core-pattern.kept")  # what locks put back when they are undone
FILES = (EVENTS, BUNDLE, JAVA, CA, SUDO, SOCKET, *_KEPT)


class Arming:
    """One machine. ``is_closed``: the rules stand, whether or not the rest succeeded."""

    def __init__(self, request: JobRequest) -> None:
        self._request, self._target = request, request.target
        self._state = request.target.state
        self._nonce = secrets.token_hex(16)
        self._selector = selectors.DefaultSelector()
        self._group: ControlGroup | None = None
        self._uid = 0
        self._trusted = False
        self._laid: list[lockdown.Lock] = []
        self._state_is_ours = False
        self._runner: runner_identity.Runner | None = None
        self._planted: list[home_files.Planted] = []
        self.is_closed = False
        self.guard: JobGuard | None = None

    def arm(self) -> dict[str, Any]:
        """Everything, in order; the answer of ``ebbgate start``. Raises what made it fail."""
        try:
            guard = self._prepare()
            environment = self._lay_trust(guard)
            self._close(guard)
        except BaseException:
            self.undo()
            raise
        try:
            self._prove(guard)
            self._lock(guard)
            environment |= self._plant(guard)
            if guard.monitor is not None:
                guard.monitor.watch(self._selector, environment, self._guarding(guard))
        except BaseException as problem:
            guard.record(Defect("Arming", "arm", type(problem).__name__, place_of(problem), time.time()))
            raise
        guard.armed()
        return {
            "armed": True,
            "seconds": round(time.monotonic() - guard.began, 3),
            "environment": environment,
            "warnings": list(self._request.warnings),
            "mode": self._request.policy.mode,
        }

    # --- before anything is closed ---------------------------------------------------------------------------------

    def _prepare(self) -> JobGuard:
        """State directory, journal, sockets, and a gate that is starting."""
        request, target = self._request, self._target
        facts = runner_platform.examine(request.context, nft=nftables.program_path(), root=target.root, proc=target.proc)
        self._make_state()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        journal = Journal(os.fdopen(os.open(self._state / EVENTS, flags, 0o600), "w", encoding="utf-8"))
        guard = self.guard = JobGuard(request, journal, Redactor(request.prints, request.salt), self._selector)
        guard.began = BEGAN
        guard.on_stop = self.undo
        journal.append(request.started)
        for text in request.warnings:
            journal.append(Notice(Concern.ORDER, text, Origin(), time.time()))
        guard.enclosure.open()
        self._authority = new_authority(f"Ebbgate job {secrets.token_hex(4)}")
        self._uid = GateProcess.begun_uid() or runner_platform.free_uid(self._target.root, self._target.proc)
        self._group = ControlGroup(f"ebbgate-{secrets.token_hex(4)}" if "cgroup" not in facts.missing else "")
        guard.gate = JobGate(ENVIRONMENT, self._uid, self._group, self._selector, guard.from_gate, guard.record)
        guard.gate.start(self._configuration(), request.vault, guard.enclosure.gate_sockets)
        guard.gate.on_replaced = guard.gate_replaced
        enclosure = guard.enclosure
        guard.monitor = JobMonitor(
            request, enclosure.diagnostics, enclosure.ports().tcp, guard.publish, guard.record, guard.gate.hand_over
        )
        if facts.missing:
            what = f"nft or the kernel lacks {', '.join(facts.missing)}: see the table of locks in the README"
            guard.record(Notice(Concern.DEGRADED, what, Origin(), time.time()))
        return guard

    def _make_state(self) -> None:
        try:
            self._state.mkdir(parents=True, mode=0o755)
        except FileExistsError:
            raise PlatformError(
                "a guard is here already, or one ended without saying so", str(self._state), "sudo ebbgate stop"
            ) from None
        self._state_is_ours = True

    def _configuration(self) -> GateConfiguration:
        request = self._request
        key, certificate = self._authority.to_pem()
        return GateConfiguration(
            policy=request.policy,
            enforce=request.enforce,
            salt=request.salt,
            nonce=self._nonce,
            system_bundle=self._roots_before(),
            public=public_values(request.context),
            host_variables=tuple(hosts_from(request.context).items()),
            job=JobSettings(
                authority_key=key,
                authority_certificate=certificate,
                runner=request.runner_policy,
                nameservers=name_service.nameservers(self._target.root),
                hosts=name_service.hosts(self._target.root),
                inspect_containers=request.policy.inspect_containers,
            ),
        )

    def _roots_before(self) -> str:
        """The system's roots as they are before ours is among them: a copy, since upstreams must not be verified by us."""
        path = self._state / "roots.pem"
        if not path.exists():
            path.write_bytes(Path(trust.system_bundle({})).read_bytes())
        return str(path)

    def _lay_trust(self, guard: JobGuard) -> dict[str, str]:
        """Files, variables and the system's store, while the gate is starting."""
        files = self._authority.trust_files(Path(self._roots_before()).read_bytes())
        certificate = self._authority.to_pem()[1]
        for name, content in ((BUNDLE, files.bundle), (JAVA, files.java_store), (CA, certificate)):
            (self._state / name).write_bytes(content)
            (self._state / name).chmod(0o444)
        self._trusted = True
        system_trust.install(certificate, root=self._target.root, at_once=True)
        self._until(lambda: guard.gate is not None and guard.gate.serving, "the gate did not start")
        environment = trust.variables({}, str(self._state / BUNDLE), str(self._state / JAVA))
        if not self._request.locks.remove_sudo:
            why_not = sudo_environment.install(environment, self._state / SUDO, root=self._target.root)
            if why_not:
                what = f"what sudo starts is not told of the guard's authority, and may refuse its certificates: {why_not}"
                guard.record(Notice(Concern.DEGRADED, what, Origin(), time.time()))
        return environment

    def _close(self, guard: JobGuard) -> None:
        """Lay the rules: from here on nothing leaves but through the gate."""
        guard.watch()
        early = early_connections.existing(guard.enclosure.diagnostics)
        kept = self._kept(guard, early)
        rules = nftables.JobRules(
            guard.enclosure.ports(),
            nftables.Guard(self._uid, self._group.path if self._group is not None else ""),
            self._request.enforce,
            tuple((6 if ":" in one.local[0] else 4, *one.local, *one.remote) for one in kept if one.protocol == "tcp"),
            dhcp_uid=_uid_of("systemd-network", self._target.root),
            platform_cgroup=_platform_cgroup(self._target.root),
        )
        missing = guard.enclosure.arm(rules)
        self.is_closed = True
        if missing:
            guard.record(Notice(Concern.DEGRADED, missing, Origin(), time.time()))
        guard.control = ControlServer(self._state, self._selector, guard.asked)
        files = [self._state / name for name in (BUNDLE, JAVA, CA)]
        group = self._group or ControlGroup("")
        gate = guard.gate
        guard.integrity = Integrity(
            files, self._uid, group, guard.control, self._target.proc, lambda: gate.pid if gate is not None else 0
        )
        if self._request.enforce:
            self._end_others(guard, kept)

    def _kept(self, guard: JobGuard, early: list[EarlyConnection]) -> list[EarlyConnection]:
        """Connections from before that live on: the runner's and the machine's own. All are told."""
        kept: list[EarlyConnection] = []
        told: list[str] = []
        for one in early:
            origin = guard.monitor.owner_of(one.inode) if guard.monitor is not None else Origin()
            lives = origin.party != "job" and origin.process is not None
            kept += [one] if lives else []
            program = origin.process.exe if origin.process is not None else "an unknown process"
            verb = "goes on" if lives or not self._request.enforce else "was ended"
            told.append(f"{one.protocol} to {one.remote[0]} port {one.remote[1]}, opened by {program} before the guard, {verb}")
        for text in told[:MAX_EARLY]:
            guard.record(Notice(Concern.EARLY, guard.publish(text), Origin(), time.time()))
        if len(told) > MAX_EARLY:
            more = f"{len(told) - MAX_EARLY} more connections from before the guard"
            guard.record(Notice(Concern.EARLY, more, Origin(), time.time()))
        return kept

    def _end_others(self, guard: JobGuard, kept: list[EarlyConnection]) -> None:
        """What the job had opened before, or between being looked for and the rules, ends now."""
        ends = {(one.local, one.remote) for one in kept}
        now = early_connections.existing(guard.enclosure.diagnostics)
        gate = {one.uid for one in now} & {self._uid}
        others = [one for one in now if (one.local, one.remote) not in ends and one.uid not in gate]
        early_connections.destroy(guard.enclosure.diagnostics, others)

    # --- proof and locks -----------------------------------------------------------------------------------------

    def _prove(self, guard: JobGuard) -> None:
        with proof.Proof(self._request, self._nonce, self._selector) as prover:
            if guard.monitor is not None:
                guard.monitor.ignore(prover.pid)
            self._until(lambda: prover.ended, "the self-test did not end")
        if prover.told != "ok":
            raise IntegrityError("the enclosure's self-test failed", prover.told, "the machine stays closed")
        number = guard.flush()  # so that records of the proof come before the record of the job begins
        self._until(lambda: guard.flushed >= number, "the gate does not answer")

    def _lock(self, guard: JobGuard) -> None:
        """Lockdown, each lock verified after it was laid."""
        wanted, state, target = self._request.locks, self._state, self._target
        runner = runner_identity.runner_of(self._request.runner.pid, root=target.root, proc=target.proc)
        locks: list[lockdown.Lock] = []
        if wanted.remove_sudo:
            locks.append(SudoLock(runner, state / _KEPT[0], root=target.root, proc=target.proc))
        if wanted.close_containers:
            locks.append(ContainerLock(runner, state / _KEPT[1], root=target.root, proc=target.proc))
        if wanted.protect_memory:
            kept = MemoryFiles(state / _KEPT[2], state / _KEPT[3])
            locks.append(MemoryLock(runner, kept, root=target.root, proc=target.proc, sysctls=target.sysctls))
        self._laid = guard.locks = locks
        for result in lockdown.lay(locks):
            for text in (result.sentence, *result.warnings):
                guard.record(Notice(Concern.LOCKDOWN, guard.publish(text), Origin(), time.time()))

    def _plant(self, guard: JobGuard) -> dict[str, str]:
        """Canaries, as the runner's user would have put them there; the variables that later steps get."""
        canaries = self._request.canaries
        if canaries is None:
            return {}
        target, uid = self._target, self._request.runner.uid
        home = runner_identity.home_of(uid, target.root)
        files = [(one.path, one.content) for one in canaries.files]
        self._runner = runner_identity.runner_of(self._request.runner.pid, root=target.root, proc=target.proc)
        if home is not None:
            self._planted = runner_identity.acting_as(self._runner, lambda: home_files.plant(home, files))
        where = ", ".join([*canaries.variables, *(f"~/{one.path.relative_to(home)}" for one in self._planted if home)])
        guard.record(Notice(Concern.CANARY, f"planted: {where}", Origin(), time.time()))
        return dict(canaries.variables)

    def _take_canaries_away(self) -> None:
        runner, planted = self._runner, self._planted
        if runner is not None and planted:
            runner_identity.acting_as(runner, lambda: home_files.take_away(planted))

    def _guarding(self, guard: JobGuard) -> Guarding:
        group = self._group.directory if self._group is not None else None
        return Guarding(self._uid, group, lambda: guard.gate.pid if guard.gate is not None else 0, guard.must_fail)

    def _until(self, done: Callable[[], bool], title: str) -> None:
        """Serve until something has happened. IntegrityError when it does not, PlatformError when it cannot be recorded."""
        deadline = time.monotonic() + ARMING_SECONDS
        guard = self.guard
        if guard is not None:
            guard.loop(lambda: guard.journal.failed or done() or time.monotonic() > deadline)
            if guard.journal.failed:
                raise PlatformError("the record cannot be written", str(self._state), "see whether the disk is full")
        if not done():
            raise IntegrityError(title, f"within {ARMING_SECONDS:.0f} s", "")

    # --- the end ----------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Open what was closed and take away what was laid; each part although another fails."""
        guard = self.guard
        parts: list[Callable[[], object]] = [lambda: lockdown.take_away(self._laid)]
        if guard is not None:
            guard.armed_at = 0.0
            parts += [guard.enclosure.disarm]
            parts += [guard.gate.end] if guard.gate is not None else []
        parts += [self._remove_trust, self._take_canaries_away]
        parts += [self._group.remove] if self._group is not None else []
        for part in parts:
            try:
                part()
            except (OSError, EbbgateError):
                continue  # the rest must be tried all the same; the caller has an error of its own to tell
        self.is_closed = False
        if self._state_is_ours:
            remove_state(self._state)

    def _remove_trust(self) -> None:
        if self._trusted:
            sudo_environment.remove(root=self._target.root)
            system_trust.remove(root=self._target.root, at_once=True)


def remove_state(state: Path) -> None:
    """Take the guard's directory away, as far as nothing else is in it."""
    for name in (*FILES, "roots.pem"):
        (state / name).unlink(missing_ok=True)
    try:
        state.rmdir()
    except OSError:
        return


def _uid_of(name: str, root: Path) -> int | None:
    try:
        lines = (root / "etc/passwd").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((int(parts[2]) for parts in (line.split(":") for line in lines) if parts[0] == name and len(parts) > 2), None)


def _platform_cgroup(root: Path) -> str:
    """Of Azure's agent, where there is one: it alone may speak with the platform."""
    for path in ("azure.slice/walinuxagent.service", "system.slice/walinuxagent.service"):
        if (root / "sys/fs/cgroup" / path).is_dir():
            return path
    return ""
