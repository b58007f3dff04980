"""``python -m bench.policy``: what a decision costs, by the size and shape of a policy: medians, on one core.

A gate decides twice for each TLS connection and once for each request. Nothing here passes or fails. Each kind of decision is
made once before it is measured: a path pattern is compiled when it is first asked, which takes some 80 µs.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Observation, Protocol, Stage

SIZES = (10, 1_000, 10_000)
ASKED = 5_000  # decisions of each kind
SEED = 7
MAX_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """entry: the number-th line of a policy. host, path: a request that the number-th line allows."""

    name: str
    entry: Callable[[int], str]
    host: Callable[[int], str]
    path: Callable[[int], str] = lambda _number: "/"


SHAPES = (
    Shape("hosts", lambda n: f"h{n}.example.com", lambda n: f"h{n}.example.com"),
    Shape("wildcards", lambda n: f"'*.w{n}.example.com'", lambda n: f"a.b.w{n}.example.com"),
    Shape(
        "hosts with methods and two path patterns",
        lambda n: f"{{host: h{n}.example.com, methods: [GET, POST], paths: ['/repos/*/r{n}/**', '/x/**/y{n}']}}",
        lambda n: f"h{n}.example.com",
        lambda n: f"/x/a/b/c/d/y{n}",
    ),
    Shape("address ranges", lambda n: f"{{cidr: {_range(n)}/28, port: 443}}", lambda n: _range(n, 5)),
    Shape(
        "one host, as many path patterns",
        lambda n: f"{{host: one.example.com, paths: ['/repos/*/r{n}/**']}}",
        lambda _number: "one.example.com",
        lambda n: f"/repos/me/r{n}/x",
    ),
)


def _range(number: int, inside: int = 0) -> str:
    address = (203 << 24) + number * 16 + inside
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def main() -> None:
    """Measure and print."""
    print(
        "| a request is decided in µs: allowed / refused | " + " | ".join(f"{size:,} rules" for size in SIZES) + " | read in s |"
    )
    print("| --- " * (len(SIZES) + 2) + "|")
    for shape in SHAPES:
        cells, took = [], 0.0
        for size in SIZES:
            started = time.perf_counter()
            policy = _policy(shape, size)
            took = time.perf_counter() - started
            cells.append(" / ".join(f"{1e6 * _median(policy, shape, size, allowed=allowed):.1f}" for allowed in (True, False)))
        print(f"| {shape.name} | " + " | ".join(cells) + f" | {took:.1f} |", flush=True)


def _policy(shape: Shape, size: int) -> Policy:
    text = "version: 1\nallow:\n" + "".join(f"  - {shape.entry(number)}\n" for number in range(size))
    return load_texts([("bench", text)], job="", given_by="")


def _median(policy: Policy, shape: Shape, size: int, *, allowed: bool) -> float:
    _passes(policy, shape, size, allowed=allowed)
    return statistics.median(_passes(policy, shape, size, allowed=allowed))


def _passes(policy: Policy, shape: Shape, size: int, *, allowed: bool) -> list[float]:
    of = random.Random(SEED)
    taken: list[float] = []
    until = time.perf_counter() + MAX_SECONDS
    while len(taken) < ASKED and time.perf_counter() < until:
        number = of.randrange(size)
        host, path = shape.host(number), shape.path(number)
        seen = Observation(Stage.REQUEST, Protocol.TLS, host, 443 if allowed else 444, host, True, "GET", path)
        started = time.perf_counter()
        decision = decide(policy, seen)
        taken.append(time.perf_counter() - started)
        if decision.allowed is not allowed:
            raise SystemExit(f"{shape.name}: {host}{path} is not decided as it should be")
    return taken


if __name__ == "__main__":
    main()
