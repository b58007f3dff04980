"""What the warden tells the gate; kept apart so that the warden need not import mitmproxy."""

from __future__ import annotations

from dataclasses import dataclass

from ebbgate.policy.model import Policy


@dataclass(frozen=True, slots=True)
class GateConfiguration:
    """What the warden tells the gate. secrets: ``Secret.to_wire()`` tuples; they exist nowhere else in the gate's input."""

    policy: Policy
    enforce: bool
    secrets: tuple[tuple[object, ...], ...]
    salt: bytes
    nonce: str
    system_bundle: str
