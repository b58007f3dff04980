"""Other guards' allowlists: what they allow is allowed, what they leave open is marked, and what is not understood is kept in sight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.errors import PolicyError
from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_texts
from ebbgate.policy.migrate import KINDS, imported
from ebbgate.policy.observation import Observation, Protocol, Stage
from tests.policy.test_decide import request

HARDEN = """
on: [push]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: step-security/harden-runner@f086349bfa2bd1361f7909c78558e816508cdc10 # v2
        with:
          egress-policy: block
          disable-sudo: true
          allowed-endpoints: >
            api.github.com:443
            github.com:443
            azure.archive.ubuntu.com:80
            db.example.com:5432
            *.blob.core.windows.net:443
            *.example.com:443
      - uses: actions/checkout@v4
  "odd job":
    runs-on: ubuntu-latest
    steps:
      - { uses: Step-Security/harden-runner@v2 }
  other: { uses: ./.github/workflows/x.yml }
"""
BULLFROG = """
jobs:
  test:
    steps:
      - uses: bullfrogsec/bullfrog@v0
        with:
          egress-policy: block
          dns-policy: any
          allowed-ips: |
            203.0.113.7
            198.51.100.0/24
          allowed-domains: |
            pypi.org
            *.githubusercontent.com
            regi*.npmjs.org
            pastebin.com
"""
NATIVE = "mode: log\nallow:\n  - pypi.org\n  - '*.workers.dev'\n"


def test_harden_runner() -> None:
    text = imported("harden-runner", HARDEN, "ci.yml")
    policy = load_texts([("p.yml", text)], job="build", given_by="")
    assert policy.mode == "enforce"
    assert decide(policy, request("github.com")).allowed
    assert decide(policy, request("a.example.com")).allowed
    assert decide(policy, request("azure.archive.ubuntu.com", 80, protocol=Protocol.HTTP)).allowed
    assert decide(policy, Observation(Stage.CONNECT, Protocol.TCP, "db.example.com", 5432, "203.0.113.1")).allowed
    assert not decide(policy, request("mine.blob.core.windows.net")).allowed
    assert "# not taken: *.blob.core.windows.net:443: *.blob.core.windows.net would allow names that anybody can have" in text
    (line,) = [line for line in text.splitlines() if "- api.github.com" in line]
    assert "any account can make repositories" in line
    (line,) = [line for line in text.splitlines() if "db.example.com" in line]
    assert "opaque" in line
    assert "sudo: remove" in text
    assert load_texts([("p.yml", text)], job="odd job", given_by="").mode == "audit"


def test_bullfrog() -> None:
    text = imported("bullfrog", BULLFROG, "ci.yml")
    policy = load_texts([("p.yml", text)], job="test", given_by="")
    for host in ("pypi.org", "203.0.113.7", "198.51.100.9", "pastebin.com"):
        assert decide(policy, request(host)).allowed, host
    assert "# not taken: regi*.npmjs.org" in text
    assert "# not taken: *.githubusercontent.com" in text
    assert "paste site" in text
    assert "every port" in text
    assert "dns-policy" in text


def test_the_native_firewall() -> None:
    text = imported("native-firewall", NATIVE, "egress-firewall.yaml")
    policy = load_texts([("p.yml", text)], job="", given_by="")
    assert policy.mode == "audit"
    assert decide(policy, request("pypi.org", method="POST")).allowed
    assert decide(policy, request("codeload.github.com")).allowed
    assert "# not taken: *.workers.dev" in text
    alone = load_texts([("p.yml", imported("native-firewall", NATIVE + "no-default-urls: true\n", "x"))], job="", given_by="")
    assert not decide(alone, request("codeload.github.com")).allowed


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_an_error(kind: str) -> None:
    with pytest.raises(PolicyError, match=kind):
        imported(kind, "name: x\njobs: {a: {steps: [{run: x}]}}\n", "x.yml")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_whatever_they_hold_what_is_made_loads(items: list[str], source: str) -> None:
    def plain(text: str) -> str:
        return '"' + "".join(f"\\U{ord(sign):08X}" for sign in text if not 0xD800 <= ord(sign) < 0xE000) + '"'

    text = imported("native-firewall", f"mode: enforce\nallow: [{', '.join(map(plain, items))}]\n", source)
    load_texts([("p.yml", text)], job="", given_by="")
    workflow = f"jobs: {{{plain(source or 'x')}: {{steps: [{{uses: bullfrogsec/bullfrog, with: {{allowed-domains: {plain(' '.join(items))}}}}}]}}}}\n"
    load_texts([("p.yml", imported("bullfrog", workflow, source))], job="", given_by="")


def test_the_program_prints_a_policy_that_check_reads(tmp_path: Path) -> None:
    (tmp_path / "ci.yml").write_text(HARDEN)
    line = [sys.executable, "-m", "ebbgate", "import", "harden-runner", "ci.yml"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == imported("harden-runner", HARDEN, "ci.yml")
