"""The runner machine: network and mount namespaces, the runner's user, sudo, its directories; all of it gone at exit.

    real machine                                internet (tests.world)             runner machine
    process that tests, its own namespaces      lo: all public addresses           eth0 192.0.2.2, 2001:db8:1::2
                                                wire 192.0.2.1, 2001:db8:1::1  ──  default routes, lo

Process ids are the real ones. So a command inside may signal any process of the real machine: never ``pkill`` in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.machine.runner import CHECKOUT, RUNNER, UID, furnish
from tests.machine.uplink import Uplink
from tests.world.guard import ROOT, Outcome
from tests.world.internet import World

ADDRESS, ADDRESS6 = "192.0.2.2", "2001:db8:1::2"  # documentation ranges (RFC 5737, RFC 3849)
GATEWAY, GATEWAY6 = "192.0.2.1", "2001:db8:1::1"
NAMESPACES = {"net": "net", "cgroup": "cgroup", "mnt": "mount"}  # as the kernel calls them: as nsenter(1) does; mounts last
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GROUP = "/system.slice/hosted-compute-agent.service"
# $1: control group, $2: directory; the command follows. What is started keeps its process id from the call to the command.
_ENTER = 'echo $$ >"/sys/fs/cgroup$1/cgroup.procs" && cd "$2" && shift 2 && unset OLDPWD && exec "$@"'


class Machine:
    """Use as a context manager. ``world``: its internet, with what the servers and the sniffer saw. ``uplink``: see there."""

    python = sys.executable  # runs inside too, for every user, with the package and all it needs

    def __init__(self, *, uplink: bool = False) -> None:
        self._uplink = uplink
        self.name = f"ebbgate-machine-{secrets.token_hex(4)}"
        self._stack = contextlib.ExitStack()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.world = stack.enter_context(World(("2001:db8::10", 80, "http")))
            self.holder = self._hold(stack)
            self._inodes = {os.stat(f"/proc/{self.holder}/ns/{kind}").st_ino for kind in ("net", "mnt")}
            self._connect()
            self.inside(lambda: furnish(self.world.authority.cert_pem.bytes().decode()))
            if self._uplink:
                Uplink(self.world)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    # --- where it is ----------------------------------------------------------------------------------------------

    @property
    def netns_path(self) -> Path:
        return Path(f"/proc/{self.holder}/ns/net")

    @property
    def mntns_path(self) -> Path:
        return Path(f"/proc/{self.holder}/ns/mnt")

    @property
    def root(self) -> Path:
        """Its files, seen from here. For looking: an absolute symbolic link in it leads to the real machine. See ``inside``."""
        return Path(f"/proc/{self.holder}/root")

    # --- doing things in it ---------------------------------------------------------------------------------------

    def inside[T](self, function: Callable[[], T]) -> T:
        """Call a function in a thread that is inside, as root: for files, sockets and netlink. Not for starting processes."""
        result: list[T] = []

        def entered() -> None:
            os.unshare(os.CLONE_FS)  # a thread that shares its root directory may not change it
            for one in opened:
                os.setns(one)
            result.append(function())

        with contextlib.ExitStack() as stack:
            opened = [os.open(f"/proc/{self.holder}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in NAMESPACES]
            for one in opened:
                stack.callback(os.close, one)
            self.world.namespace._in_thread(entered)
        return result[0]

    def popen(self, command: list[str], *, user: str = RUNNER, env: dict[str, str] | None = None, cwd: str = CHECKOUT, **options):
        """``subprocess.Popen`` of a command inside; its ``pid`` is the command's own. ``env`` is added to the user's."""
        switch = [] if user == "root" else ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]
        kinds = [f"--{kind}" for kind in NAMESPACES.values()]
        enter = ["nsenter", f"--target={self.holder}", *kinds, "--", "sh", "-c", _ENTER, "sh"]
        options.setdefault("start_new_session", True)
        command = [*enter, _GROUP, cwd, *switch, *command]
        self._started.append(subprocess.Popen(command, env=self.environment(user, env), cwd="/", **options))
        return self._started[-1]

    def environment(self, user: str = RUNNER, extra: dict[str, str] | None = None) -> dict[str, str]:
        home = "/root" if user == "root" else f"/home/{user}"
        own = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": user, "LOGNAME": user}
        return {**own, "SHELL": "/bin/bash", **(extra or {})}

    def run(self, command: list[str], *, timeout: float = 60, input: bytes = b"", **options) -> Outcome:  # noqa: A002 (as subprocess.run)
        """Run a command as ``popen`` does and wait for it; not for what it leaves behind in the background."""
        with contextlib.ExitStack() as stack:
            stdin = stack.enter_context(tempfile.TemporaryFile())
            stdin.write(input)
            stdin.seek(0)
            ends = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
            for end in (end for pair in ends for end in pair):
                os.fchmod(end, 0o666)  # another user may open /dev/stdout
            try:
                process = self.popen(command, stdin=stdin, stdout=ends[0][1], stderr=ends[1][1], **options)
            finally:
                for reading, writing in ends:
                    os.close(writing)
                    stack.callback(os.close, reading)
            stdout, stderr = _collect(process, [reading for reading, _writing in ends], timeout)
        return Outcome(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def sh(self, script: str, **options) -> Outcome:
        return self.run(["bash", "-e", "-c", script], **options)

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644, user: str = RUNNER) -> str:
        """Make a file inside, that belongs to a user."""

        def make() -> None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).unlink(missing_ok=True)
            Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
            Path(path).chmod(mode)
            shutil.chown(path, *((0, 0) if user == "root" else (UID, UID)))

        self.inside(make)
        return path

    def read(self, path: str) -> str:
        return self.inside(lambda: Path(path).read_text(errors="replace"))

    # --- looking at it --------------------------------------------------------------------------------------------

    def sent(self) -> set[tuple[str, int, int]]:
        """(address, protocol, port) of what left eth0 for the internet since ``world.forget``; neighbour discovery apart."""
        own = {ADDRESS, ADDRESS6, GATEWAY, GATEWAY6}
        return {
            one for one in self.world.sniffer.destinations() if one[0] not in own and not one[0].startswith(("ff02:", "fe80:"))
        }

    def processes(self) -> list[int]:
        """Processes in its namespaces (the holder apart) and, of containers too, in its control groups."""
        found = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._inodes & set(_namespaces(pid))}
        with contextlib.suppress(OSError):
            for file in (self.root / "sys/fs/cgroup").rglob("cgroup.procs"):
                found |= {int(line) for line in file.read_text().split()}
        return sorted(found - {self.holder, os.getpid()})

    # --- making it ------------------------------------------------------------------------------------------------

    def _hold(self, stack: contextlib.ExitStack) -> int:
        needed = {str(Path(sys.executable).resolve().parent.parent), str(ROOT)}
        script = str(Path(__file__).with_name("mounts.sh"))
        command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", script, self.name, *sorted(needed)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/")
        stack.callback(self._release, holder)
        if holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the runner machine's mounts could not be made (exit {holder.wait(10)})")
        return holder.pid

    def _release(self, holder: subprocess.Popen[bytes]) -> None:
        """End all that runs inside: by the cgroup, whatever namespaces it is in; then by namespaces, whatever cgroup."""
        deadline = time.monotonic() + 20
        if hasattr(self, "_inodes"):
            while (left := self.processes()) and time.monotonic() < deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                for process in self._started:
                    process.poll()
                time.sleep(0.01)
        holder.stdin.close()
        try:
            code = holder.wait(60)
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
        if code and hasattr(self, "_inodes"):
            raise RuntimeError(f"the control groups of {self.name} could not be taken away")

    def _connect(self) -> None:
        here = [f"link add wire type veth peer name eth0 netns {self.holder}", f"addr add {GATEWAY}/24 dev wire"]
        there = ["link set lo up", f"addr add {ADDRESS}/24 dev eth0", "link set eth0 up", f"route add default via {GATEWAY}"]
        self.world.namespace.run(lambda: _ip([*here, f"addr add {GATEWAY6}/64 dev wire nodad", "link set wire up"]))
        self.inside(lambda: _ip([*there, f"addr add {ADDRESS6}/64 dev eth0 nodad", f"route add default via {GATEWAY6}"]))


def _ip(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True)


def _namespaces(pid: int) -> list[int]:
    found = []
    for kind in ("net", "mnt"):
        with contextlib.suppress(OSError):
            found.append(os.stat(f"/proc/{pid}/ns/{kind}").st_ino)
    return found


def _collect(process: subprocess.Popen[bytes], pipes: list[int], timeout: float) -> list[bytes]:
    """All that was written to the pipes until the process ended; others may hold them open for longer."""
    texts = {pipe: bytearray() for pipe in pipes}
    deadline = time.monotonic() + timeout
    ended = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        for one in (*pipes, ended):
            os.set_blocking(one, False)
            selector.register(one, selectors.EVENT_READ)
        over = False
        while not over:
            ready = [key.fd for key, _events in selector.select(max(0.0, deadline - time.monotonic()))]
            if not ready:
                process.kill()
                process.wait()
                os.close(ended)
                raise subprocess.TimeoutExpired(process.args, timeout, *map(bytes, texts.values()))
            over = ended in ready
            for pipe in texts if over else ready:
                try:
                    data = os.read(pipe, 1 << 16)  # the size of a pipe: at the end, one read has it all
                except BlockingIOError:
                    continue
                texts[pipe] += data
                if not data and pipe in selector.get_map():
                    selector.unregister(pipe)
    os.close(ended)
    process.wait()
    return [bytes(text) for text in texts.values()]
