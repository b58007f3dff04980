"""``${{ }}``: the part of the runner's expression language that workflows in tests use. Anything else is an error, not a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_*][A-Za-z0-9_-]*)"
    r"|(?P<op>&&|\|\||==|!=|<=|>=|[!<>().,\[\]]))"
)
_LITERALS = {"true": True, "false": False, "null": None}


class ExpressionError(Exception):
    pass


class Status:
    """What the status functions know. ``failed``: an earlier step did, without ``continue-on-error``."""

    def __init__(self, *, failed: bool = False, cancelled: bool = False) -> None:
        self.failed, self.cancelled = failed, cancelled


def interpolate(text: str, contexts: Mapping[str, Any]) -> str:
    """Text with its expressions replaced, as the runner does for scripts, inputs and variables."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: as_text(evaluate(found[1], contexts)), text, flags=re.DOTALL)


def condition(text: str | bool | None, contexts: Mapping[str, Any], status: Status) -> bool:
    """``if:``. Without a status function, ``success() &&`` stands before it."""
    expression = "" if text is None else as_text(text).strip()
    expression = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", expression, flags=re.DOTALL).strip() or "success()"
    if not re.search(r"\b(success|failure|always|cancelled)\s*\(", expression):
        expression = f"success() && ({expression})"
    return is_true(evaluate(expression, contexts, status))


def evaluate(expression: str, contexts: Mapping[str, Any], status: Status | None = None) -> Any:
    parser = _Parser(expression, contexts, status)
    value = parser.either()
    if parser.tokens[parser.at :]:
        raise ExpressionError(f"not understood: {expression!r}")
    return value


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def is_true(value: Any) -> bool:
    return value not in (None, False, "", 0)


class _Parser:
    def __init__(self, expression: str, contexts: Mapping[str, Any], status: Status | None) -> None:
        self.contexts, self.status, self.at, self.tokens = contexts, status, 0, []
        position, text = 0, expression.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if not found:
                raise ExpressionError(f"not understood: {expression!r}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()

    def _next(self, *wanted: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at][1] in wanted and self.tokens[self.at][0] == "op":
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def _need(self, wanted: str) -> None:
        if not self._next(wanted):
            raise ExpressionError(f"{wanted} is missing")

    def either(self) -> Any:
        value = self._both()
        while self._next("||"):
            other = self._both()
            value = value if is_true(value) else other
        return value

    def _both(self) -> Any:
        value = self._equal()
        while self._next("&&"):
            other = self._equal()
            value = other if is_true(value) else value
        return value

    def _equal(self) -> Any:
        value = self._unary()
        while operator := self._next("==", "!="):
            other = self._unary()
            same = as_text(value).casefold() == as_text(other).casefold()
            value = same if operator == "==" else not same
        return value

    def _unary(self) -> Any:
        if self._next("!"):
            return not is_true(self._unary())
        if self._next("("):
            value = self.either()
            self._need(")")
            return value
        return self._value()

    def _value(self) -> Any:
        if self.at >= len(self.tokens):
            raise ExpressionError("something is missing at the end")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "string":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind != "name":
            raise ExpressionError(f"not understood: {text}")
        if self._next("("):
            return self._call(text.lower())
        return _LITERALS[text] if text in _LITERALS else self._look_up(text)

    def _look_up(self, name: str) -> Any:
        if name not in self.contexts:
            raise ExpressionError(f"unknown: {name}")
        value = self.contexts[name]
        while True:
            if self._next("."):
                key = self.tokens[self.at][1]
                self.at += 1
            elif self._next("["):
                key = as_text(self.either())
                self._need("]")
            else:
                return value
            value = value.get(key) if isinstance(value, Mapping) else None

    def _call(self, name: str) -> Any:
        arguments = []
        while not self._next(")"):
            arguments.append(self.either())
            self._next(",")
        if self.status is not None and not arguments:
            known = {
                "always": True,
                "cancelled": self.status.cancelled,
                "failure": self.status.failed,
                "success": not self.status.failed and not self.status.cancelled,
            }
            if name in known:
                return known[name]
        if name == "tojson" and len(arguments) == 1:
            return json.dumps(arguments[0], indent=2)
        if name == "contains" and len(arguments) == 2:
            return as_text(arguments[1]).casefold() in as_text(arguments[0]).casefold()
        if name == "format" and arguments:
            return as_text(arguments[0]).format(*map(as_text, arguments[1:]))
        raise ExpressionError(f"unknown function: {name}")
