"""Finding credentials of known kinds in bytes: an automaton on their literals, a regular expression only where one is.

::

    ...Authorization: Bearer ghp_3f...          literal  ─▶ match from at most `lookback` before it, to WINDOW behind it
                             └ literal             │      ─▶ not glued to more of the same on either side
                                                   └─▶ offline check of the format (secrets/checks.py)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from ahocorasick_rs import BytesAhoCorasick, Implementation

from ebbgate.secrets.checks import check, claims
from ebbgate.secrets.credentials import CredentialKind, Severity, credentials

WINDOW = 2300  # bytes behind a literal that a match may take; the longest tokens known have 2,000
MAX_SIGHTINGS = 64  # of one search; a body that holds more is data about credentials
MAX_TRIALS = 4000  # literals that are looked at; "ghp_ghp_ghp_..." must not cost more than a body is worth
LONG_LITERAL = 4  # bytes; shorter literals are everywhere in bodies, and are only looked for in heads
_GLUE = re.compile(rb"[0-9A-Za-z]")
_GLUE_BEFORE = re.compile(rb"[0-9A-Za-z_-]")
_BASE64_BEFORE = re.compile(rb"[0-9A-Za-z+/_-]")
_BASE64 = re.compile(rb"[0-9A-Za-z+/=]+")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A credential's shape at ``data[start : start + length]``. checked: of its offline check; None when there is none."""

    kind: CredentialKind
    start: int
    length: int
    checked: bool | None

    @property
    def end(self) -> int:
        return self.start + self.length


class Shapes:
    """Immutable. heads: also kinds with literals too short for bodies."""

    def __init__(self, *, heads: bool) -> None:
        literals: dict[bytes, list[CredentialKind]] = {}
        for kind in credentials().kinds:
            for prefix in kind.prefixes if kind.severity is not Severity.INFO else ():
                if heads or len(prefix) >= LONG_LITERAL:
                    literals.setdefault(prefix.encode(), []).append(kind)
        self._kinds = list(literals.values())
        self._matcher = BytesAhoCorasick(list(literals), implementation=Implementation.DFA)

    def search(self, data: bytes) -> list[Sighting]:
        """Every credential, in order; never more than MAX_SIGHTINGS. Of kinds with ``severity: info`` none."""
        return self.examine(data)[0]

    def examine(self, data: bytes) -> tuple[list[Sighting], bool]:
        """(as ``search``, whether all of the data was looked at: what hides a credential among thousands of literals says so)."""
        found: dict[int, Sighting] = {}
        covered: dict[str, int] = {}
        literals = self._matcher.find_matches_as_indexes(data, overlapping=True)
        for index, start, _end in literals[:MAX_TRIALS]:
            for kind in self._kinds[index]:
                if start < covered.get(kind.id, 0) or len(found) >= MAX_SIGHTINGS:
                    continue
                sighting = _sighting(kind, data, start)
                if sighting is not None:
                    covered[kind.id] = sighting.end
                    _keep(found, sighting)
        complete = len(literals) <= MAX_TRIALS and len(found) < MAX_SIGHTINGS
        return sorted(found.values(), key=lambda one: one.start), complete


def _keep(found: dict[int, Sighting], new: Sighting) -> None:
    """Of two kinds at one place the one whose check holds, then the longer match."""
    old = found.get(new.start)
    if old is None or (new.checked is True, new.length) > (old.checked is True, old.length):
        found[new.start] = new


def _sighting(kind: CredentialKind, data: bytes, literal: int) -> Sighting | None:
    pattern, stop = compiled(kind.id), literal + WINDOW
    if kind.lookback == 0:
        match = pattern.match(data, literal, stop)
    else:
        match = next((one for one in pattern.finditer(data, max(0, literal - kind.lookback), stop) if one.end() > literal), None)
        if match is not None and match.start() > literal:
            return None
    if match is None or _is_glued(data, match):
        return None
    start, end = match.span(pattern.groups)
    return Sighting(kind, start, end - start, check(kind.check, data[start:end]))


def _is_glued(data: bytes, match: re.Match[bytes]) -> bool:
    """Whether more of the same stands before or behind it: then it is a piece of base64 or of a longer name.

    A slash is more of the same to what base64 can hold; to anything else it is a path's.
    """
    before = data[max(0, match.start() - 1) : match.start()]
    glue = _BASE64_BEFORE if _BASE64.fullmatch(match[0]) else _GLUE_BEFORE
    return bool((glue.match(before) and glue.match(match[0])) or _GLUE.match(data, match.end()))


@cache
def shapes(*, heads: bool) -> Shapes:
    """The one of this process."""
    return Shapes(heads=heads)


def masked(text: str) -> str:
    """Text in which the kind stands for every credential, whoever it belongs to: another victim's must not be published."""
    data = text.encode("utf-8", "surrogateescape")
    for one in reversed(shapes(heads=True).search(data)):
        data = data[: one.start] + f"[{one.kind.id}]".encode() + data[one.end :]
    return data.decode("utf-8", "surrogateescape")


@cache
def compiled(kind_id: str) -> re.Pattern[bytes]:
    """A kind's pattern, compiled when it is first needed: all of them take 100 ms."""
    return re.compile(credentials().by_id[kind_id].regex.encode())


def shape_of(value: bytes) -> list[tuple[CredentialKind, bool | None]]:
    """Kinds whose shape the whole of a value has, with the outcome of their checks; those that hold come first."""
    found: list[tuple[CredentialKind, bool | None]] = []
    if len(value) > WINDOW:
        return found
    for kind in credentials().kinds:
        if not kind.regex or not any(prefix.encode() in value for prefix in kind.prefixes or ("",)):
            continue
        match = compiled(kind.id).fullmatch(value)
        if match is None or (kind.issuers and not _is_issued_by(value, kind.issuers)):
            continue
        found.append((kind, check(kind.check, value)))
    return sorted(found, key=lambda one: (one[1] is not True, one[1] is False, one[0].severity is Severity.INFO))


def _is_issued_by(token: bytes, issuers: tuple[str, ...]) -> bool:
    issuer = (claims(token) or {}).get("iss")
    return isinstance(issuer, str) and any(fnmatchcase(issuer, one) for one in issuers)
