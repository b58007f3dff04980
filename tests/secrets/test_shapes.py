"""Shapes in bytes, their offline checks, and what kind a known value is."""

from __future__ import annotations

import base64
import json
import os
import secrets
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.secrets.checks import CHECKS, check, claims
from ebbgate.secrets.credentials import credentials
from ebbgate.secrets.kinds import kind_of, marks_of
from ebbgate.secrets.secret import Secret, merged
from ebbgate.secrets.shapes import MAX_SIGHTINGS, Shapes
from tests.secrets.samples import base64url, jwt, random_text, sample

HEADS, BODIES = Shapes(heads=True), Shapes(heads=False)
CHECKED = [kind for kind in credentials().kinds if kind.check]
SPOILED = [kind for kind in CHECKED if kind.id not in ("artifactory-api-key", "discord-bot")]  # these test lengths alone


def found(data: bytes, shapes: Shapes = HEADS) -> list[tuple[str, bytes, bool | None]]:
    return [(one.kind.id, data[one.start : one.end], one.checked) for one in shapes.search(data)]


@pytest.mark.parametrize("kind", CHECKED, ids=[kind.id for kind in CHECKED])
def test_a_check_holds_for_what_the_issuer_makes(kind: object) -> None:
    for _ in range(20):
        assert check(kind.check, sample(kind).encode()) is True


@pytest.mark.parametrize("kind", SPOILED, ids=[kind.id for kind in SPOILED])
def test_a_check_does_not_hold_for_one_that_was_spoiled(kind: object) -> None:
    value = sample(kind).encode()
    assert check(kind.check, value[:8] + b"\x00" + value[9:]) is not True
    assert check(kind.check, b"") is not True


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(CHECKS)), st.binary(max_size=300))
def test_no_value_makes_a_check_fail(name: str, value: bytes) -> None:
    assert check(name, value) in (True, False, None)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted({one for kind in credentials().kinds for one in kind.prefixes})), max_size=20))  # fmt: skip
def test_no_bytes_make_the_search_fail(data: bytes, literals: list[str]) -> None:
    for literal in literals:
        at = secrets.randbelow(len(data) + 1)
        data = data[:at] + literal.encode() + data[at:]
    for shapes in (HEADS, BODIES):
        for one in shapes.search(data):
            assert 0 <= one.start < one.end <= len(data)


def test_random_36_characters_are_no_github_token() -> None:
    value = b"ghp_" + random_text(36).encode()
    assert found(value) == [("github-pat-classic", value, False)]
    assert kind_of("SOMETHING", value) == ""


def test_the_installation_token_of_2026_is_seen() -> None:
    """Rules that wait for 36 characters are blind to it: it has dots, hyphens and 500 characters."""
    value = sample("github-actions-token").encode()
    assert len(value) > 400
    assert found(b"Bearer " + value) == [("github-actions-token", value, True)]
    assert found(b"Bearer ghs_123_eyJhbGciOiJub25lIn0." + b"x" * 40)[0][2] is False


@pytest.mark.parametrize("kind", ["github-pat-classic", "npm-token", "slack-bot", "anthropic", "sendgrid", "pypi-token"])
@pytest.mark.parametrize("around", ["x{}", "-{}", "_{}"])
def test_more_of_the_same_beside_it_makes_it_none(kind: str, around: str) -> None:
    """A piece of base64, or of a longer name, is no credential. What takes any length just ends later."""
    data = around.format(sample(kind)).encode()
    assert kind not in [name for name, _value, checked in found(data) if checked is not False]


@pytest.mark.parametrize("around", ["ab/{}", "ab+{}", "{}x", "{}0"])
def test_a_piece_of_base64_is_none(around: str) -> None:
    assert found(around.format(sample("bitbucket-app-password")).encode()) == []


def test_a_path_is_no_base64() -> None:
    value = sample("npm-token").encode()
    assert found(b"/collect/" + value) == [("npm-token", value, True)]


def test_infix_markers_look_back() -> None:
    value = sample("terraform-cloud")
    assert found(f'token = "{value}"'.encode()) == [("terraform-cloud", value.encode(), None)]
    token = sample("telegram-bot").removeprefix("bot").encode()
    assert found(b"/bot" + token + b"/sendMessage") == [("telegram-bot", token, None)]


def test_base64_of_random_bytes_holds_nothing() -> None:
    data = base64.b64encode(os.urandom(4 << 20))
    assert [one for one in BODIES.search(data) if one.checked is not False] == []


