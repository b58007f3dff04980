"""What machine this is, and whether the job enclosure can stand on it. Facts first, refusals in words second.

``examine`` only looks; it changes nothing. It raises PlatformError for machines on which the guard would have to pretend:
other systems, jobs in a container (the guard would see one container, not the runner), machines without the rights or the
kernel that the enclosure needs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import PlatformError
from ebbgate.host import kernel

OLDEST_KERNEL = (5, 10)  # flags owner: 5.12, asked of nft; socket cgroupv2: 5.7; nat in family inet: 5.2
# systemd's range for users without a name (UIDs-GIDs.md): no distribution gives these to people or packages.
DYNAMIC_UIDS = range(61184, 65520)
GATE_CGROUP = "ebbgate"
_CAP_SYS_ADMIN = 21
_INSTEAD = "for one command there: ebbgate run -- COMMAND"
_OUTPUT, _NAT = "type filter hook output priority 0", "type nat hook output priority -100"
# What the rules of the enclosure are made of: (chain, rule). Asked with nft --check, which changes nothing.
_RULES = {
    "redirect in family inet": (_NAT, "meta l4proto tcp redirect to :9"),
    "redirect of forwarded packets": ("type nat hook prerouting priority -100", "meta l4proto tcp redirect to :9"),
    "forward": ("type filter hook forward priority 0", "drop"),
    "socket owners": (_OUTPUT, "meta skuid 0 accept"),
    "log groups": (_OUTPUT, "log group 1 snaplen 64"),
    "icmpx rejects": (_OUTPUT, "reject with icmpx type admin-prohibited"),
    "fib": (_OUTPUT, "fib daddr type local accept"),
}
# Pieces without which the enclosure stands too, less firmly; table flags have no chain.
_OPTIONAL_RULES = {
    "owner": ("", "flags owner"),
    "persist": ("", "flags owner, persist"),
    "cgroup": (_OUTPUT, 'socket cgroupv2 level 1 "{cgroup}" accept'),
}


@dataclass(frozen=True, slots=True)
class RunnerMachine:
    """hosted: one of GitHub's own, thrown away after the job. image: as GitHub names it, "" elsewhere. systemd: it runs as
    process 1. kernel: (major, minor). cgroup: directory for the gate's control group, not made yet; None without cgroup v2.
    in_container: the runner itself is in one. missing: optional things that nft or the kernel lack: "owner", "persist", "cgroup".
    """

    hosted: bool
    image: str
    systemd: bool
    kernel: tuple[int, int]
    cgroup: Path | None
    in_container: bool
    yama: bool
    missing: tuple[str, ...]


def examine(
    environ: Mapping[str, str],
    *,
    nft: str,
    root: Path = Path("/"),
    proc: Path = Path("/proc"),
    release: str | None = None,
    capabilities: int | None = None,
) -> RunnerMachine:
    """The facts. PlatformError when the enclosure cannot stand here.

    :param environ: the runner's context variables (GITHUB_*, RUNNER_*, Image*)
    :param release: of the kernel, as uname gives it; capabilities: of the caller, as a mask. Both for tests
    """
    _refuse_systems(environ)
    version = _kernel(release or os.uname().release)
    hosted = environ.get("RUNNER_ENVIRONMENT") == "github-hosted"
    contained = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()
    _refuse_containers(environ, hosted=hosted, contained=contained)
    _refuse_weak(kernel.effective_capabilities() if capabilities is None else capabilities, version)
    mounted = _cgroup_mount(proc)
    cgroup = root / mounted.lstrip("/") / GATE_CGROUP if mounted else None
    lacking = missing_rules(_RULES, nft=nft)
    if lacking:
        raise PlatformError(
            "this kernel or nft lacks what the rules are made of",
            ", ".join(lacking),
            "use a newer kernel and nftables 1.0 or later",
        )
    return RunnerMachine(
        hosted=hosted,
        image=f"{environ.get('ImageOS', '')} {environ.get('ImageVersion', '')}".strip(),
        systemd=(root / "run/systemd/system").is_dir(),
        kernel=version,
        cgroup=cgroup,
        in_container=contained,
        yama=(proc / "sys/kernel/yama/ptrace_scope").exists(),
        missing=missing_rules(_OPTIONAL_RULES, nft=nft),
    )


def missing_rules(wanted: Mapping[str, tuple[str, str]] = _OPTIONAL_RULES, *, nft: str) -> tuple[str, ...]:
    """Which of these pieces nft or the kernel refuse, in the calling thread's network namespace. Nothing is changed."""
    there = _existing_cgroup()
    return tuple(
        name
        for name, (chain, rule) in wanted.items()
        if (name == "cgroup" and not there) or not _accepts(nft, _table(chain, rule.replace("{cgroup}", there)))
    )


