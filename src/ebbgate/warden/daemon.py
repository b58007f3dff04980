"""The warden as a daemon: armed by ``start``, alive in ``serve``; see ``detached`` for how it came to be one."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Never  # Any: the answer's JSON

from ebbgate.errors import EbbgateError, IntegrityError, PlatformError, PolicyError
from ebbgate.host import channel, nftables, processes, sudo_environment, system_trust
from ebbgate.warden.arming import Arming, remove_state
from ebbgate.warden.control import warden_of
from ebbgate.warden.detached import DEADLY
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.run import place_of

END_SECONDS = 5.0  # that a killed warden may take to be gone
_ERRORS = {one.__name__: one for one in (PolicyError, PlatformError, IntegrityError)}
_begun: list[Arming] = []  # at most one: this process serves one machine


def start(make: Callable[[], JobRequest]) -> dict[str, Any]:
    """Arm: the answer for the action. Raises what made it fail; the machine may be closed by then, so ``serve`` follows.

    make: reads what was asked for, secrets among it. It is called in a process of its own, so that nothing of them is in the
    warden's memory.
    """
    _begun.append(Arming(_asked(make)))
    try:
        return _begun[0].arm()
    except EbbgateError:
        raise
    except BaseException as problem:
        where = f"{type(problem).__name__} at {place_of(problem)}"
        raise IntegrityError("the guard could not be armed", where, "report this") from None


def _asked(make: Callable[[], JobRequest]) -> JobRequest:
    """The request, made by a child that ends when it has told it."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _tell_request(theirs, make)
    theirs.close()
    try:
        with ours:
            message, descriptors, _sender = channel.receive_sockets(ours)
            body = channel.receive_bytes(ours)
    finally:
        os.waitpid(child, 0)
    if message is None or body is None:
        raise IntegrityError("what was asked for could not be read", "its reader ended", "nothing was armed")
    told = pickle.loads(body)  # noqa: S301 - from the process that this one forked
    if isinstance(told, JobRequest):
        return replace(told, vault=descriptors[0])
    kind, title, cause, next_step = told
    raise _ERRORS.get(kind, IntegrityError)(title, cause, next_step)


def _tell_request(asking: socket.socket, make: Callable[[], JobRequest]) -> Never:
    """In the child: the request with its vault, or what is wrong with what was asked. No text of any other exception: it could
    hold what was being read.
    """
    try:
        told: JobRequest | tuple[str, str, str, str]
        vaults: list[int] = []
        try:
            told = make()
            vaults = [told.vault]
        except EbbgateError as problem:
            kind = next((name for name, one in _ERRORS.items() if isinstance(problem, one)), "")
            told = (kind, problem.title, problem.cause, problem.next_step)
        except BaseException as problem:
            told = ("", "the guard failed", f"{type(problem).__name__} at {place_of(problem)}", "report this")
        channel.send_descriptors(asking, {}, vaults)
        asking.sendall(channel.frame(pickle.dumps(told)))
    finally:
        os._exit(0)


def serve() -> None:
    """The daemon's life, until root says stop; none where nothing was closed."""
    guard = _begun[0].guard if _begun and _begun[0].is_closed else None
    if guard is not None:
        gc.collect()
        gc.freeze()
        guard.listen_for_signals(DEADLY)
        guard.loop(lambda: guard.stopped and not guard.is_answering())


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
    sudo_environment.remove()
    system_trust.remove(at_once=True)
    remove_state(state)
    if nftables.current(nft=nft):
        raise IntegrityError("the guard's rules could not be taken away", "their owner still runs", "restart this machine")
