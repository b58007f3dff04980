"""Changing who may use a file, so that it can be taken back.

Files are opened without following links first, and changed through the descriptor: whoever may write the directory cannot
have another file changed in between. What was there before is remembered in one file of the guard's state directory, by
device and inode, once: laying a lock twice does not make our own mode "what was there before".
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a file: owner, group, permission bits. device, inode: which file it was."""

    path: str
    uid: int
    gid: int
    mode: int
    device: int
    inode: int


def access_of(path: str | Path) -> Access | None:
    """As it is now, of the file itself, not of what a link leads to; None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return Access(str(path), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), found.st_dev, found.st_ino)


def change(path: str | Path, *, uid: int, gid: int, mode: int) -> Access | None:
    """Give a file another owner and mode. Returns what was before, None when nothing had to be changed. OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        before = Access(str(path), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), found.st_dev, found.st_ino)
        if stat.S_ISLNK(found.st_mode) or (before.uid, before.gid, before.mode) == (uid, gid, mode):
            return None
        itself = f"/proc/self/fd/{descriptor}"  # fchmod(2) does not take such descriptors
        if (before.uid, before.gid) != (uid, gid):
            os.chown(itself, uid, gid)
        os.chmod(itself, mode)
        return before
    finally:
        os.close(descriptor)


def restore(before: Access) -> bool:
    """Put back what was; False when the file is another one by now, which is then left alone."""
    now = access_of(before.path)
    if now is None or (now.device, now.inode) != (before.device, before.inode):
        return False
    change(before.path, uid=before.uid, gid=before.gid, mode=before.mode)
    return True


class Memory:
    """What files were before a lock, kept in a file that only root can read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def recall(self) -> list[Access]:
        """Everything remembered, in order. An unreadable file is an empty memory: then nothing is put back."""
        try:
            return [Access(**one) for one in json.loads(self._file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []

    def add(self, changed: Iterable[Access]) -> None:
        """Remember, unless the same file is known already."""
        known = {(one.device, one.inode): one for one in self.recall()}
        for one in changed:
            known.setdefault((one.device, one.inode), one)
        if not known:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_name(self._file.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in known.values()], file)
        temporary.replace(self._file)

    def restore(self) -> int:
        """Put everything back and forget it. How many files were put back."""
        count = sum(restore(one) for one in reversed(self.recall()))
        self._file.unlink(missing_ok=True)
        return count
