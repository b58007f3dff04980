"""The policy as the gate holds it: frozen, validated, picklable. Made by ``policy.load`` from text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ebbgate.policy.observation import Protocol, RuleRef

PRESET = "preset "  # before a preset's name, where rules say whence they are
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "REPORT",
    "MKCOL",
    "COPY",
    "MOVE",
)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host or ``*.suffix``: one or more labels below the suffix, never the suffix itself."""

    host: str
    wildcard: bool = False

    def matches(self, host: str) -> bool:
        """Whether a canonical host is meant."""
        return host.endswith("." + self.host) if self.wildcard else host == self.host

    def __str__(self) -> str:
        return f"*.{self.host}" if self.wildcard else self.host


@dataclass(frozen=True, slots=True)
class Entry:
    """One allow or deny entry.

    host: None for an entry of addresses only. cidrs: with a host, where its name may resolve to although special; without,
    the literal addresses meant. ports: empty means every port (deny entries only). methods: empty means all.
    paths: empty means all. own_credentials: whether only the job's own may be used there; None: as the policy says.
    inspected_only: whether what cannot be read is denied; None likewise.
    """

    host: HostPattern | None
    cidrs: tuple[str, ...]
    ports: tuple[int, ...]
    protocol: Protocol
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    passthrough: bool = False
    reason: str = ""
    own_credentials: bool | None = None
    inspected_only: bool | None = None
    ref: RuleRef = RuleRef("", 0, 0, "")

    @property
    def is_of_preset(self) -> bool:
        """Whether it came with a preset."""
        return self.ref.source.startswith(PRESET)


@dataclass(frozen=True, slots=True)
class SecretBinding:
    """Where one secret may legitimately go. places: empty means "authorization" and nothing else."""

    name: str
    to: tuple[HostPattern, ...]
    places: tuple[str, ...]
    ref: RuleRef


@dataclass(frozen=True, slots=True)
class EntryIndex:
    """Entries by exact host, by wildcard suffix, and those of addresses, so that thousands stay fast."""

    exact: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    suffix: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    ranges: tuple[Entry, ...] = ()

    def candidates(self, host: str | None) -> list[Entry]:
        """Entries whose host pattern matches a canonical name or literal, most specific first."""
        if host is None:
            return []
        found = list(self.exact.get(host, ()))
        labels = host.split(".")
        for start in range(1, len(labels)):
            found += self.suffix.get(".".join(labels[start:]), ())
        return found


def index(entries: tuple[Entry, ...]) -> EntryIndex:
    """Build the index."""
    exact: dict[str, tuple[Entry, ...]] = {}
    suffix: dict[str, tuple[Entry, ...]] = {}
    for entry in entries:
        if entry.host is not None:
            table = suffix if entry.host.wildcard else exact
            table[entry.host.host] = (*table.get(entry.host.host, ()), entry)
    return EntryIndex(exact, suffix, tuple(entry for entry in entries if entry.host is None))


@dataclass(frozen=True, slots=True)
class Policy:
    """A run's policy. mode: "enforce" or "audit". sources: files, presets, options. digest: SHA-256 of its canonical text.

    inspect_containers: TLS from containers must be read, although they do not know the guard's authority. exceptions: uses of
    credentials that are against the rule and wanted. own_credentials: only the job's own may be used. canary: plant some.
    inspected_only: what cannot be read is denied.
    """

    mode: str
    allow: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()
    bindings: tuple[SecretBinding, ...] = ()
    sources: tuple[str, ...] = ()
    digest: str = ""
    inspect_containers: bool = False
    exceptions: tuple[str, ...] = ()
    own_credentials: bool = False
    inspected_only: bool = False
    canary: bool = False
    allow_index: EntryIndex = field(default_factory=EntryIndex)
    deny_index: EntryIndex = field(default_factory=EntryIndex)
