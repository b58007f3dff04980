"""A secret value that cannot be printed by accident."""

from __future__ import annotations

import hashlib
from typing import Never

_DIGEST_BYTES = 4  # enough to tell a job's secrets apart, useless to guess one from


class Secret:
    """A named value. ``repr``, ``str`` and ``format`` give its name; only ``reveal`` gives the value.

    name: the environment variable's or the one given to ``--secret``. origin: "--secret", "policy" or "environment", and for
    what is found while the job runs "file", "process" or "response". sources: hosts that the place it was found in names as its
    own (a .netrc machine, a registry in Docker's configuration).
    """

    __slots__ = ("__value", "name", "origin", "sources")

    def __init__(self, name: str, value: bytes, origin: str, *, sources: tuple[str, ...] = ()) -> None:
        self.name = name
        self.origin = origin
        self.sources = sources
        self.__value = value

    def reveal(self) -> bytes:
        """The value itself."""
        return self.__value

    def fingerprint(self, salt: bytes) -> str:
        """Eight hex characters, comparable only where the salt is the same."""
        return hashlib.blake2b(self.__value, key=salt[:64], digest_size=_DIGEST_BYTES).hexdigest()

    def to_wire(self) -> tuple[str, bytes, str, tuple[str, ...]]:
        """Plain values for the private channel to the gate; the one deliberate way out."""
        return self.name, self.__value, self.origin, self.sources

    @classmethod
    def from_wire(cls, wire: tuple[object, ...]) -> Secret:
        """The reverse of ``to_wire``. ValueError for anything else."""
        if len(wire) != 4:
            raise ValueError("not a secret")
        name, value, origin, sources = wire
        if not isinstance(name, str) or not isinstance(value, bytes) or not isinstance(origin, str):
            raise ValueError("not a secret")
        if not isinstance(sources, tuple) or not all(isinstance(one, str) for one in sources):
            raise ValueError("not a secret")
        return cls(name, value, origin, sources=sources)

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not pickled; use to_wire on purpose")
