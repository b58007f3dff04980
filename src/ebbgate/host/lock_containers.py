"""The second lock: no daemon starts containers, as root, for the job.

Whoever may write to Docker's socket is root: a container may be privileged and mount the machine's disk. The sockets of
all such daemons become root's alone (0600). Leaving a group instead does nothing to processes that run, which keep theirs.

Found by the usual paths and by what the daemons themselves listen on, wherever that is. Verified by connecting as the
job's user, which must fail with EACCES, before any daemon answers. A daemon may also listen on TCP: then it is asked, and
if it answers, the lock does not hold.

Not closed, since they need no lock: rootless runtimes (podman, buildah, Docker in its rootless mode) are ordinary
processes of the user, whose packets pass the same rules. What no mode closes: a connection that is open already, and
containers that were given the socket before; both are named in the result.
"""

from __future__ import annotations

import http.client
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import netlink, permissions
from ebbgate.host.lockdown import LockResult
from ebbgate.host.permissions import Memory
from ebbgate.host.runner_identity import Runner, opened_by

# Usual places, relative to the machine's root; patterns allowed. Each daemon's own documentation names them.
SOCKETS = (
    "run/docker.sock",
    "run/docker/*.sock",
    "run/docker-*.sock",
    "run/containerd/*.sock*",
    "run/cri-dockerd.sock",
    "run/dockershim.sock",
    "run/podman/*.sock",
    "run/buildkit/*.sock",
    "run/crio/*.sock",
    "run/balena-engine.sock",
    "run/k3s/containerd/*.sock*",
    "run/incus/unix.socket*",
    "run/libvirt/*-sock",  # its users start machines with any disk: root as well
    "var/lib/incus/unix.socket*",
    "var/lib/lxd/unix.socket",
    "var/snap/lxd/common/lxd/unix.socket",
    "var/snap/lxd/common/lxd-user/unix.socket",
    "var/snap/microk8s/common/run/containerd.sock*",
    "var/snap/docker/common/run/*.sock",
)
# Names of the processes (comm, at most 15 characters) whose listening sockets are closed wherever they are.
DAEMONS = frozenset((
    "dockerd", "containerd", "podman", "buildkitd", "crio", "cri-dockerd", "balena-engine-d",
    "k3s-server", "rke2", "kubelite", "lxd", "incusd", "libvirtd", "virtqemud", "virtlxcd",
))  # fmt: skip
MAX_SOCKETS = 200
MAX_LISTED = 20
_CONNECT_SECONDS = 1.0
_ESTABLISHED, _LISTENING = 1, 10  # include/net/tcp_states.h, which Unix sockets share


@dataclass(frozen=True, slots=True)
class _Daemon:
    pid: int
    name: str
    sockets: frozenset[int]  # inodes


