"""Files that are put into a home directory for a while: never through a link, never over what is there, taken away again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MAX_GROWN = 1 << 20  # bytes of a file that somebody added to; a larger one is left alone


@dataclass(frozen=True, slots=True)
class Planted:
    """directory: one that was made for the file, None when it was there."""

    path: Path
    content: bytes
    directory: Path | None


def plant(home: Path, files: Iterable[tuple[str, bytes]]) -> list[Planted]:
    """Write what is not there yet, for the calling user alone; what cannot be written is left out."""
    done: list[Planted] = []
    if not home.is_dir():
        return done
    for name, content in files:
        path = home / name
        made = _made(path.parent)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            _remove_directory(made)
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        done.append(Planted(path, content, made))
    return done


def take_away(planted: Iterable[Planted]) -> None:
    """Remove the files; from one that somebody added to, only what was planted."""
    for one in planted:
        try:
            _take_away(one)
        except OSError:
            continue  # the workload may have done anything with it
        _remove_directory(one.directory)


def _take_away(one: Planted) -> None:
    descriptor = os.open(one.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "r+b") as file:
        content = file.read(MAX_GROWN + 1)
        if len(content) > MAX_GROWN:
            return
        left = content.replace(one.content, b"", 1)
        if left == content:
            return
        if not left.strip():
            os.unlink(one.path)
            return
        file.seek(0)
        file.truncate()
        file.write(left)


def _made(directory: Path) -> Path | None:
    try:
        os.mkdir(directory, 0o700)
    except OSError:
        return None
    return directory


def _remove_directory(directory: Path | None) -> None:
    if directory is not None:
        try:
            os.rmdir(directory)
        except OSError:
            return  # something else is in it by now
