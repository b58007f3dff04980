"""Where a secret may legitimately go: its hosts, and its places in a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ebbgate.secrets.default_bindings import DEFAULTS
from ebbgate.secrets.finding import Carrier, Finding, Place

AUTHORIZATION_HEADERS = ("authorization", "proxy-authorization")
# How a credential may be written in its place: as it is, or in Basic's base64 of "user:password" (RFC 7617).
_PLAIN = (("raw",),)
_BASIC = (("raw",), ("base64",), ("base64url",))
_FORM = (("raw",), ("percent",), ("json",), ("escapes",), ("base64",))


class HostPattern(Protocol):
    """As ``policy.model.HostPattern``."""

    def matches(self, host: str) -> bool:
        """Whether a canonical host is meant."""


class Binding(Protocol):
    """As ``policy.model.SecretBinding``."""

    @property
    def name(self) -> str: ...
    @property
    def to(self) -> Sequence[HostPattern]: ...
    @property
    def places(self) -> Sequence[str]: ...


def permitted(bindings: Sequence[Binding], finding: Finding, host: str, scheme_is_tls: bool) -> bool:  # noqa: FBT001
    """Whether a secret may be where it was found. Nothing is permitted in the clear, or without a binding.

    A binding by the user for a name replaces the built-in one.
    """
    if not scheme_is_tls:
        return False
    own = [binding for binding in bindings if binding.name == finding.secret]
    if own:
        return any(any(pattern.matches(host) for pattern in binding.to) and _in_place(binding.places, finding) for binding in own)
    default = DEFAULTS.get(finding.secret)
    return default is not None and _host_listed(default.hosts, host) and _in_place(default.places, finding)


def _host_listed(hosts: Sequence[str], host: str) -> bool:
    return any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in hosts)


def _in_place(places: Sequence[str], finding: Finding) -> bool:
    return any(_is_place(place, finding.place, finding.encodings) for place in (places or ("authorization",)))


def _is_place(place: str, seen: Place, encodings: tuple[str, ...]) -> bool:
    if place == "authorization":
        return seen.carrier is Carrier.HEADER and seen.name in AUTHORIZATION_HEADERS and encodings in _BASIC
    if place.startswith("header:"):
        return seen == Place(Carrier.HEADER, place.removeprefix("header:").lower()) and encodings in _BASIC
    if place == "cookie":
        return seen == Place(Carrier.HEADER, "cookie") and encodings in _FORM
    if place in ("query", "path"):
        return seen == Place(Carrier.URL, place) and encodings in _FORM
    return place == "body" and seen.carrier is Carrier.BODY and _plainly_coded(encodings)


def _plainly_coded(encodings: tuple[str, ...]) -> bool:
    """In a body a form's or JSON's own escapes, and the announced compression, are normal."""
    codings = ("gzip", "deflate", "br", "zstd")
    inner = tuple(one for one in encodings if one not in codings)
    return not inner or inner in _FORM
