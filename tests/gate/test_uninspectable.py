"""What cannot be read: counted by default, and kept from leaving where the policy says so."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world import World
from tests.world.internet import API

MEGABYTE = 1 << 20


def _encrypted_zip() -> bytes:
    """With the flag that says so; its data is not what matters."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", b"words " * 50)
    made = bytearray(buffer.getvalue())
    made[6] |= 1
    return bytes(made)


def _nested(depth: int) -> bytes:
    data = b"words " * 50
    for _ in range(depth):
        data = gzip.compress(data)
    return data


def _bomb() -> bytes:
    machine = zlib.compressobj(9, wbits=31)
    return b"".join(machine.compress(bytes(MEGABYTE)) for _ in range(400)) + machine.flush()


UNREADABLE: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "encrypted archive": (_encrypted_zip, []),
    "an archive of an unread kind": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(range(256)), []),
    "a bomb": (_bomb, []),
    "a bomb of bzip2": (lambda: bz2.compress(bytes(200 * MEGABYTE)), []),
    "an unknown content-encoding": (lambda: b"words " * 50, ["-H", "Content-Encoding: rot26"]),
    "more text than is decoded": (lambda: b"".join(b"line %d of some text\n" % number for number in range(100_000)), []),
}


def send(world: World, policy: str, data: bytes, extra: list[str]):
    file = world.directory / "policy.yml"
    file.write_text(f"version: 1\n{policy}\n")
    body = world.directory / "body"
    body.write_bytes(data)
    command = ["curl", "-sS", "-m", "60", "--data-binary", f"@{body}", *extra, "https://api.example.com/up"]
    return world.guard.run(["--policy", str(file)], command, env={"A_TOKEN": "kRw8Zq" + Path(__file__).stem[::-1]}, timeout=90)


@pytest.mark.parametrize("name", UNREADABLE)
def test_it_is_counted(world: World, name: str) -> None:
    make, extra = UNREADABLE[name]
    outcome = send(world, "allow: [api.example.com]", make(), extra)
    assert outcome.code == 0, outcome.stderr
    (exchange,) = [one for one in outcome.events if one["kind"] == "Exchange"]
    assert exchange["inspection"] == "partial"
    assert exchange["uninspected"]


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize(
    "policy", ["uninspectable: deny\nallow: [api.example.com]", "allow: [{host: api.example.com, uninspectable: deny}]"]
)
def test_it_does_not_leave_where_the_policy_says_so(world: World, name: str, policy: str) -> None:
    make, extra = UNREADABLE[name]
    data = make()
    outcome = send(world, policy, data, extra)
    assert outcome.code == 90, outcome.stderr
    assert not any(data in bytes(one.received) for one in world.at(API))
    told = [one for one in outcome.incidents if one["kind"] == "blocked"]
    assert {one["reason"] for one in told} == {"uninspectable"}
    assert "some of it cannot be read" in outcome.stderr


def test_an_entry_may_be_an_exception_and_what_can_be_read_is_no_matter(world: World) -> None:
    policy = "uninspectable: deny\nallow: [{host: api.example.com, uninspectable: allow}]"
    assert send(world, policy, _encrypted_zip(), []).code == 0
    assert send(world, "uninspectable: deny\nallow: [api.example.com]", _nested(3), []).code == 0


def test_nested_too_deep_is_not_clean(world: World) -> None:
    outcome = send(world, "allow: [api.example.com]", _nested(50), [])
    (exchange,) = [one for one in outcome.events if one["kind"] == "Exchange"]
    assert exchange["inspection"] == "partial"
