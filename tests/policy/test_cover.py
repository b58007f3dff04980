"""``covers``: a yes is certain. What one entry is said to cover, it allows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.policy.cover import MAX_TOKENS, covers_glob, covers_host, covers_methods
from ebbgate.policy.model import HostPattern
from ebbgate.policy.paths import compiled

PIECES = st.sampled_from(["/", "a", "b", "*", "**", "**/", "/a", "/*", "/**", "/**/", "."])
GLOBS = st.lists(PIECES, max_size=7).map(lambda parts: "/" + "".join(parts))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str, str]:
    """Two globs, and a path that the second means."""
    wide, narrow = draw(GLOBS), draw(GLOBS)
    if draw(st.booleans()):
        wide = "".join(draw(st.sampled_from([one, "*", "**"])) for one in narrow) or "/"
    within, across = st.text("ab.", max_size=3), st.text("ab./", max_size=5)
    path = ""
    rest = narrow
    while rest:
        for sign, text in (("**/", across.map(lambda one: one + "/") | st.just("")), ("**", across), ("*", within)):
            if rest.startswith(sign):
                path, rest = path + draw(text), rest[len(sign) :]
                break
        else:
            path, rest = path + rest[0], rest[1:]
    return wide, narrow, path


@settings(max_examples=2000, deadline=None)
@given(pairs())
def test_what_is_covered_is_allowed(made: tuple[str, str, str]) -> None:
    wide, narrow, path = made
    assert compiled(narrow).matches(path)
    if covers_glob(wide, narrow):
        assert compiled(wide).matches(path)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("/**", "/a/*/b"),
        ("/*", "/a"),
        ("/*/b", "/a/b"),
        ("/a/**/c", "/a/**/b/c"),
        ("/a/**/c", "/a/c"),
        ("/**/x", "/a/*/x"),
        ("/repos/*/*/**", "/repos/me/mine/git/*"),
    ],
)
def test_covered(wide: str, narrow: str) -> None:
    assert covers_glob(wide, narrow)


@pytest.mark.parametrize(
    ("wide", "narrow"), [("/*", "/a/b"), ("/a", "/*"), ("/*", "/**"), ("/a/**", "/a"), ("/*/b", "/**/b"), ("/**/x", "/a/**x")]
)
def test_not_covered(wide: str, narrow: str) -> None:
    assert not covers_glob(wide, narrow)


def test_long_globs_are_equal_or_not_compared() -> None:
    long = "/" + "a*" * MAX_TOKENS
    assert covers_glob(long, long)
    assert not covers_glob("/**", long)


def test_hosts_and_methods() -> None:
    below, apex = HostPattern("example.com", wildcard=True), HostPattern("example.com")
    assert covers_host(below, HostPattern("a.example.com"))
    assert covers_host(below, HostPattern("a.example.com", wildcard=True))
    assert covers_host(below, below)
    assert not covers_host(below, apex)
    assert not covers_host(apex, below)
    assert not covers_host(below, HostPattern("aexample.com"))
    assert covers_methods((), ("PUT",))
    assert covers_methods(("GET",), ("HEAD",))
    assert not covers_methods(("GET",), ())
    assert not covers_methods(("HEAD",), ("GET",))
