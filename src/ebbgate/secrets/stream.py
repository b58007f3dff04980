"""The scanner of bytes that come in chunks.

The invariant, in one sentence: *what was found, and that no complete secret was released, do not depend on where the chunks are
cut*.

::

    chunk ──▶ Reader ──┬─ literal forms, over the ends of chunks
                       ├─ windows of WINDOW bytes at fixed offsets, with what was before them: decoded in every way
                       └─ what is compressed within, wherever it begins ──▶ a Reader of its own

A byte leaves when all of these have let go of it. ``interactive`` streams, whose peer may be waiting for the next byte, let go
of everything that does not begin a literal form; their windows are read as they grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebbgate.secrets import inflate
from ebbgate.secrets.finding import Finding, Place
from ebbgate.secrets.reader import Common, Inner, Reader

if TYPE_CHECKING:
    from ebbgate.secrets.scanner import Scanner

MAX_HELD = 4 << 20  # bytes that may wait for what is within them; more is uninspectable


@dataclass(frozen=True, slots=True)
class Release:
    """data: what may leave now, in order. After findings that are not permitted nothing of it should be sent on."""

    data: bytes
    findings: tuple[Finding, ...] = ()
    uninspected: str = ""


class StreamScan:
    """Bytes in, bytes that may leave out."""

    def __init__(self, scanner: Scanner, place: Place, *, content_encoding: str, interactive: bool) -> None:
        self._common = Common(scanner, place, interactive=interactive)
        codings = inflate.codings(content_encoding)
        unknown = next((coding for coding in codings if inflate.inflater(coding) is None), None)
        if unknown is not None:
            self._common.note(f"unknown content-encoding {unknown[:20]}")
            codings = []
        self._outer = Reader(self._common, looks_within=not codings)
        self._announced = Inner(self._common, tuple(codings), 0, codings, 0) if codings else None
        self._buffer = b""
        self._base = 0
        self._withheld = b""

    def feed(self, chunk: bytes) -> Release:
        """Take a chunk; what may leave now."""
        self._buffer += chunk
        self._common.allow_for(len(chunk))
        self._outer.feed(chunk)
        clear = self._outer.clear
        if self._announced is not None:
            clear = min(clear, self._read_announced(chunk))
        if self._base + len(self._buffer) - clear > MAX_HELD:
            self._common.note("decode budget")
            clear = self._outer.literal_clear
        return self._release(clear)

    def _read_announced(self, chunk: bytes) -> int:
        inner = self._announced
        if inner is None or inner.ended:
            return self._outer.total
        inner.feed(chunk)
        if inner.broken:
            self._common.note(inflate.malformed(inner.broken))
        return self._outer.total if inner.ended else inner.clear

    def finish(self) -> Release:
        """The stream has ended; whatever was kept back may leave if it is clean."""
        self._outer.finish()
        if self._announced is not None:
            self._announced.reader.finish()
        return self._release(self._base + len(self._buffer))

    def permit(self) -> Release:
        """The findings so far are permitted where they were seen: go on. What had been withheld for them leaves now."""
        data, self._withheld = self._withheld, b""
        return Release(data)

    def _release(self, clear: int) -> Release:
        """Cut the buffer. With findings nothing leaves: it waits for ``permit``."""
        ready = max(0, clear - self._base)
        data, self._buffer = self._buffer[:ready], self._buffer[ready:]
        self._base += ready
        findings, self._common.findings = tuple(self._common.findings), []
        reason, self._common.uninspected = self._common.uninspected, ""
        if findings:
            self._withheld += data
            data = b""
        return Release(data, findings, reason)
