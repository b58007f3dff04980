"""Opening a file that somebody else may have put there: never waiting, no last link, and only what is a small file."""

from __future__ import annotations

import os
import stat

MAX_FILE = 1 << 18  # bytes; credential files have less than 64 KB
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_regular(path: str) -> int | None:
    """A descriptor of a regular file of at most MAX_FILE bytes; None for a FIFO, device, link, empty, large or missing file.

    Other links in the path are followed: who must not be led elsewhere by them calls this ``runner_identity.acting_as`` the
    user whose file it should be.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and 0 < found.st_size <= MAX_FILE:
        return descriptor
    os.close(descriptor)
    return None


def contents(descriptor: int, size: int = MAX_FILE) -> bytes:
    """At most so many bytes from where it is read now; what could be read when reading fails."""
    parts: list[bytes] = []
    left = size
    while left > 0:
        try:
            part = os.read(descriptor, left)
        except OSError:  # a process that ended, a file system that is gone
            break
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
