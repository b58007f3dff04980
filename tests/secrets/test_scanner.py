"""The scanner. Of streams: what was found, and that no complete secret was released, do not depend on where the chunks are cut."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import secrets
import string
import struct
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.secrets.encodings import DISGUISED, TEXTUAL

EVERY = {**TEXTUAL, **DISGUISED}

BODY = Place(Carrier.BODY)
ALPHABET = string.ascii_letters + string.digits + "+/_-"


def random_value(length: int = 40) -> bytes:
    return "".join(secrets.choice(ALPHABET) for _ in range(length)).encode()


def scanner(*values: bytes) -> Scanner:
    return Scanner([Secret(f"S{number}", value, "--secret") for number, value in enumerate(values)], salt=b"salt")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_content_codings(coding: str) -> None:
    value = random_value()
    data = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}[coding](
        b"x" * 999 + value
    )
    assert scanner(value).scan(data, BODY, content_encoding=coding).findings[0].encodings[0] in (
        coding,
        "raw",
    )  # raw: stored, not compressed
    stream = scanner(value).stream(BODY, content_encoding=coding)
    found = [*stream.feed(data[:100]).findings, *stream.feed(data[100:]).findings, *stream.finish().findings]
    assert [one.secret for one in found] == ["S0"]


@pytest.mark.parametrize("field", ["name", "extra field"])
def test_what_is_compressed_in_the_header_of_an_archives_member(field: str) -> None:
    """Was passed over together with the member's own data."""
    value, machine = random_value(), zlib.compressobj(wbits=-15)
    hidden = gzip.compress(b"key=" + value)
    name, extra = (hidden, b"") if field == "name" else (b"a.txt", hidden)
    body = machine.compress(b"harmless text " * 400) + machine.flush()
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(body), 5600, len(name), len(extra))
    (found,) = scanner(value).scan(head + name + extra + body, BODY).findings
    assert found.encodings == ("gzip",)


def test_long_values_are_found_at_any_cut() -> None:
    value = b"-----BEGIN KEY-----\n" + b"\n".join(random_value(64) for _ in range(25)) + b"\n-----END KEY-----\n"
    for size in (1, 7, 64, 1000):
        stream = scanner(value).stream(BODY)
        data, released, found = b"x" * 500 + value + b"y" * 500, b"", []
        for start in range(0, len(data), size):
            release = stream.feed(data[start : start + size])
            found += release.findings
            released += release.data
            if found:
                break
        assert found
        assert value[:200] not in released


BOMBS = {
    "gzip": gzip.compress(b"\0" * (200 << 20), 9),
    "zstd": zstandard.compress(b"\0" * (200 << 20)),
    "br": brotli.compress(b"\0" * (50 << 20)),
    "xz": lzma.compress(b"\0" * (100 << 20)),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_bombs_are_bounded_and_said_to_be_uninspected(coding: str) -> None:
    tracemalloc.start()
    result = scanner(random_value()).scan(BOMBS[coding], BODY, content_encoding=coding)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.uninspected
    assert peak < 100 << 20


@pytest.mark.parametrize(
    "data", [b"%" * 5000, b"\\u" * 5000, b"A" * 100_000, b"aaaa" * 50_000, b"&#" * 9999, b"0x" * 9999, b"PK\x03\x04" + b"x" * 100]
)
def test_hostile_text_costs_little(data: bytes) -> None:
    import time

    began = time.monotonic()
    scanner(random_value()).scan(data, BODY)
    assert time.monotonic() - began < 5  # the budget is half a second; a trap would take minutes


def test_names_of_hosts() -> None:
    value = random_value(30)
    for label in (value.hex(), base64.b32encode(value).decode().strip("=").lower(), value.decode().lower()):
        host = ".".join(label[start : start + 20] for start in range(0, len(label), 20)) + ".example.com"
        assert scanner(value).scan_labels(host, Place(Carrier.DNS)).findings, label
    assert not scanner(value).scan_labels("www.example.com", Place(Carrier.DNS)).findings


@pytest.mark.parametrize("name", [one for one in (*TEXTUAL, *DISGUISED) if not one.startswith("utf-")])
def test_redaction(name: str) -> None:
    value = random_value()
    text = scanner(value).redact(f"curl -d TOKEN={EVERY[name](value).decode()} https://example.com")
    assert "S0" in text
    assert EVERY[name](value).decode() not in text
    assert value.decode() not in text


def test_a_secret_does_not_print_itself() -> None:
    value = random_value()
    one = Secret("NAME", value, "--secret")
    for text in (repr(one), str(one), f"{one}", f"{one!r:>40}", repr([one]), repr({"a": one})):
        assert value.decode() not in text
        assert "NAME" in text
    import copy
    import pickle

    for leak in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            leak(one)


@pytest.mark.parametrize("cut", [1, 100, 1 << 16])
def test_the_name_of_an_archives_member_may_be_compressed_itself(cut: int) -> None:
    """Header fields can have any length; what begins in them was passed over with the header."""
    value = secrets.token_hex(20)
    stream = Scanner([Secret("TOKEN", value.encode(), "test")], salt=b"").stream(Place(Carrier.BODY))
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    member, name = machine.compress(b"some text " * 100) + machine.flush(), gzip.compress(value.encode())
    data = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(member), 1000, len(name), 0) + name + member
    releases = [stream.feed(data[at : at + cut]) for at in range(0, len(data), cut)] + [stream.finish()]
    assert [one.encodings for release in releases for one in release.findings] == [("gzip",)]


