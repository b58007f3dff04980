"""The guard's own code as the workload sees it: not writable, although it may belong to the same user.

Python reads modules when they are first needed, so a workload that could write into the guard's packages would run its
own code in the guard, outside. Every package beside ours is therefore made read-only inside the enclosure, and the
standard library with them. Other packages can still be installed into the same environment.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path


def protected_paths() -> tuple[str, ...]:
    """Paths to make read-only: the standard library, and each package that the guard could import, ours included."""
    package = Path(__file__).resolve().parent.parent
    libraries = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    found: list[Path] = [package]
    for library in libraries:
        if library.is_dir():
            found += [entry for entry in sorted(library.iterdir()) if _is_code(entry)]
    paths = [str(path) for path in found if os.access(path, os.W_OK)]
    interpreter = Path(sys.executable)
    return tuple(dict.fromkeys([*paths, *([str(interpreter)] if os.access(interpreter, os.W_OK) else [])]))


def _is_code(entry: Path) -> bool:
    if entry.name.endswith(".dist-info") or entry.is_symlink():
        return False
    return entry.is_dir() or entry.suffix in (".py", ".so", ".pth")


def standard_library() -> tuple[str, tuple[str, ...]]:
    """(standard library directory, directories below it that stay writable), ("", ()) when it is not ours to write."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    if not os.access(library, os.W_OK):
        return "", ()
    kept = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    kept |= {entry for entry in (library / "site-packages", library / "dist-packages") if entry.is_dir()}
    return str(library), tuple(sorted(str(path) for path in kept if path.is_relative_to(library) and path.is_dir()))
