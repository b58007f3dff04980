"""Hosts that change from run to run although one party owns all of them. Only these are ever collapsed into patterns.

A pattern must be one below which nobody else can have a name, and whose hosts all serve the same. A family lists its members,
where a pattern would name others too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIN_SEEN = 2  # members that were seen before it is taken for a rotation


@dataclass(frozen=True, slots=True)
class Rotation:
    """hosts: what is allowed in their place. reason: why they are one. members: which hosts are meant."""

    hosts: tuple[str, ...]
    reason: str
    members: re.Pattern[str]


# Suffix and reason. All are names that their owner gives out itself.
_SUFFIXES = (
    ("actions.githubusercontent.com", "GitHub's services for its runner: one host for each region and service"),
    ("githubapp.com", "GitHub's own services for its runner"),
    ("archive.ubuntu.com", "Ubuntu's archive, one mirror for each country and cloud"),
    ("deb.debian.org", "Debian's archive behind its own names"),
    ("dl-cdn.alpinelinux.org", "Alpine's archive"),
    ("mirrors.kernel.org", "mirrors of the Linux kernel organisation"),
    ("dl.sourceforge.net", "SourceForge's download mirrors, chosen by place"),
    ("pythonhosted.org", "files of the Python package index"),
    ("crates.io", "the registry of Rust's crates"),
    ("rubygems.org", "the registry of Ruby's gems"),
    ("gradle.org", "Gradle's distributions and plugins"),
    ("repo.maven.apache.org", "Maven Central"),
    ("debian.net.cdn.cloudflare.net", "a delivery name of Debian's own mirrors"),
    ("cdn.npmjs.org", "delivery names of the npm registry"),
    ("docker.com", "Docker's own services: registry blobs come from names that change"),
)
_RESULTS = tuple(f"productionresultssa{number}.blob.core.windows.net" for number in range(20))

ROTATIONS: tuple[Rotation, ...] = (
    *(Rotation((f"*.{suffix}",), why, re.compile(rf"(?:[^.]+\.)+{re.escape(suffix)}\Z")) for suffix, why in _SUFFIXES),
    Rotation(_RESULTS, "GitHub's stores of logs, results and artifacts", re.compile("|".join(map(re.escape, _RESULTS)))),
)  # fmt: skip


def rotation_of(host: str) -> Rotation | None:
    """The rotation that a host is a member of."""
    return next((one for one in ROTATIONS if one.members.fullmatch(host)), None)
