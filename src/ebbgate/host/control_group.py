"""A control group (version 2) of the gate's own: beside its user id, what the rules recognise it by."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")  # where nft(8) looks for the paths of ``socket cgroupv2``


class ControlGroup:
    """path: below the root, "" where this machine has no version 2, or no name is given; then joining does nothing."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        self._directory = root / name
        self.path = name if name and (root / "cgroup.controllers").exists() else ""
        if self.path:
            self._directory.mkdir(mode=0o755)

    @property
    def directory(self) -> Path | None:
        """Of the group; None where there is none."""
        return self._directory if self.path else None

    def join(self) -> None:
        """Put the calling process into it."""
        self.take_in(os.getpid())

    def take_in(self, pid: int) -> None:
        """Put a process into it. OSError when it is gone."""
        if self.path:
            (self._directory / "cgroup.procs").write_text(str(pid))

    def members(self) -> tuple[int, ...]:
        """Pids in it."""
        if not self.path:
            return ()
        try:
            return tuple(int(line) for line in (self._directory / "cgroup.procs").read_text().split())
        except OSError:
            return ()

    def remove(self) -> None:
        """Take it away once it is empty. Safe to call again."""
        if self.path:
            try:
                self._directory.rmdir()
            except OSError:
                return
