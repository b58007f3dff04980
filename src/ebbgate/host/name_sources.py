"""The files from which this machine's names are resolved, and whether they are still what they were.

The gate resolves with the system's own resolver, which reads these files anew for each name. A workload of root could write
into them and have an allowed name lead to an address of its choice. Inside the enclosure they are covered (``masks``); this
holds where a whole directory was exchanged around the covers.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

HOSTS, RESOLVER = "/etc/hosts", "/etc/resolv.conf"
READ_ONLY = ("/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
ALL = (HOSTS, RESOLVER, *READ_ONLY)

_Seen = tuple[tuple[int, ...], bytes]


class NameSources:
    """A picture of the files, taken at the start. changed: the first that was found changed since, and stays so."""

    def __init__(self, paths: Iterable[str] = ALL) -> None:
        self._seen = {path: _look(path) for path in paths}
        self.changed = ""

    def intact(self) -> bool:
        """Whether every file still says what it said. One that was only written anew does."""
        for path, before in self._seen.items():
            if self.changed or _stamp(path) == before[0]:
                continue
            now = _look(path)
            if now[1] != before[1]:
                self.changed = path
            else:
                self._seen[path] = now
        return not self.changed


def _look(path: str) -> _Seen:
    stamp = _stamp(path)
    try:
        return stamp, hashlib.blake2b(Path(path).read_bytes()).digest()
    except OSError:
        return stamp, b""


def _stamp(path: str) -> tuple[int, ...]:
    try:
        seen = os.stat(path)
    except OSError:
        return ()
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def load_name_services() -> None:
    """Load the C library's modules for names now: it would take them from the disk when the first name is asked for."""
    try:
        text = Path("/etc/nsswitch.conf").read_text(errors="replace")
    except OSError:
        return
    for line in re.findall(r"^hosts:(.*)$", text, re.MULTILINE):
        for service in re.findall(r"\b[a-z][a-z0-9_]*\b", re.sub(r"\[.*?\]|#.*", "", line)):
            with contextlib.suppress(OSError):  # built into the C library, or not installed
                ctypes.CDLL(f"libnss_{service}.so.2")
