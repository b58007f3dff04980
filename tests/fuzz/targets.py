"""What is fuzzed: each target is a function that takes any bytes, and whose docstring is the invariant that it holds.

::

    make fuzz ─▶ campaign ─▶ one process a target (atheris, coverage-guided) ─▶ .fuzz/corpus, .fuzz/crashes
    pytest    ─▶ test_fuzz ─▶ seeds, what crashed once (corpus/), and some of both changed a little

Every failure becomes a line in ``corpus/regressions.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import decoding, reading, ruling, scanning
from tests.fuzz.corpus import seeds


@dataclass(frozen=True, slots=True)
class Target:
    """share: of the time of a campaign. longest: bytes of an input. trials: of the short run, by what one costs."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: int
    longest: int
    trials: int


TARGETS = {
    "streams": Target(scanning.streams, seeds.bodies, 6, 6000, 300),
    "whole": Target(scanning.whole, seeds.bodies, 3, 6000, 60),
    "decoders": Target(decoding.decoders, seeds.texts, 5, 4096, 1000),
    "tools": Target(decoding.tools, seeds.texts, 1, 4096, 1000),
    "inflaters": Target(decoding.inflaters, seeds.texts, 3, 4096, 500),
    "documents": Target(reading.documents, seeds.documents, 4, 4096, 300),
    "values": Target(reading.values, seeds.documents, 2, 1024, 1000),
    "credential-shapes": Target(reading.credential_shapes, seeds.credential_values, 2, 2048, 300),
    "request-parts": Target(reading.request_parts, seeds.documents, 1, 4096, 1000),
    "policies": Target(ruling.policies, seeds.policies, 3, 2048, 200),
    "hosts": Target(ruling.hosts, seeds.hosts, 2, 300, 1000),
    "questions": Target(ruling.questions, seeds.questions, 2, 600, 500),
}
