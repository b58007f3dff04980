"""Taking requests apart: everything that was in a part is in its pieces, and a secret beside its place is not in it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.secrets.bindings import Bindings, host_variables, hosts_from
from ebbgate.secrets.credentials import CANARY
from ebbgate.secrets.finding import Carrier, Finding, Place
from ebbgate.secrets.parts import MAX_PARSED, Part, tree

BODY, QUERY, AUTH = Place(Carrier.BODY), Place(Carrier.URL, "query"), Place(Carrier.HEADER, "authorization")
FORM, JSON = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
VALUE = b"the-value-itself"


def names(part: Part) -> list[str]:
    def below(node: object) -> list[str]:
        return [node.name, *(name for child in node.children for name in below(child))]

    return [name for name in below(tree(part)) if name]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part(AUTH, b"Bearer x"), ["auth:bearer"]),
        (Part(AUTH, b"x"), ["auth:raw"]),
        (Part(AUTH, b"Basic " + base64.b64encode(b"u:p")), ["auth:basic", "auth:basic.user", "auth:basic.pass"]),
        (Part(AUTH, b"Basic !!!"), []),
        (Part(AUTH, b"AWS4-HMAC-SHA256 Credential=AKIAX/2026/eu/s3, Signature=s"), ["auth:aws4-hmac-sha256", "sigv4.id"]),
        (Part(Place(Carrier.HEADER, "x-api-key"), b"x"), ["header:x-api-key"]),
        (Part(Place(Carrier.HEADER, "cookie"), b"a=1; b=2"), ["cookie:a", "cookie:b"]),
        (Part(QUERY, b"a=1&b%20c=2&d"), ["query:a", "query:b c", "query:d"]),
        (Part(BODY, b"a=1&b=2", FORM), ["form:a", "form:b"]),
        (Part(BODY, b'{"a": {"b": [1, {"c": null}]}, "a": 2}', JSON), ["json:a.b", "json:a.b.c", "json:a"]),
        (Part(BODY, b"{", JSON), []),
        (Part(BODY, b"[" * 100_000, JSON), []),
        (Part(BODY, b"a=1", "text/plain"), []),
        (Part(BODY, b"a=1" + b"&" * MAX_PARSED, FORM), []),
        (Part(BODY, b"&".join(b"a=%d" % one for one in range(10_000)), FORM), []),
    ],
    ids=lambda one: one.data[:30].decode() if isinstance(one, Part) else "",
)
def test_what_a_part_consists_of(part: Part, expected: list[str]) -> None:
    assert names(part) == expected


def test_a_multipart_form() -> None:
    body = (
        b'preamble\r\n--B\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{"a": "y"}\r\n--B--\r\nepilogue'
    )
    assert names(Part(BODY, body, 'multipart/form-data; boundary="B"')) == [
        "multipart:token",
        "multipart:file",
        "multipart:file#a",
    ]
    assert names(Part(BODY, body, "multipart/form-data")) == []


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([AUTH, QUERY, BODY, Place(Carrier.HEADER, "cookie"), Place(Carrier.TRAILER, "x")]),
    st.binary(max_size=200),
    st.sampled_from(["", FORM, JSON, "multipart/form-data; boundary=-", "a/b+json"]),
)
def test_no_part_makes_it_fail_and_nothing_is_lost(place: Place, data: bytes, content_type: str) -> None:
    inside, outside = tree(Part(place, data, content_type)).split(lambda _name: False)
    assert inside == []
    assert not data or outside


def carries(text: bytes) -> tuple[str, ...] | None:
    """A scanner that knows one value, plainly and in base64."""
    if VALUE in text:
        return ("raw",)
    return ("base64",) if base64.b64encode(VALUE) in text else None


def permitted(kind: str, host: str, part: Part, *, marks: tuple[str, ...] = (), tls: bool = True, bindings: Bindings | None = None) -> bool:  # fmt: skip
    finding = Finding("T", "0", part.place, carries(part.data) or ("raw",), 0, kind, marks)
    return (bindings or Bindings()).permitted(finding, host, tls=tls, part=part, carries=carries)


def document(**fields: object) -> Part:
    return Part(BODY, json.dumps(fields).encode(), JSON)


T = VALUE.decode()


@pytest.mark.parametrize(
    ("kind", "host", "part", "expected"),
    [
        ("dockerhub-pat", "hub.docker.com", document(password=T), True),
        ("dockerhub-pat", "hub.docker.com", document(password=T, username=T), False),
        ("dockerhub-pat", "hub.docker.com", document(**{"password": T, T: 1}), False),
        ("dockerhub-pat", "hub.docker.com", document(password=base64.b64encode(VALUE).decode()), False),
        ("dockerhub-pat", "docker.com", document(password=T), False),
        ("slack-bot", "files.slack.com", Part(BODY, b"token=" + VALUE, FORM), True),
        ("slack-bot", "slack.com.evil.example", Part(BODY, b"token=" + VALUE, FORM), False),
        ("slack-bot", "slack.com", Part(BODY, b"token=" + VALUE + b"&x=" + VALUE, FORM), False),
        ("slack-bot", "slack.com", Part(QUERY, b"token=" + VALUE), True),
        ("slack-bot", "slack.com", Part(QUERY, b"token=" + VALUE + b"&" + VALUE + b"=1"), False),
        ("aws-access-key-id", "s3.eu-central-1.amazonaws.com", Part(AUTH, b"AWS4-HMAC-SHA256 Credential=" + VALUE + b"/d"), True),
        ("aws-access-key-id", "s3.eu-central-1.amazonaws.com", Part(AUTH, b"AWS4-HMAC-SHA256 Credential=x/d, A=" + VALUE), False),
        ("aws-secret-access-key", "s3.eu-central-1.amazonaws.com", Part(AUTH, b"Bearer " + VALUE), False),
        ("gemfury", "push.fury.io", Part(Place(Carrier.URL, "path"), b"/" + VALUE + b"/pkg"), True),
        ("gemfury", "push.fury.io", Part(Place(Carrier.URL, "path"), b"/" + VALUE + b"/" + VALUE), False),
        ("aws-bedrock-key", "bedrock.eu.amazonaws.com", Part(AUTH, b"Bearer " + VALUE), True),
        ("aws-bedrock-key", "bedrock.a.b.amazonaws.com", Part(AUTH, b"Bearer " + VALUE), False),
        ("maven-central", "central.sonatype.com", Part(AUTH, b"Bearer " + base64.b64encode(VALUE)), True),
        ("private-key", "github.com", Part(AUTH, b"Bearer " + VALUE), False),
        ("", "github.com", Part(AUTH, b"Bearer " + VALUE), False),
        (CANARY, "github.com", Part(AUTH, b"Bearer " + VALUE), False),
    ],
)
def test_a_kind_in_a_place(kind: str, host: str, part: Part, expected: bool) -> None:
    assert permitted(kind, host, part) is expected
    assert not permitted(kind, host, part, tls=False), "never in the clear"


def test_hosts_that_the_source_names() -> None:
    part = Part(AUTH, b"Basic " + base64.b64encode(b"me:" + VALUE))
    assert permitted("netrc", "git.corp.example", part, marks=("source:git.corp.example",))
    assert not permitted("netrc", "other.example", part, marks=("source:git.corp.example",))
    assert not permitted("npm-token", "git.corp.example", part, marks=("source:git.corp.example",)), (
        "its kind has hosts of its own"
    )
    for forged in ("source:*", "source:*.example", "source:${HOME}", "source:"):
        assert not permitted("netrc", "other.example", part, marks=(forged,))


def test_audiences() -> None:
    token = document(token=T)
    assert permitted("github-oidc-idtoken", "pypi.org", token, marks=("aud:pypi",))
    assert not permitted("github-oidc-idtoken", "pypi.org", token, marks=("aud:testpypi",))
    assert permitted("github-oidc-idtoken", "vault.corp.example", token, marks=("aud:https://vault.corp.example/x",))
    assert not permitted("github-oidc-idtoken", "vault.corp.example", token, marks=("aud:vault.corp.example",)), "no URL"
    google = document(subjectToken=T)
    assert permitted("github-oidc-idtoken", "sts.googleapis.com", google, marks=("aud://iam.googleapis.com/projects/1",))


def test_variables_name_hosts_and_nothing_else() -> None:
    environ = {"GITHUB_SERVER_URL": "https://user:password@ghes.example/path?x", "VAULT_ADDR": "vault.example:8200", "JF_URL": "http://[", "PATH": "/bin"}  # fmt: skip
    assert hosts_from(environ) == {"GITHUB_SERVER_URL": "ghes.example", "VAULT_ADDR": "vault.example"}
    bindings = Bindings(variables=hosts_from(environ))
    part = Part(AUTH, b"Bearer " + VALUE)
    assert permitted("github-pat-classic", "ghes.example", part, bindings=bindings)
    assert not permitted("github-pat-classic", "vault.example", part, bindings=bindings)
    assert not permitted("gitlab-pat", "", part, bindings=bindings)
    assert all(name.isupper() for name in host_variables())


def test_exceptions_are_opted_into() -> None:
    multipart = b'--B\r\nContent-Disposition: form-data; name="json_file"\r\n\r\n{"repo_token": "%s"}\r\n--B--' % VALUE
    part = Part(BODY, multipart, "multipart/form-data; boundary=B")
    assert not permitted("github-actions-token", "coveralls.io", part)
    assert permitted("github-actions-token", "coveralls.io", part, bindings=Bindings(exceptions=frozenset({"coveralls"})))
