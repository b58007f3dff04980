"""Too much of something in a guarded job: connections, rules, askers, records, processes. It never opens, and the verdict comes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.job.guarded import STATE, Job
from tests.job.test_faults import ALLOWED, DENIED, GET, assert_closed, judged, until
from tests.machine import Machine
from tests.machine.altered import altered
from tests.world.internet import API, EVIL

pytestmark = pytest.mark.root
CONNECTIONS = 5000
MAX_RESIDENT = 1 << 30  # bytes of a gate with so many connections
# Silent, half a TLS greeting, and a head that never ends; to an address that is denied and one that is allowed.
HOLD = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
texts = [b"", b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03", b"GET / HTTP/1.1\\r\\nHost: attacker.example.org\\r\\nX-Endless: "]
held = []
for number in range({CONNECTIONS}):
    one = socket.create_connection((("{EVIL}", "{API}")[number % 2], (443, 443, 80)[number % 3]), timeout=60)
    one.sendall(texts[number % 3])
    held.append(one)
print("held", flush=True)
sys.stdin.read()
"""


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_five_thousand_connections_at_once(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        holder = job.begin([machine.python, "-c", HOLD], name="hold", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        until(lambda: job.status()["open_connections"] > CONNECTIONS // 2, 60)  # the silent ones are ended after a moment
        assert resident(job.status()["gate"]) < MAX_RESIDENT
        assert "refused" in job.step([*GET, f"{DENIED}/"]).stdout
        assert_closed(job)
        assert "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout
        verdict = judged(job)
        assert verdict.code == 90, verdict.report["incidents"]
        holder.kill()
        until(lambda: job.status()["open_connections"] < 10, 60)
        assert "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout
        assert judged(job).code == 90
        told = [one for one in job.events("Exchange") if not one["decision"]["rule"]]
        assert len(told) >= CONNECTIONS // 2
        assert {one["origin"]["step"]["name"] for one in told if one["origin"]["step"]} == {"hold", "leak", "__run"}
        assert job.status()["gate_restarts"] == 0


def test_connections_beyond_the_bound_are_ended_and_counted(machine: Machine) -> None:
    program = altered(machine, "gate.engine", "\n\nMAX_CONNECTIONS = 20\n")
    with Job(machine, program=program, allow="api.example.com") as job:
        held = HOLD.replace(str(CONNECTIONS), "60").replace("one.sendall(texts[number % 3])", "pass")
        holder = job.begin([machine.python, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        assert_closed(job)
        holder.kill()
        until(lambda: "got GET" in job.step([*GET, f"{ALLOWED}/"]).stdout)
        verdict = judged(job)
        assert verdict.report["dropped_events"] >= 40
        assert any("more connections at once" in one["what"] for one in verdict.report["notices"])


ENTRIES = 10_000


def test_ten_thousand_entries(machine: Machine) -> None:
    entries = [f"  - h{number}.example.com" for number in range(0, ENTRIES, 2)]
    entries += [
        f'  - {{ host: h{number}.example.com, methods: [GET], paths: ["/v{number}/**"] }}' for number in range(1, ENTRIES, 2)
    ]
    policy = "\n".join(["version: 1", "allow:", *entries, "  - api.example.com", ""])
    machine.world.elsewhere = lambda name: (API,) if name.endswith(".example.com") else None
    began = time.monotonic()
    with Job(machine, policy=policy) as job:
        assert time.monotonic() - began < 60
        for url, works in (
            (f"{ALLOWED}/", True),
            ("https://h9998.example.com/", True),
            ("https://h10000.example.com/", False),
            ("https://h9999.example.com/v9999/x", True),
            ("https://h9999.example.com/v9997/x", False),
            (f"{DENIED}/", False),
        ):
            assert ("got GET" in job.step([*GET, url]).stdout) is works, url
        assert_closed(job)
        assert judged(job).code == 90


FLOOD = f"""
import os, socket, struct, sys, threading, time
BODIES = {{
    "silent": b"", "endless": b"\\x00\\x00\\x40\\x00" + b"x" * 100_000, "huge": b"\\xff" * 8, "no JSON": b"\\x00\\x00\\x00\\x03{{[,",
    "nested": b"\\x00\\x00\\x0f\\xf0" + b"[" * 4080, "no object": b"\\x00\\x00\\x00\\x02[]", "unknown": b'\\x00\\x00\\x00\\x0d{{"type": "x"}}',
    "verdict": b'\\x00\\x00\\x00\\x13{{"type": "verdict"}}', "stop": b'\\x00\\x00\\x00\\x10{{"type": "stop"}}',
}}
def flood(kind):
    held = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(1)
        try:
            one.connect("{STATE}/control.sock")
            one.sendall(BODIES[kind])
        except OSError:
            time.sleep(0.01)
        held.append(one)
        del held[:-200]
for kind in BODIES:
    threading.Thread(target=flood, args=(kind,), daemon=True).start()
time.sleep(1)
print("flooding", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_control_socket_that_everybody_shouts_into(machine: Machine) -> None:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": "/tmp"}
    with Job(machine, allow="api.example.com") as job:
        floods = [job.begin([machine.python, "-c", FLOOD], user=user, **options) for user in ("runner", "daemon")]
        assert [one.stdout.readline() for one in floods] == [b"flooding\n"] * 2
        for _ in range(2):
            began = time.monotonic()
            assert job.status()["armed"] is True
            assert time.monotonic() - began < 30
            verdict = judged(job)
            assert verdict.code == 0, verdict.report["incidents"]
        assert_closed(job)
        assert judged(job).code == 90
        began = time.monotonic()
        assert job.ebbgate("stop", user="root").stdout.startswith("ebbgate: stopped")
        assert time.monotonic() - began < 30
        for one in floods:
            one.kill()


RECORDS = 50_000
LONG_JOURNAL = f"""

from ebbgate.events.types import DecisionRecord, FindingRecord, Process, Step
_armed = JobGuard.armed


def _with_a_past(self):
    _armed(self)
    ancestry = tuple(Process(number, "/usr/bin/shell", "argument") for number in range(3))
    for number in range({RECORDS}):
        origin = Origin(Process(number, f"/usr/bin/program{{number % 70}}", "word"), ancestry, Step(f"step-{{number % 12}}"))
        denied, leak = number % 3 == 0, number % 5 == 0
        decision = DecisionRecord("deny" if denied else "allow", "not-allowed" if denied else "rule", "", number % 2 == 0)
        findings = (FindingRecord("TOKEN", "f", f"header:x-{{number}}", ("raw",), 0, False),) if leak else ()
        host = f"h{{number}}.example.org"
        self.journal.append(Exchange(
            str(number), "https", host, 443, "203.0.113.9", "GET", f"/{{number}}", 200, decision, True, denied or leak,
            denied or leak, 100, 100, 0, "full", "", findings, origin, f"--allow {{host}}", "", 0.1, time.time(),
        ))


JobGuard.armed = _with_a_past
"""


def test_a_journal_of_fifty_thousand_records(machine: Machine) -> None:
    with Job(machine, program=altered(machine, "warden.job", LONG_JOURNAL), allow="api.example.com") as job:
        verdict = judged(job)
        assert verdict.code == 91
        assert len(job.events("Exchange")) == RECORDS
        assert len(machine.read("/tmp/verdict.md").encode()) < 1 << 20
        assert sum(one["exchanges"] for one in verdict.report["destinations"]) == RECORDS
        began = time.monotonic()
        assert job.status()["events"] >= RECORDS
        assert time.monotonic() - began < 30


STORM = """
for burst in $(seq 20); do
  for i in $(seq 100); do (:; exec true) & done
  wait
done
"""


def test_an_attack_in_a_storm_of_processes(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        storm = job.begin(["bash", "-c", STORM], name="storm")
        for number in range(5):
            job.step([*GET, f"{DENIED}/{number}"], name="attack", timeout=60)
        assert_closed(job)
        assert storm.wait(60) == 0
        verdict = judged(job)
        assert verdict.code == 90, verdict.report["incidents"]
        told = [one for one in job.events("Exchange") if one["path"].startswith("/") and one["host"] == "attacker.example.org"]
        assert {one["path"] for one in told} >= {f"/{number}" for number in range(5)}
        assert {one["origin"]["step"]["name"] for one in told} <= {"attack", "leak"}
        assert all(one["origin"]["process"]["exe"].endswith("/curl") for one in told)
