"""Report files: each whole or not at all, readable by their owner only, never through somebody's symbolic link."""

from __future__ import annotations

import os
from pathlib import Path

from ebbgate.errors import PlatformError
from ebbgate.report.interface import RunReport
from ebbgate.report.json_report import to_json

REPORT, SUGGESTED = "report.json", "policy.suggested.yml"


def write_reports(directory: Path, report: RunReport) -> None:
    """Write ``report.json`` and, in audit mode, ``policy.suggested.yml``. PlatformError when the disk refuses."""
    _write(directory / REPORT, to_json(report))
    if report.suggested is not None:
        _write(directory / SUGGESTED, report.suggested)


def _write(path: Path, text: str) -> None:
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(waiting, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        waiting.replace(path)
    except OSError as problem:
        waiting.unlink(missing_ok=True)
        reason = os.strerror(problem.errno or 0)
        raise PlatformError(f"{path.name} cannot be written", reason, "give another --report DIR") from None
