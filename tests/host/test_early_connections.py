"""Connections from before the guard: listed with their ends and owners, and ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from ebbgate.host import early_connections, netlink
from tests.machine import Machine
from tests.machine.machine import ADDRESS, ADDRESS6
from tests.world.internet import EVIL, EVIL6

pytestmark = pytest.mark.root


@pytest.fixture
def diagnostics(machine: Machine) -> Iterator[socket.socket]:
    with machine.inside(netlink.diagnostic_socket) as opened:
        yield opened


def connected(machine: Machine, target: str, *, kind: int = socket.SOCK_STREAM, port: int = 80) -> socket.socket:
    def connect() -> socket.socket:
        opened = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, kind)
        opened.settimeout(5)
        opened.connect((target, port))
        return opened

    return machine.inside(connect)


def test_what_leads_off_the_machine_is_listed(machine: Machine, diagnostics: socket.socket) -> None:
    assert early_connections.existing(diagnostics) == []
    opened = {
        "tcp": connected(machine, EVIL),
        "tcp6": connected(machine, EVIL6),
        "mapped": connected(machine, f"::ffff:{EVIL}"),
        "udp": connected(machine, EVIL, kind=socket.SOCK_DGRAM, port=4444),
        "udp6": connected(machine, EVIL6, kind=socket.SOCK_DGRAM, port=4444),
    }
    found = {one.inode: one for one in early_connections.existing(diagnostics)}
    assert set(found) == {os.fstat(one.fileno()).st_ino for one in opened.values()}

    def seen(name: str) -> tuple[str, str, tuple[str, int], int]:
        one = found[os.fstat(opened[name].fileno()).st_ino]
        return one.protocol, one.local[0], one.remote, one.uid

    assert seen("tcp") == ("tcp", ADDRESS, (EVIL, 80), 0)
    assert seen("tcp6") == ("tcp", ADDRESS6, (EVIL6, 80), 0)
    assert seen("mapped") == ("tcp", ADDRESS, (EVIL, 80), 0)
    assert seen("udp") == ("udp", ADDRESS, (EVIL, 4444), 0)
    assert seen("udp6") == ("udp", ADDRESS6, (EVIL6, 4444), 0)
    for one in opened.values():
        one.close()


def test_what_stays_on_the_machine_is_not(machine: Machine, diagnostics: socket.socket) -> None:
    def local() -> list[socket.socket]:
        made = [socket.create_server((address, 0), family=family) for address, family in
                (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), (ADDRESS, socket.AF_INET))]  # fmt: skip
        made += [socket.create_connection(one.getsockname()[:2]) for one in list(made)]
        unconnected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        unconnected.bind(("0.0.0.0", 0))
        return [*made, unconnected]

    opened = machine.inside(local)
    assert early_connections.existing(diagnostics) == []
    for one in opened:
        one.close()


def test_the_owner_of_another_users_connection(machine: Machine, diagnostics: socket.socket) -> None:
    import subprocess

    script = f"import socket, time; s = socket.create_connection(({EVIL!r}, 80)); print('up', flush=True); time.sleep(300)"
    holder = machine.popen([machine.python, "-I", "-c", script], stdout=subprocess.PIPE, cwd="/")
    assert holder.stdout.readline() == b"up\n"
    (found,) = early_connections.existing(diagnostics)
    assert found.uid == 1001
    links = [os.readlink(f"/proc/{holder.pid}/fd/{name}") for name in os.listdir(f"/proc/{holder.pid}/fd")]
    assert f"socket:[{found.inode}]" in links


def test_they_are_ended_and_others_are_not(machine: Machine, diagnostics: socket.socket) -> None:
    doomed = [connected(machine, EVIL), connected(machine, EVIL6), connected(machine, EVIL, kind=socket.SOCK_DGRAM)]
    spared = connected(machine, EVIL)
    inode = os.fstat(spared.fileno()).st_ino
    found = [one for one in early_connections.existing(diagnostics) if one.inode != inode]
    assert early_connections.destroy(diagnostics, found) == 3
    assert early_connections.destroy(diagnostics, found[:1]) == 0  # gone already
    for one in doomed:
        with pytest.raises(OSError):
            one.recv(1)
        with pytest.raises(OSError):
            one.send(b"x" * 9)
        one.close()
    assert [one.inode for one in early_connections.existing(diagnostics)] == [inode]
    spared.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert spared.recv(4) == b"HTTP"
    spared.close()


def test_many(machine: Machine, diagnostics: socket.socket) -> None:
    """More than fits into one message of the kernel."""

    def many() -> list[socket.socket]:
        made = []
        for port in range(2000, 4000):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.connect((EVIL, port))
            made.append(opened)
        return made

    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        opened = machine.inside(many)
        assert {one.remote[1] for one in early_connections.existing(diagnostics)} == set(range(2000, 4000))
        for one in opened:
            one.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
