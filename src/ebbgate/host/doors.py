"""Doors to programs outside: Unix sockets and spools through which a sealed command could have someone else act for it.

A network namespace closes abstract sockets but not sockets with a path. So the enclosure covers

1. whole directories where daemons put their sockets (``/run`` and its kin), with empty ones;
2. every socket found elsewhere: those the kernel lists as listening, those that are mount points or named by the
   environment, and those a bounded look into the usual directories finds. An empty file is laid over each;
3. spools that a daemon outside executes from: cron and at.

For root there is more, since root may write where the kernel or a daemon of the machine reads: ``/proc/sys``, ``/sys``,
device nodes, ``/etc/cron.*``. A door can be left open by name or path (``--open-door``); the report says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import PolicyError

COVERED_DIRECTORIES = ("/run", "/var/run", "/var/spool/cron", "/var/spool/at", "/var/spool/anacron", "/dev/shm", "/dev/mqueue")  # noqa: S108 - covered, not used
ROOT_COVERED_DIRECTORIES = (
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
)
ROOT_READ_ONLY = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/sys", "/etc/crontab")
# Parts of /run that are data, not doors: NixOS keeps its programs there, orchestrators mount a job's secrets there.
KEPT_IN_RUN = ("current-system", "booted-system", "wrappers", "opengl-driver", "secrets", "lock")
# Directories in which programs of a user usually leave sockets, and how deep to look. Bounded: this runs at each start.
SEARCHED = (("/tmp", 3), ("/var/tmp", 2), ("/var/lib", 2), ("/var/snap", 4), ("/opt", 2))  # noqa: S108
SEARCHED_IN_HOME = 3
SEARCHED_IN_MOUNTS = 2  # a host's /run or / mounted into a container: its sockets are in nobody's list here
KERNEL_FILE_SYSTEMS = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "bpf")
MAX_SEARCHED_ENTRIES = 20_000
SOCKET_VARIABLES = (
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "GPG_AGENT_INFO",
    "BUILDKIT_HOST",
    "CONTAINERD_ADDRESS",
    "VSCODE_IPC_HOOK_CLI",
    "VSCODE_GIT_IPC_HANDLE",
    "TMUX",
    "NIX_REMOTE",
    "XDG_RUNTIME_DIR",
)
# Short names for --open-door; several paths because distributions differ.
NAMED_DOORS: Mapping[str, tuple[str, ...]] = {
    "docker": ("/run/docker.sock", "/var/run/docker.sock"),
    "containerd": ("/run/containerd",),
    "podman": ("/run/podman",),
    "dbus": ("/run/dbus",),
    "systemd": ("/run/systemd",),
    "snapd": ("/run/snapd.socket", "/run/snapd-snap.socket"),
    "x11": ("/tmp/.X11-unix",),  # noqa: S108
    "postgresql": ("/run/postgresql",),
    "mysql": ("/run/mysqld",),
}


@dataclass(frozen=True, slots=True)
class Doors:
    """What will be covered and what stays open. directories: covered with empty ones. sockets: covered with a file.
    opened: paths left as they are; requested: the words by which the user asked for that, for the report.
    """

    directories: tuple[str, ...]
    sockets: tuple[str, ...]
    read_only: tuple[str, ...]
    opened: tuple[str, ...]
    requested: tuple[str, ...]


def find_doors(environ: Mapping[str, str], *, open_doors: Iterable[str] = (), as_root: bool, proc: Path = Path("/proc")) -> Doors:
    """Look for the doors of this machine, as the calling process sees them. PolicyError for an unknown door name."""
    requested = tuple(open_doors)
    opened = _opened(requested, environ)
    directories = [path for path in COVERED_DIRECTORIES + (ROOT_COVERED_DIRECTORIES if as_root else ()) if _real_dir(path)]
    found = {
        *_listening(proc),
        *_mounted(proc),
        *_named_by(environ),
        *_searched([*SEARCHED, (environ.get("HOME", "/root"), SEARCHED_IN_HOME)]),
        *_searched([(path, SEARCHED_IN_MOUNTS) for path in _mounted(proc) if path not in ("/", *directories)]),
    }
    outside = sorted(path for path in found if not _below(path, directories) and not _below(path, opened) and _is_door(path))
    read_only = [path for path in ROOT_READ_ONLY if as_root and os.path.exists(path)]
    return Doors(tuple(directories), tuple(outside), tuple(read_only), tuple(opened), requested)


def _opened(requested: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    paths: list[str] = []
    for word in requested:
        if word == "ssh-agent":
            paths += [environ["SSH_AUTH_SOCK"]] if environ.get("SSH_AUTH_SOCK") else []
        elif word in NAMED_DOORS:
            paths += [path for path in NAMED_DOORS[word] if os.path.exists(path)]
        elif word.startswith("/"):
            paths.append(word)
        else:
            known = ", ".join(sorted([*NAMED_DOORS, "ssh-agent"]))
            raise PolicyError(f"unknown door: {word}", f"known doors: {known}", "name one of these, or give a path")
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def _real_dir(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _below(path: str, parents: Iterable[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == parent or real.startswith(parent + "/") for parent in parents)


def _is_door(path: str) -> bool:
    """A socket or a named pipe that this process could reach at all."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)


def _listening(proc: Path) -> Iterator[str]:
    """Paths of all bound Unix sockets that the kernel lists for this network namespace."""
    try:
        lines = (proc / "net" / "unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        parts = line.split(maxsplit=7)
        if len(parts) == 8 and parts[7].startswith("/"):
            yield parts[7]


def _mounted(proc: Path) -> Iterator[str]:
    """Mount points, of which some are sockets or hold some: how a container is given its host's Docker."""
    try:
        lines = (proc / "self" / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        if line.partition(" - ")[2].split(" ")[0] not in KERNEL_FILE_SYSTEMS:
            yield line.split()[4].encode().decode("unicode_escape", errors="replace")


def _named_by(environ: Mapping[str, str]) -> Iterator[str]:
    for name in SOCKET_VARIABLES:
        for part in environ.get(name, "").replace("unix:", "").replace("path=", "").replace("//", "/").split(","):
            if part.startswith("/"):
                yield part.split(":")[0]


def _searched(roots: Iterable[tuple[str, int]]) -> Iterator[str]:
    budget = MAX_SEARCHED_ENTRIES
    waiting = [(root, depth) for root, depth in roots if root != "/"]
    while waiting and budget > 0:
        directory, depth = waiting.pop(0)
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        budget -= len(entries)
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if depth > 1:
                        waiting.append((entry.path, depth - 1))
                elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                    yield entry.path
            except OSError:
                continue
