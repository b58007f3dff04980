"""``python -m bench.scanner``: what looking for secrets costs, and the ways of looking side by side, in CPU time of one core."""

from __future__ import annotations

import json
import resource
import secrets
import string
import sys
import sysconfig
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick, Implementation

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.needles import needles_of
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

SIZE = 64 << 20  # bytes of each corpus
CHUNK = 1 << 16
BODY = Place(Carrier.BODY)
_LETTERS = string.ascii_letters + string.digits


def main() -> None:
    """Measure and print."""
    bodies = corpora()
    print("| known values, MB/s of CPU time | " + " | ".join(bodies) + " | made in ms | MB |")
    print("| --- " * (len(bodies) + 3) + "|")
    for count in (1, 50, 500):
        looking, made, memory = _scanner(count)
        speeds = [_speed(data, looking.compiled.literal.search) for data in bodies.values()]
        print(f"| {count} secrets | " + " | ".join(f"{one:.0f}" for one in speeds) + f" | {made:.0f} | {memory:.1f} |")
    values = [_value() for _ in range(50)]
    for name, look in _others(values).items():
        print(f"| {name} | " + " | ".join(f"{_speed(data[: SIZE // 16], look):.0f}" for data in bodies.values()) + " | | |")
    looking = _scanner(50)[0]
    print("\n| all of it, 50 secrets | " + " | ".join(bodies) + " |\n" + "| --- " * (len(bodies) + 1) + "|")
    print("| streamed, MB/s | " + " | ".join(f"{_streamed(looking, data):.0f}" for data in bodies.values()) + " |")
    for size in (300, 4096, 1 << 16):
        times = [_scanned(looking, data[:size]) for data in bodies.values()]
        print(f"| whole, {size} bytes, ms | " + " | ".join(f"{one:.2f}" for one in times) + " |")
    print(f"\npeak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB, of which the corpora are most")


def corpora() -> dict[str, bytes]:
    """What is scanned, by what it is: SIZE bytes each."""
    source = b"".join(one.read_bytes() for one in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))
    rows = [{"id": n, "url": f"https://api.example.com/users/{n}/repos", "sha": secrets.token_hex(20)} for n in range(20_000)]
    made = {"text": source, "JSON": json.dumps(rows).encode(), "program": Path(sys.executable).resolve().read_bytes()}
    return {name: (one * (1 + SIZE // len(one)))[:SIZE] for name, one in made.items()} | {"random": secrets.token_bytes(SIZE)}


def _value() -> bytes:
    return "".join(secrets.choice(_LETTERS) for _ in range(40)).encode()


def _scanner(count: int) -> tuple[Scanner, float, float]:
    """(scanner, milliseconds it took to make, megabytes that Python knows of)."""
    known = [Secret(f"S{number}", _value(), "bench") for number in range(count)]
    tracemalloc.start()
    Scanner(known, salt=b"")
    memory = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    start = time.process_time()
    made = Scanner(known, salt=b"")
    return made, (time.process_time() - start) * 1000, memory


def _others(values: list[bytes]) -> dict[str, Callable[[bytes], object]]:
    """The same literals for other engines."""
    literals = list({needle.data for number, value in enumerate(values) for needle in needles_of(value, number)})
    cut = list({one[:32] for one in literals})
    tables: dict[str, Callable[[bytes], object]] = {}
    for name, words, kind in (
        ("ahocorasick_rs, 32 bytes, DFA", cut, Implementation.DFA),
        ("ahocorasick_rs, 32 bytes, NFA", cut, Implementation.ContiguousNFA),
        ("ahocorasick_rs, whole, NFA", literals, Implementation.ContiguousNFA),
    ):
        matcher = BytesAhoCorasick(words, implementation=kind)
        tables[name] = lambda data, matcher=matcher: matcher.find_matches_as_indexes(data, overlapping=True)  # type: ignore[misc]
    tables["one `in` after the other"] = lambda data: [one for one in literals if one in data]
    return tables


def _speed(data: bytes, look: Callable[[bytes], object]) -> float:
    start = time.process_time()
    for at in range(0, len(data), CHUNK):
        look(data[at : at + CHUNK])
    return len(data) / 1e6 / (time.process_time() - start)


def _streamed(looking: Scanner, data: bytes) -> float:
    stream = looking.stream(BODY)
    start = time.process_time()
    for at in range(0, len(data), CHUNK):
        stream.feed(data[at : at + CHUNK])
    stream.finish()
    return len(data) / 1e6 / (time.process_time() - start)


def _scanned(looking: Scanner, data: bytes) -> float:
    rounds = max(1, (1 << 18) // len(data))
    start = time.process_time()
    for _ in range(rounds):
        looking.scan(data, BODY)
    return (time.process_time() - start) * 1000 / rounds


if __name__ == "__main__":
    main()
