"""Interfaces and routes of a sealed namespace: loopback, and a veth pair whose far end leads nowhere.

The default routes exist so that connect() finds a way and the packet meets the redirect; nothing answers behind them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from ebbgate.errors import PlatformError

# 198.18.0.0/15 is set aside for benchmarks between isolated networks (RFC 2544): no real destination lies in it.
# fd65:6262:6761::/48 is a unique local prefix (RFC 4193) spelling "ebbga".
ADDRESS_V4, GATEWAY_V4 = "198.18.0.2", "198.18.0.1"
ADDRESS_V6, GATEWAY_V6 = "fd65:6262:6761::2", "fd65:6262:6761::1"
SINKHOLE_V4 = "198.19.0.0/16"  # answers for names that are never asked of the world
SINKHOLE_V6 = "fd65:6262:6761:1::/64"
SELFTEST_NAME = "selftest.ebbgate.invalid"  # RFC 2606: never a real name
DENIED_NAME = "denied.ebbgate.example"  # RFC 2606: nobody has it, so no policy allows it; to see that it is refused
DENIED_V4 = "198.18.255.253"
SELFTEST_V4, SELFTEST_V6, SELFTEST_PORT = "198.18.255.254", "fd65:6262:6761:ffff::1", 9


def has_ipv6() -> bool:
    """Whether this network namespace's kernel speaks IPv6."""
    return Path("/proc/sys/net/ipv6").is_dir()


def bring_up(*, ip: str) -> None:
    """Configure the calling process's (new) network namespace. PlatformError when the kernel refuses."""
    commands = [
        "link set lo up",
        "link add name ebb0 type veth peer name ebb1",
        f"addr add {ADDRESS_V4}/30 dev ebb0",
        "link set ebb0 up",
        "link set ebb1 up",
        f"route add default via {GATEWAY_V4} dev ebb0",
    ]
    if has_ipv6():
        commands[3:3] = [f"addr add {ADDRESS_V6}/64 dev ebb0 nodad"]
        commands += [f"route add default via {GATEWAY_V6} dev ebb0"]
    done = subprocess.run(  # noqa: S603
        [ip, "-batch", "-"], input="\n".join(commands).encode() + b"\n", capture_output=True, timeout=20, check=False
    )
    if done.returncode:
        raise PlatformError("the enclosure's network could not be set up", done.stderr.decode(errors="replace").strip()[:500], "")
