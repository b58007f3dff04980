"""The run's secrets as the journal names them."""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.events.types import SecretInfo
from ebbgate.policy.model import Policy
from ebbgate.secrets.secret import Secret


def registered(known: Iterable[Secret], salt: bytes, policy: Policy) -> tuple[SecretInfo, ...]:
    """Names, fingerprints and kinds; where the policy binds them, if it does. No values."""
    bound = {binding.name: tuple(str(host) for host in binding.to) for binding in policy.bindings}
    return tuple(SecretInfo(one.name, one.fingerprint(salt), one.origin, bound.get(one.name, ()), one.kind) for one in known)
