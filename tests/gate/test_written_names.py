"""Looking up a policy's names: bounded in number, at once, and in time; with the gate's own directory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ebbgate.events.types import Notice
from ebbgate.gate import written_names
from ebbgate.gate.directory import Directory
from ebbgate.policy.load import load_texts


def told(names: list[str], lookup: Callable[[str], tuple[str, ...]]) -> list[str]:
    """What is told of a policy that allows these names."""
    policy = load_texts([("p", f"version: 1\nallow: [{', '.join(names)}]\n")], job="", given_by="")
    events: list[Notice] = []

    async def run() -> None:
        directory = Directory(lambda _name: False, lambda: True, lookup)
        reporter = SimpleNamespace(publish_host=str, event=events.append)  # stands for the channel to the warden alone
        await written_names.look_up(SimpleNamespace(policy=policy, directory=directory, reporter=reporter))

    asyncio.run(run())
    return [one.what for one in events]


def names(count: int) -> list[str]:
    return [f"host{number}.example.com" for number in range(count)]


def test_a_bounded_number_is_asked_for_few_at_once() -> None:
    busy, most, asked, lock = 0, 0, [], threading.Lock()
    together = threading.Barrier(written_names.PARALLEL, timeout=60)

    def lookup(name: str) -> tuple[str, ...]:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            asked.append(name)
        together.wait()
        with lock:
            busy -= 1
        return ("203.0.113.10",)

    assert told(names(written_names.MAX_NAMES + 50), lookup) == ["whether 50 more names of the policy resolve was not looked up"]
    assert sorted(asked) == sorted(names(written_names.MAX_NAMES))
    assert most == written_names.PARALLEL


def test_what_is_late_is_counted_and_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_names, "SECONDS", 0.3)
    release = threading.Event()

    def lookup(name: str) -> tuple[str, ...]:
        if name == "host0.example.com":
            return ()
        release.wait(60)
        return ()

    threading.Timer(1.0, release.set).start()
    assert told(names(10), lookup) == [
        "the policy allows host0.example.com, but this name does not resolve",
        "whether 9 more names of the policy resolve was not looked up",
    ]


def test_a_policy_without_names_says_nothing() -> None:
    assert told(["203.0.113.10", '"*.example.com"'], lambda _name: ()) == []
