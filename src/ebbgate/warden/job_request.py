"""What a whole job is guarded with: validated facts, made by ``ci`` from whatever the CI system gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ebbgate.events.types import RunStarted
from ebbgate.policy.model import Policy
from ebbgate.secrets.canaries import Canaries
from ebbgate.secrets.prints import Print

STATE = Path("/run/ebbgate")  # root's; what is in it may be read by everybody but the journal


@dataclass(frozen=True, slots=True)
class Runner:
    """The CI runner. pid: of the process that starts the steps; it and its ancestors are the runner's own.

    uid: whom the steps run as. action, post: the folder of the guard's action and the script that reads the verdict, "" where
    there is none; a run of it that ends well although the verdict is bad was not ours.
    """

    pid: int
    uid: int
    action: str = ""
    post: str = ""


@dataclass(frozen=True, slots=True)
class Locks:
    """What is closed before the job goes on."""

    remove_sudo: bool = False
    close_containers: bool = False
    protect_memory: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """The machine, as parameters, so that another one can stand in for it. None: where this process is."""

    netns: Path | None = None
    connector_netns: Path | None = None
    root: Path = Path("/")
    proc: Path = Path("/proc")
    sysctls: Path = Path("/proc/sys")
    state: Path = STATE


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job's guard. runner_policy: what the runner's own processes may reach, unread. vault: descriptor of the secrets, which
    the warden does not read; prints: by which it recognises them. salt: of the prints and the secrets' fingerprints.

    context: what the CI system says of the job, in its own names; no secrets. canaries: to be planted.
    """

    policy: Policy
    runner_policy: Policy
    vault: int
    prints: tuple[Print, ...]
    salt: bytes
    started: RunStarted
    runner: Runner
    locks: Locks = Locks()
    target: Target = Target()
    context: Mapping[str, str] = field(default_factory=dict)
    on_blocked: str = "fail"
    on_exfiltration: str = "kill"
    warnings: tuple[str, ...] = ()
    canaries: Canaries | None = None

    @property
    def enforce(self) -> bool:
        """Whether anything is stopped."""
        return self.policy.mode == "enforce"
