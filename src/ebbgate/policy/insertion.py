"""Learned entries into a policy's text, by insertion alone: what a person wrote stays byte for byte.

YAML's own marks say where nodes stand. New items go behind the last of a block, or in front of the first of a list in
brackets, so that every comment stays with what it was written for::

    allow:                     allow: [a]
      - a   # why                    │
      ◀── here                   [ ◀── here, a]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from ebbgate.errors import PolicyError

_COMMENT = re.compile(r"( *)#[^\r\n]*(?:\r?\n|\Z)")
_REMARKS = re.compile(r"(?:[ \t]*(?:#[^\r\n]*)?\r?\n)*(?:[ \t]*#[^\r\n]*)?\Z")  # comments and empty lines up to the end
STEP = 2  # columns that new lines are further in than what they belong to


@dataclass(frozen=True, slots=True)
class Item:
    """One line to insert, in YAML's bracket notation, and what is said above it."""

    text: str
    comment: str


@dataclass(slots=True)
class Section:
    """What is added to the policy itself or to one of its jobs. secrets: items are ``NAME: {...}``."""

    use: list[Item] = field(default_factory=list)
    allow: list[Item] = field(default_factory=list)
    secrets: list[Item] = field(default_factory=list)

    def parts(self) -> list[tuple[str, list[Item]]]:
        """Keys in the order in which policies have them, those with something to add."""
        known = (("use", self.use), ("allow", self.allow), ("secrets", self.secrets))
        return [(key, items) for key, items in known if items]


@dataclass(frozen=True, slots=True)
class _Insertion:
    offset: int
    depth: int  # of two at one place the deeper goes first
    text: str


def insert(text: str, source: str, job: str, section: Section) -> str:
    """The text with a section added, at the top when job is "". PolicyError where it cannot be placed."""
    if not section.parts():
        return text
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise _conflict(source, 1, "the policy is no mapping")
    place = _Place(text, source)
    if job:
        _into_job(place, root, job, section)
    else:
        _into(place, root, section, depth=0)
    return place.result()


def _into_job(place: _Place, root: yaml.MappingNode, job: str, section: Section) -> None:
    jobs = _value(root, "jobs")
    if jobs is None:
        place.add_key(root, "jobs", {quoted(job): section}, depth=0)
        return
    if not isinstance(jobs, yaml.MappingNode):
        raise _conflict(place.source, jobs.start_mark.line + 1, "jobs is no mapping")
    known = _value(jobs, job)
    if known is None:
        place.add_key(jobs, quoted(job), section, depth=1)
    elif isinstance(known, yaml.MappingNode):
        _into(place, known, section, depth=2)
    else:
        raise _conflict(place.source, known.start_mark.line + 1, f"job {job} is no mapping")


def _into(place: _Place, mapping: yaml.MappingNode, section: Section, *, depth: int) -> None:
    for key, items in section.parts():
        known = _value(mapping, key)
        if known is None:
            place.add_key(mapping, key, items, depth=depth)
        elif isinstance(known, yaml.SequenceNode | yaml.MappingNode):
            place.add_items(known, items, depth=depth + 1)
        elif isinstance(known, yaml.ScalarNode) and key == "use":
            place.make_list(known, items)
        else:
            raise _conflict(place.source, known.start_mark.line + 1, f"{key} cannot be added to")


