"""Presets: what the installs of one ecosystem need, as data in ``ebbgate/allowlists/*.yml``, each entry with its reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ebbgate.errors import IntegrityError, PolicyError
from ebbgate.policy.entries import Reader, entries
from ebbgate.policy.model import PRESET, Entry
from ebbgate.policy.yaml_source import Mapping, Node, PolicyProblems, Sequence, parse

RUNNER_PRESET = "github-runner"  # for the runner's own processes, never for steps
_KEYS = ("version", "name", "description", "verified", "unverified", "source", "allow")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named list of entries.

    verified: the real clients that install with it alone, in the tests. unverified: why none was tried; one of both is given.
    sources: of each entry, where its fact is documented.
    """

    name: str
    description: str
    entries: tuple[Entry, ...]
    verified: tuple[str, ...] = ()
    unverified: str = ""
    sources: tuple[str, ...] = ()

    @property
    def trial(self) -> str:
        """Whether it was tried, in a few words."""
        return f"unverified: {self.unverified}" if self.unverified else f"verified with {', '.join(self.verified)}"


@cache
def preset_names() -> tuple[str, ...]:
    """Names of all presets, sorted."""
    folder = resources.files("ebbgate") / "allowlists"
    return tuple(sorted(item.name.removesuffix(".yml") for item in folder.iterdir() if item.name.endswith(".yml")))


@cache
def preset(name: str) -> Preset:
    """A preset. PolicyError with the nearest spelling when there is none of that name."""
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1, cutoff=0.4)
        fix = f"did you mean {near[0]}?" if near else f"presets: {', '.join(preset_names())}"
        raise PolicyError(f"unknown preset {name!r}", "", fix)
    text = (resources.files("ebbgate") / "allowlists" / f"{name}.yml").read_text(encoding="utf-8")
    return _read(name, text)


def _read(name: str, text: str) -> Preset:
    node = parse(text, f"{PRESET}{name}")
    if not isinstance(node, Mapping):
        raise IntegrityError(f"the preset {name} is no mapping")
    reader = Reader(f"{PRESET}{name}")
    reader.unknown_keys(node, _KEYS, "a preset")
    plain, sources = _sourced(reader, node)
    found = entries(reader, plain, "allow", deny=False)
    for one in found:
        if not one.reason:
            reader.fail(node, f"an entry without a reason: {one.ref.text}")
    description = reader.text(node.get("description"), "description") or ""
    verified = tuple(item.text for item in reader.texts(node.get("verified"), "verified"))
    unverified = reader.text(node.get("unverified"), "unverified") or ""
    if bool(verified) == bool(unverified):
        reader.fail(node, "say either verified: [client] or unverified: why")
    if reader.problems:
        raise PolicyProblems(reader.problems)
    return Preset(name, description, tuple(found), verified, unverified, sources)


def _sourced(reader: Reader, node: Mapping) -> tuple[Node | None, tuple[str, ...]]:
    """The list of entries as policies have it, and each one's source: its own, or the preset's."""
    general = reader.text(node.get("source"), "source") or ""
    allow = node.get("allow")
    if not isinstance(allow, Sequence):
        return allow, ()
    items: list[Node] = []
    sources: list[str] = []
    for item in allow.items:
        own = item.get("source") if isinstance(item, Mapping) else None
        sources.append(reader.text(own, "source") or general)
        if not sources[-1]:
            reader.fail(item, "an entry without a source")
        kept = tuple(pair for pair in item.items if pair[1] is not own) if isinstance(item, Mapping) else ()
        items.append(Mapping(kept, item.line, item.column) if isinstance(item, Mapping) else item)
    return Sequence(tuple(items), allow.line, allow.column), tuple(sources)
