"""From options to a file: journals in; the policy that was learned out, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ebbgate.errors import PlatformError, PolicyError
from ebbgate.events.publish import printable
from ebbgate.events.reading import read_run
from ebbgate.policy.learned import Lesson, learn
from ebbgate.policy.yaml_source import read

MAX_TEXT = 240  # characters of one line that is told
MAX_TOLD = 100  # lines of one kind
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """The options of ``ebbgate learn``, as given. into: None prints the policy."""

    runs: tuple[Path, ...]
    into: Path | None = None


def learn_runs(options: LearnOptions, output: TextIO, told: TextIO) -> None:
    """Learn. The policy goes to the file or to ``output``, all else is said on ``told``. PolicyError: nothing was changed."""
    if not options.runs:
        raise PolicyError("no run to learn from", "", "ebbgate learn RUN... [--into FILE]")
    runs = [read_run(path) for path in options.runs]
    into = options.into
    before = read(into) if into is not None and into.exists() and into.stat().st_size else None
    lesson = learn(runs, before, str(into) if into is not None else "learned policy")
    if into is None:
        output.write(lesson.text)
    elif lesson.text != before:
        _write(into, before, lesson.text)
    _tell(lesson, into, before, told)


def _write(path: Path, before: str | None, text: str) -> None:
    """Exchange the file as a whole; its mode stays. PlatformError when the disk refuses."""
    target = path.resolve()
    waiting = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        known = target.read_bytes() if before is not None else b""
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        data = (_BOM if known.startswith(_BOM) else b"") + text.encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(waiting, flags, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if before is not None and known.removeprefix(_BOM).decode() != before:
            raise PolicyError(f"{path} was changed meanwhile", "nothing was written", "learn once more")
        waiting.replace(target)
    except OSError as problem:
        raise PlatformError(f"{path} cannot be written", os.strerror(problem.errno or 0), "give another --into FILE") from None
    finally:
        waiting.unlink(missing_ok=True)


def _tell(lesson: Lesson, into: Path | None, before: str | None, told: TextIO) -> None:
    where = f" into {into}" if into is not None else ""
    if lesson.added:
        _lines(told, f"learned{where}:", lesson.added)
    else:
        told.write(f"ebbgate: nothing to learn{where}: all that was seen and may be learned is allowed\n")
    _lines(told, "not learned, for a person to decide:", (f"{one.what}: {one.why}" for one in lesson.refused))
    _lines(told, "left as it is:", lesson.notes)
    unused = (f"{one.source}:{one.line}: {one.text} (in force in {one.runs} of these runs)" for one in lesson.unused)
    _lines(told, "not used by any run:", unused)
    if into is not None and before is None:
        told.write("ebbgate: read it before you commit it; `ebbgate replay` says what it would have denied\n")


def _lines(told: TextIO, title: str, lines: Iterable[str]) -> None:
    known = list(lines)
    if known:
        told.write(f"ebbgate: {title}\n")
    told.writelines(f"  {printable(line, MAX_TEXT)}\n" for line in known[:MAX_TOLD])
    if len(known) > MAX_TOLD:
        told.write(f"  and {len(known) - MAX_TOLD} more\n")
