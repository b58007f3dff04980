"""Places as the journal names them, in the words of a policy's ``in``."""

from __future__ import annotations

import re

_WHOLE = {
    "header:authorization": "authorization",
    "header:cookie": "cookie",
    "url:query": "query",
    "url:path": "path",
    "body": "body",
}
# A field whose name the program chose must not become anything else of a policy's text.
_PLAIN = re.compile(r"(?:auth|cookie|query|form|json|multipart):[\w.-]{1,80}(?:#[\w.-]{1,80})?\Z", re.ASCII)


def place_of(place: str, field: str) -> str:
    """The narrowest that can be bound."""
    return field if _PLAIN.match(field) else _WHOLE.get(place, place)


def is_bindable(place: str) -> bool:
    """Whether a policy can bind a secret to that place."""
    return place in _WHOLE or place.startswith("header:")
