"""Whether one entry allows all that another does. Sound, not complete: a yes is certain, a no may be for want of a proof."""

from __future__ import annotations

import re
from functools import lru_cache

from ebbgate.policy.model import Entry, HostPattern

MAX_TOKENS = 300  # of a path pattern; beyond, only equal patterns are compared: the table below is quadratic
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\{ref\}|.", re.DOTALL)
_WITHIN, _ACROSS, _SEGMENTS = "*", "**", "**/"
_REF = "{ref}"  # a branch's name may hold slashes


def covers(one: Entry, other: Entry) -> bool:
    """Whether ``one`` allows every request that ``other`` allows; how they are read is not compared."""
    return (
        one.protocol is other.protocol
        and set(other.ports) <= set(one.ports)
        and one.only in (None, other.only)
        and _covers_destination(one, other)
        and (one.passthrough or _covers_request(one, other))
    )


def covers_host(one: HostPattern, other: HostPattern) -> bool:
    """Whether every host that the other pattern means is meant by this one."""
    if one.wildcard:
        return other.host.endswith("." + one.host) or (other.wildcard and other.host == one.host)
    return not other.wildcard and other.host == one.host


def _covers_destination(one: Entry, other: Entry) -> bool:
    if one.host is None or other.host is None:
        return one.host is None and other.host is None and set(other.cidrs) <= set(one.cidrs)
    return covers_host(one.host, other.host) and set(other.cidrs) <= set(one.cidrs)


def _covers_request(one: Entry, other: Entry) -> bool:
    if other.passthrough:
        return not (one.methods or one.paths or one.query)
    return (
        covers_methods(one.methods, other.methods)
        and covers_paths(one.paths, other.paths)
        and (not one.query or (bool(other.query) and set(other.query) <= set(one.query)))
    )


def covers_methods(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """No methods means all of them; GET means HEAD too."""
    return not one or (bool(other) and set(other) <= {*one, *(("HEAD",) if "GET" in one else ())})


def covers_paths(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """No paths means all of them, those without a normal form too."""
    return not one or (bool(other) and all(any(covers_glob(wide, narrow) for wide in one) for narrow in other))


@lru_cache(maxsize=65536)
def covers_glob(one: str, other: str) -> bool:
    """Whether every path that the glob ``other`` means is meant by ``one``: its tokens are matched as if they were text.

    ``reached[j]``: the tokens of ``one`` so far can take up the first ``j`` tokens of ``other``, whatever those stand for.
    """
    if one == other:
        return True
    wide, narrow = _TOKEN.findall(one), _TOKEN.findall(other)
    if len(wide) > MAX_TOKENS or len(narrow) > MAX_TOKENS:
        return False
    reached = [True] + [False] * len(narrow)
    for token in wide:
        reached = _after(token, reached, narrow)
    return reached[-1]


def _after(token: str, reached: list[bool], narrow: list[str]) -> list[bool]:
    after = [False] * len(reached)
    if token not in (_WITHIN, _ACROSS, _SEGMENTS):
        for position, part in enumerate(narrow):
            after[position + 1] = reached[position] and part == token
        return after
    open_before = whole = False  # a run of tokens has begun; it stands at the end of a segment, or is empty
    for position, before in enumerate(reached):
        part = narrow[position - 1] if position else ""
        if token == _WITHIN:
            open_before = open_before and part not in (_ACROSS, _SEGMENTS, _REF, "/")
        # For ``**/``: after a slash the run is of whole segments, and ``**/`` itself keeps it so.
        whole = (open_before and part == "/") or (whole and part == _SEGMENTS)
        after[position] = before or (whole if token == _SEGMENTS else open_before)
        open_before, whole = open_before or before, whole or before
    return after
