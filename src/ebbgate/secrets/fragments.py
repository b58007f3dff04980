"""Parts of secrets: what alone says nothing, and together is most of a value.

A value that leaves in pieces over several requests is in none of them. Its pieces are, as runs of GRAM_BITS of it: so long that
in a gigabyte of traffic none meets by chance, so short that a value must be cut very small to have none. Plain, in hexadecimal
and in base64 at its three offsets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ahocorasick_rs import BytesAhoCorasick, Implementation

from ebbgate.secrets.needles import base64_cores
from ebbgate.secrets.secret import Secret

GRAM_BITS = 42  # of chance in one gram; 35 grams of a value meet once in 100 GB
MIN_GRAM = 6  # characters
MIN_GRAMS = 3  # lengths of a gram that a value must have for its pieces to be looked for
MAX_FORM = 512  # bytes of a value of which pieces are looked for
MAX_SECRETS = 512  # of which pieces are looked for
_CLASSES = (b"0123456789", b"abcdef", b"ghijklmnopqrstuvwxyz", b"ABCDEF", b"GHIJKLMNOPQRSTUVWXYZ")
_OTHER_CHARACTERS = 8  # that a value with punctuation is taken to choose from


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a value is written. owner: index of the secret. length: of the form, in bytes."""

    owner: int
    encoding: str
    length: int


class Fragments:
    """Immutable. Finds which bytes of which forms are in data."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._places: dict[bytes, list[tuple[Form, int]]] = {}
        for owner, secret in enumerate(secrets[:MAX_SECRETS]):
            for encoding, form, gram in _forms(secret.reveal()[:MAX_FORM]):
                described = Form(owner, encoding, len(form))
                for at in range(len(form) - gram + 1):
                    self._places.setdefault(form[at : at + gram], []).append((described, at))
        self._grams = list(self._places)
        self._matcher = BytesAhoCorasick(self._grams, implementation=Implementation.ContiguousNFA) if self._grams else None

    def search(self, data: bytes) -> dict[Form, int]:
        """Of each form the bytes that are there, as bits of a number."""
        found: dict[Form, int] = {}
        if self._matcher is None:
            return found
        for index, start, end in self._matcher.find_matches_as_indexes(data, overlapping=True):
            for form, at in self._places[self._grams[index]]:
                found[form] = found.get(form, 0) | ((1 << (end - start)) - 1) << at
        return found


def _forms(value: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(encoding, form, length of its grams)."""
    size = sum(len(one) for one in _CLASSES if set(one) & set(value))
    if len(value.translate(None, b"".join(_CLASSES))):
        size += _OTHER_CHARACTERS
    gram = max(MIN_GRAM, math.ceil(GRAM_BITS / math.log2(max(size, 2))))
    if len(value) < MIN_GRAMS * gram or len(set(value)) < MIN_GRAM:
        return
    yield "raw", value, gram
    yield "hex", value.hex().encode(), max(2 * gram, math.ceil(GRAM_BITS / 4))
    for core in base64_cores(value):
        yield "base64", core, math.ceil(gram * 4 / 3) + 1
