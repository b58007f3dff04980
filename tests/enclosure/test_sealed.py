"""What a command finds inside the sealed enclosure: itself as before, and no door to programs outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.attacks.programs import PYTHON
from tests.world import World
from tests.world.guard import lay_open
from tests.world.internet import EVIL
from tests.world.watch import descendants


def test_the_command_keeps_what_it_had(world: World, user: int | None) -> None:
    script = "id -u; id -g; pwd; echo $MARK; cat; grep -E '^(CapEff|CapPrm|CapInh|CapAmb)' /proc/self/status; exit 42"
    env = {"MARK": "kept as it was"}
    prefix = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"] if user else []
    bare = world.guard.bare([*prefix, "sh", "-c", script.replace("cat;", "echo from stdin;")], env=env)
    outcome = world.guard.run([], ["sh", "-c", script], env=env, user=user, stdin=b"from stdin\n")
    assert outcome.code == 42
    assert bare.code == 42
    before, after = bare.stdout.splitlines(), outcome.stdout.splitlines()
    assert after[:5] == before[:5]
    for was, now in zip(before[5:], after[5:], strict=True):
        assert int(now.split()[1], 16) & ~int(was.split()[1], 16) == 0, (was, now)
    if user:
        assert [line.split()[1] for line in after[5:]] == ["0000000000000000"] * 4


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_codes_pass_through(world: World, code: int) -> None:
    assert world.guard.run([], ["sh", "-c", f"exit {code}"]).code == code


def test_a_command_ended_by_a_signal_looks_as_in_a_shell(world: World) -> None:
    assert world.guard.run([], ["sh", "-c", "kill -TERM $$"]).code == 128 + signal.SIGTERM


def test_a_missing_command(world: World) -> None:
    outcome = world.guard.run([], ["no-such-program-here"])
    assert outcome.code == 127
    assert "no-such-program-here" in outcome.stderr


def test_loopback_works_inside(world: World) -> None:
    program = (
        "import socket, threading\n"
        "for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):\n"
        "    server = socket.create_server((address, 0), family=family)\n"
        "    threading.Thread(target=lambda: server.accept()[0].sendall(b'hello')).start()\n"
        "    print(socket.create_connection(server.getsockname()[:2]).recv(9))\n"
    )
    outcome = world.guard.run([], [PYTHON, "-c", program])
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "b'hello'\nb'hello'\n"


def test_background_processes_end_with_the_command(world: World) -> None:
    marker = world.directory / "home" / "still-running"
    script = f"setsid nohup sh -c 'sleep 1; touch {marker}' >/dev/null 2>&1 & disown 2>/dev/null; exit 0"
    outcome = world.guard.run([], ["sh", "-c", script])
    assert outcome.code == 0
    time.sleep(1.5)  # longer than the process would have needed, had it lived
    assert not marker.exists()


def _unix_server(path: str, answer: bytes = b"door") -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    if not path.startswith("\0"):
        os.chmod(path, 0o777)

    def serve() -> None:
        while True:
            try:
                server.accept()[0].sendall(answer)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return server


_KNOCK = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1].replace('@', chr(0)))\nprint(s.recv(9))"


@pytest.mark.parametrize(
    "place", ["/run/docker.sock", "/run/some-daemon/api.sock", "/tmp/ebbgate-test-relay.sock", "@ebbgate-test-abstract"]
)
def test_doors_to_programs_outside_are_masked(world: World, user: int | None, place: str, tmp_path: Path) -> None:
    """The server stands in the same network namespace as the guard, so that abstract sockets count too."""
    if place.startswith("/run"):
        (tmp_path / "run").mkdir()
        lay_open(tmp_path)
    path = place.replace("@", "\0")
    real = str(tmp_path / place.lstrip("/")) if place.startswith("/run") else path
    if not path.startswith("\0"):
        Path(real).parent.mkdir(parents=True, exist_ok=True)
        Path(real).unlink(missing_ok=True)
    server = world.namespace.run(lambda: _unix_server(real))
    try:
        line = world.guard.command_line([], [PYTHON, "-c", _KNOCK, place])
        bind = f"mount --bind {tmp_path / 'run'} /run && " if place.startswith("/run") else ""

        def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
            import shlex

            return subprocess.run(
                world.guard.entering(["sh", "-c", f"{bind}exec {shlex.join(command)}"]),
                env=world.guard.environment(), capture_output=True, timeout=60, check=False, cwd="/",
            )  # fmt: skip

        assert run([PYTHON, "-c", _KNOCK, place]).stdout == b"b'door'\n"
        guarded = run(line)
        assert guarded.returncode == 1, guarded.stderr.decode()
        assert b"door" not in guarded.stdout
        if place == "/run/docker.sock":
            opened = run(world.guard.command_line(["--open-door", "docker"], [PYTHON, "-c", _KNOCK, place]))
            assert opened.stdout == b"b'door'\n", opened.stderr.decode()
            assert b"doors left open" in opened.stderr
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        if place.startswith("/tmp"):
            Path(place).unlink()


def test_an_unknown_door_is_a_mistake(world: World) -> None:
    outcome = world.guard.run(["--open-door", "dokcer"], ["true"])
    assert outcome.code == 2
    assert "known doors" in outcome.stderr


ESCAPES = {
    "flush the rules": "nft flush ruleset",
    "delete the table": "nft delete table inet ebbgate",
    "add a route": "ip route replace default dev lo",
    "take off the resolver": "umount /etc/resolv.conf",
    "take off the covers": "umount /run",
    "enter the namespaces of init": "nsenter --target 1 --net true",
    "another network namespace and back": "unshare -n sh -c 'nsenter --target 1 --net true'",
    "write to the machine's kernel": "echo 1 > /proc/sys/kernel/printk",
    "a vsock": f"{PYTHON} -c 'import socket; socket.socket(40, 1)'",
    "io_uring": f"{PYTHON} -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(256)) < 0)'",
    "typing into the terminal": f"{PYTHON} -c 'import fcntl, os; fcntl.ioctl(os.openpty()[1], 0x5412, b\"x\")'",
    "see processes outside": "test $(ls -d /proc/[0-9]* | wc -l) -gt 12",
    "change the guard's code": f"touch {Path(sys.prefix).resolve()}/lib/python3.12/site-packages/mitmproxy/x",
    "change the guard's own package": "touch $(python3 -c 'print(1)' >/dev/null; echo "
    + str(Path(__file__).parents[2] / "src/ebbgate/x")
    + ")",
    "open a disk": "test -e /dev/vda -o -e /dev/sda -o -e /dev/mem",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_even_root_inside_cannot(world: World, name: str) -> None:
    outcome = world.guard.run([], ["sh", "-c", ESCAPES[name]])
    assert outcome.code not in (0, 93), outcome.stdout


def test_root_in_a_namespace_of_its_own_still_reaches_nothing(world: World) -> None:
    """All capabilities in a user namespace of one's own, all rules flushed there: there is no interface to the world."""
    script = (
        "unshare --user --map-root-user --net --mount sh -c "
        f'\'ip link set lo up; nft flush ruleset; {PYTHON} -c "import socket; socket.create_connection((\\"{EVIL}\\", 80), 2)"\''
    )
    outcome = world.guard.run([], ["sh", "-c", script])
    assert outcome.code != 0
    assert world.packets_to(EVIL) == set()


