"""A secret value that cannot be printed by accident."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Never

from ebbgate.secrets.kinds import kind_of, marks_of

_DIGEST_BYTES = 4  # enough to tell a job's secrets apart, useless to guess one from


class Secret:
    """A named value. ``repr``, ``str`` and ``format`` give its name; only ``reveal`` gives the value.

    name: the environment variable's or the one given to ``--secret``. origin: "--secret", "policy" or "environment".
    kind: id in ``secrets.credentials``, found out by name and shape when it is not given. sources: hosts that the place it
    was found in names as its own (a .netrc machine, a registry in Docker's configuration). aliases: other names of the value.
    """

    __slots__ = ("__kind", "__value", "aliases", "name", "origin", "sources")

    def __init__(
        self,
        name: str,
        value: bytes,
        origin: str,
        *,
        kind: str | None = None,
        sources: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.origin = origin
        self.sources = sources
        self.aliases = aliases
        self.__value = value
        self.__kind = kind

    def reveal(self) -> bytes:
        """The value itself."""
        return self.__value

    @property
    def kind(self) -> str:
        """Id of its kind, "" when unknown. Worked out when it is first asked for."""
        if self.__kind is None:
            names = (self.name, *self.aliases)
            self.__kind = next((found for name in names if (found := kind_of(name, self.__value))), "")
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

    def known_as(self, aliases: tuple[str, ...]) -> Secret:
        """The same with other names of its value."""
        return Secret(self.name, self.__value, self.origin, kind=self.__kind or None, sources=self.sources, aliases=aliases)

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


def merged(secrets: Iterable[Secret]) -> list[Secret]:
    """One for each value, under its first name: it may go where any of its names may.

    Only of what is known before anything of the job runs: a name that a value is given later is the job's own doing.
    """
    by_value: dict[bytes, list[Secret]] = {}
    for secret in secrets:
        by_value.setdefault(secret.reveal(), []).append(secret)
    return [same[0].known_as(tuple(one.name for one in same[1:])) if same[1:] else same[0] for same in by_value.values()]
