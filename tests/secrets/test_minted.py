"""Credentials in responses, by what members are called; and what only looks like one."""

from __future__ import annotations

import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.secrets.minted import MAX_DOCUMENT, minted


def value() -> str:
    return "v1" + secrets.token_hex(24)


def jwt(claims: dict[str, str]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({"alg": "RS256"}, claims)]
    return ".".join([*parts, secrets.token_urlsafe(64)])


def found(document: object) -> set[str]:
    return {one.value for one in minted(document.encode() if isinstance(document, str) else json.dumps(document).encode())}


def test_what_services_answer() -> None:
    one, two = value(), value()
    token = jwt({"aud": "pypi"})
    assert found({"count": 1, "value": token}) == {token}
    assert found({"success": True, "message": "", "token": one}) == {one}
    assert found({"token": one, "access_token": one, "expires_in": 300, "issued_at": "2026-01-01T00:00:00Z"}) == {one}
    assert found({"access_token": one, "refresh_token": two, "token_type": "Bearer", "scope": "repository:a/b:pull"}) == {
        one,
        two,
    }
    assert found({"token": one, "expires_at": "2026-01-01T00:00:00Z", "permissions": {"contents": "write"}}) == {one}
    assert found({"Credentials": {"AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": one, "SessionToken": two}}) == {
        one,
        two,
    }
    assert found({"auth": {"client_token": one, "policies": ["default"], "lease_duration": 3600}}) == {one}
    assert found(f"access_token={one}&scope=repo&token_type=bearer") == {one}
    password = base64.b64encode(f"AWS:{one}".encode()).decode()
    answer = {
        "authorizationData": [{"authorizationToken": password, "proxyEndpoint": "https://1.dkr.ecr.eu-west-1.amazonaws.com"}]
    }
    assert found(answer) == {password, one}
    answer = (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>'
        f"<Credentials><SessionToken>{one}</SessionToken><SecretAccessKey>{two}</SecretAccessKey>"
        "<AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    assert found(answer) == {one, two}


@pytest.mark.parametrize(
    "document",
    [
        {"value": "a plain value, not a token of any kind"},
        {"token": "next"},
        {"items": [{"page": {"token": "v1" + "0123456789abcdef" * 3}}]},
        {"nextPageToken": "CAUQAA" + "0123456789abcdef" * 2, "next_token": "0123456789abcdef" * 2},
        {"token_type": "Bearer", "expires_in": "3600"},
        {"token": "https://example.com/token/v1/some/path"},
        {"data": {"repository": {"pageInfo": {"endCursor": "Y3Vyc29yOnYyOpHOAAE" * 3}}}},
        [],
        "<html><body>SessionToken</body></html>",
        "plain text",
    ],
)
def test_what_is_none(document: object) -> None:
    assert found(document) == set()


@given(st.binary(max_size=2000))
def test_anything_may_be_answered(body: bytes) -> None:
    minted(body)


def test_bounded() -> None:
    minted(b'{"token":' * 7000)
    assert minted(json.dumps({"access_token": value(), "x": "y" * MAX_DOCUMENT}).encode()) == []
    assert minted(json.dumps([{"a": n} for n in range(9000)]).encode()) == []
