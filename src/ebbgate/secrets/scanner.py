"""The scanner: known values in outgoing bytes, whole or streamed.

The invariant of streams, in one sentence: *what was found, and that no complete secret was released, do not depend on where
the chunks are cut*.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ebbgate.secrets import inflate, views
from ebbgate.secrets.automaton import SHORTEST_OPEN, Automaton, Hit, first_of_each
from ebbgate.secrets.finding import Carrier, Finding, Place
from ebbgate.secrets.needles import ONE_HYPHEN, folded_needles_of, needles_of
from ebbgate.secrets.secret import Secret

MAX_HELD = 4 << 20  # compressed bytes that may wait for the end of a needle; more is uninspectable
_TOKEN = re.compile(rb"[^\s&=,;\"']+")


@dataclass(frozen=True, slots=True)
class ScanResult:
    """findings: one for each secret and encoding. uninspected: "" or why some of it was not read. scanned: bytes."""

    findings: tuple[Finding, ...]
    uninspected: str = ""
    scanned: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """data: what may leave now, in order. After findings that are not permitted nothing of it should be sent on."""

    data: bytes
    findings: tuple[Finding, ...] = ()
    uninspected: str = ""


class Scanner:
    """All secrets of one run, compiled. Immutable, so that streams and threads may share it."""

    def __init__(self, secrets: Iterable[Secret], *, salt: bytes) -> None:
        self._secrets = list(secrets)
        self._prints = [secret.fingerprint(salt) for secret in self._secrets]
        values = [secret.reveal() for secret in self._secrets]
        self._automaton = Automaton([one for owner, value in enumerate(values) for one in needles_of(value, owner)])
        self._folded = Automaton([one for owner, value in enumerate(values) for one in folded_needles_of(value, owner)])

    def scan(self, data: bytes, place: Place, *, content_encoding: str = "") -> ScanResult:
        """Read whole data in every way the decoders know. Never raises; what could not be read is said to be so."""
        if not self._secrets:
            return ScanResult((), "", len(data))
        found = [self._finding(hit, place, (), 0) for hit in first_of_each(self._automaton.search(data)[0])]
        budget = views.new_budget()
        for view in views.views(data, content_encoding, budget):
            for hit in first_of_each(self._automaton.search(view.data)[0]):
                found.append(self._finding(hit, place, view.encodings, view.offset))
        return ScanResult(tuple(_distinct(found)), budget.uninspected, len(data))

    def holds(self, value: bytes) -> bool:
        """Whether a value is a secret, contains one, or is a part of one."""
        return any(value in one.reveal() for one in self._secrets) or bool(self.scan(value, Place(Carrier.BODY)).findings)

    def scan_pieces(self, pieces: Sequence[bytes], place: Place) -> ScanResult:
        """Read pieces as if nothing stood between them. Only what begins in one and ends in another counts."""
        joined = b"".join(pieces)
        ends = list(accumulate(map(len, pieces)))
        hits = [hit for hit in self._automaton.search(joined)[0] if bisect_right(ends, hit.start) != bisect_left(ends, hit.end)]
        found = [self._finding(hit, place, ("pieces",), -1) for hit in first_of_each(hits)]
        return ScanResult(tuple(_distinct(found)), "", len(joined))

    def _finding(self, hit: Hit, place: Place, outer: tuple[str, ...], offset: int) -> Finding:
        owner = hit.needle.owner
        inner = () if outer and hit.needle.encodings == ("raw",) else hit.needle.encodings
        start = hit.start if not outer else offset
        secret = self._secrets[owner]
        return Finding(secret.name, self._prints[owner], place, (*outer, *inner), start, secret.kind, secret.marks)

    def scan_labels(self, host: str, place: Place) -> ScanResult:
        """A host or DNS name: no upper case, at most 63 characters a label, so values come in pieces and folded."""
        text = host.lower().encode("utf-8", "surrogateescape")
        found: list[Finding] = []
        data = text.replace(b".", b"").translate(ONE_HYPHEN)
        found += [self._finding(hit, place, (), 0) for hit in first_of_each(self._folded.search(data)[0])]
        found += [
            self._finding(hit, place, (), 0)
            for hit in first_of_each(self._automaton.search(host.encode("utf-8", "surrogateescape"))[0])
        ]
        return ScanResult(tuple(_distinct(found)), "", len(text))

    def redact(self, text: str) -> str:
        """Text in which every recognised form of a secret is replaced by ``[NAME]``."""
        if not self._secrets or not text:
            return text
        data = self._replace_literals(text.encode("utf-8", "surrogateescape"), self._automaton)
        data = self._replace_literals(data, self._folded, data.lower().translate(ONE_HYPHEN))
        data = _TOKEN.sub(self._replace_token, data)
        left = self._whole(data)
        if left:
            return f"[redacted: {', '.join(sorted(left))}]"
        return data.decode("utf-8", "surrogateescape")

    def _replace_literals(self, data: bytes, automaton: Automaton, as_read: bytes | None = None) -> bytes:
        """as_read: data of the same length in which to look instead, for names, which know no upper case."""
        parts: list[bytes] = []
        position = 0
        for hit in automaton.search(data if as_read is None else as_read)[0]:
            if hit.end <= position:
                continue
            parts += [
                data[position : max(position, hit.start)],
                b"[%s]" % self._secrets[hit.needle.owner].name.encode(),
            ]
            position = hit.end
        return b"".join([*parts, data[position:]])

    def _replace_token(self, match: re.Match[bytes]) -> bytes:
        names = self._whole(match[0]) if len(match[0]) >= views.MIN_RUN else set()
        return b"[%s]" % ", ".join(sorted(names)).encode() if names else match[0]

    def _whole(self, data: bytes) -> set[str]:
        budget = views.new_budget()
        found = {hit.needle.owner for hit in self._automaton.search(data)[0]}
        for view in views.views(data, "", budget):
            found |= {hit.needle.owner for hit in self._automaton.search(view.data)[0]}
        return {self._secrets[owner].name for owner in found}

    def stream(self, place: Place, *, content_encoding: str = "", interactive: bool = False) -> StreamScan:
        """A scan of bytes that come in chunks."""
        return StreamScan(self, self._automaton, place, inflate.codings(content_encoding), interactive=interactive)

    def finding(self, hit: Hit, place: Place, outer: tuple[str, ...], base: int) -> Finding:
        """A finding of a stream; base: offset of the searched window in the stream."""
        found = self._finding(hit, place, outer, -1)
        return found if outer else replace(found, offset=base + hit.start)


def _distinct(findings: list[Finding]) -> list[Finding]:
    """The first, that is plainest, reading of each secret: what decodes once more says nothing new about the same place."""
    plainest: dict[str, Finding] = {}
    for finding in findings:
        plainest.setdefault(finding.secret, finding)
    return list(plainest.values())


class StreamScan:
    """Bytes in, bytes that may leave out.

    Kept back: everything from the first byte of a needle that is not complete yet, and the last bytes that might begin one
    (``interactive``: only if they do begin one, since a peer may be waiting for them). Compressed streams are inflated
    alongside; a compressed chunk leaves when nothing is open in what it inflated to.
    """

    def __init__(self, scanner: Scanner, automaton: Automaton, place: Place, codings: list[str], *, interactive: bool) -> None:
        self._scanner, self._automaton, self._place = scanner, automaton, place
        self._interactive = interactive
        self._buffer = b""
        self._sent = 0  # bytes at the front of the buffer that have left already
        self._base = 0
        self._reported: set[str] = set()
        self._inner = _Inner.make(codings)
        self._start: bytes | None = None if self._inner is not None else b""
        self._uninspected = "" if self._inner is not None or not codings else f"unknown content-encoding {codings[0][:20]}"
        self._withheld = b""

    def feed(self, chunk: bytes) -> Release:
        """Take a chunk; what may leave now."""
        findings = self._feed_inner(chunk)
        self._buffer += chunk
        hits, cut_off = self._automaton.search(self._buffer)
        findings += self._new(hits)
        keep_from = min(cut_off, len(self._buffer) - self._tail(self._buffer))
        if self._inner is not None and self._inner.open:
            if len(self._buffer) > MAX_HELD:
                self._uninspected = self._uninspected or "decode budget"
            else:
                keep_from = 0
        return self._release(max(keep_from, self._sent), hits, findings)

    def finish(self) -> Release:
        """The stream has ended; whatever was kept back may leave if it is clean."""
        hits, _cut_off = self._automaton.search(self._buffer)
        return self._release(len(self._buffer), hits, self._new(hits))

    def permit(self) -> Release:
        """The findings so far are permitted where they were seen: go on. What had been withheld for them leaves now."""
        data, self._withheld = self._withheld, b""
        return Release(data)

    def _tail(self, data: bytes) -> int:
        if self._interactive:
            return self._automaton.opening(data)
        return min(len(data), max(0, self._automaton.longest_head - 1))

    def _release(self, keep_from: int, hits: list[Hit], findings: list[Finding]) -> Release:
        """Cut the buffer. With findings, only bytes before the first of them are released; the rest waits for ``permit``.

        An interactive stream lets go of the first bytes of what may become a needle. They stay at the front of the buffer,
        so that a secret sent byte by byte is still seen as one.
        """
        data = self._buffer[self._sent : keep_from]
        if findings:
            first = max(min((hit.start for hit in hits), default=0), self._sent)
            self._withheld += self._buffer[first:keep_from]
            data = self._buffer[self._sent : first]
        self._sent = min(keep_from, SHORTEST_OPEN - 1) if self._interactive else 0
        self._base += keep_from - self._sent
        self._buffer = self._buffer[keep_from - self._sent :]
        reason, self._uninspected = self._uninspected, ""
        return Release(data, tuple(findings), reason)

    def _new(self, hits: list[Hit], outer: tuple[str, ...] = ()) -> list[Finding]:
        found: list[Finding] = []
        for hit in first_of_each(hits):
            finding = self._scanner.finding(hit, self._place, outer, self._base)
            if finding.secret not in self._reported:
                self._reported.add(finding.secret)
                found.append(finding)
        return found

    def _feed_inner(self, chunk: bytes) -> list[Finding]:
        chunk = self._sniff(chunk)
        if self._inner is None or not chunk:
            return []
        try:
            hits = self._inner.feed(chunk, self._automaton)
        except inflate.BoundReached:
            self._inner, self._uninspected = None, "decode budget"
            return []
        except inflate.Malformed:
            self._uninspected = inflate.malformed(self._inner.codings[-1])
            self._inner = None
            return []
        return self._new(hits, tuple(self._inner.codings))

    def _sniff(self, chunk: bytes) -> bytes:
        """Compression that was not announced shows in the first bytes of the stream, however they are cut."""
        if self._start is None:
            return chunk
        self._start += chunk
        if len(self._start) < inflate.LONGEST_MAGIC:
            return b""
        chunk, self._start = self._start, None
        coding = inflate.coding_by_magic(chunk)
        self._inner = _Inner.make([coding]) if coding else None
        return chunk


class _Inner:
    """What a compressed stream inflates to, layer by layer, searched in a sliding window."""

    def __init__(self, codings: list[str], machines: list[inflate.Inflater]) -> None:
        self.codings = codings
        self.open = False  # whether a needle may be going on
        self._machines = machines
        self._window = b""
        self._start: bytes | None = b""

    @classmethod
    def make(cls, codings: list[str]) -> _Inner | None:
        """None when there is nothing to undo, or one of the codings is unknown."""
        machines = [machine for machine in map(inflate.inflater, codings) if machine is not None]
        return cls(list(codings), machines) if codings and len(machines) == len(codings) else None

    def feed(self, chunk: bytes, automaton: Automaton) -> list[Hit]:
        """Inflate and search. BoundReached or Malformed."""
        data = chunk
        for machine in self._machines:
            data = machine.feed(data)
        window = self._window + self._next_layer(data)
        hits, cut_off = automaton.search(window)
        keep = min(cut_off, len(window) - min(len(window), max(0, automaton.longest_head - 1)))
        self._window = window[keep:]
        self.open = cut_off < len(window) or automaton.opening(window) > 0 or self._start is not None
        return hits

    def _next_layer(self, data: bytes) -> bytes:
        """Compressed again: by the first bytes of what came out."""
        if self._start is None:
            return data
        self._start += data
        if len(self._start) < inflate.LONGEST_MAGIC:
            return b""
        data, self._start = self._start, None
        coding = inflate.coding_by_magic(data)
        machine = inflate.inflater(coding) if coding and len(self._machines) < views.MAX_DEPTH else None
        if machine is None or coding is None:
            return data
        self._machines.append(machine)
        self.codings.append(coding)
        self._start = b""
        return self._next_layer(machine.feed(data))
