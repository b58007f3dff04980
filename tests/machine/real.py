"""Looking at the real machine, to see that nothing of a runner machine got out."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

# Where something of a machine would show, if it could get out.
WATCHED = (
    "/etc",
    "/usr/local/share",
    "/usr/local/bin",
    "/home",
    "/opt",
    "/run",
    "/var/lib/docker",
    "/var/lib/sudo",
    "/root/.docker",
)


def snapshot() -> dict[str, object]:
    found: dict[str, object] = {
        name: subprocess.run(command, capture_output=True, check=True).stdout
        for name, command in {
            "rules": ["nft", "list", "ruleset"],
            "links": ["ip", "-o", "link"],
            "addresses": ["ip", "-o", "addr"],
            "routes": ["ip", "route", "show", "table", "all"],
        }.items()
    }
    found["mounts"] = Path("/proc/self/mounts").read_text()
    found["forwarding"] = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    found["leaks"] = [str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("leak*")]
    for top in WATCHED:
        for directory, names, files in os.walk(top):
            for path in (Path(directory, name) for name in (*names, *files)):
                with contextlib.suppress(FileNotFoundError):
                    found[str(path)] = _state(path)
    return found


def _state(path: Path) -> tuple[object, ...]:
    about = path.lstat()
    return about.st_mode, about.st_uid, about.st_gid, about.st_ino, about.st_size, about.st_mtime_ns


def runs(pid: int | str) -> bool:
    """Whether a process is there and more than an entry that its new parent has yet to collect."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
