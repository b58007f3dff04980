"""The job's secrets on their way to the gate, without standing in the memory of the warden that keeps them.

::

    ebbgate start ──writes──▶ sealed memory file ◀──reads── gate, and every gate after it
                                 └─ descriptor ─▶ warden, which hands it on and reads nothing

What the warden has instead are prints (``secrets.prints``), by which it keeps values out of the records it writes.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Iterable, Mapping

from ebbgate.errors import IntegrityError
from ebbgate.secrets.prints import MAX_PRINTS, Print
from ebbgate.secrets.secret import Secret


def fill(secrets: Iterable[Secret]) -> int:
    """A descriptor of a new sealed memory file (memfd_create(2)) that holds the secrets. It is closed over exec."""
    descriptor = os.memfd_create("ebbgate-vault", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    data = memoryview(pickle.dumps([secret.to_wire() for secret in secrets]))
    while data:
        data = data[os.write(descriptor, data) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def prints_from(message: Mapping[str, object]) -> list[Print]:
    """Of values that the gate has learned. IntegrityError for a message that is none."""
    wires = message.get("prints")
    if not isinstance(wires, list) or len(wires) > MAX_PRINTS:
        raise IntegrityError("the gate sent something unexpected")
    try:
        return [Print.from_wire(one) for one in wires]
    except ValueError:
        raise IntegrityError("the gate sent something unexpected") from None
