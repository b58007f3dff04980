"""Request paths against globs: ``*`` within a segment, ``**`` across segments.

A path is matched in its normal form. One that servers may read in different ways (dot segments, empty segments, encoded
slashes, backslashes, NUL, fragments) has none, and matches nothing but an entry without paths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote_to_bytes


def normal_path(raw: str) -> str | None:
    """The percent-decoded path, None when it can be read in more than one way."""
    lowered = raw.lower()
    if any(sign in lowered for sign in ("%2f", "%5c", "%00", "\\", "\0", ";", "#")):
        return None
    try:
        decoded = unquote_to_bytes(raw).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None
    if "%" in decoded or not decoded.startswith("/") or any(ord(one) < 32 or ord(one) == 127 for one in decoded):
        return None
    segments = decoded[1:].split("/")
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        return None
    return decoded


def path_matches(raw: str, globs: tuple[str, ...]) -> bool:
    """Whether a request path, as sent, is meant by one of the globs."""
    normal = normal_path(raw)
    return normal is not None and normal_matches(normal, globs)


def normal_matches(normal: str, globs: tuple[str, ...]) -> bool:
    """The same for a path in normal form."""
    return any(compiled(glob).matches(normal) for glob in globs)


@dataclass(frozen=True, slots=True)
class Glob:
    """Steps of a glob as bits of numbers, so that all ways to read a path are followed at once, in time linear to its length.

    wanted: of each character the steps that take it. within, across: steps that take any but "/", and any. skipped: those that
    may take nothing. leapt: those before ``**/``, which may take neither the stars nor the slash. end: behind the last step.
    """

    wanted: dict[str, int]
    within: int
    across: int
    skipped: int
    leapt: int
    end: int

    def matches(self, path: str) -> bool:
        """Whether the whole of a path in its normal form is meant."""
        at = self._onward(1)
        for character in path:
            stays = at & (self.across if character == "/" else self.across | self.within)
            at = self._onward(stays | (at & self.wanted.get(character, 0)) << 1)
            if not at:
                return False
        return bool(at & self.end)

    def _onward(self, at: int) -> int:
        while (further := at | (at & self.skipped) << 1 | (at & self.leapt) << 3) != at:
            at = further
        return at


@cache  # of a policy's globs alone, and a policy has its bound
def compiled(glob: str) -> Glob:
    """A glob as steps. A regular expression of two ``**`` and more takes minutes for a path that is made to."""
    wanted: dict[str, int] = {}
    within = across = skipped = leapt = number = 0
    last = ""
    for piece in re.split(r"(\*\*/?|\*)", glob):
        step = 1 << number
        if piece == "**/" and last not in ("**", "**/"):
            leapt |= step
            across |= step << 1
            skipped |= step | step << 1
            wanted["/"] = wanted.get("/", 0) | step << 2
            number += 3
        elif piece in ("*", "**") and last != "**":
            within |= step if piece == "*" else 0
            across |= step if piece == "**" else 0
            skipped |= step
            number += 1
        elif not piece.startswith("*"):
            for character in piece:
                wanted[character] = wanted.get(character, 0) | 1 << number
                number += 1
        last = piece if piece and not (last == "**" and piece.startswith("*")) else last
    return Glob(wanted, within, across, skipped, leapt, 1 << number)
