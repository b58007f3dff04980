"""The scanner: known values in outgoing bytes that are there as a whole. ``stream`` reads those that come in chunks."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ebbgate.secrets import decode, views
from ebbgate.secrets.automaton import Automaton, Hit, first_of_each
from ebbgate.secrets.compiled import Compiled
from ebbgate.secrets.finding import Carrier, Finding, Place
from ebbgate.secrets.fragments import Form, Fragments
from ebbgate.secrets.needles import ONE_HYPHEN
from ebbgate.secrets.secret import Secret, merged
from ebbgate.secrets.stream import StreamScan

MAX_SECRETS = 4096  # of one run; a job that makes more gets the newest looked for and the oldest that were found at run time not
_TOKEN = re.compile(rb"[^\s&=,;\"']+")


@dataclass(frozen=True, slots=True)
class ScanResult:
    """findings: one for each secret and encoding. uninspected: "" or why some of it was not read. scanned: bytes."""

    findings: tuple[Finding, ...]
    uninspected: str = ""
    scanned: int = 0


class Scanner:
    """All secrets of one run. Streams and addons share it; what is ``add``-ed is looked for from then on, by streams too."""

    def __init__(self, secrets: Iterable[Secret], *, salt: bytes) -> None:
        self._salt = salt
        self._known: dict[bytes, Secret] = {}
        self.compiled = Compiled(())
        self._fragments: Fragments | None = None
        self.add(merged(secrets))

    def add(self, secrets: Iterable[Secret]) -> list[Secret]:
        """Look for these too; those that were not known yet. A value that has a name keeps it."""
        new = []
        for secret in secrets:
            if secret.reveal() not in self._known and len(self._known) < MAX_SECRETS:
                self._known[secret.reveal()] = secret
                new.append(secret)
        if new:
            self.compiled = Compiled(list(self._known.values()))
            self._fragments = None
        return new

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What is looked for."""
        return self.compiled.secrets

    def scan(self, data: bytes, place: Place, *, content_encoding: str = "") -> ScanResult:
        """Read whole data in every way the decoders know. Never raises; what could not be read is said to be so."""
        compiled = self.compiled
        if not compiled.secrets:
            return ScanResult((), "", len(data))
        found = [self.finding(compiled, hit, place, (), hit.start if known else -1) for hit, known in compiled.hits(data)]
        budget = views.new_budget(len(data))
        for view in decode.views(data, content_encoding, budget):
            found += self.in_view(compiled, view, place)
        return ScanResult(tuple(_distinct(found)), budget.uninspected, len(data))

    def holds(self, value: bytes) -> bool:
        """Whether a value is a secret, contains one, or is a part of one."""
        return any(value in one.reveal() for one in self.secrets) or bool(self.scan(value, Place(Carrier.BODY)).findings)

    def in_view(self, compiled: Compiled, view: views.View, place: Place, base: int = 0) -> list[Finding]:
        """Findings in one reading of data that begins at an offset of a stream."""
        found = []
        for hit, known in compiled.hits(view.data):
            offset = view.offset(hit.start) if known else -1
            found.append(self.finding(compiled, hit, place, view.encodings, offset if offset < 0 else base + offset))
        return found

    def scan_pieces(self, pieces: Sequence[bytes], place: Place) -> ScanResult:
        """Read pieces as if nothing stood between them. Only what begins in one and ends in another counts."""
        compiled = self.compiled
        joined = b"".join(pieces)
        ends = list(accumulate(map(len, pieces)))
        hits = [hit for hit in compiled.literal.search(joined)[0] if bisect_right(ends, hit.start) != bisect_left(ends, hit.end)]
        found = [self.finding(compiled, hit, place, ("pieces",), -1) for hit in first_of_each(hits)]
        return ScanResult(tuple(_distinct(found)), "", len(joined))

    def fragments(self, data: bytes, *, but: Collection[str] = ()) -> dict[Form, int]:
        """Which bytes of which forms of which secrets are in data. but: names of secrets that are there as a whole."""
        if self._fragments is None:
            self._fragments = Fragments(self.secrets)
        return {form: bits for form, bits in self._fragments.search(data).items() if self.secrets[form.owner].name not in but}

    def identity(self, owner: int) -> tuple[str, str]:
        """(name, fingerprint) of the secret with an index. Indexes stay what they are."""
        secret = self.secrets[owner]
        return secret.name, secret.fingerprint(self._salt)

    def finding(self, compiled: Compiled, hit: Hit, place: Place, outer: tuple[str, ...], offset: int) -> Finding:
        """What a hit says. outer: the encodings that were undone before it was found."""
        secret = compiled.secrets[hit.needle.owner]
        inner = () if outer and hit.needle.encodings == ("raw",) else hit.needle.encodings
        fingerprint = secret.fingerprint(self._salt)
        kind, marks, aliases = secret.kind, secret.marks, secret.aliases
        return Finding(secret.name, fingerprint, place, (*outer, *inner), offset, kind, marks, aliases)

    def scan_labels(self, host: str, place: Place) -> ScanResult:
        """A host or DNS name: no upper case, at most 63 characters a label, so values come in pieces and folded."""
        compiled = self.compiled
        raw = host.encode("utf-8", "surrogateescape")
        data = raw.lower().replace(b".", b"").translate(ONE_HYPHEN)
        found = [self.finding(compiled, hit, place, (), 0) for hit in first_of_each(compiled.folded.search(data)[0])]
        found += [self.finding(compiled, hit, place, (), 0) for hit in first_of_each(compiled.literal.search(raw)[0])]
        return ScanResult(tuple(_distinct(found)), "", len(raw))

    def redact(self, text: str) -> str:
        """Text in which every recognised form of a secret is replaced by ``[NAME]``."""
        compiled = self.compiled
        if not compiled.secrets or not text:
            return text
        data = _replace_literals(compiled, text.encode("utf-8", "surrogateescape"), compiled.literal)
        data = _replace_literals(compiled, data, compiled.folded, data.lower().translate(ONE_HYPHEN))
        if _whole(compiled, data):
            data = _TOKEN.sub(lambda match: _replaced_token(compiled, match), data)
            left = _whole(compiled, data)
            if left:
                return f"[redacted: {', '.join(sorted(left))}]"
        return data.decode("utf-8", "surrogateescape")

    def stream(self, place: Place, *, content_encoding: str = "", interactive: bool = False) -> StreamScan:
        """A scan of bytes that come in chunks."""
        return StreamScan(self, place, content_encoding=content_encoding, interactive=interactive)


