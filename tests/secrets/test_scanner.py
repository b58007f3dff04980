"""The scanner. Of streams: what was found, and that no complete secret was released, do not depend on where the chunks are cut."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import secrets
import string
import tracemalloc
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

BODY = Place(Carrier.BODY)
ALPHABET = string.ascii_letters + string.digits + "+/_-"


def random_value(length: int = 40) -> bytes:
    return "".join(secrets.choice(ALPHABET) for _ in range(length)).encode()


def scanner(*values: bytes) -> Scanner:
    return Scanner([Secret(f"S{number}", value, "--secret") for number, value in enumerate(values)], salt=b"salt")


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", data)
    return buffer.getvalue()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda v: v,
    "base64, offset 0": base64.b64encode,
    "base64, offset 1": lambda v: base64.b64encode(b"a" + v),
    "base64, offset 2": lambda v: base64.b64encode(b"ab" + v),
    "base64 of the URL alphabet": lambda v: base64.urlsafe_b64encode(b"ab" + v),
    "base64 without padding": lambda v: base64.b64encode(v).rstrip(b"="),
    "base64 in lines": lambda v: base64.encodebytes(v * 3),
    "base64 twice": lambda v: base64.b64encode(base64.b64encode(v)),
    "base32": base64.b32encode,
    "base32, offset 3": lambda v: base64.b32encode(b"abc" + v),
    "hex": lambda v: v.hex().encode(),
    "hex in capitals": lambda v: v.hex().upper().encode(),
    "hex with colons": lambda v: v.hex(":").encode(),
    "percent": lambda v: "".join(f"%{b:02x}" for b in v).encode(),
    "percent where needed": lambda v: urllib.parse.quote(v, safe="").encode(),
    "form": lambda v: urllib.parse.urlencode({"x": v.decode()}).encode(),
    "json": lambda v: json.dumps({"x": v.decode()}).encode(),
    "json escapes": lambda v: "".join(f"\\u{b:04x}" for b in v).encode(),
    "reversed": lambda v: v[::-1],
    "utf-16": lambda v: v.decode().encode("utf-16"),
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "zip": _zip,
    "gzip in base64": lambda v: base64.b64encode(gzip.compress(v)),
    "base64 in gzip": lambda v: gzip.compress(base64.b64encode(v)),
    "gzip twice": lambda v: gzip.compress(gzip.compress(v)),
    "base64 in json": lambda v: json.dumps({"d": base64.b64encode(v).decode()}).encode(),
}
# What is not found, and is not claimed to be: the documentation says so.
NOT_FOUND: dict[str, Callable[[bytes], bytes]] = {
    "rot13": lambda v: v.decode().translate(str.maketrans(string.ascii_lowercase, string.ascii_lowercase[13:] + string.ascii_lowercase[:13])).encode(),
    "xor": lambda v: bytes(b ^ 0x55 for b in v),
    "every other character": lambda v: b".".join(bytes([b]) + b"x" for b in v),
    "ascii85": base64.a85encode,
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_every_way_of_writing_is_found(name: str) -> None:
    for _ in range(5):
        value = random_value()
        data = b"before " + ENCODERS[name](value) + b" after" if name not in COMPRESSED else ENCODERS[name](b"a" + value + b"b")
        found = scanner(value).scan(data, BODY).findings
        assert [one.secret for one in found] == ["S0"], name


COMPRESSED = {"gzip", "zlib", "bzip2", "xz", "zstd", "zip", "gzip twice", "base64 in gzip", "utf-16"}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_is_not_found_is_known(name: str) -> None:
    value = random_value()
    assert scanner(value).scan(NOT_FOUND[name](value), BODY).findings == ()


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


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_streams_do_not_depend_on_where_the_chunks_are_cut(data: st.DataObject) -> None:
    value = random_value(data.draw(st.integers(12, 90)))
    form = data.draw(st.sampled_from(["raw", "base64, offset 1", "hex", "percent", "base64 twice", "json escapes"]))
    whole = secrets.token_bytes(data.draw(st.integers(0, 300))) + ENCODERS[form](value) + b"t" * data.draw(st.integers(0, 300))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    interactive = data.draw(st.booleans())
    stream = scanner(value).stream(BODY, interactive=interactive)
    released, found = b"", []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        release = stream.feed(whole[start:end])
        found += release.findings
        released += release.data
        if found:
            break
    if not found:
        found += stream.finish().findings
    if form == "json escapes" and not found:
        return  # decoded only in whole bodies; streams match literals
    assert [one.secret for one in found] == ["S0"]
    assert ENCODERS[form](value) not in released
    assert whole.startswith(released)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=8))
def test_clean_streams_come_out_as_they_went_in(data: bytes, cuts: list[int]) -> None:
    stream = scanner(random_value(), random_value()).stream(BODY)
    out = b""
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        out += stream.feed(data[start:end]).data
    assert out + stream.finish().data == data


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


@pytest.mark.parametrize("name", ["raw", "base64, offset 1", "hex", "percent", "json escapes", "base64 twice"])
def test_redaction(name: str) -> None:
    value = random_value()
    text = scanner(value).redact(f"curl -d TOKEN={ENCODERS[name](value).decode()} https://example.com")
    assert "S0" in text
    assert ENCODERS[name](value).decode() not in text
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
