from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine.real import snapshot


@pytest.fixture
def real_machine_unchanged() -> Iterator[None]:
    before = snapshot()
    yield
    after = snapshot()
    assert {key: value for key, value in after.items() if before.get(key) != value} == {}
    assert before.keys() == after.keys()
