"""Request paths against globs: ``*`` within a segment, ``**`` across segments.

A path is matched in its normal form. One that servers may read in different ways (dot segments, empty segments, encoded
slashes, backslashes, NUL, fragments) has none, and matches nothing but an entry without paths.
"""

from __future__ import annotations

import re
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
    return any(compiled(glob).match(normal) is not None for glob in globs)


@cache  # of a policy's globs alone, and a policy has its bound
def compiled(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression without backtracking traps: no nested repetition is ever made."""
    parts: list[str] = []
    for piece in re.split(r"(\*\*/?|\*)", glob):
        if piece == "**/":
            parts.append("(?:.*/)?")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)
