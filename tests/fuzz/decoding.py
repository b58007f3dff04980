"""Decoders, inflaters and the first bytes of what is compressed, each called as it stands: a crash is not made a note of."""

from __future__ import annotations

import zlib

from ebbgate.secrets import inflate, views
from ebbgate.secrets.beginnings import beginnings, compressed_at, is_compressed, unreadable
from ebbgate.secrets.decoders import ANYWHERE, CONTAINERS, TEXTS
from ebbgate.secrets.views import Budget, Made
from tests.fuzz.draw import Draw, pieces
from tests.fuzz.scanning import PACKED, SECRETS, WRITTEN

DECODERS = [*CONTAINERS, *ANYWHERE, *TEXTS]
ALLOWANCE = 1 << 18  # bytes that a container may expand to
EXPANSION = 40  # bytes for one of a text: eight alignments of six alphabets of base32 make 30
LARGEST_PIECE = 17 << 20  # bytes that an inflater may give before its bounds are looked at
CODINGS = sorted(inflate._CODINGS)


def decoders(data: bytes) -> None:
    """A decoder raises nothing, makes a bounded number of bytes, says so when it stops early, and knows where they come from."""
    draw = Draw(data)
    name, decoder = draw.pick(DECODERS)
    write, secret, before = draw.pick(WRITTEN), draw.pick(SECRETS), draw.number(512)
    rest = draw.rest()
    given = rest[:before] + (write(secret.reveal()) if before % 2 else b"") + rest[before:]
    budget = Budget(float("inf"), ALLOWANCE)
    made = list(decoder(given, budget))
    size = sum(len(one.data) for one in made)
    if name == "compressed":
        assert size <= 4 * (ALLOWANCE + (1 << 20)), size
        assert size <= ALLOWANCE or budget.uninspected
    else:
        assert size <= EXPANSION * len(given) + 64, (name, size, len(given))
    assert len(budget.notes) <= len(given) + 3
    for one in made:
        _known_places(one, given)


def _known_places(made: Made, given: bytes) -> None:
    starts, origins = list(made.starts), list(made.origins)
    assert len(starts) == len(origins)
    assert starts == sorted(starts)
    assert all(-1 <= origin < max(1, len(given)) for origin in origins)


def tools(data: bytes) -> None:
    """What views are made of gives places within the data, whatever they are: runs, surroundings, texts."""
    table = views.alphabet(data[:16])
    runs = list(views.runs(data, table, 1 + len(data) % 20))
    assert all(0 <= start < end <= len(data) for start, end in runs)
    around, starts, origins = views.around(data, runs)
    assert len(starts) == len(origins)
    assert len(around) <= 2 * len(data) + views.REACH * 2
    text = views.text_of(views.View(data))
    assert text is None or len(text.data) <= len(data) + 1
    assert views.is_text(data) in (True, False)
    previous = -1
    for at, kind in beginnings(data):
        assert previous < at < len(data)
        previous = at
        found = compressed_at(data, at, kind)
        assert found is None or (found[1] >= at and (not found[0] or inflate.inflater(found[0]) is not None or found[2] == ""))
    assert not (is_compressed(data) and unreadable(data))


def inflaters(data: bytes) -> None:
    """Malformed and BoundReached are all that comes of any bytes; what is made is bounded, and the same wherever they are cut."""
    draw = Draw(data)
    coding, pack, seed, longest = draw.pick(CODINGS), draw.pick(PACKED), draw.number(256), 1 << draw.number(10)
    broken_at, flip, members = draw.number(1 << 16), draw.number(256), draw.pick((1, 1 << 30))
    given = bytearray(pack(draw.rest()))
    if given:
        given[broken_at % len(given)] ^= flip
    if coding == "raw-deflate" and flip % 2:
        machine = zlib.compressobj(9, zlib.DEFLATED, -15)
        given = bytearray(machine.compress(given) + machine.flush())
    whole, ended = _inflated(coding, [bytes(given)], members)
    cut, ended_cut = _inflated(coding, pieces(bytes(given), seed, longest), members)
    assert ended == ended_cut or coding == "zstd", (coding, ended, ended_cut)  # which checks less of what comes in pieces
    assert whole == cut or "bound" in (ended, ended_cut)
    assert max(len(whole), len(cut)) <= ALLOWANCE + LARGEST_PIECE


def _inflated(coding: str, chunks: object, members: int) -> tuple[bytes, str]:
    machine = inflate.inflater(coding, limit=ALLOWANCE, members=members)
    assert machine is not None
    made, given = b"", 0
    for chunk in chunks:
        try:
            made += machine.feed(chunk)
        except inflate.Malformed as problem:
            return made + problem.made, "malformed"
        except inflate.BoundReached as problem:
            return made + problem.made, "bound"
        given += len(chunk)
        assert len(made) <= ALLOWANCE
        assert machine.taken <= given
    return made, ""
