"""Where values that became known may go, by where they were found."""

from __future__ import annotations

import secrets

import pytest

from ebbgate.gate.known_values import MAX_LEARNED, KnownValues, is_anybodys
from ebbgate.secrets.finding import Carrier, Finding, Place
from ebbgate.secrets.found import FILE, PROCESS, RESPONSE
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

SALT = b"salt"
AUTHORIZATION = Place(Carrier.HEADER, "authorization")
BODY, QUERY = Place(Carrier.BODY), Place(Carrier.URL, "query")
DENIED = "denied.example.org"


def known(*given: Secret, bound: frozenset[str] = frozenset()) -> KnownValues:
    return KnownValues(
        Scanner(given, salt=SALT), SALT, allowed=lambda host: host != DENIED, bound=lambda secret: secret.name in bound
    )


def value() -> bytes:
    return secrets.token_hex(16).encode()


def learned(origin: str, *sources: str, name: str = "LATE") -> tuple[KnownValues, Secret]:
    values, secret = known(), Secret(name, value(), origin, sources=sources)
    values.add([secret])
    return values, secret


def goes(values: KnownValues, secret: Secret, host: str, place: Place = AUTHORIZATION, *encodings: str, tls: bool = True) -> bool:
    finding = Finding(secret.name, secret.fingerprint(SALT), place, encodings or ("raw",), 0)
    return values.permits(finding, host, tls=tls)


def test_from_a_file_that_names_its_host() -> None:
    values, secret = learned(FILE, "registry.example.com")
    assert goes(values, secret, "registry.example.com")
    assert goes(values, secret, "registry.example.com", AUTHORIZATION, "base64")
    assert not goes(values, secret, "registry.example.com", AUTHORIZATION, "hex")
    assert not goes(values, secret, "registry.example.com", BODY)
    assert not goes(values, secret, "registry.example.com", QUERY)
    assert not goes(values, secret, "registry.example.com", tls=False)
    assert not goes(values, secret, "other.example.com")
    assert not goes(values, secret, "registry.example.com.attacker.example.org")


def test_from_a_file_of_one_owners_hosts() -> None:
    values, secret = learned(FILE, "*.amazonaws.com")
    assert goes(values, secret, "sts.eu-west-1.amazonaws.com", Place(Carrier.HEADER, "x-amz-security-token"))
    assert not goes(values, secret, "amazonaws.com.attacker.example.org")
    assert not goes(values, secret, "sts.eu-west-1.amazonaws.com", BODY)


@pytest.mark.parametrize("origin", [FILE, PROCESS])
def test_of_no_known_home(origin: str) -> None:
    values, secret = learned(origin)
    assert not goes(values, secret, DENIED)
    assert not goes(values, secret, "api.example.com", BODY)
    assert not goes(values, secret, "tunnel.ngrok-free.app")
    assert not goes(values, secret, "bucket.s3.amazonaws.com")
    assert goes(values, secret, "api.example.com")
    assert goes(values, secret, "api.example.com", AUTHORIZATION, "base64")
    assert not goes(values, secret, "other.example.com")
    assert not goes(values, secret, "api.example.com", BODY)


def test_from_a_response() -> None:
    values, secret = learned(RESPONSE, "auth.example.com", name="minted by auth.example.com (token)")
    for place in (AUTHORIZATION, BODY, QUERY, Place(Carrier.HEADER, "cookie")):
        assert goes(values, secret, "auth.example.com", place)
    assert not goes(values, secret, "auth.example.com", Place(Carrier.DNS))
    assert not goes(values, secret, "auth.example.com", Place(Carrier.HOST))
    assert goes(values, secret, "registry-1.example.com")
    assert not goes(values, secret, "registry-1.example.com", BODY)
    assert goes(values, secret, "api.example.net")  # the first other host
    assert not goes(values, secret, "api.example.org")


def test_from_a_host_that_shows_what_it_is_sent() -> None:
    """A gist with the token of an app in it goes to the host that minted the token."""
    values, secret = learned(RESPONSE, "api.github.com", name="minted by api.github.com (token)")
    assert goes(values, secret, "api.github.com")
    assert goes(values, secret, "github.com", AUTHORIZATION, "base64")
    assert not goes(values, secret, "api.github.com", BODY)
    assert not goes(values, secret, "api.github.com", Place(Carrier.URL, "path"))
    assert not goes(values, secret, "gist.github.com", BODY)


def test_anybodys_buckets_are_no_siblings() -> None:
    values, secret = learned(RESPONSE, "one.s3.amazonaws.com", name="minted by one.s3.amazonaws.com (token)")
    values._homes[secret.fingerprint(SALT)].open = False
    assert not goes(values, secret, "two.s3.amazonaws.com")
    assert goes(values, secret, "one.s3.amazonaws.com")


def test_what_was_known_gains_no_home_by_being_found_again() -> None:
    """A step writes the job's token into a file, beside a host of its choice."""
    token = Secret("GITHUB_TOKEN", value(), "--secret")
    values = known(token)
    values.add([Secret("netrc (password)", token.reveal(), FILE, sources=("api.example.com",))])
    assert not goes(values, token, "api.example.com")
    values, secret = learned(PROCESS)
    assert goes(values, secret, "api.example.com")
    values.add([Secret("netrc (password)", secret.reveal(), FILE, sources=("other.example.com",))])
    assert not goes(values, secret, "other.example.com")


def test_a_binding_decides_instead_of_the_first_use() -> None:
    values, secret = known(bound=frozenset({"NPM_TOKEN"})), Secret("NPM_TOKEN", value(), PROCESS)
    values.add([secret])
    assert not goes(values, secret, "api.example.com")


def test_bounded_and_said_so() -> None:
    over: list[str] = []
    values = KnownValues(Scanner((), salt=SALT), SALT, allowed=lambda _host: True, bound=lambda _secret: False, over=over.append)
    values.add(Secret(f"T{number}", value(), FILE) for number in range(MAX_LEARNED + 50))
    late = Secret("LATE", value(), FILE)
    values.add([late])
    other = Secret("OTHER", value(), RESPONSE, sources=("auth.example.com",))
    values.add([other])
    assert over == [FILE]
    assert not goes(values, late, "api.example.com")
    assert goes(values, other, "auth.example.com")


@pytest.mark.parametrize(
    ("host", "anybodys"),
    [("api.example.com", False), ("example.co.uk", False), ("x.github.io", True), ("x.vercel.app", True), ("10.0.0.5", False), ("localhost", False), ("x.blob.core.windows.net", True)],
)  # fmt: skip
def test_suffixes_at_which_anybody_can_have_a_name(host: str, anybodys: bool) -> None:
    assert is_anybodys(host) is anybodys
