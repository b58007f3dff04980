"""Allowlists of other guards as a policy of ours: what they allow, job by job, and as comments what they leave open.

harden-runner    a workflow with ``step-security/harden-runner``: ``allowed-endpoints``, HOST:PORT
bullfrog         a workflow with ``bullfrogsec/bullfrog``: ``allowed-domains`` (``*`` crosses dots, any port), ``allowed-ips``
native-firewall  GitHub's ``.github/egress-firewall.yaml``: ``mode``, ``allow``, ``no-default-urls``

Sources: README and action.yml of the two actions, GitHub's technical preview. What is not understood is kept as a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ebbgate.errors import PolicyError
from ebbgate.events.publish import printable
from ebbgate.policy.checks.registry import review
from ebbgate.policy.entries import option_entry
from ebbgate.policy.explain import quoted
from ebbgate.policy.load import load_texts
from ebbgate.policy.yaml_source import Mapping, Node, Scalar, Sequence, parse

_MAX_COMMENT = 160
_PLAIN_PORTS = {"443": "", "80": "http://"}
_OPEN = {
    "harden-runner": "It judged host and port: any method, path, credential and content went to each of these.",
    "bullfrog": "It judged names by DNS, then let their addresses be reached on every port, unread; here each is TLS on 443.",
    "native-firewall": "It judged hosts: any method, path, credential and content. Its defaults are our preset github-actions.",
}
_ACTIONS = {"harden-runner": "step-security/harden-runner", "bullfrog": "bullfrogsec/bullfrog"}
_LISTS = {"harden-runner": ("allowed-endpoints",), "bullfrog": ("allowed-domains", "allowed-ips")}
KINDS = tuple(_OPEN)


@dataclass(slots=True)
class _Section:
    """A job, or the whole: entries as options write them, in order, and what could not be taken, with the reason."""

    mode: str = "enforce"
    use: tuple[str, ...] = ()
    entries: dict[str, None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def imported(kind: str, text: str, source: str) -> str:
    """The policy as YAML, which loads. PolicyError when the file holds nothing of that guard."""
    node = parse(text, source)
    sections = _native(node) if kind == "native-firewall" else _workflow(kind, node)
    if not sections:
        raise PolicyError(f"{printable(source, 200)} holds nothing of {kind}", "", f"kinds: {', '.join(KINDS)}")
    draft = _written(kind, source, sections, {})
    marks: dict[int, list[str]] = {}
    for job in ["", *(name for name in sections if name)]:
        for one in review(load_texts([("draft", draft)], job=job, given_by="")):
            told = marks.setdefault(one.line, [])
            told += [one.message] if one.source == "draft" and one.message not in told else []
    return _written(kind, source, sections, marks)


def _native(node: Node) -> dict[str, _Section]:
    if not isinstance(node, Mapping) or (node.get("allow") is None and node.get("mode") is None):
        return {}
    keep = _text(node.get("no-default-urls")) == "true"
    section = _Section("audit" if _text(node.get("mode")) == "log" else "enforce", () if keep else ("github-actions",))
    for item in _items(node.get("allow")):
        _take(section, item)
    return {"": section}


def _workflow(kind: str, node: Node) -> dict[str, _Section]:
    jobs = node.get("jobs") if isinstance(node, Mapping) else None
    found: dict[str, _Section] = {}
    for name, job in jobs.items if isinstance(jobs, Mapping) else ():
        steps = job.get("steps") if isinstance(job, Mapping) else None
        for step in steps.items if isinstance(steps, Sequence) else ():
            if isinstance(step, Mapping) and _text(step.get("uses")).partition("@")[0].lower() == _ACTIONS[kind]:
                given = step.get("with")
                section = found.setdefault(name.text, _Section())
                _from_step(kind, section, given if isinstance(given, Mapping) else Mapping((), 0, 0))
    return found


def _from_step(kind: str, section: _Section, given: Mapping) -> None:
    if _text(given.get("egress-policy")) != "block":  # both watch only unless they are told to block
        section.mode = "audit"
    for key in _LISTS[kind]:
        for item in _items(given.get(key)):
            _take(section, item)
    for key in ("disable-sudo", "disable-sudo-and-containers"):
        if _text(given.get(key)) == "true":
            locks = "sudo: remove" + (", containers: close" if "containers" in key else "")
            section.notes.append(f"{key}: the action's inputs `{locks}` do that here")
    if _text(given.get("dns-policy")) == "any":
        section.notes.append("dns-policy: any let every name be asked; here only names that a rule allows are asked of the world")


def _take(section: _Section, text: str) -> None:
    option = _as_option(text)
    entry, problems = option_entry(option, "draft", deny=False)
    if entry is None:
        section.refused[text] = problems[0].message if problems else "not understood"
    else:
        section.entries[option] = None


def _as_option(text: str) -> str:
    """``host:port`` as ``--allow`` takes it: other ports than 443 and 80 are carried unread."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        return text
    return f"{_PLAIN_PORTS[port]}{host}" if port in _PLAIN_PORTS else f"tcp://{host}:{port}"


def _text(node: Node | None) -> str:
    return node.text.strip() if isinstance(node, Scalar) else ""


def _items(node: Node | None) -> Iterator[str]:
    """Words of a text, ``#`` comments left out, or the texts of a list."""
    nodes = node.items if isinstance(node, Sequence) else (node,)
    for one in nodes:
        for line in _text(one).splitlines():
            yield from (word for word in re.split(r"[\s,]+", re.sub(r"(^|\s)#.*", "", line)) if word)


def _written(kind: str, source: str, sections: dict[str, _Section], marks: dict[int, list[str]]) -> str:
    """marks: comments by line, counted as they are written here."""
    lines = ["version: 1", _comment(f"From {kind} in {source}."), _comment(_OPEN[kind])]
    whole = sections.get("")
    lines += _section(whole, "", marks, len(lines)) if whole is not None else []
    jobs = {name: one for name, one in sections.items() if name}
    lines += ["jobs:"] if jobs else []
    for name, one in jobs.items():
        lines.append(f"  {quoted(name)}:")
        lines += _section(one, "    ", marks, len(lines))
    return "\n".join(lines) + "\n"


def _section(one: _Section, indent: str, marks: dict[int, list[str]], before: int) -> list[str]:
    lines = [f"mode: {one.mode}", *(_comment(note) for note in one.notes)]
    lines += [f"use: [{', '.join(one.use)}]"] if one.use else []
    lines.append("allow:" if one.entries else "allow: []")
    for entry in one.entries:
        told = "; ".join(marks.get(before + len(lines) + 1, ()))
        lines.append(f"  - {quoted(entry)}" + (f"  {_comment(told)}" if told else ""))
    lines += [_comment(f"not taken: {text}: {why}") for text, why in one.refused.items()]
    return [indent + line for line in lines]


def _comment(text: str) -> str:
    return f"# {printable(text, _MAX_COMMENT)}"