def test_sightings_are_bounded() -> None:
    data = b" ".join(sample("github-pat-classic").encode() for _ in range(MAX_SIGHTINGS * 3))
    assert len(BODIES.search(data)) == MAX_SIGHTINGS


@pytest.mark.parametrize("literal", ["ghp_", "ghs_", "sk-proj-", "T3BlbkFJ", ".atlasv1.", "FlyV1 fm2_", "postgres://", "tid=a;"])
def test_a_body_of_nothing_but_literals_costs_little(literal: str) -> None:
    """Without a bound on trials this took minutes. The time is a fail-safe, a hundred times what it takes."""
    data = (literal * (1 << 20))[: 1 << 20].encode()
    began = time.process_time()
    BODIES.search(data)
    assert time.process_time() - began < 20


def test_starting_takes_no_time_for_kinds_that_are_not_met() -> None:
    began = time.process_time()
    Shapes(heads=True)
    assert time.process_time() - began < 2  # 2 ms on an idle machine


NAMED = [
    ("GITHUB_TOKEN", "github-actions-token", "github-actions-token"),
    ("GITHUB_TOKEN", "github-pat-classic", "github-pat-classic"),
    ("NODE_AUTH_TOKEN", "github-pat-classic", "github-pat-classic"),  # GitHub's own npm registry
    ("NODE_AUTH_TOKEN", "npm-token", "npm-token"),
    ("ANYTHING", "npm-token", "npm-token"),
    ("CLERK_SECRET_KEY", "stripe-secret", "clerk"),  # sk_live_ is two vendors'
    ("STRIPE_API_KEY", "stripe-secret", "stripe-secret"),
    ("ANYTHING", "github-oidc-idtoken", "github-oidc-idtoken"),
    ("ACTIONS_RUNTIME_TOKEN", "generic-jwt", "github-actions-runtime"),
    ("DEEPSEEK_API_KEY", "deepseek", "deepseek"),
]


@pytest.mark.parametrize(("name", "of", "kind"), NAMED)
def test_a_known_value_is_of_a_kind_by_name_and_shape(name: str, of: str, kind: str) -> None:
    assert Secret(name, sample(of).encode(), "environment").kind == kind


def test_a_name_alone_says_the_kind_of_a_value_without_shape(secret: str) -> None:
    expected = {
        "GITHUB_TOKEN": "github-actions-token", "NPM_TOKEN": "npm-legacy-uuid", "TWINE_PASSWORD": "pypi-token",
        "AWS_SECRET_ACCESS_KEY": "aws-secret-access-key", "CARGO_REGISTRY_TOKEN": "crates-token", "MY_PASSWORD": "",
        "HF_TOKEN": "huggingface", "TEST_PYPI_TOKEN": "testpypi-token",
    }  # fmt: skip
    assert {name: kind_of(name, secret.encode()) for name in expected} == expected


def test_what_a_token_says_of_itself() -> None:
    token = jwt(iss="https://token.actions.githubusercontent.com", aud=["pypi", 3], sub="x" * 5000)
    assert marks_of("github-oidc-idtoken", token.encode()) == ("aud:pypi", "iss:https://token.actions.githubusercontent.com")
    assert marks_of("netrc", b"password", ("ci.example.com",)) == ("source:ci.example.com",)
    assert claims(b".".join([base64url(json.dumps([]).encode()).encode()] * 3)) is None


def test_a_value_of_several_names_is_of_the_kind_that_one_of_them_says(secret: str) -> None:
    value = secret.encode()
    both = [Secret("MY_TOKEN", value, "environment"), Secret("NPM_TOKEN", value, "environment"), Secret("X", b"other", "policy")]
    assert both[0].kind == ""  # asked for before, as the journal does
    first, other = merged(both)
    assert (first.name, first.aliases, first.kind) == ("MY_TOKEN", ("NPM_TOKEN",), "npm-legacy-uuid")
    assert other is both[2]


def test_a_secret_travels_with_its_kind() -> None:
    value = Secret("X", b"value", "file", kind="netrc", sources=("ci.example.com",))
    again = Secret.from_wire(value.to_wire())
    assert (again.kind, again.marks) == ("netrc", ("source:ci.example.com",))
    assert Secret.from_wire(("NPM_TOKEN", b"value", "environment")).kind == "npm-legacy-uuid"
    for wire in ((), ("a",), ("a", b"b", 3), ("a", b"b", "c", 1, ()), ("a", b"b", "c", None, (1,)), ("a", b"b", "c", None, [])):
        with pytest.raises(ValueError, match="not a secret"):
            Secret.from_wire(wire)
