"""The warden as a daemon: armed by ``start``, alive in ``serve``; see ``detached`` for how it came to be one."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any  # the answer's JSON

from ebbgate.errors import EbbgateError, IntegrityError
from ebbgate.host import nftables, processes, sudo_environment, system_trust
from ebbgate.warden.arming import Arming, remove_state
from ebbgate.warden.control import warden_of
from ebbgate.warden.detached import DEADLY
from ebbgate.warden.job_request import JobRequest
from ebbgate.warden.run import place_of

END_SECONDS = 5.0  # that a killed warden may take to be gone
_begun: list[Arming] = []  # at most one: this process serves one machine


def start(request: JobRequest) -> dict[str, Any]:
    """Arm: the answer for the action. Raises what made it fail; the machine may be closed by then, so ``serve`` follows."""
    _begun.append(Arming(request))
    try:
        return _begun[0].arm()
    except EbbgateError:
        raise
    except BaseException as problem:
        where = f"{type(problem).__name__} at {place_of(problem)}"
        raise IntegrityError("the guard could not be armed", where, "report this") from None


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