def test_nested_use(world: World, user: int | None) -> None:
    """A guard inside a guard either works or says why not; it never runs the command unguarded."""
    inner = world.guard.command_line(["--allow", "api.example.com"], ["curl", "-sS", "https://api.example.com/"])
    outcome = world.guard.run(["--allow", "api.example.com"], inner, user=user)
    if outcome.code == 3:
        assert "nested" in outcome.stderr
        assert world.connections == []
    else:
        assert outcome.code == 0, outcome.stderr
        assert "got GET" in outcome.stdout


def _in_terminal(world: World, command: list[str]) -> tuple[int, int]:
    """(pid, terminal) of a guarded command with a controlling terminal."""
    import pty

    line = world.guard.entering(world.guard.command_line([], command))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir("/")
        os.execvpe(line[0], line, world.guard.environment())
    return pid, terminal


def _read_until(terminal: int, wanted: bytes, *, timeout: float = 30) -> bytes:
    import select

    seen = b""
    deadline = time.monotonic() + timeout
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
    return seen


def test_interrupt_reaches_the_command_once(world: World) -> None:
    program = (
        "import signal, time, sys\n"
        "count = 0\n"
        "def on(*_):\n    global count\n    count += 1\n"
        "signal.signal(signal.SIGINT, on)\n"
        "print('ready', sys.stdin.isatty(), sys.stdout.isatty(), flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not count and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "print('interrupts', count, flush=True)\nsys.exit(9)\n"
    )
    pid, terminal = _in_terminal(world, [PYTHON, "-c", program])
    assert b"ready True True" in _read_until(terminal, b"ready True True")
    os.write(terminal, b"\x03")
    seen = _read_until(terminal, b"exit code")
    assert b"interrupts 1" in seen, seen
    _read_until(terminal, b"Nothing left")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_terminate_reaches_the_command_once(world: World) -> None:
    script = "trap 'echo got term; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    run = subprocess.Popen(
        world.guard.entering(world.guard.command_line([], ["sh", "-c", script])),
        env=world.guard.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    warden = next(pid for pid in [run.pid, *descendants(run.pid)] if b"ebbgate" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(warden, signal.SIGTERM)
    out, err = run.communicate(timeout=30)
    assert out == b"got term\n", err
    assert run.returncode == 5


def test_where_namespaces_are_forbidden_the_setting_is_named(world: World) -> None:
    """The sysctl of a user namespace of the test's own: the machine's stays as it is."""
    line = world.guard.command_line([], ["true"])
    import shlex

    script = f"echo 0 > /proc/sys/user/max_user_namespaces; exec {shlex.join(line)}"
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(
        world.guard.entering(command), env=world.guard.environment(), capture_output=True, timeout=60, check=False, cwd="/"
    )
    assert done.returncode == 3, done.stderr.decode()
    assert b"user.max_user_namespaces" in done.stderr
    assert b"sudo" in done.stderr
