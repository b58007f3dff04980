"""Paths against globs: what each matches, and that no path can make it take long."""

from __future__ import annotations

import pytest

from ebbgate.policy.paths import path_matches


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("/a", ["/a"], ["/", "/a/", "/ab", "/b"]),
        ("/a/*", ["/a/b", "/a/"], ["/a", "/a/b/c"]),
        ("/a*c/d", ["/ac/d", "/abbc/d"], ["/a/c/d", "/ac/e"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c/"], ["/a", "/ab"]),
        ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b"], ["/a/xb", "/ab", "/a/b/c"]),
        ("/**/b/*.json", ["/b/x.json", "/a/a/b/.json"], ["/b/a/x.json", "/ab/x.json"]),
    ],
)  # fmt: skip
def test_what_globs_match(glob: str, matching: list[str], others: list[str]) -> None:
    assert [path for path in (*matching, *others) if path_matches(path, (glob,))] == matching


@pytest.mark.parametrize("glob", ["/" + "**/a" * 12, "/" + "***/*" * 12 + "z", "/**" + "*a" * 12])
def test_no_path_takes_long(glob: str) -> None:
    """As a regular expression each of these tries more ways than there are atoms."""
    assert not path_matches("/a" * 2000 + "/b", (glob,))
