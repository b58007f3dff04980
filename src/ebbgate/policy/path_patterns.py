"""From paths that were seen to globs for the like of them, and for nothing else.

What changes from run to run is recognised by its form: ids, hashes, versions. Names are taken for interchangeable only where
several stood in the same place, and only for methods that read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from ebbgate.policy.paths import normal_path, path_matches
from ebbgate.policy.placeholders import REPOSITORY, context_of

READING = ("GET", "HEAD", "OPTIONS", "PROPFIND")
VARIETY = 4  # different names in one place that make it any name; three may be all there are
MAX_GLOBS = 8  # of one entry that reads; a person reads no more, so further ones are folded into what they begin with
MAX_WRITING = 100  # of one entry that writes: folded they would allow what nobody did
_MARKS = re.compile(r"[\[\]…{}\\]")  # a label or value that was hidden, or what a policy's path may not contain
_UNSAFE = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@%/-]")
MAX_SEGMENTS = 64  # of a path that is looked into
_WORD, _END = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_CHANGING = re.compile(
    "|".join(
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",  # a UUID
            rf"{_WORD}(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{{7,}}{_END}",  # a hash
            rf"{_WORD}(?=[0-9a-z]*[0-9])[0-9a-z]{{20,}}{_END}",  # a token; words that long have no digits
            rf"{_WORD}v?[0-9]+(?:\.[0-9]+)+(?:[-.+]?(?:rc|a|b|dev|post|alpha|beta|pre|snapshot)[-.]?[0-9]*)?{_END}",  # a version
            r"(?<![0-9A-Za-z.])[0-9]{3,}(?![0-9A-Za-z.])",  # a number; of one or two digits it may be a version of the interface
        )
    ),
    re.IGNORECASE,
)


class Unwritable(ValueError):
    """No list of globs would be right for these paths."""


def path_globs(paths: Iterable[str], method: str, repository: str = "") -> tuple[str, ...]:
    """Globs that match all the paths, in order; () for every path. Unwritable where a method that writes would get every path.

    repository: "owner/name", whose two words are never taken for changing.
    """
    reads, seen = method in READING, list(dict.fromkeys(paths))
    normal = [normal_path(path) for path in seen]
    if any(one is None or one.count("/") > MAX_SEGMENTS for one in normal):
        return _every(reads, "a path that can be read in more than one way")
    context = context_of({REPOSITORY: repository})
    own = frozenset((*context.values(), f"{context['repo']}.git")) if context else frozenset()
    shapes = {tuple(_shape(part, own) for part in one[1:].split("/")) for one in normal if one is not None}
    if reads:
        shapes = _joined(shapes, own)
    shapes = {_placed(shape, context) for shape in shapes}
    globs = sorted("/" + "/".join(shape) for shape in shapes)
    if reads and len(globs) > MAX_GLOBS:
        globs = _folded(shapes)
    if len(globs) > (MAX_GLOBS if reads else MAX_WRITING) or "/**" in globs:
        return _every(reads, "too many different paths")
    meant = [glob.format_map(context) for glob in globs]  # no braces but those of placeholders are in them
    if not all(path_matches(path, tuple(meant)) for path in seen):
        return _every(reads, "a path that no pattern can name")
    return tuple(globs)


def _every(reads: bool, why: str) -> tuple[str, ...]:  # noqa: FBT001 - of two values, named where they come from
    if not reads:
        raise Unwritable(why)
    return ()


def _shape(part: str, own: frozenset[str]) -> str:
    """One segment with ``*`` in the place of what changes."""
    if part in own:
        return part
    if _MARKS.search(part):
        return "*"
    shape = _UNSAFE.sub("*", _CHANGING.sub("*", part))
    return re.sub(r"\*+", "*", shape)


def _placed(shape: tuple[str, ...], context: Mapping[str, str]) -> tuple[str, ...]:
    """With placeholders where this repository's owner and name stand next to each other."""
    found = list(shape)
    for place, (one, other) in enumerate(pairwise(shape)):
        if context and one == context["owner"] and other in (context["repo"], f"{context['repo']}.git"):
            found[place : place + 2] = ["{owner}", "{repo}" + other.removeprefix(context["repo"])]
    return tuple(found)


def _joined(shapes: set[tuple[str, ...]], own: frozenset[str]) -> set[tuple[str, ...]]:
    """The same with ``*`` wherever VARIETY names stand in one place and all else is equal."""
    changed = True
    while changed:
        changed = False
        for place in range(max(map(len, shapes), default=0)):
            like: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for shape in shapes:
                if place < len(shape) and shape[place] not in own:
                    like[*shape[:place], "", *shape[place + 1 :]].add(shape[place])
            for rest, names in like.items():
                wild = "*" in names
                if len(names) >= VARIETY or (wild and len(names) > 1):
                    group = {(*rest[:place], name, *rest[place + 1 :]) for name in names}
                    shapes = (shapes - group) | {(*rest[:place], "*", *rest[place + 1 :])}
                    changed = True
    return shapes


def _folded(shapes: set[tuple[str, ...]]) -> list[str]:
    """What they begin with, as far as it can be told with few."""
    for depth in range(max(map(len, shapes)) - 1, 0, -1):
        globs = {"/" + "/".join((*shape[:depth], "**") if len(shape) > depth else shape) for shape in shapes}
        if len(globs) <= MAX_GLOBS:
            return sorted(globs)
    return ["/**"]
