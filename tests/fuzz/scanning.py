"""The scanner: bodies with a secret in them, however written, compressed and cut."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from random import Random

import brotli
import zstandard

from ebbgate.secrets import decode, reader, views
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.fuzz.draw import Draw, pieces
from tests.secrets.encodings import BINARY, DISGUISED, TEXTUAL

BODY = Place(Carrier.BODY)
# Made anew in each process, the same each time, so that a crash can be had again.
_VALUES = Random("values of the fuzzer")  # noqa: S311
SECRETS = [
    Secret(f"S{n}", "".join(_VALUES.choices("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789+/_-", k=k)).encode(), "--secret")
    for n, k in enumerate((12, 40, 70))
]
SCANNER = Scanner(SECRETS, salt=b"salt")
WRITTEN = [bytes, *TEXTUAL.values(), *DISGUISED.values()]
PACKED = [bytes, *BINARY.values()]
ANNOUNCED = [
    ("", bytes),
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("gzip, br", lambda v: brotli.compress(gzip.compress(v))),
    ("gzip", bytes),
    ("br", bytes),
]
# So that a few kilobytes are many windows. What is written of a secret of ours is shorter than the overlap.
WINDOW, OVERLAP = 4096, 2048


def body(draw: Draw) -> tuple[bytes, str]:
    """(body, content-encoding): a secret written in one way, between other bytes, packed in one way
    and perhaps broken, with others after it."""
    secret, write, pack = draw.pick(SECRETS), draw.pick(WRITTEN), draw.pick(PACKED)
    coding, compress = draw.pick(ANNOUNCED)
    without, before, outside, broken_at, flip = (
        draw.number(8) == 0,
        draw.number(512),
        draw.number(512),
        draw.number(1024),
        draw.number(256),
    )
    rest = draw.rest()
    inner = b"" if without else write(secret.reveal())
    packed = bytearray(pack(rest[outside : outside + before] + inner))
    if flip and packed:
        packed[broken_at % len(packed)] ^= flip
    return compress(rest[:outside] + packed + rest[outside + before :]), coding


def streams(data: bytes) -> None:
    """The result does not depend on where the chunks are cut, and no secret that is found has left whole before."""
    reader.WINDOW, reader.OVERLAP, views.MAX_SECONDS = WINDOW, OVERLAP, 1e9
    draw = Draw(data)
    interactive, seed, longest = draw.number(4) == 0, draw.number(1 << 16), 1 << draw.number(10)
    sent, coding = body(draw)
    outcomes = [
        _outcome(chunks, coding, interactive=interactive)
        for chunks in ([sent], pieces(sent, seed, longest), pieces(sent, seed, 3))
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2], outcomes


def _outcome(chunks: Iterable[bytes], coding: str, *, interactive: bool) -> tuple[object, ...]:
    stream = SCANNER.stream(BODY, content_encoding=coding, interactive=interactive)
    found: set[str] = set()
    before, sent, received = b"", b"", b""
    uninspected = False
    for chunk in (*chunks, None):
        release = stream.finish() if chunk is None else stream.feed(chunk)
        sent += chunk or b""
        received += release.data
        uninspected |= bool(release.uninspected)
        if release.findings and not found:
            before = received
        found |= {finding.secret for finding in release.findings}
        if release.findings:
            received += stream.permit().data
        assert sent.startswith(received)
    assert received == sent, "what is clean or permitted leaves in full"
    for secret in SECRETS:
        assert not (secret.name in found and secret.reveal() in before), "a secret left before it was found"
    return tuple(sorted(found)), uninspected and not interactive


def whole(data: bytes) -> None:
    """Scanning never raises, no decoder fails, and text that was redacted holds no secret that was found in it as it stands."""
    views.MAX_SECONDS = 1e9
    sent, coding = body(Draw(data))
    budget = views.new_budget(len(sent))
    for view in decode.views(sent, coding, budget):
        assert all(-1 <= view.offset(at) < max(1, len(sent)) for at in (0, len(view.data) // 2, len(view.data)))
    assert not [note for note in budget.notes if "failed" in note], budget.notes
    SCANNER.scan(sent, BODY, content_encoding=coding)
    text = sent[:4096].decode("utf-8", "surrogateescape")
    clean = SCANNER.redact(text).encode("utf-8", "surrogateescape")
    assert not any(secret.reveal() in clean for secret in SECRETS)
    SCANNER.scan_labels(text[:300], BODY)
    SCANNER.scan_pieces([sent[:100], sent[100:200], sent[200:]], BODY)
    SCANNER.fragments(sent)
