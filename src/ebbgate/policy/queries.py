"""Query parameters against patterns: ``name`` or ``name=glob``, where ``*`` means any text. Each parameter must be meant by one.

A query that servers may take apart in different ways (``;``, bytes that do not decode, a ``=`` in a name) is meant by none.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import unquote_to_bytes

MAX_PARAMETERS = 1000  # of one request; more is no query that a person wrote patterns for


def normal_query(raw: str) -> tuple[str, ...] | None:
    """Each parameter as ``name=value``, decoded; None when it can be read in more than one way."""
    if ";" in raw or "#" in raw or "\0" in raw or raw.count("&") >= MAX_PARAMETERS:
        return None
    found: list[str] = []
    for part in raw.split("&") if raw else ():
        name, _, value = part.partition("=")
        try:
            plain = [unquote_to_bytes(one.replace("+", " ")).decode("utf-8") for one in (name, value)]
        except UnicodeError:
            return None
        if not plain[0] or "=" in plain[0] or any(ord(sign) < 32 or ord(sign) == 127 for one in plain for sign in one):
            return None
        found.append("=".join(plain))
    return tuple(found)


def query_matches(raw: str, patterns: tuple[str, ...]) -> bool:
    """Whether every parameter of a query, as sent, is meant by one of the patterns. No query at all is."""
    parameters = normal_query(raw)
    return parameters is not None and all(any(_compiled(one).match(text) for one in patterns) for text in parameters)


@cache  # of a policy's patterns alone, and a policy has its bound
def _compiled(pattern: str) -> re.Pattern[str]:
    whole = pattern if "=" in pattern else f"{pattern}="
    return re.compile(".*".join(re.escape(piece) for piece in whole.split("*")) + r"\Z", re.DOTALL)
