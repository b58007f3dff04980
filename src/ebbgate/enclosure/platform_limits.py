"""Why a machine refuses namespaces, in words that say what to change."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ebbgate.errors import PlatformError

_TWO_WAYS = "or run ebbgate as root, for instance with sudo -E: root needs no permission for namespaces"

# (file, value that forbids, title, what to run). Sources: user_namespaces(7), Ubuntu's AppArmor restriction (23.10+),
# Debian's kernel patch unprivileged_userns_clone.
_SETTINGS = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor forbids unprivileged user namespaces here",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "this kernel forbids unprivileged user namespaces",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "user/max_user_namespaces",
        "0",
        "user namespaces are switched off on this machine",
        "sudo sysctl -w user.max_user_namespaces=10000",
    ),
    (
        "user/max_net_namespaces",
        "0",
        "network namespaces are switched off on this machine",
        "sudo sysctl -w user.max_net_namespaces=10000",
    ),
)


def namespaces_refused(problem: OSError, *, sysctls: Path = Path("/proc/sys")) -> PlatformError:
    """The error for a refused unshare(2)."""
    return _named_setting(sysctls) or PlatformError(
        "this machine refuses new namespaces",
        f"unshare: {os.strerror(problem.errno or errno.EPERM)}; in a container its seccomp profile forbids them",
        "start the container with --security-opt seccomp=unconfined --cap-add SYS_ADMIN, or run outside a container",
    )


def step_refused(problem: OSError, *, sysctls: Path = Path("/proc/sys")) -> PlatformError:
    """The error for a step after unshare(2), where AppArmor's restriction shows itself only then."""
    if problem.errno in (errno.EPERM, errno.EACCES):
        named = _named_setting(sysctls)
        if named is not None:
            return named
    if "on /proc" in str(problem):
        return PlatformError(
            "the enclosure needs a /proc of its own and may not have one",
            "some parts of /proc are hidden here, as in a container or inside another ebbgate run by root",
            "run outside of the container, or not nested",
        )
    return PlatformError("the enclosure could not be built", str(problem)[:300], "")


def _named_setting(sysctls: Path) -> PlatformError | None:
    for name, forbidding, title, command in _SETTINGS:
        try:
            value = (sysctls / name).read_text().strip()
        except OSError:
            continue
        if value == forbidding and (os.geteuid() != 0 or name.startswith("user/")):
            return PlatformError(title, f"{name.replace('/', '.')} = {value}", f"{command}\n{_TWO_WAYS}")
    return None
