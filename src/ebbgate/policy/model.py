"""The policy as the gate holds it: frozen, validated, picklable. Made by ``policy.load`` from text."""

from __future__ import annotations

import ipaddress
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
class Only:
    """Who may use an entry, by the evidence of who opened the connection: each list that is not empty must have it.

    steps: their ids, or the runner's names for them. executables: globs of the program's path. actions: "owner/repo", or with
    "@ref" that very one.
    """

    steps: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = (("steps", self.steps), ("executables", self.executables), ("actions", self.actions))
        return " ".join(f"{name} {','.join(texts)}" for name, texts in named if texts)


@dataclass(frozen=True, slots=True)
class Entry:
    """One allow or deny entry.

    host: None for an entry of addresses only. cidrs: with a host, where its name may resolve to although special; without,
    the literal addresses meant. ports: empty means every port (deny entries only). methods: empty means all.
    paths: empty means all. own_credentials: whether only the job's own may be used there; None: as the policy says.
    inspected_only: whether what cannot be read is denied; None likewise. query: patterns of parameters; empty means any.
    only: who may use it; None: everybody.
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
    query: tuple[str, ...] = ()
    only: Only | None = None
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


# By version and length of the prefix, then by its bits: entries with their positions, whose order is that of judging.
_Networks = Mapping[tuple[int, int], Mapping[int, tuple[tuple[int, "Entry"], ...]]]


@dataclass(frozen=True, slots=True)
class EntryIndex:
    """Entries by exact host, by wildcard suffix, and those of addresses, by prefix too, so that thousands stay fast."""

    exact: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    suffix: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    ranges: tuple[Entry, ...] = ()
    networks: _Networks = field(default_factory=dict)

    def candidates(self, host: str | None) -> list[Entry]:
        """Entries whose host pattern matches a canonical name or literal, most specific first."""
        if host is None:
            return []
        found = list(self.exact.get(host, ()))
        labels = host.split(".")
        for start in range(1, len(labels)):
            found += self.suffix.get(".".join(labels[start:]), ())
        return found

    def around(self, address: str) -> list[Entry]:
        """Entries of addresses alone that a canonical literal is in, in their order."""
        if not self.networks:
            return []
        parsed = ipaddress.ip_address(address)
        bits, found = int(parsed), dict[int, Entry]()
        for (version, length), table in self.networks.items():
            if version == parsed.version:
                found |= table.get(bits >> (parsed.max_prefixlen - length), ())
        return [found[position] for position in sorted(found)]


def index(entries: tuple[Entry, ...]) -> EntryIndex:
    """Build the index."""
    exact: dict[str, list[Entry]] = {}
    suffix: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.host is not None:
            table = suffix if entry.host.wildcard else exact
            table.setdefault(entry.host.host, []).append(entry)
    ranges = tuple(entry for entry in entries if entry.host is None)
    return EntryIndex(_fixed(exact), _fixed(suffix), ranges, _networks(ranges))


def _networks(ranges: tuple[Entry, ...]) -> _Networks:
    found: dict[tuple[int, int], dict[int, list[tuple[int, Entry]]]] = {}
    for position, entry in enumerate(ranges):
        for text in entry.cidrs:
            one = ipaddress.ip_network(text)
            prefix = int(one.network_address) >> (one.max_prefixlen - one.prefixlen)
            found.setdefault((one.version, one.prefixlen), {}).setdefault(prefix, []).append((position, entry))
    return {key: _fixed(table) for key, table in found.items()}


def _fixed[Key, Value](table: dict[Key, list[Value]]) -> dict[Key, tuple[Value, ...]]:
    return {key: tuple(values) for key, values in table.items()}


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
