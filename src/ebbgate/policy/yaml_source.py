"""YAML text to plain nodes with positions, strictly.

PyYAML reads YAML 1.1, where ``no`` is a boolean, ``010`` is eight and ``1:30`` is ninety. Here every scalar stays the text it
was written as, and whoever wants a number says so. Anchors, aliases, merge keys and tags are refused: a policy that
everybody reads the same way needs none, and aliases are how a small file becomes a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from ebbgate.errors import PolicyError

MAX_BYTES = 4 << 20  # a 10,000-entry allowlist takes 1 MB
MAX_DEPTH = 12
MAX_NODES = 400_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. source: a file, or an option, in which there are no lines. line, column: 1-based. fix: what to write.

    rule: the name of the kind of mistake where it has one of its own.
    """

    source: str
    line: int
    column: int
    message: str
    fix: str = ""
    rule: str = "invalid"

    def __str__(self) -> str:
        fix = f" ({self.fix})" if self.fix else ""
        where = self.source if self.source.startswith("--") else f"{self.source}:{self.line}:{self.column}"
        return f"{where}: {self.message}{fix}"


class PolicyProblems(PolicyError):
    """All mistakes of the given files and options at once. Nothing was applied."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: (one.source, one.line, one.column)))
        count = len(problems)
        super().__init__(
            f"the policy has {count} problem{'s' if count > 1 else ''}; nothing was run",
            "\n".join(str(problem) for problem in self.problems),
        )


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text. plain: written without quotes. line, column: 1-based."""

    text: str
    line: int
    column: int
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in order, with their values; keys are unique."""

    items: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int

    def get(self, key: str) -> Node | None:
        """The value of a key."""
        return next((value for name, value in self.items if name.text == key), None)


Node = Scalar | Sequence | Mapping


def read(path: Path) -> str:
    """A policy file's text. PolicyProblems when it cannot be read as UTF-8."""
    source = str(path)
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise PolicyProblems([Problem(source, 1, 1, f"cannot be read: {problem.strerror}", "check the path")]) from None
    if len(raw) > MAX_BYTES:
        raise PolicyProblems([Problem(source, 1, 1, f"larger than {MAX_BYTES >> 20} MiB", "split it over jobs")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        column = problem.start - (raw.rfind(b"\n", 0, problem.start) + 1) + 1
        raise PolicyProblems([Problem(source, line, column, "not UTF-8", "save the file as UTF-8")]) from None


def parse(text: str, source: str) -> Node:
    """The only document of a text. PolicyProblems for anything that is not plain YAML."""
    try:
        return _Builder(source).document(text)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise PolicyProblems([Problem(source, line, column, _words(problem), _hint(problem, text, line))]) from None
    except yaml.reader.ReaderError as problem:
        before = text[: problem.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"a character that YAML does not allow (U+{ord(text[problem.position]):04X})"
        raise PolicyProblems([Problem(source, line, column, message, "remove it")]) from None


def _words(problem: yaml.MarkedYAMLError) -> str:
    return f"not valid YAML: {problem.problem or problem.context or 'unreadable'}"


def _hint(problem: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.splitlines()
    current = lines[line - 1] if line <= len(lines) else ""
    if "\t" in current[: len(current) - len(current.lstrip())]:
        return "indent with spaces"
    if "*" in current:
        return "quote values that begin with *"
    return "check indentation and quotes" if problem.problem else ""


class _Builder:
    """Events to nodes; every refusal carries its position."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0

    def document(self, text: str) -> Node:
        events = iter(list(yaml.parse(text, Loader=yaml.SafeLoader)))
        result: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and result is not None:
                self._refuse(event, "a second document", "keep one policy in a file")
            if isinstance(event, yaml.NodeEvent):
                result = self._node(event, events, 0)
        if result is None:
            raise PolicyProblems([Problem(self._source, 1, 1, "empty", "begin with: version: 1")])
        return result

    def _node(self, event: yaml.Event, events: object, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            self._refuse(event, "too large or nested too deeply", "split it")
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "an alias", "write the value out, or quote it if it begins with *")
        if getattr(event, "anchor", None):
            self._refuse(event, "an anchor", "write the value out, or quote it if it begins with &")
        if getattr(event, "tag", None):
            self._refuse(event, f"a tag ({event.tag})", "remove it, or quote the value if it begins with !")  # type: ignore[attr-defined]
        line, column = _position(event)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, line, column, event.style is None)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(tuple(self._until_end(events, depth)), line, column)
        return self._mapping(events, depth, line, column)

    def _until_end(self, events: object, depth: int) -> list[Node]:
        found: list[Node] = []
        for event in events:  # type: ignore[attr-defined]  # an iterator shared with the callers
            if isinstance(event, yaml.CollectionEndEvent):
                break
            found.append(self._node(event, events, depth + 1))
        return found

    def _mapping(self, events: object, depth: int, line: int, column: int) -> Mapping:
        nodes = self._until_end(events, depth)
        pairs: list[tuple[Scalar, Node]] = []
        seen: dict[str, Scalar] = {}
        for key, value in zip(nodes[::2], nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                raise PolicyProblems([Problem(self._source, key.line, key.column, "a key that is not text")])
            if key.text == "<<":
                raise PolicyProblems([Problem(self._source, key.line, key.column, "a merge key", "write the keys out")])
            if key.text in seen:
                message = f"{key.text} is given twice (first on line {seen[key.text].line})"
                raise PolicyProblems([Problem(self._source, key.line, key.column, message, "keep one")])
            seen[key.text] = key
            pairs.append((key, value))
        return Mapping(tuple(pairs), line, column)

    def _refuse(self, event: yaml.Event, what: str, fix: str) -> None:
        line, column = _position(event)
        raise PolicyProblems([Problem(self._source, line, column, f"{what} is not allowed here", fix)])


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
