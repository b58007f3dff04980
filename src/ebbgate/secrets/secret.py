"""A secret value that cannot be printed by accident."""

from __future__ import annotations

import hashlib
from typing import Never

from ebbgate.secrets.kinds import kind_of, marks_of

_DIGEST_BYTES = 4  # enough to tell a job's secrets apart, useless to guess one from


class Secret:
    """A named value. ``repr``, ``str`` and ``format`` give its name; only ``reveal`` gives the value.

    name: the environment variable's or the one given to ``--secret``. origin: "--secret", "policy" or "environment".
    kind: id in ``secrets.credentials``, found out by name and shape when it is not given. sources: hosts that the place it
    was found in names as its own (a .netrc machine, a registry in Docker's configuration).
    """

    __slots__ = ("__kind", "__value", "name", "origin", "sources")

    def __init__(self, name: str, value: bytes, origin: str, *, kind: str | None = None, sources: tuple[str, ...] = ()) -> None:
        self.name = name
        self.origin = origin
        self.sources = sources
        self.__value = value
        self.__kind = kind

    def reveal(self) -> bytes:
        """The value itself."""
        return self.__value

    @property
    def kind(self) -> str:
        """Id of its kind, "" when unknown. Worked out when it is first asked for."""
        if self.__kind is None:
            self.__kind = kind_of(self.name, self.__value)
        return self.__kind

    @property
    def marks(self) -> tuple[str, ...]:
        """What it says of where it belongs; see ``kinds.marks_of``. Nothing in it is secret."""
        return marks_of(self.kind, self.__value, self.sources)

    def fingerprint(self, salt: bytes) -> str:
        """Eight hex characters, comparable only where the salt is the same."""
        return hashlib.blake2b(self.__value, key=salt[:64], digest_size=_DIGEST_BYTES).hexdigest()

    def to_wire(self) -> tuple[str, bytes, str, str | None, tuple[str, ...]]:
        """Plain values for the private channel to the gate; the one deliberate way out."""
        return self.name, self.__value, self.origin, self.__kind, self.sources

    @classmethod
    def from_wire(cls, wire: tuple[object, ...]) -> Secret:
        """The reverse of ``to_wire``; kind and sources may be left out. ValueError for anything else."""
        name, value, origin, kind, sources = (*wire, None, ())[:5] if len(wire) == 3 else wire if len(wire) == 5 else (None,) * 5
        if not isinstance(name, str) or not isinstance(value, bytes) or not isinstance(origin, str):
            raise ValueError("not a secret")
        if not isinstance(kind, str | None) or not isinstance(sources, tuple) or not all(isinstance(one, str) for one in sources):
            raise ValueError("not a secret")
        return cls(name, value, origin, kind=kind, sources=sources)

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not pickled; use to_wire on purpose")
