"""Locks on the runner's machine: what makes the difference between a job that may try and a job that can.

Three locks, laid in this order, each verified by trying from the job's side what it is to stop:

``sudo``        no way to root by asking: sudo, doas, polkit, and files that root trusts but everybody may write
``containers``  no daemon that starts containers as root for the job
``memory``      no reading of the runner's memory, where the job's secrets are

A lock that was laid and does not hold raises; then the guard does not arm. Where the machine lacks what a lock needs, its
result says so and the caller decides. Everything is idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LockResult:
    """What became of a lock.

    name: "sudo", "containers" or "memory". done: it is in place. verified: what it stops was tried from the job's side
    and refused. sentence: for the report. detail: one line each, bounded, for whoever looks closer. warnings: sentences
    about what stays possible although the lock holds.
    """

    name: str
    done: bool
    verified: bool
    sentence: str
    detail: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Lock(Protocol):
    """One lock. ``apply`` lays it and verifies; ``verify`` only tries; both raise IntegrityError when it does not hold.
    ``undo`` takes it away again, as far as the machine allows.
    """

    name: str

    def apply(self) -> LockResult: ...

    def verify(self) -> LockResult: ...

    def undo(self) -> LockResult: ...


ORDER = ("sudo", "containers", "memory")


def lay(locks: Iterable[Lock]) -> tuple[LockResult, ...]:
    """Lay locks in their order: without root's rights the others cannot be taken off again."""
    return tuple(lock.apply() for lock in sorted(locks, key=lambda one: ORDER.index(one.name)))


def take_away(locks: Iterable[Lock]) -> tuple[LockResult, ...]:
    """Undo locks in the reverse order."""
    return tuple(lock.undo() for lock in sorted(locks, key=lambda one: ORDER.index(one.name), reverse=True))
