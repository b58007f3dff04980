"""Addresses that belong to nobody out there: loopback, the local network, cloud metadata and the rest.

The ranges are those of the IANA special-purpose address registries (RFC 6890 and successors), plus the metadata and
platform services of the large clouds. Documentation ranges are left out on purpose: nothing routes them, so dialling
them gives nothing away, and isolated test networks use them.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = (
    "169.254.169.254",  # AWS, Azure, GCP, DigitalOcean and most others
    "169.254.170.2",  # AWS ECS task credentials
    "169.254.170.23",  # AWS EKS pod identity
    "168.63.129.16",  # Azure platform services
    "100.100.100.200",  # Alibaba Cloud
    "192.0.0.192",  # Oracle Cloud
    "fd00:ec2::254",  # AWS
    "fd00:ec2::23",  # AWS EKS pod identity
    "fd20:ce::254",  # GCP
)
_RANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("metadata", METADATA),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ("unique-local", ("fc00::/7",)),
    ("shared", ("100.64.0.0/10",)),
    ("link-local", ("169.254.0.0/16", "fe80::/10", "fec0::/10")),
    ("benchmark", ("198.18.0.0/15", "2001:2::/48")),
    ("protocol", ("192.0.0.0/24", "2001::/23", "192.88.99.0/24", "100::/64", "5f00::/16", "3fff::/20")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("reserved", ("240.0.0.0/4",)),
)
_SPECIAL: tuple[tuple[str, _Network], ...] = tuple(
    (name, ipaddress.ip_network(text)) for name, texts in _RANGES for text in texts
)
_NAT64, _NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


@lru_cache(maxsize=4096)
def special_range(address: str) -> str | None:
    """Name of the special range an address is in; None for an ordinary one. An unreadable address is "malformed"."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "malformed"
    for name, network in _SPECIAL:
        if parsed.version == network.version and parsed in network and not _is_embedding(parsed, name):
            return name
    for inner in _embedded(parsed):
        found = special_range(str(inner))
        if found is not None:
            return found
    return None


def _is_embedding(parsed: ipaddress.IPv4Address | ipaddress.IPv6Address, name: str) -> bool:
    """Teredo lies in 2001::/23 and is judged by the address inside it."""
    return name == "protocol" and parsed.version == 6 and parsed.teredo is not None


def _embedded(parsed: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses inside an IPv6 one: mapped, compatible, 6to4, NAT64, Teredo."""
    if parsed.version == 4:
        return []
    found = [one for one in (parsed.ipv4_mapped, parsed.sixtofour) if one is not None]
    if parsed.teredo is not None:
        found += parsed.teredo
    if any(parsed in network for network in (_NAT64, _NAT64_LOCAL, _COMPATIBLE)):
        found.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    return found


@lru_cache(maxsize=1024)
def _network(text: str) -> _Network:
    return ipaddress.ip_network(text, strict=False)


def in_ranges(address: str, ranges: tuple[str, ...]) -> bool:
    """Whether an address is in one of the CIDR ranges."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == _network(text).version and parsed in _network(text) for text in ranges)


def may_dial(address: str, permitted_ranges: tuple[str, ...]) -> bool:
    """Whether the gate may dial an address: an ordinary one always, a special one only where a rule names it."""
    return special_range(address) is None or in_ranges(address, permitted_ranges)
