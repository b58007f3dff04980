"""The targets of fuzzing for a few seconds: their seeds, what crashed once, and a fixed number of small changes of both."""

from __future__ import annotations

import pytest

from ebbgate.secrets import reader, views
from tests.fuzz.corpus.regressions import FOUND
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets make windows small and time endless."""
    for module, name in ((reader, "WINDOW"), (reader, "OVERLAP"), (views, "MAX_SECONDS")):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_an_invariant(name: str) -> None:
    target = TARGETS[name]
    seeds = [*target.seeds(), *FOUND.get(name, {}).values()]
    assert target.run.__doc__
    for data in (b"", *seeds, *mutated(seeds, target.trials, name)):
        target.run(data[: target.longest])


@pytest.mark.parametrize(("target", "what"), [(target, what) for target, found in FOUND.items() for what in found])
def test_what_was_found_once(target: str, what: str) -> None:
    TARGETS[target].run(FOUND[target][what])
