"""Where a request really wants to go: one canonical host, or a refusal. What cannot be read one way only is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mitmproxy import http

from ebbgate.gate.connections import GateConnection
from ebbgate.policy.names import canonical_authority, is_literal

_CONTROL = re.compile(rb"[\x00-\x20\x7f]")
_CONTROL_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # a tab is white space there (RFC 9110, 5.5)
# A method in a header, which many frameworks and APIs put in the place of POST.
_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


class Ambiguous(ValueError):
    """The request's destination can be read in more than one way, or in none."""


@dataclass(frozen=True, slots=True)
class Target:
    """host, port: as judged and dialled. tls: whether the request came inside TLS. mismatch: authority is not the server name."""

    host: str
    port: int
    tls: bool
    path: str
    mismatch: bool = False
    query: str = ""


def target_of(request: http.Request, connection: GateConnection, *, tls: bool) -> Target:
    """Destination of a request. Ambiguous when its parts disagree or cannot be parsed."""
    _refuse_controls(request)
    path, _, query = _path(request).partition("?")
    try:
        authorities = {_canonical(text, tls=tls) for text in _authorities(request)}
    except Ambiguous:
        raise
    except ValueError:  # its text quotes what was sent, which may be a secret cut in two
        raise Ambiguous("a host that is none") from None
    if len(authorities) > 1:
        raise Ambiguous("more than one authority")
    chosen_port = connection.chosen[1]
    if not authorities:
        host = connection.server_name or (connection.names[0] if len(connection.names) == 1 else connection.chosen[0])
        return Target(host, chosen_port, tls, path, query=query)
    host, port = authorities.pop()
    if port not in (chosen_port, None):
        raise Ambiguous("the authority's port is not the connection's")
    mismatch = connection.has_server_name and host != connection.server_name
    return Target(host, chosen_port, tls, path, mismatch, query)


def _canonical(text: str, *, tls: bool) -> tuple[str, int | None]:
    default = 443 if tls else 80
    host, port = canonical_authority(text, default)
    bare = text.rstrip()
    has_port = bare.rpartition("]")[2].count(":") == 1 if bare.startswith("[") else ":" in bare
    return host, port if has_port else None


def _authorities(request: http.Request) -> list[str]:
    """Every authority a request carries: Host headers and the absolute form's or pseudo-header's."""
    found = request.headers.get_all("host")
    if len(found) > 1:
        raise Ambiguous("more than one Host header")
    return [text for text in (*found, request.authority) if text]


def _refuse_controls(request: http.Request) -> None:
    """What one server takes for the end of a line is part of a value to another: folded lines, bare CR, NUL."""
    if any(_CONTROL_IN_VALUE.search(value) for _name, value in request.headers.fields):
        raise Ambiguous("a control character in a header")
    if _CONTROL.search(request.data.path) or _CONTROL.search(request.data.method):
        raise Ambiguous("a control character in the request line")


def _path(request: http.Request) -> str:
    target = request.path
    if target == "*" and request.method == "OPTIONS":
        return "/"
    if "://" in target.partition("?")[0].partition("/")[0] or target[:7].lower() == "http://":
        raise Ambiguous("absolute form in origin form's place")
    if not target.startswith("/"):
        raise Ambiguous("a request target that is no path")
    return target


def methods_of(request: http.Request) -> tuple[str, ...]:
    """The request's method, and those by which a header asks the server to replace it."""
    asked = [value.strip().upper() for name in _OVERRIDES for value in request.headers.get_all(name)]
    return tuple(dict.fromkeys([request.method.upper(), *asked]))


def candidates(connection: GateConnection) -> tuple[str, ...]:
    """Hosts by which an opaque connection may be judged: the names handed out for its address, and the address."""
    return (*connection.names, connection.chosen[0])


def is_named(host: str) -> bool:
    """Whether a host is a name rather than an address."""
    return not is_literal(host)