def _table(chain: str, rule: str) -> str:
    body = f"chain c {{\n{chain}\n{rule}\n}}" if chain else rule
    return f"table inet ebbgate_check {{\n{body}\n}}\n"


def _accepts(nft: str, ruleset: str) -> bool:
    try:
        done = subprocess.run([nft, "-c", "-f", "-"], input=ruleset.encode(), capture_output=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise PlatformError("nft could not be run", str(problem)[:200], "apt-get install nftables") from None
    return done.returncode == 0


def _existing_cgroup() -> str:
    """Any control group of the first level: nft resolves the path it is given."""
    mounted = _cgroup_mount(Path("/proc"))
    names = sorted(entry.name for entry in os.scandir(mounted) if entry.is_dir()) if mounted else []
    return names[0] if names else ""


def _refuse_systems(environ: Mapping[str, str]) -> None:
    system = environ.get("RUNNER_OS", "Linux")
    if system != "Linux" or os.uname().sysname != "Linux":
        raise PlatformError(
            f"ebbgate guards jobs on Linux, not on {system}",
            "the rules are the Linux kernel's",
            "runs-on: ubuntu-latest, or guard the job's Linux part",
        )


def _refuse_containers(environ: Mapping[str, str], *, hosted: bool, contained: bool) -> None:
    workspace = environ.get("GITHUB_WORKSPACE", "")
    # The runner mounts the work directory at /__w in a job's container (ContainerInfo.cs) and nowhere else.
    if workspace == "/__w" or workspace.startswith("/__w/"):
        raise PlatformError(
            "this job runs in a container (`container:`)",
            "its steps see one container; rules there would not be the machine's",
            f"take `container:` out of the job and use `docker run` in a step, or, {_INSTEAD}",
        )
    if hosted and contained:
        raise PlatformError(
            "this runner is a container (ubuntu-slim)",
            "it has neither the rights nor the kernel interfaces that the rules need",
            f"runs-on: ubuntu-latest, or, {_INSTEAD}",
        )


def _refuse_weak(capabilities: int, version: tuple[int, int]) -> None:
    needed = {"CAP_NET_ADMIN": kernel.CAP_NET_ADMIN, "CAP_SYS_ADMIN": _CAP_SYS_ADMIN}
    lacking = [name for name, number in needed.items() if not capabilities >> number & 1]
    if lacking:
        raise PlatformError(
            "the guard may not change this machine's rules",
            f"it lacks {', '.join(lacking)}: it is not root, or root in a container",
            f"let the action use sudo, or, {_INSTEAD}",
        )
    if version < OLDEST_KERNEL:
        raise PlatformError(
            f"Linux {version[0]}.{version[1]} is too old", f"needed: {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]}", "use a newer image"
        )


def _kernel(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _cgroup_mount(proc: Path) -> str:
    """Where the unified hierarchy is mounted, "" when it is not. The one at the usual place is taken if there are more."""
    try:
        lines = (proc / "thread-self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    fields = [line.partition(" - ") for line in lines]
    found = [left.split()[4] for left, _, right in fields if right.startswith("cgroup2 ")]
    return next((path for path in found if path == "/sys/fs/cgroup"), found[0] if found else "")


def free_uid(root: Path = Path("/"), proc: Path = Path("/proc")) -> int:
    """A uid, also free as a gid, that nobody uses: no name, no range of subordinate ids, no process, no dynamic user of
    systemd. PlatformError when there is none. The highest is taken: systemd chooses by hashes, from the whole range.
    """
    taken = {*_named(root), *_running(proc), *_dynamic(root)}
    ranges = list(_subordinate(root))
    for uid in reversed(DYNAMIC_UIDS):
        if uid not in taken and not any(uid in one for one in ranges):
            return uid
    raise PlatformError("no free user id for the gate", f"all of {DYNAMIC_UIDS.start}-{DYNAMIC_UIDS.stop - 1} are in use", "")


def _named(root: Path) -> Iterator[int]:
    for name in ("etc/passwd", "etc/group"):
        for line in _lines(root / name):
            parts = line.split(":")
            if len(parts) > 2 and parts[2].isdigit():
                yield int(parts[2])


def _subordinate(root: Path) -> Iterator[range]:
    for name in ("etc/subuid", "etc/subgid"):
        for line in _lines(root / name):
            parts = line.split(":")
            if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
                yield range(int(parts[1]), int(parts[1]) + int(parts[2]))


def _running(proc: Path) -> Iterator[int]:
    for pid in filter(str.isdigit, os.listdir(proc)):
        for line in _lines(proc / pid / "status"):
            if line.startswith(("Uid:", "Gid:", "Groups:")):
                yield from (int(one) for one in line.split()[1:])


def _dynamic(root: Path) -> Iterator[int]:
    """Users that systemd has handed out for DynamicUser=, by its lock files."""
    try:
        names = os.listdir(root / "run/systemd/dynamic-uid")
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
