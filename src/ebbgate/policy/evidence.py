"""What the journal's record of who opened a connection says to ``decide``."""

from __future__ import annotations

from dataclasses import replace

from ebbgate.events.types import Origin
from ebbgate.policy.observation import Observation


def with_evidence(observation: Observation, origin: Origin) -> Observation:
    """What is known of who asks. A process that is but a guess is no evidence."""
    process, step = origin.process, origin.step
    executable = process.exe if process is not None and process.certain else ""
    known = step if step is not None and process is not None and process.certain else None
    return replace(observation, executable=executable, step=known.name if known else "", action=known.action if known else "")
