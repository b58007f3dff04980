"""Where a secret may legitimately go: its hosts, and its places in a request.

What the user's policy says of a secret replaces what its kind (``credentials.yml``) says. A place of a kind is exact, so the
part of the request is taken apart: the value must sit in a text of that place, and in nothing else of the part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

from ebbgate.secrets.credentials import CANARY, Credentials, Use, credentials
from ebbgate.secrets.finding import Carrier, Finding, Place
from ebbgate.secrets.kinds import AUDIENCE, ISSUER, SOURCE, host_in
from ebbgate.secrets.parts import Part, tree

AUTHORIZATION_HEADERS = ("authorization", "proxy-authorization")
COARSE = ("authorization", "cookie", "query", "path", "body")  # whole parts; what a user's policy mostly says
FINE = ("auth", "header", "cookie", "query", "form", "json", "multipart", "path")
# How a credential may be written in its place: as it is, or in Basic's base64 of "user:password" (RFC 7617).
_BASIC = (("raw",), ("base64",), ("base64url",))
_FORM = (("raw",), ("percent",), ("json",), ("escapes",), ("base64",))
MAX_INSIDE = 1000  # texts of a part that are looked at one by one
_VARIABLE = re.compile(r"\$\{(\w+)\}\Z")


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


# The encodings in which a text carries the secret of a finding, None when it does not. The scanner's own answer.
type Carries = Callable[[bytes], tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Bindings:
    """A run's bindings. of_user: the policy's. exceptions: names of uses that it opts into (``credentials.yml``).

    variables: host of the URL in a variable of the job, by its name, for hosts written ``${VARIABLE}``. table: loaded when
    bindings are made, since the gate reads no file once it serves.
    """

    of_user: Sequence[Binding] = ()
    exceptions: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)
    table: Credentials = field(default_factory=credentials)

    def permitted(
        self, finding: Finding, host: str, *, tls: bool, part: Part | None = None, carries: Carries | None = None
    ) -> bool:
        """Whether a secret may be where it was found. Nothing is permitted in the clear, or without a binding."""
        places = self.places(finding, host, tls=tls)
        if any(_is_place(place, finding.place, finding.encodings) for place in places):
            return True
        fine = [place.lower() for place in places if ":" in place or place == "sigv4.id"]
        return bool(fine) and part is not None and carries is not None and _sits_in(fine, part, carries)

    def places(self, finding: Finding, host: str, *, tls: bool) -> list[str]:
        """The places where a secret may be in a request to a host, as bindings name them."""
        if not tls or finding.kind == CANARY:
            return []
        own = [binding for binding in self.of_user if binding.name in (finding.secret, *finding.aliases)]
        if own:
            return [one for binding in own if any(to.matches(host) for to in binding.to) for one in binding.places or COARSE[:1]]
        return [place for use in self._uses(finding) if self._is_among(use.hosts, host) for place in use.places]

    def names_a_host(self, kind: str, marks: Sequence[str]) -> bool:
        """Whether a kind, or what a value says of itself, names a host for it."""
        uses = self._uses(Finding("", "", Place(Carrier.BODY), (), -1, kind, tuple(marks)))
        return any(not host.startswith("@") and not _VARIABLE.match(host) for use in uses for host in use.hosts)

    def permitted_field(self, finding: Finding, host: str, field: str, *, tls: bool) -> bool:
        """As ``permitted``, from a record: the part is gone, and the name of the field in it that carried the secret is known."""
        if self.permitted(finding, host, tls=tls):
            return True
        fine = [place.lower() for place in self.places(finding, host, tls=tls) if ":" in place or place == "sigv4.id"]
        codings = _BASIC if finding.place.carrier is Carrier.HEADER else _FORM
        return bool(field) and finding.encodings in codings and any(_means(place, field.lower()) for place in fine)

    def _uses(self, finding: Finding) -> Iterator[Use]:
        kind = self.table.by_id.get(finding.kind)
        if kind is None:
            return
        yield from _at_audience(finding.marks) if "@audience" in kind.hosts else ()
        yield Use((*kind.hosts, *_marked_hosts(kind.hosts, finding.marks)), kind.places)
        yield from (use for name, use in kind.exceptions if name in self.exceptions)

    def _is_among(self, hosts: Sequence[str], host: str) -> bool:
        for one in hosts:
            variable = _VARIABLE.match(one)
            if variable:
                if host and self.variables.get(variable[1]) == host:
                    return True
            elif not one.startswith("@") and _host_pattern(one).match(host):
                return True
        return False


def _at_audience(marks: Sequence[str]) -> Iterator[Use]:
    """Where an id-token belongs by its ``aud``: as listed, or the host of the URL that it is."""
    for mark in marks:
        if mark.startswith(AUDIENCE):
            audience = mark.removeprefix(AUDIENCE)
            listed = [use for pattern, use in credentials().audiences if fnmatchcase(audience, pattern)]
            yield from listed or ([Use((host_in(audience),), ("auth:bearer", "json:*", "form:*"))] if "://" in audience else ())


def _marked_hosts(hosts: Sequence[str], marks: Sequence[str]) -> list[str]:
    found = [mark.removeprefix(SOURCE) for mark in marks if mark.startswith(SOURCE) and "@source" in hosts]
    if "@issuer" in hosts:
        texts = [mark.partition(":")[2] for mark in marks if mark.startswith((ISSUER, AUDIENCE))]
        found += [host_in(text) for text in texts if "://" in text]
    return [host for host in found if host and "*" not in host and not host.startswith("$")]


@lru_cache(maxsize=1024)
def _host_pattern(text: str) -> re.Pattern[str]:
    """``*.`` in front: any depth below. ``*`` within: one label."""
    below = r"(?:[^.]+\.)+" if text.startswith("*.") else ""
    labels = text.removeprefix("*.").split(".")
    return re.compile(below + r"\.".join(r"[^.]+" if label == "*" else re.escape(label) for label in labels) + r"\Z")


def _is_place(place: str, seen: Place, encodings: tuple[str, ...]) -> bool:
    """Whether a place that means a whole part is the one."""
    if place == "authorization":
        return seen.carrier is Carrier.HEADER and seen.name in AUTHORIZATION_HEADERS and encodings in _BASIC
    if place.startswith("header:"):
        return seen == Place(Carrier.HEADER, place.removeprefix("header:").lower()) and encodings in _BASIC
    if place == "cookie":
        return seen == Place(Carrier.HEADER, "cookie") and encodings in _FORM
    if place in ("query", "path", "path:*"):
        return seen == Place(Carrier.URL, place.removesuffix(":*")) and encodings in _FORM
    return place == "body" and seen.carrier is Carrier.BODY and _plainly_coded(encodings)


def _plainly_coded(encodings: tuple[str, ...]) -> bool:
    """In a body a form's or JSON's own escapes, and the announced compression, are normal."""
    codings = ("gzip", "deflate", "br", "zstd")
    inner = tuple(one for one in encodings if one not in codings)
    return not inner or inner in _FORM


def _sits_in(places: list[str], part: Part, carries: Carries) -> bool:
    """Whether the value is in texts of these places, and in nothing else of the part."""
    if part.place == Place(Carrier.URL, "path"):
        templates = [place.removeprefix("path:") for place in places if place.startswith("path:")]
        return any(_fits(template, part.data, carries) for template in templates)
    inside, outside = tree(part).split(lambda name: any(_means(place, name.lower()) for place in places))
    codings = _BASIC if part.place.carrier is Carrier.HEADER else _BASIC[:1]
    return len(inside) <= MAX_INSIDE and any(carries(text) in codings for text in inside) and carries(b"\n".join(outside)) is None


def _means(place: str, name: str) -> bool:
    return name == place or (place.endswith(":*") and name.startswith(place[:-1]))


def _fits(template: str, path: bytes, carries: Carries) -> bool:
    """``/bot{value}/``: what stands between the two, up to the next slash, is the value."""
    before = template.partition("{value}")[0].encode()
    if not path.lower().startswith(before):
        return False
    value, slash, rest = path[len(before) :].partition(b"/")
    return carries(value) in (("raw",), ("percent",)) and carries(path[: len(before)] + slash + rest) is None


def host_variables() -> frozenset[str]:
    """Names of the variables whose hosts bindings mean."""
    uses = (use for kind in credentials().kinds for use in (kind.use, *(one for _name, one in kind.exceptions)))
    found = (host for use in (*uses, *(use for _audience, use in credentials().audiences)) for host in use.hosts)
    return frozenset(match[1] for match in map(_VARIABLE.match, found) if match)


def hosts_from(environ: Mapping[str, str]) -> dict[str, str]:
    """Host by variable, as far as the environment has them. Only hosts: the rest of a URL can hold a password."""
    hosts = {name: host_in(environ[name]) for name in host_variables() if environ.get(name)}
    return {name: host for name, host in hosts.items() if host}
