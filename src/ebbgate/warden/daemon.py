"""The warden as a daemon: detached from whoever starts it, armed step by step, undone where it fails before the rules stand.

::

    ebbgate start ──fork──▶ (setsid) ──fork──▶ warden
         ◀──────────── one JSON line: armed, or why not ────┘

It belongs to nobody's session and has an environment of its own, so that the CI runner's clean-up at the job's end, which
looks for the runner's mark in environments, passes it over.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import secrets
import selectors
import signal
import time
from pathlib import Path
from typing import Any, Never  # Any: the answer's JSON

from ebbgate.enclosure import selftest
from ebbgate.errors import EbbgateError, IntegrityError, PlatformError
from ebbgate.events.journal import Journal
from ebbgate.events.types import Concern, Defect, Notice, Origin
from ebbgate.gate.configuration import GateConfiguration, JobSettings
from ebbgate.host import kernel, name_service, nftables, trust
from ebbgate.host.authority import Authority, new_authority
from ebbgate.host.control_group import ControlGroup
from ebbgate.secrets.scanner import Scanner
from ebbgate.warden.control import ControlServer
from ebbgate.warden.integrity import Integrity
from ebbgate.warden.job import JobGuard
from ebbgate.warden.job_gate import JobGate
from ebbgate.warden.job_monitor import JobMonitor
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.run import place_of

ARMING_SECONDS = 60.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_EVENTS, BUNDLE, JAVA, CA = "events.jsonl", "ca-bundle.pem", "truststore.p12", "ca.pem"


def start(request: JobRequest) -> dict[str, Any]:
    """Start the warden and wait until it is armed: the answer for the action. Raises what made it fail."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)
        _become_daemon(writing)
        _serve(request, writing)
    os.close(writing)
    os.wait()
    with os.fdopen(reading) as answers:
        text = answers.readline()
    if not text:
        raise IntegrityError("the warden ended before it was armed", "", "nothing was armed")
    answer: dict[str, Any] = json.loads(text)
    problem = answer.get("problem")
    if problem:
        kinds = {"PlatformError": PlatformError, "IntegrityError": IntegrityError}
        raise kinds.get(problem["kind"], IntegrityError)(problem["title"], problem["cause"], problem["next_step"])
    return answer


def _become_daemon(keep: int) -> None:
    os.chdir("/")
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if number != keep:
            os.dup2(null, number)
    os.closerange(3, keep)
    os.closerange(keep + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] if keep < 1000 else keep + 1000)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    kernel.forbid_inspection()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except OSError:
        return  # allowed to root outside of containers only; the guard is then as mortal as others


def _serve(request: JobRequest, answers: int) -> Never:
    """The daemon's life. Never returns."""
    warden = Warden(request)
    code = 0
    try:
        try:
            answer: dict[str, Any] = warden.arm()
        except BaseException as problem:
            answer = {"problem": _told(problem)}
            code = 1
        os.write(answers, json.dumps(answer).encode() + b"\n")
        os.close(answers)
        if code == 0 or warden.is_closed:
            gc.collect()
            gc.freeze()
            warden.guard.loop(lambda: warden.guard.stopped)
    finally:
        os._exit(code)


def _told(problem: BaseException) -> dict[str, str]:
    if isinstance(problem, EbbgateError):
        kind = "PlatformError" if isinstance(problem, PlatformError) else "IntegrityError"
        return {"kind": kind, "title": problem.title, "cause": problem.cause, "next_step": problem.next_step}
    where = f"{type(problem).__name__} at {place_of(problem)}"
    return {"kind": "IntegrityError", "title": "the guard could not be armed", "cause": where, "next_step": "report this"}


