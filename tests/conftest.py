"""Fixtures. Tests that need root skip with a reason when they lack it; CI has root, so there nothing skips."""

from __future__ import annotations

import os
import secrets
import shutil
import string
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.machine.docker import NEEDED, start_docker
from tests.world import World

NEEDS_ROOT = "NEEDS ROOT: this test makes network namespaces; run `sudo make test`"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if {"quiet_world", "machine"} & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def world(quiet_world: World) -> World:
    """The world, with no memory of earlier tests."""
    return quiet_world


@pytest.fixture
def quiet_world(request: pytest.FixtureRequest) -> World:
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    shared: World = request.getfixturevalue("shared_world")
    shared.forget()
    return shared


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A fresh runner machine with an internet of its own. It takes a tenth of a second, so nothing is shared between tests."""
    with Machine() as one:
        yield one


@pytest.fixture
def docker_machine(machine: Machine) -> Machine:
    """The same with a Docker daemon, which takes a second more."""
    missing = [name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    assert not missing, f"missing programs: {missing}; run `tools/setup.sh test`"
    start_docker(machine)
    return machine


@pytest.fixture
def secret() -> str:
    """A fresh value, as a service would make one. Never the same twice, so that none can be real."""
    return "tok_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(36))


@pytest.fixture(params=["root", "ordinary user"])
def user(request: pytest.FixtureRequest) -> int | None:
    return None if request.param == "root" else 34567
