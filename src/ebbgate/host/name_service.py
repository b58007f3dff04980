"""What the machine itself knows about names, as it stood when the guard was armed: nameservers and the hosts file."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from ebbgate.errors import PlatformError

_STUB = "run/systemd/resolve/resolv.conf"  # systemd-resolved's own servers; /etc/resolv.conf then names only its stub
_PLAIN = "etc/resolv.conf"
MAX_SERVERS = 8
MAX_HOSTS = 10_000


def nameservers(root: Path) -> tuple[str, ...]:
    """Addresses that the gate asks. Stubs on loopback are passed over: they would ask the gate.

    PlatformError when there is none: no name could be resolved.
    """
    found: list[str] = []
    for name in (_PLAIN, _STUB):
        found += _servers(root / name)
    usable = [one for one in dict.fromkeys(found) if not ipaddress.ip_address(one.partition("%")[0]).is_loopback]
    if not usable:
        raise PlatformError(
            "no nameserver that the gate could ask",
            "/etc/resolv.conf names only a stub on loopback",
            "name the machine's real nameserver in /etc/resolv.conf, or run systemd-resolved",
        )
    return tuple(usable[:MAX_SERVERS])


def _servers(path: Path) -> list[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [one[1] for one in words if len(one) >= 2 and one[0] == "nameserver" and _is_address(one[1])]


def hosts(root: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Lower-case name to addresses, of the machine's hosts file; lines that are none are passed over."""
    found: dict[str, dict[str, None]] = {}
    try:
        lines = (root / "etc/hosts").read_text(errors="replace").splitlines()
    except OSError:
        return ()
    for line in lines[:MAX_HOSTS]:
        words = line.partition("#")[0].split()
        if len(words) >= 2 and _is_address(words[0]):
            for name in words[1:]:
                found.setdefault(name.lower().rstrip("."), {})[words[0]] = None
    return tuple((name, tuple(addresses)) for name, addresses in found.items())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
