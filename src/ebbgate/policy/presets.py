"""Presets: what the installs of one ecosystem need, as data in ``ebbgate/allowlists/*.yml``, each entry with its reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ebbgate.errors import IntegrityError, PolicyError
from ebbgate.policy.entries import Reader, entries
from ebbgate.policy.model import PRESET, Entry
from ebbgate.policy.yaml_source import Mapping, PolicyProblems, parse

_KEYS = ("version", "name", "description", "source", "unverified", "allow")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named list of entries. source: where its hosts are documented. verified: the real tool was run with nothing else."""

    name: str
    description: str
    entries: tuple[Entry, ...]
    source: str
    verified: bool


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
    found = entries(reader, node.get("allow"), "allow", deny=False)
    for one in found:
        if not one.reason:
            reader.fail(node, f"an entry without a reason: {one.ref.text}")
    description = reader.text(node.get("description"), "description") or ""
    source = reader.text(node.get("source"), "source") or ""
    if not source.startswith("https://"):
        reader.fail(node, "a preset without a source")
    verified = reader.text(node.get("unverified"), "unverified") != "true"
    if reader.problems:
        raise PolicyProblems(reader.problems)
    return Preset(name, description, tuple(found), source, verified)
