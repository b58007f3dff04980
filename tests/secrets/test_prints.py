"""Redacting without having the values."""

from __future__ import annotations

import base64
import gzip
import pickle
import secrets
import time
from urllib.parse import quote

import pytest

from ebbgate.secrets.prints import MAX_PRINTS, Print, Redactor, prints_of
from ebbgate.secrets.secret import Secret
from tests.secrets.encodings import DISGUISED

KEY = secrets.token_bytes(16)


def redactor(*values: str) -> Redactor:
    given = [Secret(f"S{number}", value.encode(), "--secret") for number, value in enumerate(values)]
    return Redactor((one for secret in given for one in prints_of(secret, KEY)), KEY)


FORMS = {
    "plain": lambda value: value,
    "base64": lambda value: base64.b64encode(f"x{value}y".encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(f"??>{value}".encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "percent": lambda value: quote(f"{value}/&=", safe=""),
    "base64 twice": lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
    "gzip in base64": lambda value: base64.b64encode(gzip.compress(value.encode())).decode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_in_command_lines(name: str, secret: str) -> None:
    shown = redactor(secret).redact(f"curl -H 'X: {FORMS[name](secret)}' https://example.com/")
    assert "S0" in shown
    assert secret not in shown
    assert not any(secret[start : start + 6] in shown for start in range(4, len(secret) - 6))


def test_short_values_and_several(secret: str) -> None:
    shown = redactor(secret, "4711x", secret[:20]).redact(f"a {secret} 4711x {secret[:20]} b")
    assert shown == "a [S0] [S1] [S2] b"


@pytest.mark.parametrize("name", DISGUISED)
def test_disguised_forms(name: str, secret: str) -> None:
    form = DISGUISED[name](secret.encode()).decode("latin-1" if name.startswith("utf-") else "utf-8", "surrogateescape")
    shown = redactor(secret).redact(f"curl -d {form} https://example.com/")
    assert "S0" in shown
    assert form not in shown


def test_what_is_not_secret_stays(secret: str) -> None:
    text = "curl -sS https://example.com/ é→界 " + secret[::2] + secret[1::2]
    assert redactor(secret).redact(text) == text
    assert redactor().redact(secret) == secret


def test_it_has_no_value_in_it(secret: str) -> None:
    one = redactor(secret)
    assert secret.encode() not in pickle.dumps(one._tables)
    wires = [made.to_wire() for made in prints_of(Secret("NAME", secret.encode(), "file"), KEY)]
    assert secret not in repr(wires)
    again = Redactor(map(Print.from_wire, wires), KEY)
    assert again.redact(secret) == "[NAME]"
    assert Redactor(map(Print.from_wire, wires), b"another key").redact(secret) == secret


@pytest.mark.parametrize("wire", [None, [], ["a", 8, 1, 9, "00"], ["a", 3, 1, 9, "0" * 32], ["a", 8, 1, 9, "x" * 32], ["a", 8, 1, 4, "0" * 32], [1, 8, 1, 9, "0" * 32]])  # fmt: skip
def test_only_prints_come_over_the_wire(wire: object) -> None:
    with pytest.raises(ValueError):
        Print.from_wire(wire)


def test_bounded_and_quick(secret: str) -> None:
    many = Redactor((), KEY)
    many.add(Print("N", 8, number, 20, secrets.token_bytes(16)) for number in range(MAX_PRINTS + 10))
    assert many.count == MAX_PRINTS
    one = redactor(*(secrets.token_urlsafe(30) for _ in range(200)))
    began = time.process_time()
    one.redact(("--option " + secrets.token_urlsafe(12) + " ") * 170)
    assert time.process_time() - began < 5  # a fail-safe: measured 0.02
