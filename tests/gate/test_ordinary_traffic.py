"""What clients of services say all day, with fifty secrets registered: JSON and WebSocket messages. Nothing is seen in it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import pytest
import websockets.sync.server
from websockets.extensions.permessage_deflate import PerMessageDeflate

from tests.attacks.programs import PYTHON
from tests.secrets.fifty import FIFTY
from tests.world import World
from tests.world.internet import API, listen
from tests.world.served import OWN, settle, trusted

LIVE = "live.example.com"
OPTIONS = ["--allow", "api.example.com", "--allow", LIVE, *(word for name in FIFTY for word in ("--secret", name))]
REQUESTS, MESSAGES = 300, 100
# Documents as issue trackers, registries and telemetry have them.
_DOCUMENTS = """
import base64, datetime, hashlib, json, random, secrets, uuid
WORDS = open(json.__file__).read().split()
def when():
    return (datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=random.randrange(10**7))).isoformat() + "Z"
def document(number):
    return {
        "id": random.getrandbits(48), "node_id": base64.b64encode(b"0:Item%d" % number).decode(), "uuid": str(uuid.uuid4()),
        "sha": secrets.token_hex(20), "digest": "sha256:" + secrets.token_hex(32), "etag": secrets.token_urlsafe(12),
        "integrity": "sha512-" + base64.b64encode(secrets.token_bytes(64)).decode(), "created_at": when(), "updated_at": when(),
        "url": f"https://api.example.com/repos/octo/demo/items/{number}?per_page=100&page={number % 7}&sort=created",
        "title": " ".join(random.choices(WORDS, k=8)), "body": " ".join(random.choices(WORDS, k=random.randrange(200))),
        "state": random.choice(["open", "closed", None]), "labels": [{"name": word, "color": secrets.token_hex(3)} for word in random.choices(WORDS, k=3)],
        "thumbnail": base64.b64encode(secrets.token_bytes(random.choice([0, 30, 3000]))).decode(),
        "metrics": {"duration_ms": random.random() * 1000, "counts": [random.randrange(10**9) for _ in range(20)], "ok": True},
        "cursor": base64.urlsafe_b64encode(json.dumps({"after": number, "at": when()}).encode()).decode(), "trace": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }
"""
_CLIENT = (
    _DOCUMENTS
    + f"""
import gzip, http.client, urllib.parse
connection = http.client.HTTPSConnection("api.example.com")
for number in range({REQUESTS}):
    body = json.dumps(document(number), indent=number % 3 or None).encode()
    about = {{"Content-Type": "application/json", "X-Request-Id": str(uuid.uuid4()), "If-None-Match": f'W/"{{secrets.token_hex(16)}}"', "traceparent": document(0)["trace"]}}
    if number % 5 == 4:
        body, about["Content-Encoding"] = gzip.compress(body), "gzip"
    method, query = ("GET", "POST", "PATCH", "PUT")[number % 4], urllib.parse.urlencode({{"since": when(), "q": document(0)["title"], "cursor": document(number)["cursor"]}})
    connection.request(method, f"/items/{{uuid.uuid4()}}?{{query}}", None if method == "GET" else body, about)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    said = answer.read().decode()
    assert method == "GET" or f"{{len(body)}} {{hashlib.sha256(body).hexdigest()}}" in said, said
print("all said")
"""
)
_TALKER = (
    _DOCUMENTS
    + f"""
import websockets.sync.client as client
with client.connect("wss://{LIVE}/events") as socket:
    assert [one.name for one in socket.protocol.extensions] == ["permessage-deflate"]
    for number in range({MESSAGES}):
        message = json.dumps([document(one) for one in range(number % 4 + 1)])
        message = message.encode() if number % 3 == 0 else message
        socket.send(message if number % 7 else [message[:100], message[100:]])
        assert socket.recv(timeout=30) == hashlib.sha256(message if number % 3 == 0 else message.encode()).hexdigest(), number
print("all said")
"""
)


@pytest.fixture
def live(world: World) -> Iterator[list[websockets.sync.server.ServerConnection]]:
    """Answers each message with its hash. The connections it had."""
    seen: list[websockets.sync.server.ServerConnection] = []

    def talk(connection: websockets.sync.server.ServerConnection) -> None:
        seen.append(connection)
        for message in connection:
            connection.send(hashlib.sha256(message if isinstance(message, bytes) else message.encode()).hexdigest())

    settle(world, LIVE)
    listening = world.namespace.run(lambda: listen(OWN, 443))
    with websockets.sync.server.serve(talk, sock=listening, ssl=trusted(world, LIVE)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield seen
        server.shutdown()
        thread.join()
    del world.names[LIVE]


def assert_clean(done) -> None:
    assert done.code == 0, done.stderr
    assert done.stdout == "all said\n"
    assert done.incidents == []
    exchanges = [one for one in done.events if one["kind"] == "Exchange"]
    assert {(one["error"], one["blocked"]) for one in exchanges} == {("", False)}
    # One in some million random texts is by chance the beginning of a brotli stream that hardly ends, which is told as it is.
    assert {one["uninspected"] for one in exchanges} <= {"", "decode budget"}
    assert [one for exchange in exchanges for one in exchange["findings"]] == []


def test_hundreds_of_json_requests(world: World) -> None:
    done = world.guard.run(OPTIONS, [PYTHON, "-c", _CLIENT], env=FIFTY, timeout=120)
    assert_clean(done)
    assert sum(len(one.requests) for one in world.at(API, "2001:db8::10")) == REQUESTS


def test_a_websocket_of_deflated_messages(world: World, live: list[websockets.sync.server.ServerConnection]) -> None:
    done = world.guard.run(OPTIONS, [PYTHON, "-c", _TALKER], env=FIFTY, timeout=120)
    assert_clean(done)
    (connection,) = live
    assert [type(one) for one in connection.protocol.extensions] == [PerMessageDeflate]


@pytest.mark.parametrize("name", ["LONG_0", "SHORT_9", "WORDS_9"])
def test_one_of_them_in_a_deflated_message(world: World, live: list[websockets.sync.server.ServerConnection], name: str) -> None:
    """So that the test above could fail."""
    program = _TALKER.replace(f"range({MESSAGES})", "range(3)").replace(
        'print("all',
        f'    import os; socket.send(json.dumps({{"x": os.environ["{name}"]}})); socket.recv(timeout=30)\nprint("all',
    )
    done = world.guard.run([*OPTIONS, "--on-exfiltration", "fail"], [PYTHON, "-c", program], env=FIFTY, timeout=120)
    assert done.code == 91, done.stderr
    assert {(one["secret"], one["place"]) for one in done.incidents} == {(name, "websocket")}
