"""How an error looks: what went wrong, why, what to do. Plain text on standard error."""

from __future__ import annotations

import sys

from ebbgate.errors import EbbgateError
from ebbgate.events.publish import printable

_LIMIT = 4000


def print_error(problem: EbbgateError) -> None:
    """Print an error for a person. Problems of a policy file are one a line: file:line:column, message, fix."""
    lines = [f"ebbgate: {problem.title}"]
    for text in (problem.cause, problem.next_step):
        lines += [f"  {line}" for line in text.splitlines() if line.strip()]
    for line in lines:
        print(printable(line, _LIMIT), file=sys.stderr)
