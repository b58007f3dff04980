"""A real Docker daemon in a runner machine: Debian's dockerd, containerd and runc, images made of local programs, all on tmpfs.

The machine is as a runner is to it: control groups are the unified ones, iptables are those of the machine's network namespace,
``docker.sock`` belongs to the group ``docker``. Containers are in the machine's control group and end with it.
Call ``machine.run(["docker", ...])`` as the runner. Images: ``busybox``, and ``curl``, which trusts what the machine trusts.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.machine.machine import Machine

DATA, RUNTIME, LOG = "/var/lib/docker", "/usr/local/sbin/runc-allowed", "/var/log/dockerd.log"
NEEDED = ("dockerd", "docker", "containerd", "runc", "iptables", "busybox")
_IMAGES = Path(__file__).with_name("images.sh")
# A privileged container has all capabilities there are, and runc fails where the machine itself lacks one: some virtual machines
# have no CAP_SYS_RESOURCE. So it is asked for those only that there are.
_RUNC = """#!/bin/sh
bundle=.
previous=
for one; do
  [ "$previous" = --bundle ] && bundle=$one
  previous=$one
done
[ ! -e "$bundle/config.json" ] || sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$bundle/config.json"
exec runc "$@"
"""
_ENDED = "the daemon ended:"
_SYS_RESOURCE = 24  # capability.h


def start_docker(machine: Machine, *options: str, timeout: float = 60) -> None:
    """Start the daemon and make the images. It ends with the machine."""
    runtime = []
    if not _may(_SYS_RESOURCE):
        machine.write(RUNTIME, _RUNC, mode=0o755, user="root")
        runtime = ["--add-runtime", f"allowed={RUNTIME}", "--default-runtime", "allowed"]
    places = [
        "--host",
        "unix:///run/docker.sock",
        "--data-root",
        DATA,
        "--exec-root",
        "/run/docker",
        "--pidfile",
        "/run/docker.pid",
    ]
    groups = ["--group", "docker", "--exec-opt", "native.cgroupdriver=cgroupfs"]
    command = ["dockerd", *places, *groups, *runtime, *options]
    # Forked off, so that it is init's child, as on a runner, and not one of whoever starts the steps.
    machine.run(
        ["setsid", "--fork", "sh", "-c", f'"$@" >>{LOG} 2>&1; echo "{_ENDED} $?" >>{LOG}', "sh", *command], user="root", cwd="/"
    )
    deadline = time.monotonic() + timeout
    while machine.run(["docker", "version"]).code != 0:
        log = machine.read(LOG)
        if _ENDED in log or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd does not answer:\n{log[-3000:]}")
        time.sleep(0.05)
    made = machine.run(["sh", "-s"], input=_IMAGES.read_bytes(), user="root", timeout=timeout)
    if made.code:
        raise RuntimeError(f"images could not be made: {made.stderr}")


def _may(capability: int) -> bool:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("CapBnd"))
    return bool(int(line.split()[1], 16) >> capability & 1)