def found_in(value: bytes, chunks: list[bytes]) -> int:
    stream = scanner(value).stream(BODY)
    return len([*(one for chunk in chunks for one in stream.feed(chunk).findings), *stream.finish().findings])


def at_every_cut(data: bytes) -> list[list[bytes]]:
    return [[data], *([data[i : i + size] for i in range(0, len(data), size)] for size in (1, 7, 100))]


def cut_in_two(data: bytes) -> list[list[bytes]]:
    return [[data[:at], data[at:]] for at in range(1, min(len(data), 700), 9)]


def test_first_bytes_that_come_alone_hide_nothing_behind_them() -> None:
    """What begins like zlib is taken for it until it breaks; what stands in the bytes that it took is looked for again."""
    value = random_value()
    data = b"hello " * 20 + b"\x78\x9c\xff\xff" + gzip.compress(b"words " + value)
    assert {found_in(value, chunks) for chunks in (*at_every_cut(data), [data[:122], data[122:]])} == {1}


def test_what_follows_a_broken_stream_is_read() -> None:
    value = random_value()
    broken = zlib.compress(secrets.token_bytes(700), 1)[:-4] + b"\0" * 4
    for data in (broken + gzip.compress(value), broken[:600] + gzip.compress(value) + b"x" * 99):
        assert {found_in(value, chunks) for chunks in (*at_every_cut(data), *cut_in_two(data))} == {1}


BROKEN = {
    "zlib": lambda data: zlib.compress(data)[:-4] + b"\1" * 4,
    "gzip": lambda data: gzip.compress(data)[:-8] + b"\1" * 8,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)[:-4] + b"\1" * 4,
    "brotli": lambda data: brotli.compress(data) + b"\x55" * 30,
    "bzip2": lambda data: bz2.compress(data)[:-4] + b"\1" * 4,
}


@pytest.mark.parametrize("coding", BROKEN)
@pytest.mark.parametrize("before", [20, 3000, 10_000])
def test_a_wrong_checksum_hides_nothing(coding: str, before: int) -> None:
    """Libraries keep to themselves what they have made in the call that meets an error; the receiver need not use a library."""
    value = random_value()
    data = BROKEN[coding](random_value(before) + value)
    assert scanner(value).scan(data, BODY).findings
    assert {found_in(value, chunks) for chunks in at_every_cut(data)} == {1}


@pytest.mark.parametrize("coding", BROKEN)
def test_a_wrong_checksum_far_behind_hides_nothing_or_is_told(coding: str) -> None:
    """Only zlib's state can be had again; of the others the last slice is lost, which counts as not inspected."""
    value = random_value()
    data = BROKEN[coding](random_value(200_000) + value)
    whole, stream = scanner(value).scan(data, BODY), scanner(value).stream(BODY)
    parts = [stream.feed(data[at : at + 65536]) for at in range(0, len(data), 65536)] + [stream.finish()]
    found = [bool(whole.findings), any(part.findings for part in parts)]
    told = [bool(whole.uninspected), any(part.uninspected for part in parts)]
    assert (
        found == [True, True] if coding in ("zlib", "gzip") else all(one or other for one, other in zip(found, told, strict=True))
    )


def test_what_has_no_first_bytes_is_told_from_any_first_chunk() -> None:
    value = random_value()
    text = value + random_value(6000)
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    for data in (machine.compress(text) + machine.flush(), brotli.compress(text)):
        assert {found_in(value, chunks) for chunks in (*at_every_cut(data), *cut_in_two(data))} == {1}


@pytest.mark.parametrize("times", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "again", [lambda data: data.replace(b"%", b"%25"), lambda data: data.replace(b"\\", b"\\\\")], ids=["percent", "escapes"]
)
def test_a_value_that_looks_encoded_is_found_below_what_is(times: int, again) -> None:
    r"""Undone until nothing changes, what holds ``%CE`` or ``\x41`` itself is undone once too often."""
    value = random_value(20) + b"%41%CE" + random_value(9) + rb"\x41" + random_value(9)
    data = value
    for _ in range(min(times, 3 if b"\\\\" in again(b"\\") else times)):
        data = again(data)
    assert scanner(value).scan(b"a " + data + b" b", BODY).findings
