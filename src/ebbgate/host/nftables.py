"""Rules as one text, applied at once by ``nft``. Text is made here; who may apply it where is the caller's business."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from ebbgate.errors import PlatformError

TABLE = "ebbgate"
PACKET_GROUP = 2651  # NFLOG group of refused packets; any number, the namespace is ours alone
SNAPLEN = 96  # bytes of a refused packet that are read: headers only, never its payload


# What the kernel itself sends on an interface that comes up.
_KERNEL_CHATTER = (
    "mld-listener-query",
    "mld-listener-report",
    "mld-listener-done",
    "mld2-listener-report",
    "nd-router-solicit",
    "nd-router-advert",
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
)


@dataclass(frozen=True, slots=True)
class SealedPorts:
    """Ports on 127.0.0.1 and ::1 of the enclosure where the gate listens."""

    tcp: int
    dns_udp: int
    dns_tcp: int


def sealed_ruleset(ports: SealedPorts, *, redirect_loopback_dns: bool = False) -> str:
    """The rules inside a sealed enclosure's network namespace.

    Everything is redirected to the gate or refused. Even without these rules nothing leaves: the namespace has no
    interface to the world. They exist so that names and bytes reach the gate and refusals are seen and fast.

    :param redirect_loopback_dns: also take DNS sent to loopback, for machines without a resolv.conf of their own
    """
    loopback = "" if redirect_loopback_dns else "ip daddr 127.0.0.0/8 return\n    ip6 daddr ::1 return\n"
    return f"""table inet {TABLE} {{
  chain to_gate {{
    type nat hook output priority -100; policy accept;
    {loopback}
    udp dport 53 redirect to :{ports.dns_udp}
    tcp dport 53 redirect to :{ports.dns_tcp}
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    fib daddr type local return
    meta l4proto tcp redirect to :{ports.tcp}
  }}
  chain refuse_rest {{
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    ip protocol igmp drop
    icmpv6 type {{ {", ".join(_KERNEL_CHATTER)} }} drop
    log group {PACKET_GROUP} snaplen {SNAPLEN}
    reject with icmpx type admin-prohibited
  }}
}}
"""


def program_path() -> str:
    """Where ``nft`` is. PlatformError when it is not installed."""
    return required_program("nft", "nftables")


def required_program(name: str, package: str) -> str:
    """Path of a program that the enclosure needs, looked for where Debian puts it too (/usr/sbin)."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise PlatformError(f"{name} is not installed", "", f"apt-get install {package}")
    return path


def apply(ruleset: str, *, nft: str) -> None:
    """Apply a ruleset, all or nothing, in the calling process's network namespace."""
    done = subprocess.run([nft, "-f", "-"], input=ruleset.encode(), capture_output=True, timeout=20, check=False)  # noqa: S603
    if done.returncode:
        raise PlatformError(
            "the kernel refused the enclosure's rules", done.stderr.decode(errors="replace").strip()[:500], "see docs"
        )


def current(*, nft: str) -> str:
    """The table as the kernel holds it, in the calling process's network namespace; "" when there is none."""
    done = subprocess.run([nft, "list", "table", "inet", TABLE], capture_output=True, timeout=20, check=False)  # noqa: S603
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
