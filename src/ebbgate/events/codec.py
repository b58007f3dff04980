"""Events to JSON and back. Strict both ways: an unknown kind or field is an error, every text and list has a bound."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any  # JSON documents: their shape is what this module checks

from ebbgate.errors import IntegrityError
from ebbgate.events.types import Event

MAX_TEXT = 4096  # characters of one text; the longest legitimate one is a redacted command line
MAX_ITEMS = 1024  # elements of one list; the longest legitimate one is the list of registered secrets
_CUT = "…"
KINDS: dict[str, type] = {one.__name__: one for one in typing.get_args(Event.__value__)}


def to_json(event: Event) -> dict[str, Any]:
    """A JSON object with ``kind`` first. Texts and lists over their bounds are cut."""
    return {"kind": type(event).__name__, **_plain(event)}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        text = str(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + _CUT
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value[:MAX_ITEMS]]
    names = _names_of(type(value))
    return value if not names else {name: _plain(getattr(value, name)) for name in names}


_NAMES: dict[type, tuple[str, ...]] = {}


def _names_of(kind: type) -> tuple[str, ...]:
    """Field names of a record's class; none for anything else."""
    if kind not in _NAMES:
        _NAMES[kind] = tuple(item.name for item in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()
    return _NAMES[kind]


def from_json(document: Any) -> Event:
    """The event of a JSON object. IntegrityError for anything that ``to_json`` would not have made."""
    if not isinstance(document, dict):
        raise IntegrityError("an event that is not an object")
    fields = dict(document)
    kind = fields.pop("kind", None)
    fields.pop("seq", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise IntegrityError("an event of an unknown kind")
    event: Event = _build(KINDS[kind], fields)
    return event


def redacted_event(event: Event, redact: Callable[[str], str]) -> Event:
    """The same event with every text as ``redact`` gives it."""

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, list):
            return [shown(one) for one in value]
        return {name: shown(one) for name, one in value.items()} if isinstance(value, dict) else value

    document = to_json(event)
    return from_json({**shown(document), "kind": document["kind"]})


def _build(wanted: type, fields: dict[str, Any]) -> Any:
    hints = hints_of(wanted)
    if not fields.keys() <= hints.keys():
        raise IntegrityError(f"an event with an unknown field: {wanted.__name__}")
    try:
        return wanted(**{name: _typed(value, hints[name]) for name, value in fields.items()})
    except TypeError:
        raise IntegrityError(f"an event with a missing field: {wanted.__name__}") from None


@cache
def hints_of(wanted: type) -> dict[str, Any]:
    """Field types of a record."""
    return typing.get_type_hints(wanted)


def _typed(value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise IntegrityError("an event with a list of the wrong shape")
        return tuple(_typed(one, typing.get_args(hint)[0]) for one in value)
    if typing.get_origin(hint) is types.UnionType:
        return None if value is None else _typed(value, typing.get_args(hint)[0])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise IntegrityError("an event with a part of the wrong shape")
        return _build(hint, value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise IntegrityError("an event with a field of the wrong type")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise IntegrityError("an event with a text over its bound")
    return value