def _replace_literals(compiled: Compiled, data: bytes, automaton: Automaton, as_read: bytes | None = None) -> bytes:
    """as_read: data of the same length in which to look instead, for names, which know no upper case."""
    parts: list[bytes] = []
    position = 0
    for hit in automaton.search(data if as_read is None else as_read)[0]:
        if hit.end <= position:
            continue
        parts += [data[position : max(position, hit.start)], b"[%s]" % compiled.secrets[hit.needle.owner].name.encode()]
        position = hit.end
    return b"".join([*parts, data[position:]])


def _replaced_token(compiled: Compiled, match: re.Match[bytes]) -> bytes:
    names = _whole(compiled, match[0]) if len(match[0]) >= views.MIN_RUN else set()
    return b"[%s]" % ", ".join(sorted(names)).encode() if names else match[0]


def _whole(compiled: Compiled, data: bytes) -> set[str]:
    found = _owners(compiled, data)
    for view in decode.views(data, "", views.new_budget(len(data))):
        found |= _owners(compiled, view.data)
    return {compiled.secrets[owner].name for owner in found}


def _owners(compiled: Compiled, data: bytes) -> set[int]:
    return {hit.needle.owner for hit, _known in compiled.hits(data)}


def _distinct(findings: list[Finding]) -> list[Finding]:
    """The first, that is plainest, reading of each secret: what decodes once more says nothing new about the same place."""
    plainest: dict[str, Finding] = {}
    for finding in findings:
        plainest.setdefault(finding.secret, finding)
    return list(plainest.values())
