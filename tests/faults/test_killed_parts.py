"""Parts of the guard that die in the middle of things. Whatever dies, nothing leaves afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.world import World
from tests.world.internet import API
from tests.world.watch import descendants, gate_of

# Downloads slowly, and goes on trying whatever happens.
_STUBBORN = [
    "sh", "-c",
    "trap '' TERM INT; curl -sS --limit-rate 1M -o /dev/null https://api.example.com/bytes/50000000;"
    " while :; do curl -sS -m 2 -d after https://api.example.com/after; sleep 0.1; done",
]  # fmt: skip


def start(world: World, command: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    directory = Path(tempfile.mkdtemp(dir=world.directory))
    line = world.guard.command_line(["--report", str(directory), "--allow", "api.example.com"], command)
    run = subprocess.Popen(
        world.guard.entering(line), env=world.guard.environment(), cwd="/tmp", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return run, directory


def wait_for_download(world: World) -> None:
    deadline = time.monotonic() + 30
    while not any(one.requests for one in world.at(API, "2001:db8::10")):
        assert time.monotonic() < deadline, "the download did not start"
        time.sleep(0.02)


def test_the_gate_is_killed_in_the_middle_of_a_download(world: World) -> None:
    run, directory = start(world, _STUBBORN)
    gate = gate_of(run)
    wait_for_download(world)
    before = len(world.connections)
    os.kill(gate, signal.SIGKILL)
    _out, err = run.communicate(timeout=30)
    assert run.returncode == 93, err.decode()
    assert len(world.connections) == before
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    lost = next(one for one in events if one["kind"] == "GateLost")
    assert lost["how"] == "signal 9"
    assert b"the guard broke" in err


def test_the_gate_hangs(world: World) -> None:
    """A stopped gate forwards nothing; a command that waits for it is the user's to end, and the record says what is missing."""
    run, _directory = start(
        world, ["sh", "-c", "curl -sS https://api.example.com/first; curl -sS -m 2 https://api.example.com/second; exit 0"]
    )
    gate = gate_of(run)
    wait_for_download(world)
    os.kill(gate, signal.SIGSTOP)
    _out, err = run.communicate(timeout=120)
    assert run.returncode == 93, err.decode()
    assert [request.path for one in world.connections for request in one.requests] == ["/first"]


def test_the_warden_is_killed(world: World) -> None:
    """The kernel ends enclosure and gate with it: nothing goes on unguarded."""
    run, _directory = start(world, _STUBBORN)
    gate = gate_of(run)
    wait_for_download(world)
    warden = next(pid for pid in [run.pid, *descendants(run.pid)] if gate in descendants(pid) and _is_ebbgate(pid))
    inside = descendants(warden)
    assert len(inside) >= 4
    os.kill(warden, signal.SIGKILL)
    run.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in inside) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in inside if _alive(pid)] == []


def test_the_command_cannot_reach_the_guard_to_kill_it(world: World) -> None:
    script = "kill -9 -1; for p in /proc/[0-9]*; do echo $p; done"
    outcome = world.guard.run([], ["sh", "-c", f"trap '' TERM; ({script}) ; sleep 0.2; exit 0"])
    assert outcome.code in (0, 137)
    assert outcome.report["complete"]


def test_a_full_disk_is_a_broken_guard(world: World) -> None:
    """events.jsonl on a full file system: the run is not called clean."""
    directory = world.directory / "full"
    directory.mkdir(exist_ok=True)
    line = world.guard.command_line(
        ["--report", str(directory), "--allow", "api.example.com"],
        ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do curl -sS https://api.example.com/$i; done"],
    )
    mount = ["sh", "-c", f'mount -t tmpfs -o size=8k,mode=777 none {directory} && exec "$@"', "sh", *line]
    done = subprocess.run(
        world.guard.entering(mount), env=world.guard.environment(), capture_output=True, timeout=60, cwd="/tmp", check=False
    )
    assert done.returncode == 93, done.stderr.decode()


def _is_ebbgate(pid: int) -> bool:
    return b"ebbgate" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
