"""``ebbgate start`` in two: the process that was called only waits, and its daemon does everything.

::

    ebbgate start ──fork──▶ (setsid) ──fork──▶ daemon: begins a gate ─▶ has the request read ─▶ arms ─▶ prints ─▶ serves
         ◀───────────────── exit code, one byte, once all is printed ──────────────────────────────┘

It belongs to nobody's session and has an environment of its own, so that the CI runner's clean-up at the job's end, which
looks for the runner's mark in environments, passes it over. The gate takes longest to start, so it is begun first, as a user
without privileges, and is given nothing before the request was judged; it ends with the daemon.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Never

from ebbgate.errors import PlatformError
from ebbgate.exit_codes import BROKEN
from ebbgate.host import kernel, streams
from ebbgate.host.runner_platform import free_uid
from ebbgate.warden.gate_process import GateProcess

BEGAN = time.monotonic()  # of this process, as nearly as it can know
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_USUAL_STATE = Path("/run/ebbgate")  # as job_request has it, without what that imports
DESCRIPTORS = 1 << 16  # that gate and warden may have open; a connection takes the gate one or two
PRIORITY = -10  # before the job's own processes: who is asked about may be gone a moment later
# Signals that would end it and can be kept out. Who sends one is recorded; nobody of the machine's has a reason to.
DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


def run(program: Callable[[], object], serve: Callable[[], object]) -> Never:
    """Run a program in a daemon. serve: what the daemon does once the caller has its answer. Never returns."""
    streams.ensure_open()  # else the pipe could be taken for one of them
    answer = _detach()
    try:
        _begin_gate()
        code = _code_of(program)
        _release(answer, code)
        serve()
    finally:
        os._exit(0)


def _detach() -> int:
    """Returns in the daemon alone: where its exit code is to be written. The caller ends here."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os.wait()
        code = os.read(reading, 1)
        if not code:
            os.write(2, b"ebbgate: the warden ended before it was armed\n")
        os._exit(code[0] if code else BROKEN)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(3, writing)
    os.closerange(writing + 1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], writing + 1))
    os.chdir("/")
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, DEADLY)
    kernel.forbid_inspection()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _come_first()
    return writing


def _come_first() -> None:
    try:
        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < DESCRIPTORS:
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except (OSError, ValueError):
        return  # allowed to root outside of containers only; the guard is then as mortal as others


def _begin_gate() -> None:
    if _USUAL_STATE.exists():
        return  # a guard is here already, which this start will be told
    try:
        GateProcess.begin(ENVIRONMENT, free_uid())
    except PlatformError:
        return  # told when the gate is really asked for


def _code_of(program: Callable[[], object]) -> int:
    """What a process would end with that runs the program."""
    try:
        program()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return BROKEN
    return 0


def _release(answer: int, code: int) -> None:
    """Let go of the caller's streams, then of the caller; one that is gone already changes nothing."""
    for one in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            one.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    with contextlib.suppress(OSError):
        os.write(answer, bytes([code]))
    os.close(answer)
