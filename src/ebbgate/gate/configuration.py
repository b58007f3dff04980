"""What the warden tells the gate; kept apart so that the warden need not import mitmproxy."""

from __future__ import annotations

from dataclasses import dataclass

from ebbgate.policy.model import Policy


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What is different where the gate serves a whole machine.

    authority_key, authority_certificate: PEM; made by the warden, so that a gate's successor signs alike. runner: what the CI
    runner's own processes may reach, without decryption. nameservers: asked by the gate itself, since the machine's own
    stub would ask the gate. hosts: the machine's hosts file, canonical name to addresses. inspect_containers: whether
    TLS from containers, which do not know the authority, must be read all the same.
    """

    authority_key: bytes
    authority_certificate: bytes
    runner: Policy
    nameservers: tuple[str, ...]
    hosts: tuple[tuple[str, tuple[str, ...]], ...]
    inspect_containers: bool


@dataclass(frozen=True, slots=True)
class GateConfiguration:
    """What the warden tells the gate. Secrets are not in it: they come in the vault (``warden.vault``).

    public: what the job says of itself (repository, commit, ...), which is never a secret. host_variables: (name, host) of
    variables that bindings mean. job: None where the gate serves one sealed command.
    """

    policy: Policy
    enforce: bool
    salt: bytes
    nonce: str
    system_bundle: str
    public: frozenset[str] = frozenset()
    host_variables: tuple[tuple[str, str], ...] = ()
    job: JobSettings | None = None
