"""Rules as one text, applied at once by ``nft``. Text is made here; who may apply it where is the caller's business."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from ebbgate.errors import PlatformError

TABLE = "ebbgate"
CLOSED = "ebbgate_closed"  # beside it where the kernel would take it away with its owner
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


@dataclass(frozen=True, slots=True)
class JobPorts:
    """Ports on every address of the machine where the gate listens; input from elsewhere than our redirect is refused."""

    tcp: int
    dns_udp: int
    dns_tcp: int


@dataclass(frozen=True, slots=True)
class Guard:
    """What the gate is recognised by: its user id, and its control group where the machine has version 2 of them.

    cgroup: path below the cgroup root, "" where there is none; then the user id alone decides.
    """

    uid: int
    cgroup: str = ""

    def match(self) -> str:
        """As a condition of a rule."""
        level = self.cgroup.count("/") + 1
        group = f' socket cgroupv2 level {level} "{self.cgroup}"' if self.cgroup else ""
        return f"meta skuid {self.uid}{group}"


@dataclass(frozen=True, slots=True)
class JobRules:
    """What the job's table is made of.

    kept: (family, local address, local port, remote address, remote port) of the runner's own connections from before.
    internal: indexes of the bridges of containers: what stays on them stays in the machine. mark: of packets that were accepted,
    for the last look at the interface, 0 where there is none; a secret of this job. mark_all: also of packets that stay in the
    machine, for the plain table; no more than is needed, as others use marks, too. dhcp_uid: of the machine's network
    daemon. platform_cgroup: of the cloud's agent, which alone may speak with the platform's address.
    """

    ports: JobPorts
    guard: Guard
    enforce: bool
    kept: tuple[tuple[int, str, int, str, int], ...] = ()
    internal: tuple[int, ...] = ()
    mark: int = 0
    mark_all: bool = False
    dhcp_uid: int | None = None
    platform_cgroup: str = ""


GATE_MARK = 0xEBB  # of the gate's connections in conntrack, for packets that the kernel sends without a socket
PLATFORM_ADDRESS = "168.63.129.16"  # Azure's host: DHCP, health, and an agent's control channel
_NEIGHBOURS = (
    "nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld2-listener-report"
)


def job_ruleset(rules: JobRules) -> str:
    """Commands that fill the (empty, owned) table of a whole machine, applied at once.

    ::

        steps    ──output────▶ redirect TCP and port 53 to the gate ──▶ filter: drop and log the rest
        containers ──prerouting──▶ the same                         ──▶ forward: only among containers
        gate     ──▶ accept (user id and control group)

    In audit mode what is not TCP or DNS is logged and goes on, since watching changes nothing.
    """
    ports, guard = rules.ports, rules.guard.match()
    last = "drop" if rules.enforce else "accept"
    log = f"log group {PACKET_GROUP} snaplen {SNAPLEN}"
    chains = {
        "to_gate": ("type nat hook output priority -101; policy accept;", _redirects(rules, guard)),
        "containers_to_gate": ("type nat hook prerouting priority -101; policy accept;", _container_redirects(ports)),
        "leaving": (f"type filter hook output priority 0; policy {last};", _leaving(rules, guard, log)),
        "passing": (
            f"type filter hook forward priority 0; policy {last};",
            [f"iif @internal oif @internal {_accepted(rules, marked=rules.mark_all)}", *_last(rules, log)],
        ),
        "arriving": (
            "type filter hook input priority 0; policy accept;",
            [
                f"tcp dport {{ {ports.tcp}, {ports.dns_tcp} }} ct status & dnat == 0 reject with tcp reset",
                f"udp dport {ports.dns_udp} ct status & dnat == 0 drop",
            ],
        ),
    }
    if rules.enforce:
        chains |= _forged(log)
    lines = [_set("internal", "iface_index", [str(one) for one in rules.internal])]
    for family, name in ((4, "kept"), (6, "kept6")):
        kind = f"ipv{family}_addr . inet_service . ipv{family}_addr . inet_service"
        lines.append(_set(name, kind, [f"{a} . {b} . {c} . {d}" for version, a, b, c, d in rules.kept if version == family]))
    lines += [f"add chain inet {TABLE} {name} {{ {head} }}" for name, (head, _body) in chains.items()]
    lines += [f"add rule inet {TABLE} {name} {rule}" for name, (_head, body) in chains.items() for rule in body]
    return "\n".join(lines) + "\n"


def _set(name: str, kind: str, elements: list[str]) -> str:
    filled = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"add set inet {TABLE} {name} {{ type {kind};{filled} }}"


def _redirects(rules: JobRules, guard: str) -> list[str]:
    ports = rules.ports
    return [
        f"{guard} return",
        *(f"{condition} return" for condition in _exempt(rules)),
        "oif @internal return",  # a container that answers DNS questions, too: what it asks in turn comes by here again
        f"udp dport 53 redirect to :{ports.dns_udp}",
        f"tcp dport 53 redirect to :{ports.dns_tcp}",
        "oif lo return",
        "fib daddr type local return",
        f"meta l4proto tcp redirect to :{ports.tcp}",
    ]


def _container_redirects(ports: JobPorts) -> list[str]:
    """Whatever interface it comes from, present or future: only what was addressed to this machine is left alone."""
    return [
        "iif lo return",
        "fib daddr oif @internal return",
        f"udp dport 53 redirect to :{ports.dns_udp}",
        f"tcp dport 53 redirect to :{ports.dns_tcp}",
        "fib daddr type local return",
        f"meta l4proto tcp redirect to :{ports.tcp}",
    ]


def _leaving(rules: JobRules, guard: str, log: str) -> list[str]:
    go = _accepted(rules, marked=True)
    found = [
        f"{guard} ct mark set {GATE_MARK:#x} {go}",
        f"ct mark {GATE_MARK:#x} ct state established {go}",
        "oif lo accept",
        "ct status & dnat != 0 ip daddr 127.0.0.0/8 accept",  # redirected to the gate; ``oif`` still says where it was going
        "ct status & dnat != 0 ip6 daddr ::1 accept",
        *(f"{condition} {go}" for condition in _exempt(rules)),
        f"oif @internal {_accepted(rules, marked=rules.mark_all)}",
        f"icmpv6 type {{ {_NEIGHBOURS} }} {go}",
        "ip protocol igmp drop",
    ]
    if rules.dhcp_uid is not None:
        found.append(f"udp sport 68 udp dport 67 meta skuid {rules.dhcp_uid} {go}")
    return [*found, *_last(rules, log)]


def _accepted(rules: JobRules, *, marked: bool) -> str:
    """Let it go; marked: with the mark that the last look at the interface, and the plain table, go by."""
    return f"meta mark set {rules.mark:#x} accept" if rules.mark and marked else "accept"


# At once, so that clients of HTTP/3 fall back and nobody waits.
_REFUSED = (
    "udp dport 443 reject with icmpx port-unreachable",
    "meta l4proto tcp reject with tcp reset",
    "reject with icmpx admin-prohibited",
)


def _last(rules: JobRules, log: str) -> list[str]:
    """What is not accepted is told, and refused."""
    return [log, *_REFUSED] if rules.enforce else [f"{log} accept"]


def _forged(log: str) -> dict[str, tuple[str, list[str]]]:
    """DNS questions whose sender gives an address of somebody else. The gate's answer, which quotes the name that was asked
    for, would go to that address, as the gate's own packet. Raw sockets can do it: containers have them by default.
    """
    return {
        "forged_here": (
            "type filter hook output priority -150; policy accept;",
            [f"udp dport 53 fib saddr type != local {log} drop"],
        ),
        "forged_by_containers": (
            "type filter hook prerouting priority -150; policy accept;",
            [f"iif != lo udp dport 53 fib saddr . iif oif 0 {log} drop"],
        ),
    }


def interface_ruleset(mark: int, devices: tuple[str, ...], table: str = TABLE) -> str:
    """Commands for a last look at the interfaces that lead out: only what the rules above accepted, which has their mark.

    It sees what never came by those rules: frames of packet sockets, and interfaces that were laid on top of an uplink and
    moved to another namespace. Linux 5.16.
    """
    names = ", ".join(f'"{one}"' for one in devices)
    head = f"type filter hook egress devices = {{ {names} }} priority 0; policy drop;"
    rules = [
        "meta protocol arp accept",
        f"meta mark {mark:#x} accept",
        "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
        f"log group {PACKET_GROUP} snaplen {SNAPLEN}",
    ]
    lines = [f"add chain netdev {table} out {{ {head} }}", *(f"add rule netdev {table} out {rule}" for rule in rules)]
    return "\n".join(lines) + "\n"


def _exempt(rules: JobRules) -> list[str]:
    """Conditions of what neither goes through the gate nor is refused."""
    found = [
        "ip saddr . tcp sport . ip daddr . tcp dport @kept",
        "ip6 saddr . tcp sport . ip6 daddr . tcp dport @kept6",
    ]
    if rules.platform_cgroup:
        level = rules.platform_cgroup.count("/") + 1
        found.append(f'ip daddr {PLATFORM_ADDRESS} socket cgroupv2 level {level} "{rules.platform_cgroup}"')
    return found


def closed_ruleset(mark: int) -> str:
    """Commands for a plain table beside the owned one, for kernels on which that one ends with its owner (before Linux 6.9).

    It lets go what the owned table has just accepted, which has its mark. When the owned table is gone, nothing gets the mark
    any more, and nothing leaves. Root can delete it; the warden reads it back like its own.
    """
    chains = {
        "leaving": (
            "type filter hook output priority 10; policy drop;",
            ["oif lo accept", "ip daddr 127.0.0.0/8 accept", "ip6 daddr ::1 accept", f"meta mark {mark:#x} accept", *_REFUSED],
        ),
        "passing": ("type filter hook forward priority 10; policy drop;", [f"meta mark {mark:#x} accept", *_REFUSED]),
    }
    lines = [f"create table inet {CLOSED}"]
    lines += [f"add chain inet {CLOSED} {name} {{ {head} }}" for name, (head, _body) in chains.items()]
    lines += [f"add rule inet {CLOSED} {name} {rule}" for name, (_head, body) in chains.items() for rule in body]
    return "\n".join(lines) + "\n"


def program_path() -> str:
    """Where ``nft`` is. PlatformError when it is not installed."""
    return required_program("nft", "nftables")


def required_program(name: str, package: str) -> str:
    """Path of a program that the enclosure needs. The system's own directories come first: others may be the job's to write."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or shutil.which(name)
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
