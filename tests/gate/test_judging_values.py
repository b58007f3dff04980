"""What bindings and homes say together of values in one part of a request, and what is remembered of it."""

from __future__ import annotations

import asyncio
import secrets
from typing import cast

from ebbgate.gate.connections import Connections
from ebbgate.gate.context import GateContext
from ebbgate.gate.directory import Directory
from ebbgate.gate.known_values import KnownValues
from ebbgate.gate.reporter import Reporter
from ebbgate.policy.load import load_texts
from ebbgate.secrets.bindings import Bindings
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.found import PROCESS
from ebbgate.secrets.parts import Part
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.secrets.samples import sample

SALT = b"salt"
AUTHORIZATION = Place(Carrier.HEADER, "authorization")


def context(*given: Secret) -> GateContext:
    scanner = Scanner(given, salt=SALT)
    known = KnownValues(scanner, SALT, allowed=lambda _host: True, bound=lambda _secret: False)
    known.name(given)
    reporter = Reporter(cast("asyncio.StreamWriter", None), str, str)  # judging sends nothing
    directory = Directory(lambda _name: False, lambda: True, None)
    policy = load_texts((), job="", given_by="")
    connections = Connections(lambda _client: None, reporter.event)
    return GateContext(policy, True, scanner, directory, connections, reporter, known, Bindings())  # noqa: FBT003


def passes(gate: GateContext, text: bytes, host: str, place: Place = AUTHORIZATION) -> list[tuple[str, bool]]:
    findings = gate.scanner.scan(text, place).findings
    return [(one.secret, one.permitted) for one in gate.judge(findings, host, tls=True, part=Part(place, text, ""))]


def test_a_first_use_is_asked_for_again_with_the_same_part() -> None:
    value = secrets.token_hex(16).encode()
    gate = context()
    gate.known.add([Secret("LATE", value, PROCESS)])
    header = b"Bearer " + value
    for _ in range(2):
        assert passes(gate, header, "first.example.com") == [("LATE", True)]
        assert passes(gate, header, "second.example.com") == [("LATE", False)]


def test_what_was_cut_before_is_judged_anew_when_it_has_a_home() -> None:
    value = secrets.token_hex(16).encode()
    gate = context(Secret("TOKEN", value, "environment"))
    assert passes(gate, b"Bearer " + value, "api.example.com") == [("TOKEN", False)]
    gate.known.settle(Secret("TOKEN", value, PROCESS))
    assert passes(gate, b"Bearer " + value, "api.example.com") == [("TOKEN", True)]


def test_a_value_with_two_names_goes_where_the_kind_of_either_belongs() -> None:
    value = secrets.token_hex(20).encode()
    gate = context(Secret("HCLOUD_TOKEN", value, "environment"), Secret("LINODE_TOKEN", value, "environment"))
    for host, permitted in (("api.hetzner.cloud", True), ("api.linode.com", True), ("api.example.com", False)):
        assert passes(gate, b"Bearer " + value, host) == [("HCLOUD_TOKEN", permitted)]


def test_what_is_inside_of_a_document_that_is_there_says_nothing_more() -> None:
    inner = sample("npm-token").encode()
    document = b"//registry.npmjs.org/:_authToken=" + inner
    gate = context(Secret("NPMRC", document, "environment"), Secret("NPMRC (_authToken)", inner, "environment"))
    assert passes(gate, document, "api.example.com", Place(Carrier.BODY)) == [("NPMRC", False)]
    assert passes(gate, b"Bearer " + inner, "registry.npmjs.org") == [("NPMRC (_authToken)", True)]
