"""Secret x encoding x surroundings x alignment x chunking: what is found, and that it does not depend on how it comes."""

from __future__ import annotations

import random
import secrets
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.reader import OVERLAP, WINDOW
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.secrets.encodings import BINARY, DISGUISED, MISSES, TEXTUAL

BODY = Place(Carrier.BODY)
EVERY = {**TEXTUAL, **DISGUISED, **BINARY}
ALPHABETS = {
    "letters and digits": string.ascii_letters + string.digits,
    "base64": string.ascii_letters + string.digits + "+/=",
    "password": string.ascii_letters + string.digits + "!#$%&()*+,-./:;<=>?@^_{|}~",
    "hex": "0123456789abcdef",
}
# What these make of a value depends on what stands before it in the same run, or they are none inside other bytes.
WHOLE_ONLY = {"base58", "brotli", "raw deflate"}


def random_value(length: int = 40, alphabet: str = ALPHABETS["letters and digits"], chance: random.Random | None = None) -> bytes:
    """chance: for tests that must be able to try the same again."""
    chance = chance or random.Random(secrets.randbits(64))
    while True:
        value = "".join(chance.choice(alphabet) for _ in range(length)).encode()
        if len(set(value)) >= 8:
            return value


def scanner(*values: bytes) -> Scanner:
    return Scanner([Secret(f"S{number}", value, "--secret") for number, value in enumerate(values)], salt=b"salt")


def surroundings(name: str) -> list[tuple[bytes, bytes]]:
    text = b"some words of a log, " * 6
    if name in WHOLE_ONLY:
        return [(b"", b"")]
    around = [(b"", b""), (text, text), (b'{"a": "', b'"}'), (b"\n", b"\n")]
    return around if name in TEXTUAL or name in DISGUISED else [*around, (secrets.token_bytes(300), secrets.token_bytes(300))]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_whole(name: str, alphabet: str) -> None:
    value = random_value(alphabet=ALPHABETS[alphabet])
    look = scanner(random_value(), value)
    for before, after in surroundings(name):
        found = look.scan(before + EVERY[name](value) + after, BODY).findings
        assert [one.secret for one in found] == ["S1"], (name, before, found)


@pytest.mark.parametrize("name", MISSES)
def test_a_documented_miss_is_one(name: str) -> None:
    value = random_value()
    assert scanner(value).scan(MISSES[name](value), BODY).findings == ()


def stream_all(look: Scanner, data: bytes, cuts: list[int], *, coding: str = "", interactive: bool = False):
    """(findings, bytes released before the first of them)."""
    stream = look.stream(BODY, content_encoding=coding, interactive=interactive)
    released, found = b"", []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        release = stream.feed(data[start:end])
        found += release.findings
        if found:
            return found, released
        released += release.data
    last = stream.finish()
    return [*last.findings], released + (b"" if last.findings else last.data)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("position", ["first", "over the end of a window", "far in"])
def test_streamed(name: str, position: str) -> None:
    value = random_value()
    written = EVERY[name](value)
    filling = random.Random(name).randbytes if name in BINARY else lambda size: (b"lorem ipsum dolor\n" * (size // 18 + 1))[:size]
    before = {"first": 0, "over the end of a window": WINDOW - len(written) // 2, "far in": 3 * WINDOW + 77}[position]
    if name in WHOLE_ONLY and before:
        return
    data = filling(before) + (b"\n" if before and name not in BINARY else b"") + written + b"\n" + filling(2 * WINDOW)
    data = written if name in WHOLE_ONLY else data
    cuts = list(range(30, len(data), 7777))
    found, released = stream_all(scanner(value), data, cuts)
    assert [one.secret for one in found] == ["S0"]
    assert written not in released
    assert data.startswith(released)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_up_to_three_encodings_in_each_other(data: st.DataObject) -> None:
    inner = data.draw(st.lists(st.sampled_from(sorted(TEXTUAL)), min_size=1, max_size=2))
    outer = data.draw(st.sampled_from(sorted({**TEXTUAL, **BINARY})))
    alphabet = data.draw(st.sampled_from(sorted(ALPHABETS)))
    value = random_value(data.draw(st.integers(16, 60)), ALPHABETS[alphabet], random.Random(data.draw(st.integers(0, 99))))
    written = value
    for name in (*inner, outer):
        written = EVERY[name](written)
    around = b"" if outer in WHOLE_ONLY else b"before " * data.draw(st.integers(0, 3))
    found = scanner(value).scan(around + written, BODY)
    assert [one.secret for one in found.findings] == ["S0"], (*inner, outer, value, around, found)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_streams_do_not_depend_on_where_the_chunks_are_cut(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(EVERY) - WHOLE_ONLY)))
    value = random_value(data.draw(st.integers(16, 90)), chance=random.Random(data.draw(st.integers(0, 99))))
    before = data.draw(st.sampled_from([0, 13, 400, WINDOW - 30, WINDOW + OVERLAP]))
    whole = (b"lorem ipsum dolor\n" * (before // 18 + 1))[:before] + b"\n" + EVERY[name](value) + b"\n" + b"word " * 30
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    interactive = data.draw(st.booleans())
    found, released = stream_all(scanner(value), whole, cuts, interactive=interactive)
    assert [one.secret for one in found] == ["S0"], name
    assert whole.startswith(released)
    if not interactive:
        assert EVERY[name](value) not in released


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=8), st.booleans())
def test_clean_streams_come_out_as_they_went_in(data: bytes, cuts: list[int], interactive: bool) -> None:  # noqa: FBT001
    cuts = sorted(min(one, len(data)) for one in cuts)
    found, released = stream_all(scanner(random_value(), random_value()), data, cuts, interactive=interactive)
    assert found == []
    assert released == data


def test_a_value_that_becomes_known_while_a_stream_goes_on_is_found_in_it() -> None:
    early, late = random_value(), random_value()
    look = scanner(early)
    stream = look.stream(BODY)
    assert stream.feed(b"x" * 70_000).findings == ()
    assert [one.name for one in look.add([Secret("LATE", late, "file"), Secret("AGAIN", early, "file")])] == ["LATE"]
    assert [one.secret for one in stream.feed(b"y" * 10 + late + b"z" * 100).findings] == ["LATE"]
