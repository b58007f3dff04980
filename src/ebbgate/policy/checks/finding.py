"""What a check has to say about one place of a file. It knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ebbgate.policy.model import Entry, Policy
from ebbgate.policy.observation import RuleRef


class Severity(StrEnum):
    """error: the file is not applied, or the entry cannot be meant. warning: look at it. note: known and explained."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. rule: its stable name. line, column: 1-based, 0 where a source has none. fix: what to write."""

    rule: str
    severity: Severity
    source: str
    line: int
    column: int
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule found at one entry or binding. accepted: a reason is written beside it, so it is no more than a note."""

    ref: RuleRef
    message: str
    fix: str
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One check. meaning: for the reference. severity: of what nobody accepted."""

    name: str
    meaning: str
    severity: Severity
    find: Callable[[Policy], Iterator[Remark]]


def written(policy: Policy) -> Iterator[Entry]:
    """The allow entries that a person wrote: presets have their own tests."""
    return (entry for entry in policy.allow if not entry.is_of_preset)


def place(ref: RuleRef) -> str:
    """Where an entry stands, for a sentence."""
    return f"line {ref.line}" if ref.line and not ref.source.startswith(("--", "preset ")) else f"the {ref.source}"
