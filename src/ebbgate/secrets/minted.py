"""Credentials that a service gives in a response: OAuth, OIDC, STS, package indexes, registries, installations of apps.

By the names of members and elements, whichever host it is. Each name has the least that its value must be: ``token`` alone means
many things (pages of a listing, forms), so it counts only near the top of a small document and when it looks like a secret.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

from ebbgate.secrets.known import Public, is_strong
from ebbgate.secrets.structured import Inner, decoded, distinct

MAX_DOCUMENT = 1 << 16  # bytes; the largest real one, an id-token with its wrapping, has 4 KB
MAX_DEPTH = 4  # {"AssumeRoleResponse": {"AssumeRoleResult": {"Credentials": {...}}}}
TOKEN_DEPTH = 1  # {"token": ...}
MAX_MEMBERS = 2000  # that are looked at: a listing with more is none of these
# RFC 6749 and OpenID Connect; AWS' STS, instance metadata and ECR; Vault's logins; npm's and Docker's exchanges.
_NAMES = frozenset(
    {"access_token", "refresh_token", "id_token", "accesstoken", "refreshtoken", "idtoken", "client_token", "secretaccesskey",
     "sessiontoken", "authorizationtoken", "identitytoken", "registration_token", "client_secret", "jwt"}
)  # fmt: skip
_TOKEN = frozenset({"token", "npm_token", "api_token", "api_key", "password", "secret"})
_JWT = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")
_ELEMENT = re.compile(r"<(?P<name>SecretAccessKey|SessionToken)>\s*(?P<value>[^<>\s]{16,8192})\s*</(?P=name)>")


def minted(body: bytes, public: Public = frozenset()) -> list[Inner]:
    """Credentials in a response's body, by the names they have there. Never raises."""
    if not 2 < len(body) <= MAX_DOCUMENT:
        return []
    text = body.decode("utf-8", "surrogateescape").strip()
    if text[:1] == "{":
        return distinct(_members(text), public)
    if text[:1] == "<":
        return distinct((Inner(match["name"], html.unescape(match["value"])) for match in _ELEMENT.finditer(text)), public)
    return distinct(_form(text), public) if "access_token=" in text else []


def _members(text: str) -> Iterator[Inner]:
    try:
        waiting: list[tuple[object, int]] = [(json.loads(text), 0)]
    except (ValueError, RecursionError):
        return
    seen = 0
    while waiting and seen < MAX_MEMBERS:
        value, depth = waiting.pop(0)
        if isinstance(value, list) and depth < MAX_DEPTH:
            waiting += [(one, depth + 1) for one in value[:MAX_MEMBERS]]
        for name, inner in value.items() if isinstance(value, dict) else ():
            seen += 1
            if isinstance(inner, str):
                yield from _member(name, inner, depth)
            elif depth < MAX_DEPTH:
                waiting.append((inner, depth + 1))


def _member(name: str, value: str, depth: int) -> Iterator[Inner]:
    folded = name.lower()
    wanted = folded in _NAMES or (folded in _TOKEN and depth <= TOKEN_DEPTH and is_strong(value))
    if wanted or (folded == "value" and _JWT.fullmatch(value)):
        yield Inner(name, value)
        yield from decoded(value, 1)  # a registry's "user:password"


def _form(text: str) -> Iterator[Inner]:
    for pair in text.split("&")[:MAX_MEMBERS]:
        name, _, value = pair.partition("=")
        if name.lower() in _NAMES:
            yield Inner(name, value)