def _value(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


def _conflict(source: str, line: int, why: str) -> PolicyError:
    return PolicyError(f"{source}:{line}: {why}; nothing was changed", "", "add the learned entries by hand, or mend the file")


type _Value = Sequence[Item] | Section | dict[str, Section]


class _Place:
    """Collects insertions into one text."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self._text = text
        self._eol = "\r\n" if "\r\n" in text else "\n"
        self._insertions: list[_Insertion] = []

    def add_items(self, node: yaml.SequenceNode | yaml.MappingNode, items: Sequence[Item], *, depth: int) -> None:
        """Items at the end of a block, or at the beginning of a list or mapping in brackets."""
        if node.flow_style:
            column = _line_column(self._text, node.start_mark.index) + STEP
            lines = [line for item in items for line in (f"# {item.comment}", f"{item.text},")]
            self._within(node.start_mark.index + 1, lines, column)
            return
        column = node.start_mark.column
        mark = "- " if isinstance(node, yaml.SequenceNode) else ""
        self._after(node, column, [line for item in items for line in (f"# {item.comment}", mark + item.text)], depth)

    def add_key(self, node: yaml.MappingNode, key: str, value: _Value, *, depth: int) -> None:
        """A key that a mapping did not have."""
        if node.flow_style:
            column = _line_column(self._text, node.start_mark.index) + STEP
            self._within(node.start_mark.index + 1, [*_flow(key, value, STEP)[:-1], _flow(key, value, STEP)[-1] + ","], column)
            return
        self._after(node, node.start_mark.column, _block(key, value), depth)

    def make_list(self, node: yaml.ScalarNode, items: Sequence[Item]) -> None:
        """A single value becomes the last of a list."""
        column = _line_column(self._text, node.start_mark.index) + STEP
        lines = [line for item in items for line in (f"# {item.comment}", f"{item.text},")]
        self._insertions.append(_Insertion(node.start_mark.index, 0, "["))
        self._within(node.start_mark.index, lines, column)
        self._insertions.append(_Insertion(node.end_mark.index, 0, "]"))

    def _within(self, offset: int, lines: Sequence[str], column: int) -> None:
        indent = self._eol + " " * column
        self._insertions.append(_Insertion(offset, 0, "".join(indent + line for line in lines) + indent))

    def _after(self, node: yaml.Node, column: int, lines: Sequence[str], depth: int) -> None:
        offset = self._next_line(_content_end(node, self._text), column)
        if depth == 0 and _REMARKS.match(self._text, offset):  # a new part of the policy goes behind the last words, too
            offset = len(self._text)
        text = "".join(" " * column + line + self._eol for line in lines)
        self._insertions.append(_Insertion(offset, depth, text))

    def _next_line(self, offset: int, column: int) -> int:
        """Where the next line begins, behind comments that are as far in as what stands there."""
        end = self._text.find("\n", offset)
        position = len(self._text) if end < 0 else end + 1
        while (match := _COMMENT.match(self._text, position)) and len(match[1]) >= max(column, 1) and match.end() > position:
            position = match.end()
        return position

    def result(self) -> str:
        """The text with everything inserted."""
        pieces: list[str] = []
        position = 0
        for one in sorted(self._insertions, key=lambda item: (item.offset, -item.depth)):
            pieces.append(self._text[position : one.offset])
            position = one.offset
            if position == len(self._text) and not "".join(pieces).endswith("\n") and one.text.endswith("\n"):
                pieces.append(self._eol)
            pieces.append(one.text)
        return "".join(pieces) + self._text[position:]


def _content_end(node: yaml.Node, text: str) -> int:
    """Behind the last character of a node's own; the marks of blocks reach over what follows them."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = (
            last
            if isinstance(node, yaml.SequenceNode)
            else last[1]
            if last[1].end_mark.index > last[0].end_mark.index
            else last[0]
        )
    end: int = node.end_mark.index
    while end > node.start_mark.index and text[end - 1] in " \r\n":
        end -= 1
    return end


def _line_column(text: str, offset: int) -> int:
    """How far in the line of an offset is."""
    begin = text.rfind("\n", 0, offset) + 1
    line = text[begin:offset]
    return len(line) - len(line.lstrip(" "))


def _block(key: str, value: _Value) -> list[str]:
    lines = [f"{key}:"]
    if isinstance(value, dict):
        inner = [line for name, section in value.items() for line in _block(name, section)]
    elif isinstance(value, Section):
        inner = [line for name, items in value.parts() for line in _block(name, items)]
    else:
        mark = "" if key == "secrets" else "- "
        inner = [line for item in value for line in (f"# {item.comment}", mark + item.text)]
    return lines + [" " * STEP + line for line in inner]


def _flow(key: str, value: _Value, column: int) -> list[str]:
    """The same within brackets."""
    opening, closing = "{}"
    if isinstance(value, dict):
        parts = [_flow(name, section, column) for name, section in value.items()]
    elif isinstance(value, Section):
        parts = [_flow(name, items, column) for name, items in value.parts()]
    else:
        parts = [[f"# {item.comment}", item.text] for item in value]
        opening, closing = "{}" if key == "secrets" else "[]"
    inner = [" " * STEP + line for part in parts for line in (*part[:-1], part[-1] + ",")]
    return [f"{key}: {opening}", *inner, closing]


def quoted(text: str) -> str:
    """Plain where YAML reads it as this very text, quoted otherwise."""
    plain = text[:1].isalpha() and text.isascii() and all(one.isalnum() or one in ".-_/" for one in text)
    return text if plain else "'" + text.replace("'", "''") + "'"
