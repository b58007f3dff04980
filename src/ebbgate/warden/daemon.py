"""The warden as a daemon, detached from whoever starts it.

::

    ebbgate start ──fork──▶ (setsid) ──fork──▶ warden
         ◀──────────── one JSON line: armed, or why not ────┘

It belongs to nobody's session and has an environment of its own, so that the CI runner's clean-up at the job's end, which
looks for the runner's mark in environments, passes it over.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Never  # Any: the answer's JSON

from ebbgate.errors import EbbgateError, IntegrityError, PlatformError
from ebbgate.host import channel, kernel, nftables, processes, system_trust
from ebbgate.warden.arming import ENVIRONMENT, Arming, remove_state
from ebbgate.warden.control import warden_of
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.run import place_of

END_SECONDS = 5.0  # that a killed warden may take to be gone
PRIORITY = -10  # before the job's own processes: who is asked about may be gone a moment later
DESCRIPTORS = 1 << 16  # that gate and warden may have open; a connection takes the gate one or two
# Signals that would end it and can be kept out. Who sends one is recorded; nobody of the machine's has a reason to.
DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


def start(make: Callable[[], JobRequest]) -> dict[str, Any]:
    """Start the warden and wait until it is armed: the answer for the action. Raises what made it fail.

    make: reads what was asked for, secrets among it. It is called when the warden has been forked, so that nothing of them is
    in the warden's memory.
    """
    kernel.forbid_inspection()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        os.close(reading)
        ours.close()
        os.setsid()
        if os.fork():
            os._exit(0)
        _wait_for_request(theirs, writing)
    os.close(writing)
    theirs.close()
    os.wait()
    with ours:
        request = make()
        channel.send_descriptors(ours, {}, [request.vault])
        ours.sendall(channel.frame(pickle.dumps(request)))
    os.close(request.vault)
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


def _wait_for_request(asked: socket.socket, writing: int) -> Never:
    """In the warden to be: nothing is done when nothing is asked for after all."""
    try:
        message, descriptors, _sender = channel.receive_sockets(asked)
        body = channel.receive_bytes(asked)
        if message is None or body is None:
            os._exit(0)
        request = replace(pickle.loads(body), vault=descriptors[0])  # noqa: S301 - from the process that forked this one
        asked.close()
        _become_daemon(writing, request.vault)
        _serve(request, writing)
    finally:
        os._exit(1)


def _become_daemon(answers: int, vault: int) -> None:
    os.chdir("/")
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if number not in (answers, vault):
            os.dup2(null, number)
    first, second = sorted((answers, vault))
    os.closerange(3, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] if second < 1000 else second + 1000)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, DEADLY)
    kernel.forbid_inspection()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        if hard < DESCRIPTORS:
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except (OSError, ValueError):
        return  # allowed to root outside of containers only; the guard is then as mortal as others


def _serve(request: JobRequest, answers: int) -> Never:
    """The daemon's life. Never returns."""
    arming = Arming(request)
    answer: dict[str, Any]
    try:
        try:
            answer = arming.arm()
        except BaseException as problem:
            answer = {"problem": _told(problem)}
        os.write(answers, json.dumps(answer).encode() + b"\n")
        os.close(answers)
        guard = arming.guard
        if guard is not None and arming.is_closed:
            gc.collect()
            gc.freeze()
            guard.listen_for_signals(DEADLY)
            guard.loop(lambda: guard.stopped and not guard.is_answering())
    finally:
        os._exit(0)


def _told(problem: BaseException) -> dict[str, str]:
    if isinstance(problem, EbbgateError):
        kind = "PlatformError" if isinstance(problem, PlatformError) else "IntegrityError"
        return {"kind": kind, "title": problem.title, "cause": problem.cause, "next_step": problem.next_step}
    where = f"{type(problem).__name__} at {place_of(problem)}"
    return {"kind": "IntegrityError", "title": "the guard could not be armed", "cause": where, "next_step": "report this"}


def _await_end(pid: int) -> None:
    """An owned table is nobody's as soon as its owner has ended."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline and processes.threads(pid):
        time.sleep(0.02)


def stop_dead(state: Path, nft: str) -> None:
    """Take away what a warden has left that is gone, or hangs: its tables, which are nobody's then, and its files."""
    hung = warden_of(state)
    if hung:
        with contextlib.suppress(ProcessLookupError):
            os.kill(hung, signal.SIGKILL)
        _await_end(hung)
    for family in ("inet", "netdev"):
        for table in (nftables.TABLE, nftables.CLOSED):
            subprocess.run([nft, "delete", "table", family, table], capture_output=True, timeout=20, check=False)  # noqa: S603
    system_trust.remove(at_once=True)
    remove_state(state)
    if nftables.current(nft=nft):
        raise IntegrityError("the guard's rules could not be taken away", "their owner still runs", "restart this machine")
