"""Credential files of the job's: opened when they appear or change, as the job's user, and handed to the gate unread.

::

    fanotify ─▶ CredentialFiles.changed() ─▶ open, as the user ─▶ descriptor ─▶ gate, which reads it (gate.found_values)

Watched are home directories and those below that tools keep credentials in, the runner's temporary directory, and the
workspace with what checkout makes there. Where files cannot be watched, the known paths are looked at once a second.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import EbbgateError
from ebbgate.host.file_events import CREATED, IS_DIRECTORY, MOVED_IN, WRITTEN, FileEvent, FileEvents
from ebbgate.host.opening import open_regular
from ebbgate.host.runner_identity import Runner, acting_as
from ebbgate.secrets.credential_files import home_paths, kind_of

MAX_TOLD = 1000  # files that are told again to a gate's successor
MAX_LISTED = 10_000  # entries of one directory that are looked at
WORK_DEPTH = 2  # levels of directories below the workspace: checkouts beside and below each other
_WANTED = CREATED | MOVED_IN | WRITTEN


@dataclass(frozen=True, slots=True)
class CredentialPlaces:
    """runner: as whom the job's files are opened. homes: of the runner's user, and root's, which sudo has. work: workspace and
    temporary directory.
    """

    runner: Runner
    homes: tuple[str, ...]
    work: tuple[str, ...]


class CredentialFiles:
    """send: hands descriptors to the gate with a message; whether it could. files: None where nothing can be watched."""

    def __init__(
        self, places: CredentialPlaces, files: FileEvents | None, send: Callable[[dict[str, object], list[int]], bool]
    ) -> None:
        self._places, self._files, self._send = places, files, send
        self._told: OrderedDict[str, None] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()  # the gate did not take them; tried again
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._paths = tuple(f"{home}/{path}" for home in places.homes for path in home_paths())
        self._below = {os.path.dirname(path) for path in self._paths}
        for directory in (*places.homes, *sorted(self._below, key=len), *places.work):
            self._enter(directory)

    def _enter(self, directory: str) -> None:
        """Watch a directory, and tell what is in it already."""
        if self._files is not None:
            try:
                if not self._files.watch(directory, _WANTED, self):
                    return
            except OSError:
                return  # a file system that cannot be watched, such as FUSE
        try:
            with os.scandir(directory) as entries:
                names = [
                    (one.name, one.is_dir(follow_symlinks=False)) for _, one in zip(range(MAX_LISTED), entries, strict=False)
                ]
        except OSError:
            return
        self._tell(os.path.join(directory, name) for name, is_directory in names if not is_directory)
        for name, is_directory in names:
            if is_directory and self._is_wanted(path := os.path.join(directory, name)):
                self._enter(path)

    def _is_wanted(self, directory: str) -> bool:
        """Whether credential files may be in a directory."""
        if directory in self._below or any(one.startswith(f"{directory}/") for one in self._below):
            return True
        above = next((one for one in self._places.work if directory.startswith(f"{one}/")), "")
        depth = directory[len(above) :].count("/") if above else 0
        return 0 < depth <= WORK_DEPTH or (depth == WORK_DEPTH + 1 and directory.endswith("/.git"))

    def changed(self, event: FileEvent) -> None:
        """Something appeared or was written in one of the directories."""
        path = os.path.join(event.directory, event.name)
        if not event.what & IS_DIRECTORY:
            self._tell([path])
        elif event.what & (CREATED | MOVED_IN) and self._is_wanted(path):
            self._enter(path)

    def _tell(self, paths: Iterable[str]) -> None:
        wanted = [path for path in paths if kind_of(path) is not None]
        if not wanted:
            return
        for path, descriptor in zip(wanted, self._opened(wanted), strict=True):
            if descriptor is None:
                continue
            try:
                taken = self._send({"type": "file", "path": path}, [descriptor])
            finally:
                os.close(descriptor)
            self._remember(self._told if taken else self._waiting, path)

    def _opened(self, paths: list[str]) -> list[int | None]:
        """As the user whose file it is: a link must not lead to what the job may not read."""
        own = [path for path in paths if not path.startswith("/root/")]
        try:
            found = acting_as(self._places.runner, lambda: list(map(open_regular, own))) if own else []
        except (OSError, EbbgateError):  # on machines whose system calls are not known
            found = [None] * len(own)
        opened = dict(zip(own, found, strict=True))
        return [opened[path] if path in opened else open_regular(path) for path in paths]

    @staticmethod
    def _remember(where: OrderedDict[str, None], path: str) -> None:
        where[path] = None
        while len(where) > MAX_TOLD:
            where.popitem(last=False)

    def tell_again(self) -> None:
        """There is a new gate, which knows nothing of what was told to the last one."""
        told, self._told = self._told, OrderedDict()
        self._tell(told)

    def tick(self) -> None:
        """About once a second: what the gate did not take, and what could not be watched."""
        waiting, self._waiting = self._waiting, OrderedDict()
        self._tell(waiting)
        if self._files is None:
            self._tell([path for path in self._paths if self._is_changed(path)])

    def _is_changed(self, path: str) -> bool:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        now = found.st_ino, found.st_mtime_ns, found.st_size
        changed, self._seen[path] = self._seen.get(path) != now, now
        return changed


def places_of(runner: Runner, home: str, context: Mapping[str, str]) -> CredentialPlaces:
    """Of a job: context is what the CI system says of it."""
    work = (context.get("GITHUB_WORKSPACE", ""), context.get("RUNNER_TEMP", ""))
    homes = (home, context.get("HOME", ""), "/root")
    return CredentialPlaces(
        runner,
        tuple(dict.fromkeys(str(Path(one)) for one in homes if one.startswith("/") and one != "/")),
        tuple(dict.fromkeys(str(Path(one)) for one in work if one.startswith("/") and one != "/")),
    )
