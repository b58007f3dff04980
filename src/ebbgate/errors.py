"""The three families of failure, each with a title, a cause and a next step.

``PolicyError``     the user can fix it: a policy file, an option, a name.
``PlatformError``   the machine lacks something: a kernel feature, a program.
``IntegrityError``  the guard itself is broken or was tampered with.

No message may carry a secret value: whoever raises puts names in, never bytes.
They are printed in one place, ``ebbgate.cli.main``.
"""

from __future__ import annotations


class EbbgateError(Exception):
    """Base of every error that is shown to a person.

    :param title: one line, what went wrong
    :param cause: why, in plain words; may be empty
    :param next_step: what to do now; may be empty
    """

    def __init__(self, title: str, cause: str = "", next_step: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.next_step = next_step


class PolicyError(EbbgateError):
    """Input that its author can mend. The CLI ends with code 2; nothing was run."""


class PlatformError(EbbgateError):
    """The machine lacks something. The CLI ends with code 3; nothing was run."""


class IntegrityError(EbbgateError):
    """The guard is broken or was tampered with. Traffic stays closed; verdict ``broken``."""
