"""Workflow commands: how a step's output makes annotations.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions: messages are percent-escaped, and properties also
where ``:`` and ``,`` would end them.
"""

from __future__ import annotations

from ebbgate.events.publish import printable

MAX_MESSAGE = 1000  # characters; the runner cuts at 4,096
_MAX_PROPERTY = 500


def command(level: str, message: str, title: str = "Ebbgate", *, file: str = "", line: int = 0, column: int = 0) -> str:
    """One line: ``error``, ``warning`` or ``notice``. file: as the repository names it. line, column: left out where 0."""
    properties = {"title": title, "file": file, "line": str(line or ""), "col": str(column or "")}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {told}::{_message(printable(message, MAX_MESSAGE))}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(printable(text, _MAX_PROPERTY)).replace(":", "%3A").replace(",", "%2C")
