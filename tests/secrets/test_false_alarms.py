"""No secret that passes the thresholds is seen where it is not: text made at run time from what lies on this machine."""

from __future__ import annotations

import base64
import json
import random
import re
import secrets
import string
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.known import MIN_DIGITS, MIN_LENGTH, MIN_LETTERS, is_recognisable
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

SIZE = 8 << 20  # bytes of each corpus
SAMPLE = 1 << 18  # bytes that are also read in every way the decoders know
BODY = Place(Carrier.BODY)


def _sources() -> Iterator[bytes]:
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        yield path.read_bytes()


def _cut(parts: Iterator[bytes]) -> bytes:
    found = bytearray()
    for part in parts:
        found += part
        if len(found) >= SIZE:
            break
    return bytes(found[:SIZE])


@cache
def source() -> bytes:
    return _cut(_sources())


def documents() -> bytes:
    """JSON as services answer it: words, names, numbers, times, identifiers."""
    words = re.findall(rb"[A-Za-z_]{3,20}", source()[: 1 << 20])
    chosen = random.Random(1)  # noqa: S311 - the same each time

    def one() -> bytes:
        item = {
            "id": chosen.getrandbits(40), "sha": f"{chosen.getrandbits(160):040x}", "url": f"https://example.com/{chosen.choice(words).decode()}",
            "name": " ".join(word.decode() for word in chosen.choices(words, k=4)), "ok": True, "created_at": "2026-11-25T18:51:18Z",
        }  # fmt: skip
        return json.dumps(item).encode() + b",\n"

    return _cut(one() for _ in range(1 << 20))


CORPORA = {
    "source": source,
    "JSON": documents,
    "base64": lambda: _cut(base64.b64encode(one) for one in _sources()),
    "hex": lambda: _cut(one.hex().encode() for one in _sources()),
    "machine code": lambda: _cut(iter([Path(sys.executable).resolve().read_bytes(), *(path.read_bytes() for path in sorted(Path(sysconfig.get_paths()["platlib"]).rglob("*.so")))])),
    "random bytes": lambda: secrets.token_bytes(SIZE),
    "random base64": lambda: base64.b64encode(secrets.token_bytes(SIZE * 3 // 4)),
}  # fmt: skip


def _values() -> list[str]:
    """Fifty, of every kind that the thresholds let through, the weakest first."""
    words = sorted(set(re.findall(rb"\b[a-z]{5,9}\b", source()[: 1 << 20])))

    def some(alphabet: str, length: int) -> str:
        while not is_recognisable(made := "".join(secrets.choice(alphabet) for _ in range(length))):
            continue
        return made

    def phrase(*separators: str) -> str:
        picked = [secrets.choice(words).decode() for _ in range(len(separators) + 1)]
        return "".join(one for pair in zip(picked, (*separators, ""), strict=True) for one in pair)

    made = [
        *(some("0123456789abcdef", MIN_LENGTH) for _ in range(6)),
        *(some(string.digits, MIN_DIGITS) for _ in range(6)),
        *(some(string.ascii_lowercase, MIN_LETTERS) for _ in range(6)),
        *(some(string.ascii_letters + string.digits, MIN_LENGTH) for _ in range(6)),
        *(phrase(str(secrets.randbelow(100))) for _ in range(6)),  # two words and a number
        *(phrase("-", "-") for _ in range(6)),
        *(phrase("").capitalize() + f"{secrets.randbelow(1000)}!" for _ in range(4)),
        *(secrets.token_urlsafe(24) for _ in range(5)),
        *(secrets.token_hex(20) for _ in range(5)),
    ]
    assert len(made) == 50
    assert all(map(is_recognisable, made))
    return made


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner([Secret(f"S{number}", value.encode(), "environment") for number, value in enumerate(_values())], salt=b"salt")


@pytest.mark.parametrize("name", CORPORA)
def test_nothing_is_seen_where_nothing_is(scanner: Scanner, name: str) -> None:
    data = CORPORA[name]()
    assert len(data) > SIZE // 2
    stream = scanner.stream(BODY)
    for start in range(0, len(data), 1 << 16):
        assert stream.feed(data[start : start + (1 << 16)]).findings == ()
    assert stream.finish().findings == ()
    assert scanner.scan(data[:SAMPLE], BODY).findings == ()


# Code of busybox, where it looks for an archive, and of git, where it writes one; each with the mark of a zip in it.
_MARKS = {
    "busybox": "813d504b0304740c488d3db1cc0600e93c070000488d74245eba1a000000bf03000000e838230300f644",
    "git": "504b030401001000504b050600000000504b06062c0000002d00000000000000504b0607",
}


@pytest.mark.parametrize("program", _MARKS)
def test_a_program_that_knows_the_mark_of_archives_is_none(scanner: Scanner, program: str) -> None:
    """It was said to hold an archive that cannot be read, which ``uninspectable: deny`` refuses."""
    data = secrets.token_bytes(4096) + bytes.fromhex(_MARKS[program]) + secrets.token_bytes(1 << 16)
    stream = scanner.stream(BODY)
    assert (stream.feed(data).uninspected, stream.finish().uninspected) == ("", "")
    assert scanner.scan(data, BODY).uninspected == ""


def test_the_same_text_with_one_of_them_in_it(scanner: Scanner) -> None:
    """So that the test above could fail."""
    for secret in scanner.secrets:
        assert [one.secret for one in scanner.scan(source()[: 1 << 12] + secret.reveal(), BODY).findings] == [secret.name]


def test_words_that_would_be_seen_are_refused() -> None:
    """Of the words of 8 to 11 letters in the sources, none is taken for a secret; of random values of the least length, most."""
    words = {one.decode() for one in re.findall(rb"\b[a-z]{8,11}\b", source())}
    assert len(words) > 1000
    assert not any(map(is_recognisable, words))
    random_hex = [secrets.token_hex(MIN_LENGTH // 2) for _ in range(1000)]
    assert sum(map(is_recognisable, random_hex)) > 700
    assert all(is_recognisable(secrets.token_urlsafe(16)) for _ in range(1000))
