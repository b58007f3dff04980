"""Which container a process runs in, by the names of its control groups, and what Docker says about it.

Shapes: docker/ID, docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, kubepods/.../ID and
buildkit/ID (which is not hexadecimal). ``libpod-conmon-ID`` is a container's minder, outside of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

MAX_CONFIGURATION = 1 << 20  # bytes of a config.v2.json
DOCKER_ROOT = Path("/var/lib/docker")
_BUILD = 25  # characters of the name that BuildKit gives to a step of a build
_SHOWN = 12  # digits, as docker ps shows them

_MEMBER = re.compile(r"(?<!conmon)[/-](?:([0-9a-f]{64})|(?<=buildkit/)([0-9a-z]{25}))(?=\.scope|[/\n]|$)")

# Programs that make containers for whoever asks them: what they start is the asker's doing.
RUNTIMES = frozenset(
    {
        "dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2",
        "docker-proxy", "docker-init", "runc", "crun", "podman", "conmon", "crio", "buildkitd", "buildah",
        "buildkit-runc", "lxd", "lxc-start", "incusd", "nerdctl", "rootlesskit",
    }
)  # fmt: skip


def container_id(cgroups: str) -> str:
    """Full id of the innermost container in a text of /proc/PID/cgroup; "" when there is none."""
    matches = _MEMBER.findall(cgroups)
    return next((one or other for one, other in reversed(matches)), "")


def short_id(full: str) -> str:
    """As people know it."""
    return full[:_SHOWN]


def image_of(full: str, docker_root: Path = DOCKER_ROOT) -> str:
    """The image a Docker container was asked to be made from; "" when that cannot be read. BuildKit's are steps of a build."""
    if len(full) == _BUILD:
        return "docker build"
    try:
        with open(docker_root / "containers" / full / "config.v2.json", "rb") as file:
            image = json.loads(file.read(MAX_CONFIGURATION))["Config"]["Image"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return image if isinstance(image, str) else ""
