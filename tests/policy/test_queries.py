"""Queries: each parameter is meant by a pattern, and what could be read in two ways by none."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.policy.decide import decide
from ebbgate.policy.explain import explain, observation_of
from ebbgate.policy.load import load_texts
from ebbgate.policy.observation import Reason
from ebbgate.policy.queries import MAX_PARAMETERS, normal_query, query_matches
from tests.policy.test_decide import request

PATTERNS = ("page=*", "per_page=100", "verbose", "x=a*b")


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "page=1",
        "page=",
        "page",
        "page=a%26b",
        "page=1&page=2",
        "per_page=100&page=2",
        "verbose",
        "verbose=",
        "x=ab",
        "x=a/b",
        "x=a%20b",
        "x=a+b",
        "p%61ge=1",
    ],
)
def test_meant(raw: str) -> None:
    assert query_matches(raw, PATTERNS)


@pytest.mark.parametrize(
    "raw",
    [
        "q=1",
        "page=1&q=1",
        "per_page=1000",
        "per_page=1",
        "verbose=1",
        "Page=1",
        "x=ba",
        "xx=ab",
        "page=1;q=2",
        "page=%ff",
        "page=1#x",
        "=1",
        "page%3Dx=1",
        "&",
        "page=1&",
        "page=%00",
        "page=%0a",
        "page=1&" * MAX_PARAMETERS + "page",
    ],
)
def test_not_meant(raw: str) -> None:
    assert not query_matches(raw, PATTERNS)


@given(st.text("abq=&%+;#2056fF", max_size=30))
def test_what_is_meant_is_read_alike_elsewhere(raw: str) -> None:
    """What Python's reader of queries finds are the parameters that were judged."""
    found = normal_query(raw)
    if found is not None:
        assert [f"{name}={value}" for name, value in parse_qsl(raw, keep_blank_values=True)] == list(found)


def test_the_gate_is_told_the_parameter_is_why() -> None:
    text = "version: 1\nallow: [{host: a.com, paths: [/x], query: [page=*]}]\n"
    policy = load_texts([("p.yml", text)], job="", given_by="")
    seen = replace(request("a.com", path="/x"), query="page=2")
    assert decide(policy, seen).allowed
    assert decide(policy, replace(seen, query="")).allowed
    assert decide(policy, replace(seen, query="token=x")).reason is Reason.QUERY
    assert decide(policy, replace(seen, query=None)).reason is Reason.QUERY
    assert decide(policy, replace(seen, path="/y", query="token=x")).reason is Reason.PATH
    assert explain(policy, observation_of("GET", "https://a.com/x?page=1#y")).decision.allowed
    assert explain(policy, observation_of("GET", "https://a.com/x?q=1")).decision.reason is Reason.QUERY
