"""The user whose processes are the job's, and two ways of trying what that user can do.

``run_as``     starts a program exactly as a step would start it: the same user, group and supplementary groups.
``acting_as``  calls a function of ours with that user's access to files. Kernel credentials belong to threads: libc
               changes them for the whole process, the bare system calls for the calling thread alone. So a short-lived
               thread takes on the user for files (setfsuid(2)), gives up every capability and tries. No interpreter has
               to be readable for that user, and no process is forked. It cannot be signalled by that user either, since
               the right to send signals goes by the real and effective ids.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import PlatformError
from ebbgate.host import kernel

# Without /usr/local: hosted images let everybody write there, and root must run nothing from it.
CLEAN_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_MAX_ANCESTORS = 32
_KNOCK_SECONDS = 1.0
# (setgroups, setfsuid, setfsgid): arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_CALLS = {"x86_64": (116, 122, 123), "aarch64": (159, 151, 152)}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Runner:
    """uid, gid, groups: as the runner's processes have them, whatever /etc/group says by now. name: in passwd, "" when
    there is none. pids: the runner's own processes (the steps' ancestors of the same user). capabilities: a bit mask of
    what these hold without being root, normally 0.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""
    pids: tuple[int, ...] = ()
    capabilities: int = 0


def runner_of(pid: int, *, root: Path = Path("/"), proc: Path = Path("/proc")) -> Runner:
    """The runner that a process belongs to. PlatformError when the process is gone."""
    status = _status(pid, proc)
    if status is None:
        raise PlatformError("the runner's process has ended", f"pid {pid}", "start ebbgate from the job's first step")
    uid, gid = int(status["Uid"].split()[1]), int(status["Gid"].split()[1])
    groups = tuple(int(one) for one in status.get("Groups", "").split())
    capabilities = int(status.get("CapPrm", "0"), 16) if uid else 0
    return Runner(uid, gid, groups, name_of(uid, root), _own(pid, uid, proc), capabilities)


def _own(pid: int, uid: int, proc: Path) -> tuple[int, ...]:
    """A process and its ancestors as long as they belong to the user."""
    found: list[int] = []
    while pid > 1 and len(found) < _MAX_ANCESTORS:
        status = _status(pid, proc)
        if status is None or int(status["Uid"].split()[1]) != uid:
            break
        found.append(pid)
        pid = int(status["PPid"])
    return tuple(found)


def _status(pid: int, proc: Path) -> dict[str, str] | None:
    try:
        lines = (proc / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def name_of(uid: int, root: Path = Path("/")) -> str:
    """The first name that passwd has for a uid, which is the one that programs use; "" when there is none."""
    for line in _lines(root / "etc/passwd"):
        parts = line.split(":")
        if len(parts) >= 4 and parts[2] == str(uid):
            return parts[0]
    return ""


def home_of(uid: int, root: Path = Path("/")) -> Path | None:
    """A user's home directory by passwd, below ``root``; None when there is none."""
    for parts in (line.split(":") for line in _lines(root / "etc/passwd")):
        if len(parts) > 5 and parts[2] == str(uid) and parts[5].startswith("/"):
            return root / parts[5].lstrip("/")
    return None


def group_names(runner: Runner, root: Path = Path("/")) -> tuple[str, ...]:
    """Names of the groups that the runner's processes have."""
    wanted = {runner.gid, *runner.groups}
    parts = [line.split(":") for line in _lines(root / "etc/group")]
    return tuple(one[0] for one in parts if len(one) >= 3 and one[2].isdigit() and int(one[2]) in wanted)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def run_as(
    runner: Runner, command: list[str], *, root: Path = Path("/"), timeout: float = 10
) -> subprocess.CompletedProcess[bytes]:
    """Run a program as a step would, without a terminal and without its environment. subprocess.TimeoutExpired."""
    line = command
    if root != Path("/"):
        groups = ",".join(map(str, runner.groups))
        line = ["chroot", f"--userspec={runner.uid}:{runner.gid}", f"--groups={groups}", str(root), *command]
    identity = {"user": runner.uid, "group": runner.gid, "extra_groups": runner.groups} if line is command else {}
    return subprocess.run(  # type: ignore[call-overload,no-any-return] # noqa: S603 - keyword arguments by a mapping
        line,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=CLEAN_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        timeout=timeout,
        check=False,
        **identity,
    )


def acting_as[T](runner: Runner, function: Callable[[], T]) -> T:
    """Call a function with the runner's access to files and without any capability; see the top of this module.

    Whatever it raises is raised here. PlatformError on machines whose system calls are not known.
    """
    results: list[T] = []
    problems: list[BaseException] = []

    def inside() -> None:
        try:
            _become(runner)
            results.append(function())
        except BaseException as problem:  # carried to the caller, raised there
            problems.append(problem)

    thread = threading.Thread(target=inside, name="as-runner")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]


def _become(runner: Runner) -> None:
    machine = platform.machine()
    if machine not in _CALLS:
        raise PlatformError(f"locks cannot be verified on {machine} machines", "", "run on x86_64 or aarch64")
    setgroups, setfsuid, setfsgid = _CALLS[machine]
    groups = (ctypes.c_uint32 * len(runner.groups))(*runner.groups)
    if _libc.syscall(ctypes.c_long(setgroups), ctypes.c_ulong(len(groups)), groups) < 0:
        raise OSError(ctypes.get_errno(), "setgroups")
    for number, value in ((setfsgid, runner.gid), (setfsuid, runner.uid)):
        _libc.syscall(ctypes.c_long(number), ctypes.c_uint32(value))
        # These two never fail aloud: asking again with an impossible value tells what is in force.
        in_force = _libc.syscall(ctypes.c_long(number), ctypes.c_uint32(0xFFFFFFFF))
        if in_force != value:
            raise OSError(1, "the thread could not take on the runner's user")
    kernel.limit_capabilities(0, kernel.bounding_capabilities())


def opened_by(runner: Runner, paths: Iterable[str | Path]) -> list[str]:
    """Which of these sockets and pipes the runner gets into. Permissions are looked at before anybody answers, so a socket
    without a listener refuses with EACCES too, and with ECONNREFUSED when it would have been open.
    """
    given = [str(path) for path in paths]
    answers = acting_as(runner, lambda: [_knock(path) for path in given])
    return [path for path, code in zip(given, answers, strict=True) if code not in (errno.EACCES, errno.ENOENT)]


def _knock(path: str) -> int:
    """0 when it opens, otherwise errno."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(_KNOCK_SECONDS)
                knocking.connect(path)
        else:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as problem:
        return problem.errno or errno.ETIMEDOUT
    return 0
