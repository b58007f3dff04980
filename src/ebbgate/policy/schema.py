"""The JSON Schema of a policy file, for editors. It knows the shape; what hosts and paths may be, ``load`` alone says."""

from __future__ import annotations

import json
from typing import Any  # JSON documents

from ebbgate.policy.entries import CREDENTIALS, ENTRY_KEYS, ONLY_KEYS, UNINSPECTABLE
from ebbgate.policy.load import JOB_KEYS, KEYS, MODES, PLACES
from ebbgate.policy.model import METHODS
from ebbgate.policy.presets import preset_names
from ebbgate.secrets.bindings import FINE
from ebbgate.secrets.credentials import credentials


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """Draft 2020-12."""
    jobs = {"type": "object", "additionalProperties": _mapping(JOB_KEYS, _section())}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ebbgate policy",
        **_mapping(KEYS, {"version": {"const": 1}, **_section(), "jobs": jobs}),
        "required": ["version"],
        "$defs": {
            "entry": {"anyOf": [{"type": "string", "minLength": 1}, _mapping(ENTRY_KEYS, _entry())]},
            "binding": _binding(),
        },
    }


def _mapping(keys: dict[str, str], kinds: dict[str, Any]) -> dict[str, Any]:
    """KeyError when a key has no shape: a new one cannot be forgotten here."""
    properties = {name: {"description": meaning, **kinds[name]} for name, meaning in keys.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _section() -> dict[str, Any]:
    entries = {"type": "array", "items": {"$ref": "#/$defs/entry"}}
    return {
        "mode": {"enum": list(MODES)},
        "use": _one_or_more({"enum": list(preset_names())}),
        "allow": entries,
        "deny": entries,
        "secrets": {
            "type": "object",
            "propertyNames": {"pattern": r"^[^\W\d]\w*$"},
            "additionalProperties": {"$ref": "#/$defs/binding"},
        },
        "credentials": {"enum": list(CREDENTIALS)},
        "uninspectable": {"enum": list(UNINSPECTABLE)},
        "exceptions": _one_or_more({"enum": sorted(credentials().exceptions)}),
        "canary": {"type": "boolean"},
        "inspect-containers": {"type": "boolean"},
    }


def _entry() -> dict[str, Any]:
    word = {"type": "string", "minLength": 1}
    return {
        "host": word,
        "cidr": _one_or_more(word),
        "port": _one_or_more({"type": "integer", "minimum": 1, "maximum": 65535}),
        "protocol": {"enum": ["tls", "http", "tcp"]},
        "methods": _one_or_more({"enum": list(METHODS)}),
        "paths": _one_or_more({"type": "string", "pattern": "^/"}),
        "query": _one_or_more({"type": "string", "pattern": "^[^=?&#;][^?&#;]*$"}),
        "only": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {key: _one_or_more({**word, "pattern": "^/"} if key == "executables" else word) for key in ONLY_KEYS},
        },
        "tls": {"enum": ["inspect", "passthrough"]},
        "credentials": {"enum": list(CREDENTIALS)},
        "uninspectable": {"enum": list(UNINSPECTABLE)},
        "reason": word,
    }


def _binding() -> dict[str, Any]:
    place = {"anyOf": [{"enum": list(PLACES)}, {"type": "string", "pattern": f"^({'|'.join(FINE)}):."}]}
    hosts = _one_or_more({"type": "string", "minLength": 1})
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"to": hosts, "in": _one_or_more(place)},
        "required": ["to"],
    }


def _one_or_more(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
