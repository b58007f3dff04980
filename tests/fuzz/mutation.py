"""Bytes changed a little, the same each time: for the short run, which needs no fuzzer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

MOST_CHANGES = 6
SPECIAL = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"%", b"%u", b"\\u", b"\\U", b"&#x", b"=", b'"', b"'", b"[", b"{", b"\n",
    b"\r\n", b":", b"://", b"@", b"78\x9c", b"\x78\x9c", b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh", b"\x28\xb5\x2f\xfd", b"-----BEGIN ",
    b"0x", b"\x00" * 9, b"A" * 40, b"9" * 30, b"\xc2\xb2", b"\xd9\xa3", b"\xe2\x80\x8b" * 9, b"[::", b"*.", b"xn--",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], count: int, name: str) -> Iterator[bytes]:
    """So many of them, from seeds and from each other."""
    random = Random(name)
    known = list(seeds)
    for _ in range(count):
        data = bytearray(random.choice(known))
        for _change in range(random.randint(1, MOST_CHANGES)):
            _change_one(data, random, known)
        known.append(bytes(data))
        yield bytes(data)


def _change_one(data: bytearray, random: Random, known: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    end = min(len(data), at + random.choice((0, 1, 1, 2, 8, 64)))
    match random.randrange(5):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1:
            data[at:end] = random.choice(SPECIAL)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * random.randint(1, 8)
        case _:
            other = random.choice(known)
            start = random.randint(0, len(other))
            data[at:end] = other[start : start + random.randint(0, 200)]
