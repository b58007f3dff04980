"""The JSON Schema of one journal line, made from the records themselves. ``python -m ebbgate.events.schema`` prints it."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any  # JSON documents

from ebbgate.events.codec import KINDS, MAX_ITEMS, MAX_TEXT, hints_of

_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string", "maxLength": MAX_TEXT},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


def schema() -> dict[str, Any]:
    """Draft 2020-12."""
    definitions: dict[str, Any] = {}
    lines = [_record(kind, definitions, line=True) for kind in KINDS.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ebbgate journal line",
        "oneOf": lines,
        "$defs": definitions,
    }


def _record(kind: type, definitions: dict[str, Any], *, line: bool) -> dict[str, Any]:
    properties = {name: _type(hint, definitions) for name, hint in hints_of(kind).items()}
    if line:
        properties = {"seq": {"type": "integer", "minimum": 0}, "kind": {"const": kind.__name__}, **properties}
    return {
        "title": kind.__name__,
        "description": (kind.__doc__ or "").strip().replace("\n    ", "\n"),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0], definitions), "maxItems": MAX_ITEMS}
    if typing.get_origin(hint) is types.UnionType:
        return {"oneOf": [{"type": "null"}, _type(typing.get_args(hint)[0], definitions)]}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _record(hint, definitions, line=False)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return _SIMPLE[hint]


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(), end="")
