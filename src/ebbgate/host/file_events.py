"""Who touches what: fanotify(7) marks on directories, each event with the directory, the name in it and the process.

Events carry a file handle of the directory (FAN_REPORT_DFID_NAME) instead of an open file. The handle is compared with that
taken when the mark was set, so nothing has to be opened, and renames, deletions and new files are told too. A mark is on the
directory itself, whatever mount, container or namespace it is reached through.

What is not told: changes through a memory mapping until the file is closed, and files reached through a directory that has
no mark (a hard link elsewhere). /proc can be marked (Linux 6.8 or newer), but each mount of it has directories of its own.
Needs CAP_SYS_ADMIN. Formats: include/uapi/linux/fanotify.h; tried on Linux 6.18 with ext4, tmpfs and procfs.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path

MODIFIED, ATTRIBUTES, WRITTEN, OPENED = 0x2, 0x4, 0x8, 0x20
MOVED_AWAY, MOVED_IN, CREATED, DELETED = 0x40, 0x80, 0x100, 0x200
IS_DIRECTORY = 0x40000000
_OVERFLOW, _EVENT_ON_CHILD = 0x4000, 0x08000000
CHANGES = MODIFIED | WRITTEN | MOVED_AWAY | MOVED_IN | CREATED | DELETED

_CLOEXEC, _NONBLOCK, _UNLIMITED_MARKS = 0x1, 0x2, 0x20
_REPORT_DIR_FID, _REPORT_NAME = 0x400, 0x800
_MARK_ADD, _MARK_REMOVE = 0x1, 0x2
_INFO_DFID_NAME = 2
_AT_FDCWD, _AT_HANDLE_FID, _AT_SYMLINK_FOLLOW = -100, 0x200, 0x400
_EVENT = struct.Struct("=IBBHQii")
MAX_HANDLE = 128
MAX_MARKS = 30_000  # directories; the kernel keeps about 1 KiB for each
MAX_READ = 1 << 16  # bytes of events at once

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class FileEvent:
    """pid: of the process. directory: as it was given to ``watch``. name: in it, "." for itself. what: a set of the constants
    above. tag: as given to ``watch``.
    """

    pid: int
    directory: str
    name: str
    what: int
    tag: object


class _Handle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * MAX_HANDLE))


@dataclass(slots=True)
class _Mark:
    directory: str
    tag: object
    held: int  # a descriptor that keeps a directory of /proc from being made anew, -1 elsewhere


class FileEvents:
    """Raises OSError where fanotify is not permitted. overflows: how often the kernel had to drop events."""

    def __init__(self) -> None:
        flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_MARKS | _REPORT_DIR_FID | _REPORT_NAME
        self._descriptor = _checked(_libc.fanotify_init(ctypes.c_uint(flags), ctypes.c_uint(os.O_RDONLY | os.O_CLOEXEC)))
        self._marks: dict[bytes, _Mark] = {}
        self._identities: dict[str, bytes] = {}
        self._own = os.getpid()
        self.overflows = 0

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, directory: str | Path, what: int, tag: object) -> bool:
        """Mark a directory for events on itself and what is in it, not below. False when there is no such directory or
        MAX_MARKS are set. A directory has one tag, the first it was given.

        :raises OSError: the file system cannot be watched.
        """
        if len(self._marks) >= MAX_MARKS:
            return False
        try:
            identity = _identity(os.fsencode(directory))
            if identity not in self._marks:
                self._mark(_MARK_ADD, what, directory)
                self._identities[os.fspath(directory)] = identity
                self._marks[identity] = _Mark(os.fspath(directory), tag, _hold(os.fspath(directory)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def watch_tree(self, top: str | Path, depth: int, what: int, tag: object) -> int:
        """Mark a directory and those below it, so many levels deep, the upper ones first; how many were marked."""
        level, marked = [os.fspath(top)], 0
        for _ in range(depth + 1):
            following: list[str] = []
            for directory in level:
                if not self.watch(directory, what, tag):
                    continue
                marked += 1
                following += _subdirectories(directory)
            level = following
        return marked

    def forget(self, directory: str | Path) -> None:
        """Take a mark off, where the directory is gone too."""
        identity = self._identities.pop(os.fspath(directory), b"")
        mark = self._marks.pop(identity, None)
        if mark is None:
            return
        if mark.held >= 0:
            os.close(mark.held)
        try:
            self._mark(_MARK_REMOVE, OPENED | CHANGES | ATTRIBUTES, directory)
        except OSError:
            pass

    def _mark(self, how: int, what: int, directory: str | Path) -> None:
        mask = ctypes.c_uint64(what | _EVENT_ON_CHILD | (IS_DIRECTORY if what & CREATED else 0))
        _checked(_libc.fanotify_mark(self._descriptor, ctypes.c_uint(how), mask, _AT_FDCWD, os.fsencode(directory)))

    def read(self) -> list[FileEvent]:
        """What waits, never waiting for it. The caller's own doings are left out."""
        try:
            data = os.read(self._descriptor, MAX_READ)
        except (BlockingIOError, InterruptedError):
            return []
        events: list[FileEvent] = []
        offset = 0
        while offset + _EVENT.size <= len(data):
            length, _version, _reserved, head, mask, _fd, pid = _EVENT.unpack_from(data, offset)
            if length < _EVENT.size:
                break
            if mask & _OVERFLOW:
                self.overflows += 1
            elif pid != self._own:
                self._take(data[offset + head : offset + length], mask, pid, events)
            offset += length
        return events

    def _take(self, information: bytes, mask: int, pid: int, events: list[FileEvent]) -> None:
        """An info record: struct fanotify_event_info_fid: type, pad, length, fsid, then a file handle and the name."""
        if len(information) < 20 or information[0] != _INFO_DFID_NAME:
            return
        size = int.from_bytes(information[12:16], "little" if _LITTLE else "big")
        mark = self._marks.get(information[4 : 20 + size])
        if mark is not None:
            name = os.fsdecode(information[20 + size :].partition(b"\0")[0])
            events.append(FileEvent(pid, mark.directory, name, mask, mark.tag))

    def close(self) -> None:
        for mark in self._marks.values():
            if mark.held >= 0:
                os.close(mark.held)
        self._marks.clear()
        os.close(self._descriptor)


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _identity(directory: bytes) -> bytes:
    """What an event calls a directory: id of the file system and file handle, as bytes."""
    handle, mount = _Handle(MAX_HANDLE, 0), ctypes.c_int()
    for flags in (_AT_HANDLE_FID | _AT_SYMLINK_FOLLOW, _AT_SYMLINK_FOLLOW):  # the first is for file systems without NFS export
        handle.size = MAX_HANDLE
        arguments = (_AT_FDCWD, directory, ctypes.byref(handle), ctypes.byref(mount), flags)
        if _libc.name_to_handle_at(*arguments) == 0:
            break
    else:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), directory)
    identity = struct.pack("=QIi", os.statvfs(directory).f_fsid, handle.size, handle.kind)
    return identity + bytes(handle.data[: handle.size])


def _hold(directory: str) -> int:
    return os.open(directory, os.O_PATH | os.O_CLOEXEC) if directory.startswith("/proc/") else -1


def _subdirectories(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"fanotify: {os.strerror(code)}")
    return result
