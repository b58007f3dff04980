"""Files that decide what later steps, other users or the guard itself will do: each kind is one class with ``changed``.

Whoever changes them as the runner, as a service of the machine or as the guard is not spoken of.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ebbgate.events.types import Concern
from ebbgate.host.file_events import (
    ATTRIBUTES,
    CHANGES,
    CREATED,
    IS_DIRECTORY,
    MODIFIED,
    MOVED_IN,
    WRITTEN,
    FileEvent,
    FileEvents,
)
from ebbgate.warden.findings import Findings

ACTIONS_DEPTH = 8  # levels of directories in _actions that are watched: owner, repository, reference, five of its own
TOOLS_DEPTH = 4  # tool, version, architecture, and what is in there, such as bin

# How a directory below _actions begins with the action it holds: owner/repository/reference.
_ACTION_PARTS = 3
_TOOL_PARTS = 2


class Actions:
    """Code of the job's actions, fetched before the first step; a later post step runs what lies there then."""

    def __init__(self, findings: Findings, files: FileEvents, top: Path) -> None:
        self._findings, self._files, self._top = findings, files, os.path.normpath(top)
        files.watch_tree(self._top, ACTIONS_DEPTH, CHANGES, self)

    def changed(self, event: FileEvent) -> None:
        """A change below _actions."""
        path = os.path.join(event.directory, event.name)
        if event.what & IS_DIRECTORY and event.what & (CREATED | MOVED_IN):
            self._files.watch_tree(path, ACTIONS_DEPTH, CHANGES, self)
        writer = self._findings.culprit(event.pid)
        if writer is None:
            return
        parts = Path(os.path.relpath(path, self._top)).parts[:_ACTION_PARTS]
        action = "@".join(["/".join(parts[:2]), *parts[2:]])
        context = writer.context()
        if context is not None and context.step.action.lower() == action.lower():
            return
        what = f"{self._findings.step_name(writer)} changed files of the action {self._findings.show(action)}"
        self._findings.tampering(what, writer, "action", action)


class Tools:
    """The tool cache, which every user may write to on hosted runners. Programs installed there are run by later steps.

    Installing with a cached interpreter's package manager writes here too, so it is a notice, one for each step and tool.
    """

    def __init__(self, findings: Findings, files: FileEvents, top: Path) -> None:
        self._findings, self._files, self._top = findings, files, os.path.normpath(top)
        self._what = CHANGES & ~MODIFIED
        files.watch_tree(self._top, TOOLS_DEPTH, self._what, self)

    def changed(self, event: FileEvent) -> None:
        """A change in the tool cache."""
        path = os.path.join(event.directory, event.name)
        parts = Path(os.path.relpath(path, self._top)).parts
        if event.what & IS_DIRECTORY and event.what & (CREATED | MOVED_IN):
            self._files.watch_tree(path, max(0, TOOLS_DEPTH - len(parts)), self._what, self)
        writer = self._findings.culprit(event.pid)
        if writer is not None:
            tool = "/".join(parts[:_TOOL_PARTS])
            what = f"{self._findings.step_name(writer)} changed the tool {self._findings.show(tool)} in the tool cache"
            self._findings.notice(Concern.FILE, what, writer, "tool", tool)


class SystemFiles:
    """Single files (or directories, whole) of the system, such as the resolver's configuration. A file that is a symbolic
    link is watched in both places.
    """

    def __init__(self, findings: Findings, files: FileEvents, paths: tuple[Path, ...]) -> None:
        self._findings = findings
        self._names: dict[str, dict[str, str]] = {}  # directory -> name in it -> as it is told
        self._whole: dict[str, str] = {}
        for path in paths:
            for place in dict.fromkeys((path, path.resolve())):
                if place.is_dir():
                    self._whole[str(place)] = str(path)
                    files.watch(place, CHANGES, self)
                if files.watch(place.parent, CHANGES, self):
                    self._names.setdefault(str(place.parent), {})[place.name] = str(path)

    def changed(self, event: FileEvent) -> None:
        """A change beside or of one of the files."""
        told = self._names.get(event.directory, {}).get(event.name) or self._whole.get(event.directory)
        writer = self._findings.culprit(event.pid) if told else None
        if writer is not None:
            self._findings.notice(Concern.FILE, f"{self._findings.step_name(writer)} changed {told}", writer, "system", told)


class PrivilegedFiles:
    """New programs that give their caller another user's rights: set-user-ID, set-group-ID, file capabilities."""

    def __init__(self, findings: Findings, files: FileEvents, directories: tuple[Path, ...]) -> None:
        self._findings = findings
        for directory in directories:
            files.watch(directory, ATTRIBUTES | WRITTEN | MOVED_IN | CREATED, self)

    def changed(self, event: FileEvent) -> None:
        """A file in one of the directories was made, written, moved in or given other attributes."""
        if event.what & IS_DIRECTORY:
            return
        path = os.path.join(event.directory, event.name)
        gives = _gives(path)
        writer = self._findings.culprit(event.pid) if gives else None
        if writer is not None:
            what = f"{self._findings.step_name(writer)} made a program that gives {gives}: {self._findings.show(path)}"
            self._findings.notice(Concern.FILE, what, writer, "privilege", path)


def _gives(path: str) -> str:
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return ""
        if found.st_mode & stat.S_ISUID:
            return f"the rights of user {found.st_uid}"
        if found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IXGRP:
            return f"the rights of group {found.st_gid}"
        return "capabilities" if "security.capability" in os.listxattr(path, follow_symlinks=False) else ""
    except OSError:
        return ""
