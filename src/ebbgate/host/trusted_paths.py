"""Files that root reads or runs, and which of them the runner may write: those are root without asking.

GitHub's hosted Ubuntu images run ``chmod -R 777 /usr/share`` when they are made (actions/runner-images,
images/ubuntu/scripts/build/configure-system.sh). Below it lie the rules of polkit and the service files of D-Bus, which
daemons of root read anew whenever they change, the crash handler that the kernel starts as root, and the code of root's
Perl and Python programs. Taking sudo away and leaving those is a locked door in an open wall.

Not the whole of /usr/share is closed, since jobs write there without sudo (.NET, conda): only what root trusts. The
directories above are made sticky, or a step would rename ``dbus-1`` and put its own in place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbgate.host import permissions
from ebbgate.host.permissions import Access
from ebbgate.host.runner_identity import Runner

# Whole trees, relative to the machine's root. Read by: every daemon (etc), dbus-daemon, polkitd, the kernel (apport),
# whatever loads p11-kit modules, adduser and debconf (perl5), needrestart and ubuntu-advantage (python3), podman, PAM, systemd.
TREES = (
    "etc",
    "usr/share/dbus-1",
    "usr/share/polkit-1",
    "usr/share/apport",
    "usr/share/p11-kit",
    "usr/share/perl5",
    "usr/share/perl",
    "usr/share/python3",
    "usr/share/debconf",
    "usr/share/ca-certificates",
    "usr/share/keyrings",
    "usr/share/containers",
    "usr/share/pam",
    "usr/share/pam-configs",
    "usr/share/systemd",
    "usr/share/initramfs-tools",
    "usr/share/unattended-upgrades",
    "usr/share/update-notifier",
    "usr/share/needrestart",
    "usr/local/share/dbus-1",
    "usr/local/share/polkit-1",
    "usr/local/share/ca-certificates",
    "usr/local/lib/systemd",
    "usr/lib/systemd",
    "usr/lib/polkit-1",
    "usr/lib/dbus-1.0",
    "usr/libexec/sudo",
    "usr/lib/sudo",
    "run/systemd/system",
)
# Directories in which root's PATH, loader and Python look, patterns allowed: their own entries only. Where /usr/local/bin
# is writable (hosted images again: install-nodejs.sh), a program named like one that a daemon of root calls by its bare
# name, which Azure's agent does with iptables every few seconds, is root. `npm install --global` then needs a prefix.
SHALLOW = (
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "usr/local/lib",
    "usr/lib",
    "usr/libexec",
    "usr/local/lib/python3*/dist-packages",
    "usr/lib/python3/dist-packages",
)
MAX_ENTRIES = 60_000  # hosted images have about 12,000 in these trees; a bound so that a start cannot hang
MAX_LISTED = 40
# Set-user-ID programs that Debian and Ubuntu ship and that ask before they give: everything else is worth a line.
ORDINARY_SETUID = frozenset((
    "chfn", "chsh", "fusermount", "fusermount3", "gpasswd", "mount", "newgidmap", "newgrp", "newuidmap", "passwd", "ping",
    "pkexec", "su", "sudo", "sudo.ws", "sudoedit", "umount", "unix_chkpwd", "ssh-keysign", "dbus-daemon-launch-helper",
    "polkit-agent-helper-1", "snap-confine", "at", "doas", "chage", "expiry", "crontab",
))  # fmt: skip
_SETUID_PLACES = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "usr/lib", "usr/libexec", "opt")


@dataclass(frozen=True, slots=True)
class Writable:
    """A path that the runner may write although root trusts it. sticky: only its entries must be safe from renaming."""

    path: str
    sticky: bool = False


def writable(runner: Runner, root: Path = Path("/"), proc: Path = Path("/proc")) -> list[Writable]:
    """What the runner may write of what root trusts, by owner, group and mode; bounded by MAX_ENTRIES."""
    found: dict[str, Writable] = {}
    for path in _above(root):
        if _may_write(path, runner) and not _is_sticky(path):
            found[str(path)] = Writable(str(path), sticky=True)
    for path in (*_walk(root), *_programs_of_root(root, proc)):
        if str(path) not in found and _may_write(path, runner):
            found[str(path)] = Writable(str(path))
    return list(found.values())


def close(paths: Iterable[Writable]) -> list[Access]:
    """Take the runner's right to write away. Returns what was before. OSError."""
    changed: list[Access] = []
    for one in paths:
        now = permissions.access_of(one.path)
        if now is None:
            continue
        mode = now.mode | stat.S_ISVTX if one.sticky else now.mode & ~0o022
        # A file of the runner's own becomes root's, or its owner would give the right back.
        before = permissions.change(one.path, uid=0, gid=now.gid if now.uid == 0 else 0, mode=mode)
        if before is not None:
            changed.append(before)
    return changed


def _may_write(path: Path, runner: Runner) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False  # links lead elsewhere; sockets and pipes are there to be written to
    if found.st_uid == runner.uid:
        return True  # its owner can always give itself the right
    if found.st_gid in (runner.gid, *runner.groups):
        return bool(found.st_mode & 0o020)
    return bool(found.st_mode & 0o002)


def _is_sticky(path: Path) -> bool:
    found = os.lstat(path)
    return bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0


def _above(root: Path) -> list[Path]:
    """Directories over the trees, the machine's root included."""
    parents = {parent for name in TREES for parent in (root / name).parents if parent.is_relative_to(root)}
    return sorted(path for path in parents if path.is_dir() and not path.is_symlink())


def _walk(root: Path) -> Iterator[Path]:
    budget = MAX_ENTRIES
    waiting = [(root / name, True) for name in TREES]
    waiting += [(path, False) for name in SHALLOW for path in root.glob(name)]
    while waiting and budget > 0:
        directory, deep = waiting.pop()
        if directory.is_symlink() or not directory.is_dir():
            continue
        yield directory
        with os.scandir(directory) as entries:
            for entry in entries:
                budget -= 1
                if entry.is_dir(follow_symlinks=False):
                    if deep:
                        waiting.append((Path(entry.path), True))
                elif not entry.is_symlink():
                    yield Path(entry.path)


def _programs_of_root(root: Path, proc: Path) -> Iterator[Path]:
    """Programs of root's running processes: who may write them is root after the next restart."""
    seen: set[str] = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            if os.stat(proc / pid).st_uid != 0:
                continue
            program = os.readlink(proc / pid / "exe")
        except OSError:
            continue
        if program not in seen and program.startswith("/"):
            seen.add(program)
            yield root / program.lstrip("/")


def unusual_setuid(root: Path = Path("/")) -> tuple[str, ...]:
    """Set-user-ID programs of root beyond those that distributions ship, for information; bounded."""
    found: list[str] = []
    budget = MAX_ENTRIES
    waiting = [(root / place, 3 if place in ("usr/lib", "usr/libexec", "opt") else 1) for place in _SETUID_PLACES]
    while waiting and budget > 0 and len(found) < MAX_LISTED:
        directory, depth = waiting.pop()
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        budget -= len(entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth > 1:
                    waiting.append((Path(entry.path), depth - 1))
            elif entry.name not in ORDINARY_SETUID and not entry.is_symlink():
                mode = entry.stat(follow_symlinks=False)
                if mode.st_mode & stat.S_ISUID and mode.st_uid == 0:
                    found.append(entry.path)
    return tuple(sorted(found))
