"""A streamed request body on its way through the scanner."""

from __future__ import annotations

from collections.abc import Callable

from ebbgate.gate import boundary, foreign
from ebbgate.gate.context import GateContext
from ebbgate.gate.draft import Draft
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.parts import Part
from ebbgate.secrets.stream import Release


class BodyStream:
    """Callable as mitmproxy wants it: bytes in, bytes that may leave out; b"" in means the end.

    hold: bytes of the beginning that are kept back, so that a body which turns out short is decoded and scanned whole.
    cut: ends the connection; called at most once. Whatever goes wrong in here cuts too.
    """

    def __init__(
        self,
        context: GateContext,
        draft: Draft,
        encoding: str,
        *,
        hold: int,
        interactive: bool,
        cut: Callable[[], None],
    ) -> None:
        self._context, self._draft, self._encoding = context, draft, encoding
        self._hold, self._cut = hold, cut
        self._held: bytearray | None = bytearray() if hold else None
        self._place = Place(Carrier.BODY)
        self._scan = context.scanner.stream(self._place, content_encoding=encoding, interactive=interactive)
        self._is_cut = False

    def __call__(self, data: bytes) -> bytes | list[bytes]:
        if self._is_cut or self._draft.blocked:
            self._draft.bytes_withheld += len(data)
            return []
        try:
            return self._advance(data)
        except Exception as problem:
            self._context.connections.report_defect(boundary.defect("BodyStream", "feed", problem))
            return self._end()

    def _advance(self, data: bytes) -> list[bytes]:
        if self._held is not None:
            self._held += data
            if data and len(self._held) <= self._hold:
                return []
            held, self._held = bytes(self._held), None
            return self._whole(held) if not data else self._release(self._scan.feed(held), len(held))
        release = self._scan.feed(data) if data else self._scan.finish()
        return self._release(release, len(data))

    def _whole(self, held: bytes) -> list[bytes]:
        """The body ended while it was held: as thorough as a buffered one."""
        result = self._context.scanner.scan(held, self._place, content_encoding=self._encoding)
        part = Part(self._place, held, self._draft.content_type)
        if not self._encoding:
            foreign.note(self._context, self._draft, part)
        return self._release(Release(held, result.findings, result.uninspected), len(held), part)

    def _release(self, release: Release, size: int, part: Part | None = None) -> list[bytes]:
        findings = self._context.judge(release.findings, self._draft.host, tls=self._draft.protocol == "tls", part=part)
        self._draft.add_findings(findings)
        if release.uninspected:
            self._draft.note_uninspected(release.uninspected)
            self._draft.refuse_if_misnamed(self._encoding)
        if self._context.enforce and (any(not finding.permitted for finding in findings) or not self._draft.decision.allowed):
            self._draft.bytes_withheld += size
            return self._end()
        data = release.data
        if findings:
            data += self._scan.permit().data
        self._draft.bytes_out += len(data)
        return [data] if data else []

    def _end(self) -> list[bytes]:
        self._is_cut = True
        self._draft.blocked = True
        self._cut()
        return []