class ContainerLock:
    """``containers: close``. memory: file in the guard's state directory that keeps the sockets' former owners."""

    name = "containers"

    def __init__(self, runner: Runner, memory: Path, *, root: Path = Path("/"), proc: Path = Path("/proc")) -> None:
        self._runner, self._root, self._proc = runner, root, proc
        self._memory = Memory(memory)

    def apply(self) -> LockResult:
        """Close every socket and verify. PlatformError, IntegrityError."""
        if self._runner.uid == 0:
            raise PlatformError(
                "the job's steps run as root", "root passes every lock", "run the runner as another user, or `containers: keep`"
            )
        try:
            changed = [permissions.change(path, uid=0, gid=0, mode=0o600) for path in self._sockets()]
        except OSError as problem:
            raise PlatformError("a container socket could not be closed", str(problem)[:300], "use `containers: keep`") from None
        self._memory.add(one for one in changed if one is not None)
        return self.verify()

    def verify(self) -> LockResult:
        """Knock at every socket as the job's user. IntegrityError when one opens."""
        paths = self._sockets()
        opened = opened_by(self._runner, paths)
        if opened:
            raise IntegrityError("a container socket is open to the job", opened[0], "use `containers: keep`, or stop the daemon")
        daemons = list(_daemons(self._proc))
        for port in self._ports(daemons):
            raise IntegrityError(
                f"a container daemon answers everybody on TCP port {port}",
                "",
                "take tcp:// out of its hosts, or `containers: keep`",
            )
        detail = [f"closed: {path}" for path in paths[:MAX_LISTED]] + self._remarks()
        sentence = f"{len(paths)} container sockets are closed to the job, tried and refused."
        if not paths:
            sentence = "No container daemon listens on this machine."
        return LockResult(self.name, True, True, sentence, tuple(detail), tuple(self._connected(paths)[:MAX_LISTED]))

    def undo(self) -> LockResult:
        """Give the sockets back to whom they belonged."""
        count = self._memory.restore()
        return LockResult(self.name, False, False, f"{count} container sockets are as they were.")

    def _sockets(self) -> list[str]:
        """Real paths of sockets to close, each file once."""
        found: dict[tuple[int, int], str] = {}
        usual = (path for pattern in SOCKETS for path in sorted(self._root.glob(pattern)))
        for path in (*usual, *self._listening()):
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISSOCK(status.st_mode) and len(found) < MAX_SOCKETS:
                found.setdefault((status.st_dev, status.st_ino), os.path.realpath(path))
        return list(found.values())

    def _listening(self) -> Iterator[Path]:
        """Paths that running daemons listen on, by the list of their network namespace."""
        for daemon in _daemons(self._proc):
            for line in _lines(self._proc / str(daemon.pid) / "net/unix"):
                parts = line.split(maxsplit=7)
                if len(parts) == 8 and parts[7].startswith("/") and parts[6].isdigit() and int(parts[6]) in daemon.sockets:
                    yield self._root / parts[7].lstrip("/")

    def _ports(self, daemons: Iterable[_Daemon]) -> Iterator[int]:
        """TCP ports on which a daemon speaks Docker's interface without asking who is there."""
        for daemon in daemons:
            for table in ("tcp", "tcp6"):
                for line in _lines(self._proc / str(daemon.pid) / "net" / table)[1:]:
                    parts = line.split()
                    if parts[3] == "0A" and int(parts[9]) in daemon.sockets:
                        port = int(parts[1].rpartition(":")[2], 16)
                        if _speaks_docker(port):
                            yield port

    def _remarks(self) -> list[str]:
        units = [path.name for path in self._root.glob("*/systemd/system/*.socket") if path.name.startswith(("docker", "podman"))]
        units += [
            path.name for path in self._root.glob("usr/lib/systemd/system/*.socket") if path.name.startswith(("docker", "podman"))
        ]
        remarks = [f"{unit}: systemd makes this socket anew, open again, when root restarts it" for unit in sorted(set(units))]
        own = self._root / f"run/user/{self._runner.uid}"
        rootless = [path for pattern in ("docker.sock", "podman/podman.sock") for path in own.glob(pattern)]
        return remarks + [f"rootless, an ordinary process under the rules: {path}" for path in rootless]

    def _connected(self, paths: list[str]) -> list[str]:
        """Processes of the job's user that hold a connection which was opened while the socket was open."""
        with netlink.diagnostic_socket() as diagnostics:
            every = netlink.unix_sockets(diagnostics)
        ours = {"/" + str(Path(path).relative_to(os.path.realpath(self._root))) for path in paths} | set(paths)
        ours |= {path.replace("/run/", "/var/run/", 1) for path in ours if path.startswith("/run/")}
        peers = {one.peer for one in every if one.state == _ESTABLISHED and one.path in ours and one.peer}
        if not peers:
            return []
        holders = [(pid, inodes & peers) for pid, inodes in _sockets_of(self._proc, uid=self._runner.uid)]
        return [
            f"Process {pid} has had a connection to a container daemon since before the lock." for pid, held in holders if held
        ]


def _speaks_docker(port: int) -> bool:
    for host in ("127.0.0.1", "::1"):
        asking = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
        try:
            asking.request("GET", "/_ping")
            if asking.getresponse().getheader("Api-Version"):
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            asking.close()
    return False


def _daemons(proc: Path) -> Iterator[_Daemon]:
    """Container daemons that run as root."""
    for pid, inodes in _sockets_of(proc, uid=0, names=DAEMONS):
        yield _Daemon(pid, _comm(pid, proc), frozenset(inodes))


def _sockets_of(proc: Path, *, uid: int, names: frozenset[str] | None = None) -> Iterator[tuple[int, set[int]]]:
    """(pid, inodes of its sockets) of every process of a user, or of those with these names."""
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            if os.stat(proc / entry).st_uid != uid or (names is not None and _comm(int(entry), proc) not in names):
                continue
            with os.scandir(proc / entry / "fd") as descriptors:
                links = [os.readlink(one.path) for one in descriptors]
        except OSError:
            continue  # it has ended meanwhile
        yield int(entry), {int(link[8:-1]) for link in links if link.startswith("socket:[")}


def _comm(pid: int, proc: Path) -> str:
    return "".join(_lines(proc / str(pid) / "comm")[:1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
