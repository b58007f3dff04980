"""Credentials of known kinds, as ``credentials.yml`` lists them. Loaded once, from the JSON that is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any  # parts of our own JSON, whose shape tests hold

CANARY = "canary"  # the kind of planted values, which are in no table: bound to nowhere


class Severity(StrEnum):
    """What an unknown credential of the kind means on its way to an allowed host."""

    HIGH = "high"  # denied where the policy says ``credentials: own``
    LOW = "low"  # reported: a weak shape, or an unsure source
    INFO = "info"  # neither: an identifier, or too common to act on


@dataclass(frozen=True, slots=True)
class Use:
    """Where something may go. hosts, places: as in credentials.yml."""

    hosts: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CredentialKind:
    """One kind. Fields are those of credentials.yml; exceptions by their name."""

    id: str
    name: str
    regex: str = ""
    prefixes: tuple[str, ...] = ()
    lookback: int = 0
    check: str = ""
    issuers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    severity: Severity = Severity.HIGH
    confidence: str = "weak"
    revoke: str = ""
    exceptions: tuple[tuple[str, Use], ...] = ()
    note: str = ""

    @property
    def use(self) -> Use:
        """Where it belongs."""
        return Use(self.hosts, self.places)


@dataclass(frozen=True, slots=True)
class Credentials:
    """All kinds, in the file's order. audiences: (``aud`` pattern, where such an id-token may go)."""

    kinds: tuple[CredentialKind, ...]
    by_id: Mapping[str, CredentialKind]
    by_variable: Mapping[str, tuple[CredentialKind, ...]]
    audiences: tuple[tuple[str, Use], ...]

    @property
    def exceptions(self) -> frozenset[str]:
        """Names that a policy's ``exceptions`` may list."""
        return frozenset(name for kind in self.kinds for name, _use in kind.exceptions)


@cache
def credentials() -> Credentials:
    """The table. Takes about 3 ms the first time."""
    text = resources.files("ebbgate.secrets").joinpath("credentials.json").read_bytes()
    return _table(json.loads(text))


def _table(document: Mapping[str, Any]) -> Credentials:
    kinds = tuple(_kind(one) for one in document["kinds"])
    by_variable: dict[str, tuple[CredentialKind, ...]] = {}
    for kind in kinds:
        for name in kind.variables:
            by_variable[name] = (*by_variable.get(name, ()), kind)
    audiences = tuple((one["audience"], _use(one)) for one in document["audiences"])
    return Credentials(kinds, {kind.id: kind for kind in kinds}, by_variable, audiences)


def _use(part: Mapping[str, Any]) -> Use:
    return Use(tuple(part["hosts"]), tuple(part["places"]))


def _kind(part: dict[str, Any]) -> CredentialKind:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in part.items()}
    if "severity" in given:
        given["severity"] = Severity(given["severity"])
    given["exceptions"] = tuple((one["name"], _use(one)) for one in part.get("exceptions", ()))
    return CredentialKind(**given)


def compact(document: dict[str, Any]) -> str:
    """credentials.json, from the parsed credentials.yml: groups written out, notes left out."""
    groups = document["groups"]

    def written_out(hosts: list[str]) -> list[str]:
        return [host for one in hosts for host in (groups[one[1:]] if one.startswith("=") else [one])]

    known = {field.name for field in fields(CredentialKind)} - {"note"}
    kinds = [{name: value for name, value in kind.items() if name in known} for kind in document["kinds"]]
    for part in (*kinds, *document["audiences"]):
        if "hosts" in part:
            part["hosts"] = written_out(part["hosts"])
    return json.dumps({"audiences": document["audiences"], "kinds": kinds}, indent=0) + "\n"