class Warden:
    """Arms a machine. ``is_closed``: the rules stand, whether or not the rest succeeded."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self._state = request.target.state
        self._nonce = secrets.token_hex(16)
        self._selector = selectors.DefaultSelector()
        self._group: ControlGroup | None = None
        self.is_closed = False
        self.guard: JobGuard

    def arm(self) -> dict[str, Any]:
        """Everything, in order. Before the rules stand, what was done is undone when a step fails."""
        try:
            self._prepare()
            environment = self._lay_trust()
            self._close()
        except BaseException:
            self._undo()
            raise
        try:
            self._prove()
            self._lock()
        except BaseException as problem:
            self.guard.record(Defect("Warden", "arm", type(problem).__name__, place_of(problem), time.time()))
            raise
        self.guard.armed()
        return {
            "armed": True,
            "seconds": round(time.monotonic() - self.guard.began, 3),
            "environment": environment,
            "warnings": list(self._request.warnings),
            "mode": self._request.policy.mode,
        }

    # --- before anything is closed ---------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """State directory, journal, sockets, and a gate that serves on them."""
        request = self._request
        self._make_state()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        journal = Journal(os.fdopen(os.open(self._state / _EVENTS, flags, 0o600), "w", encoding="utf-8"))
        guard = self.guard = JobGuard(request, journal, Scanner(request.secrets, salt=request.salt), self._selector)
        guard.on_stop = self._stop
        journal.append(request.started)
        for text in request.warnings:
            journal.append(Notice(Concern.ORDER, text, Origin(), time.time()))
        guard.enclosure.open()
        guard.monitor = JobMonitor(request.runner.pid, guard.enclosure.diagnostics, guard.publish)
        self._authority = new_authority(f"Ebbgate job {secrets.token_hex(4)}")
        self._uid = _free_uid(request.target.proc)
        self._group = ControlGroup(f"ebbgate-{secrets.token_hex(4)}")
        guard.gate = JobGate(_ENVIRONMENT, self._uid, self._group, self._selector, guard.from_gate, guard.record)
        guard.gate.start(self._configuration(self._authority), guard.enclosure.gate_sockets)
        self._run_until(lambda: guard.gate is not None and guard.gate.serving, "the gate did not start")

    def _make_state(self) -> None:
        try:
            self._state.mkdir(parents=True, mode=0o755)
        except FileExistsError:
            raise PlatformError(
                "a guard is here already, or one ended without saying so", str(self._state), "ebbgate stop"
            ) from None

    def _configuration(self, authority: Authority) -> GateConfiguration:
        request = self._request
        key, certificate = authority.to_pem()
        return GateConfiguration(
            policy=request.policy,
            enforce=request.enforce,
            secrets=tuple(secret.to_wire() for secret in request.secrets),
            salt=request.salt,
            nonce=self._nonce,
            system_bundle=trust.system_bundle({}),
            job=JobSettings(
                authority_key=key,
                authority_certificate=certificate,
                runner=request.runner_policy,
                nameservers=name_service.nameservers(request.target.root),
                hosts=name_service.hosts(request.target.root),
                inspect_containers=request.policy.inspect_containers,
            ),
        )

    def _lay_trust(self) -> dict[str, str]:
        """The files that clients are told of; the variables that tell them."""
        bundle = Path(trust.system_bundle({})).read_bytes()
        files = self._authority.trust_files(bundle)
        for name, content in ((BUNDLE, files.bundle), (JAVA, files.java_store), (CA, self._authority.to_pem()[1])):
            (self._state / name).write_bytes(content)
            (self._state / name).chmod(0o444)
        return trust.variables({}, str(self._state / BUNDLE), str(self._state / JAVA))

    def _close(self) -> None:
        """Lay the rules: from here on nothing leaves but through the gate."""
        guard, request = self.guard, self._request
        guard.watch()
        group = self._group.path if self._group is not None else ""
        rules = nftables.JobRules(guard.enclosure.ports(), nftables.Guard(self._uid, group), request.enforce)
        guard.enclosure.arm(rules)
        self.is_closed = True
        guard.control = ControlServer(self._state, self._selector, guard.asked)
        files = [self._state / name for name in (BUNDLE, JAVA, CA)]
        guard.integrity = Integrity(files, self._uid, self._group or ControlGroup(""), guard.control, request.target.proc)

    # --- proof ----------------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        """From a step's side, in a child that is what a step is, while this process serves."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _prove_as(self._request, self._nonce, writing)
        os.close(writing)
        self.guard.provers.add(child)
        os.set_blocking(reading, False)
        told = bytearray()
        ended = False

        def read() -> None:
            nonlocal ended
            piece = os.read(reading, 4096)
            told.extend(piece)
            ended = ended or not piece

        self._selector.register(reading, selectors.EVENT_READ, read)
        try:
            self._run_until(lambda: ended, "the self-test did not end")
        finally:
            self._selector.unregister(reading)
            os.close(reading)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if told != b"ok":
            raise IntegrityError(
                "the enclosure's self-test failed", told.decode(errors="replace")[:300], "the machine stays closed"
            )

    def _lock(self) -> None:
        """Lockdown, each lock verified after it was laid."""

    def _run_until(self, done: Any, title: str) -> None:
        deadline = time.monotonic() + ARMING_SECONDS
        self.guard.loop(lambda: done() or time.monotonic() > deadline)
        if not done():
            raise IntegrityError(title, f"within {ARMING_SECONDS:.0f} s", "")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Root said so: open everything again."""
        guard = self.guard
        guard.armed_at = 0.0
        guard.enclosure.disarm()
        self._clean()

    def _undo(self) -> None:
        if hasattr(self, "guard"):
            self.guard.enclosure.disarm()
        self._clean()

    def _clean(self) -> None:
        guard = getattr(self, "guard", None)
        if guard is not None and guard.gate is not None:
            guard.gate.end()
        if self._group is not None:
            self._group.remove()
        for name in (BUNDLE, JAVA, CA, _EVENTS):
            (self._state / name).unlink(missing_ok=True)


def _prove_as(request: JobRequest, nonce: str, answers: int) -> Never:
    """The child's part: as the user whom steps run as, in the machine's network."""
    told = "the self-test ended early"
    try:
        if request.target.netns is not None:
            descriptor = os.open(request.target.netns, os.O_RDONLY)
            os.setns(descriptor, os.CLONE_NEWNET)
        os.setgroups([])
        user = request.runner.uid
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        selftest.prove_job(nonce, enforce=request.enforce)
        told = "ok"
    except IntegrityError as problem:
        told = problem.cause
    except BaseException as problem:
        told = type(problem).__name__
    finally:
        os.write(answers, told.encode())
        os._exit(0)


_DYNAMIC_UIDS = range(61184, 65520)  # set aside for such users by systemd; nobody is listed with one


def _free_uid(proc: Path) -> int:
    """A user id that no process has. Nobody can log in as it, since it has no entry anywhere."""
    used = {os.stat(proc / entry).st_uid for entry in os.listdir(proc) if entry.isdigit() and (proc / entry).exists()}
    return next(uid for uid in _DYNAMIC_UIDS if uid not in used)


def stop_dead(state: Path, nft: str) -> None:
    """Take away what a warden that is gone has left: its table, which is nobody's now, and its files."""
    import subprocess  # noqa: PLC0415 - rarely needed

    for table in (nftables.TABLE, f"{nftables.TABLE}_closed"):
        subprocess.run([nft, "delete", "table", "inet", table], capture_output=True, timeout=20, check=False)  # noqa: S603
    for name in (BUNDLE, JAVA, CA, _EVENTS, "control.sock"):
        (state / name).unlink(missing_ok=True)
    if state.is_dir():
        state.rmdir()
