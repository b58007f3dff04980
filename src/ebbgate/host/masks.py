"""Laying the covers over doors, inside the enclosure's own mount namespace and nowhere else.

Each function expects to run in a private mount namespace (``make_private`` first). The covers become immovable when the
command gets a further user and mount namespace of its own: mounts inherited across user namespaces are locked
(mount_namespaces(7), "restrictions on mount namespaces").
"""

from __future__ import annotations

import os
from pathlib import Path

from ebbgate.host import kernel
from ebbgate.host.doors import KEPT_IN_RUN, Doors
from ebbgate.host.name_sources import HOSTS, READ_ONLY

# The devices that programs need; everything else under /dev (disks, memory, hypervisor) is out of reach for root.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm", "net/tun")
GUARD_DIRECTORY = "run/ebbgate"


def make_private() -> None:
    """Nothing mounted from here on is seen outside, and nothing mounted outside later is seen here."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)


def fresh_proc() -> None:
    """A /proc of the new PID namespace: processes outside have no entry in it."""
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def cover(doors: Doors, *, uid: int, gid: int, as_root: bool) -> None:
    """Cover all doors. Raises OSError at the first that cannot be covered: a half-covered enclosure is none."""
    kept = {path: os.open(path, os.O_PATH) for path in doors.opened}
    empty = _empty_file()
    for directory in doors.directories:
        _cover_directory(directory, uid, gid)
    for path in doors.sockets:
        if os.path.exists(path):
            kernel.mount(empty, path, "", kernel.MS_BIND)
    if as_root:
        _private_devices()
    for path in doors.read_only:
        if path not in doors.opened:
            _read_only(path)
    for path, descriptor in kept.items():
        _reopen(path, descriptor)
        os.close(descriptor)


def working_directory() -> str:
    """The working directory's real path; "/" when it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def enter_again(directory: str, covers: tuple[str, ...]) -> None:
    """Go to the working directory by its path. A process that stood below a cover when it was laid still stands below it,
    and what is there can be reached by relative names. Where the cover has no such directory, the root takes its place.
    """
    try:
        os.chdir(directory)
    except OSError:
        if any(f"{directory}/".startswith(f"{cover}/") for cover in (*covers, "/proc")):
            os.chdir("/")


def _empty_file() -> str:
    """Something that is no socket: connecting to it is refused, executing or reading it gives nothing."""
    return "/dev/null"


def _cover_directory(directory: str, uid: int, gid: int) -> None:
    before = os.stat(directory)
    kept = {
        name: os.open(f"{directory}/{name}", os.O_PATH)
        for name in (KEPT_IN_RUN if directory.endswith("run") else ())
        if os.path.isdir(f"{directory}/{name}") and not os.path.islink(f"{directory}/{name}")
    }
    mode = before.st_mode & 0o7777
    kernel.mount("ebbgate", directory, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode={mode:o},size=64m")
    for name, descriptor in kept.items():
        os.mkdir(f"{directory}/{name}")
        kernel.mount(f"/proc/self/fd/{descriptor}", f"{directory}/{name}", "", kernel.MS_BIND | kernel.MS_REC)
        os.close(descriptor)
    if directory == "/run":
        _runtime_directory(uid, gid)


def _runtime_directory(uid: int, gid: int) -> None:
    """An empty XDG_RUNTIME_DIR, where the user's own sockets used to be."""
    path = Path(f"/run/user/{uid}")
    path.mkdir(parents=True)
    path.chmod(0o700)
    os.chown(path, uid, gid)


def _private_devices() -> None:
    held = {name: os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES if os.path.exists(f"/dev/{name}")}
    console = os.open("/dev/pts", os.O_PATH) if os.path.isdir("/dev/pts") else None
    kernel.mount("ebbgate", "/dev", "tmpfs", kernel.MS_NOSUID, "mode=755,size=64m")
    for name, descriptor in held.items():
        target = Path("/dev") / name
        target.parent.mkdir(exist_ok=True)
        target.touch()
        kernel.mount(f"/proc/self/fd/{descriptor}", target, "", kernel.MS_BIND)
        os.close(descriptor)
    for name, link in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(link, f"/dev/{name}")
    Path("/dev/shm").mkdir(mode=0o1777)  # noqa: S108 - a fresh one
    Path("/dev/shm").chmod(0o1777)  # noqa: S108
    if console is not None:
        Path("/dev/pts").mkdir()
        kernel.mount(f"/proc/self/fd/{console}", "/dev/pts", "", kernel.MS_BIND)
        os.symlink("pts/ptmx", "/dev/ptmx")
        os.close(console)


def _read_only(path: str) -> None:
    kernel.mount(path, path, "", kernel.MS_BIND | kernel.MS_REC)
    kernel.make_read_only(path)


def _reopen(path: str, descriptor: int) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        target.mkdir(exist_ok=True)
    elif not target.exists():
        target.touch()
    kernel.mount(f"/proc/self/fd/{descriptor}", target, "", kernel.MS_BIND | kernel.MS_REC)


def resolver_configuration(nameservers: tuple[str, ...], real_path: str) -> None:
    """Lay a resolv.conf over the machine's: our addresses, no search list (it would ask for names nobody meant)."""
    directory = _guard_directory()
    text = "".join(f"nameserver {address}\n" for address in nameservers) + "options edns0\n"
    lay_file(real_path, text.encode(), directory / "resolv.conf")


def name_sources() -> None:
    """Give the command a hosts file of its own, to write to if it likes, and make the other files for names read-only.

    The gate outside reads the real ones while the command runs.
    """
    for path in filter(os.path.isfile, READ_ONLY):
        _read_only(os.path.realpath(path))
    if os.path.isfile(HOSTS):
        seen, copy = os.stat(HOSTS), _guard_directory() / "hosts"
        copy.write_bytes(Path(HOSTS).read_bytes())
        copy.chmod(seen.st_mode & 0o777)
        kernel.mount(str(copy), os.path.realpath(HOSTS), "", kernel.MS_BIND)


def _guard_directory() -> Path:
    directory = Path("/") / GUARD_DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def guard_file(name: str, content: bytes) -> str:
    """A read-only file of the guard inside the enclosure; its path."""
    path = _guard_directory() / name
    path.write_bytes(content)
    path.chmod(0o444)
    return str(path)


def lay_file(target: str, content: bytes, source: Path) -> None:
    """Have ``target`` read as ``content``: bound over it, or written where the (covered) directory is ours."""
    source.write_bytes(content)
    source.chmod(0o444)
    place = Path(target)
    if not place.exists():
        if not target.startswith("/run/"):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    kernel.mount(str(source), place, "", kernel.MS_BIND)


def protect(paths: tuple[str, ...], library: str, writable_below: tuple[str, ...]) -> None:
    """Make the guard's code read-only inside: single paths, and a library with parts of it left as they are."""
    if library:
        kept = {path: os.open(path, os.O_PATH) for path in writable_below}
        _read_only(library)
        for path, descriptor in kept.items():
            kernel.mount(f"/proc/self/fd/{descriptor}", path, "", kernel.MS_BIND)
            os.close(descriptor)
    for path in paths:
        if os.path.exists(path):
            _read_only(path)
