"""Lists in workflow files: steps that use ``step-security/harden-runner`` or ``bullfrogsec/bullfrog``.

Their inputs as documented: harden-runner's ``allowed-endpoints`` are words ``HOST[:PORT]``, the port 443 where none is given;
bullfrog's ``allowed-domains`` and ``allowed-ips`` are lines without ports. Harden-runner blocks unless told to audit, bullfrog
audits unless told to block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ebbgate.policy.entries import Reader
from ebbgate.policy.imports.listing import Endpoint, LeftOut, Listing, endpoint, words
from ebbgate.policy.yaml_source import Mapping, Node, PolicyProblems, Scalar, Sequence, parse

_JOB = re.compile(
    r"[A-Za-z_][A-Za-z0-9_-]{0,99}\Z"
)  # https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax


@dataclass(frozen=True, slots=True)
class Action:
    """An action that guards a job. lists: inputs that hold destinations. ports: whether these name ports.

    settings: other inputs, by name and value, with what they mean here. elsewhere: inputs by which the list is not in the file.
    """

    uses: str
    lists: tuple[str, ...]
    ports: bool
    default: str
    settings: tuple[tuple[str, str, str], ...]
    elsewhere: tuple[str, ...] = ()


HARDEN_RUNNER = Action(
    "step-security/harden-runner",
    ("allowed-endpoints",),
    ports=True,
    default="block",
    settings=(
        ("disable-sudo", "true", "disable-sudo: the action's input is sudo: remove, with containers: close"),
        ("disable-sudo-and-containers", "true", "disable-sudo-and-containers: here sudo: remove, containers: close"),
    ),
    elsewhere=("policy", "use-policy-store"),
)  # fmt: skip
BULLFROG = Action(
    "bullfrogsec/bullfrog",
    ("allowed-domains", "allowed-ips"),
    ports=False,
    default="audit",
    settings=(
        ("enable-sudo", "false", "enable-sudo: false: the action's input is sudo: remove (with containers: close)"),
        ("dns-policy", "any", "dns-policy: any: names that no rule allows are not asked for here; there is no way to open that"),
    ),
)


def read_workflow(source: str, text: str, action: Action) -> list[Listing]:
    """Every guarded job's list. PolicyProblems with all mistakes; also when no step uses the action."""
    reader = Reader(source)
    node = parse(text, source)
    found = [_listing(reader, text, job, steps, action) for job, steps in _jobs(reader, node, action)]
    if not found and not reader.problems:
        reader.fail(node, f"no step of a job uses {action.uses}", "name the workflow that does")
    if reader.problems:
        raise PolicyProblems(reader.problems)
    return found


def _jobs(reader: Reader, node: Node, action: Action) -> Iterator[tuple[Scalar, list[Mapping]]]:
    """Jobs with the steps that use the action."""
    jobs = node.get("jobs") if isinstance(node, Mapping) else None
    for name, job in jobs.items if isinstance(jobs, Mapping) else ():
        steps = job.get("steps") if isinstance(job, Mapping) else None
        mappings = [one for one in steps.items if isinstance(one, Mapping)] if isinstance(steps, Sequence) else []
        using = [one for one in mappings if _uses(one, action)]
        if using and not _JOB.match(name.text):
            reader.fail(name, "not the name of a job", "letters, digits, - and _, a letter or _ first")
        elif using:
            yield name, using


def _uses(step: Mapping, action: Action) -> bool:
    uses = step.get("uses")
    return isinstance(uses, Scalar) and uses.text.strip().partition("@")[0].lower() == action.uses


def _listing(reader: Reader, text: str, job: Scalar, steps: list[Mapping], action: Action) -> Listing:
    endpoints: list[Endpoint] = []
    left_out: list[LeftOut] = []
    notes: dict[str, None] = {}
    audit = False
    for step in steps:
        inputs = step.get("with")
        if inputs is None:
            inputs = Mapping((), step.line, step.column)
        if not isinstance(inputs, Mapping):
            reader.fail(inputs, "with must be a mapping", f"write with: {{{action.lists[0]}: ...}}")
            continue
        for name in action.lists:
            for word in _words(reader, inputs.get(name), text, name):
                endpoint(reader, word, endpoints, left_out, ports=action.ports)
        audit = _audits(reader, inputs, action) or audit
        for name, value, meaning in action.settings:
            if _text(inputs.get(name)) == value:
                notes[meaning] = None
        left_out += [
            LeftOut(name, key.line, key.column, "the list is kept by the service, not in this file: copy it from there")
            for name in action.elsewhere
            for key, value in inputs.items
            if key.text == name and _text(value) not in ("", "false")
        ]
    return Listing(job.text, audit, tuple(endpoints), tuple(left_out), tuple(notes))


def _words(reader: Reader, node: Node | None, text: str, name: str) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield from words(reader, node, text)
    elif node is not None:
        reader.fail(node, f"{name} must be one text", f"write {name}: > and the list below it")


def _audits(reader: Reader, inputs: Mapping, action: Action) -> bool:
    given = inputs.get("egress-policy")
    mode = _text(given) or action.default
    if given is not None and mode not in ("audit", "block"):
        reader.fail(given, "egress-policy is neither audit nor block", "write the one that is in force")
    return mode == "audit"


def _text(node: Node | None) -> str:
    return node.text.strip() if isinstance(node, Scalar) else ""
