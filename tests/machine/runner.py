"""What a hosted runner has: its user, sudo, name service, trust store and directories. Written inside a machine alone."""

from __future__ import annotations

import os
from pathlib import Path

from tests.world.internet import RESOLVER

RUNNER, UID = "runner", 1001  # as on GitHub's hosted machines
HOME = f"/home/{RUNNER}"
WORK = f"{HOME}/work"
CHECKOUT = f"{WORK}/repo/repo"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def furnish(certificate: str) -> None:
    """Make the files of a hosted runner, here: to be called inside. ``certificate``: of an authority that the system is to trust."""
    if os.stat("/proc/thread-self/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino:
        raise RuntimeError("not in a machine of its own")
    etc = Path("/etc")
    names = {"127.0.0.1": f"localhost {os.uname().nodename}", "::1": "localhost"}
    _replace(etc / "resolv.conf", f"nameserver {RESOLVER}\noptions timeout:2 attempts:1\n")
    _replace(etc / "hosts", "".join(f"{address} {name}\n" for address, name in names.items()))
    _replace(etc / "nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    _account(etc)
    _replace(etc / "sudoers.d/runner", f"{RUNNER} ALL=(ALL) NOPASSWD:ALL\n", mode=0o440)
    local = Path("/usr/local/share/ca-certificates")
    local.mkdir(parents=True, exist_ok=True)
    (local / "world.crt").write_text(certificate)  # where update-ca-certificates finds it again
    _replace(_BUNDLE, _BUNDLE.read_text() + certificate)
    for directory in (CHECKOUT, *(f"{WORK}/{name}" for name in ("_temp", "_actions", "_tool")), "/opt/hostedtoolcache"):
        os.makedirs(directory, exist_ok=True)
    for directory in (Path(HOME), *Path(HOME).rglob("*")):
        os.chown(directory, UID, UID)
    os.chmod("/opt/hostedtoolcache", 0o777)
    if Path("/usr/bin/docker").exists():
        Path("/usr/local/bin/docker").unlink(missing_ok=True)  # the client that belongs to the daemon


def _account(etc: Path) -> None:
    users = [
        line
        for line in (etc / "passwd").read_text().splitlines()
        if line.split(":")[0] != RUNNER and line.split(":")[2] != str(UID)
    ]
    _replace(etc / "passwd", "\n".join([*users, f"{RUNNER}:x:{UID}:{UID}::{HOME}:/bin/bash", ""]))
    shadow = [line for line in (etc / "shadow").read_text().splitlines() if line.split(":")[0] != RUNNER]
    _replace(etc / "shadow", "\n".join([*shadow, f"{RUNNER}:*:19000:0:99999:7:::", ""]), mode=0o640)
    groups = {line.split(":")[0]: line for line in (etc / "group").read_text().splitlines() if line.split(":")[2] != str(UID)}
    groups[RUNNER] = f"{RUNNER}:x:{UID}:"
    groups.setdefault("docker", "docker:x:998:")
    for name in ("adm", "docker"):
        groups[name] += RUNNER if groups[name].endswith(":") else f",{RUNNER}"
    _replace(etc / "group", "\n".join([*groups.values(), ""]))


def _replace(path: Path, text: str, *, mode: int = 0o644) -> None:
    """A new file in the place of whatever was there; never through a symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
