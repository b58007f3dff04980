"""Other guards' lists: what becomes of each endpoint, what is said of it, and that a hostile file can say nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.policy.decide import decide
from ebbgate.policy.imports.guards import GUARDS, imported
from ebbgate.policy.imports.listing import MAX_ENDPOINTS, MAX_LIST
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Observation, Protocol, Stage
from ebbgate.policy.yaml_source import PolicyProblems, read

WORKFLOW = """\
name: CI
on:
  push: { branches: [main] }
permissions: {}
jobs:
  build:
    runs-on: ubuntu-latest
    strategy: { matrix: { python: ["3.12", "3.13"] } }
    steps:
      - name: Harden the runner
        uses: step-security/harden-runner@0634a2670c59f64b4a01f0f96f84700a4088b9f0 # v2.12.0
        with:
          disable-sudo: true
          egress-policy: block
          allowed-endpoints: >
            API.github.com:443
            files.pythonhosted.org:443 pypi.org:443
            *.blob.core.windows.net:443
            azure.archive.ubuntu.com:80   # apt
            ssh.github.com:22
            203.0.113.7:8443
            proxy.golang.org
            ${{ vars.MORE }}
      - uses: actions/checkout@v4
  docs:
    runs-on: ubuntu-latest
    steps:
      - uses: step-security/harden-runner@v2
        with:
          egress-policy: audit
          allowed-endpoints: "api.github.com:443 registry.npmjs.org:443"
  unguarded:
    runs-on: ubuntu-latest
    steps: [{ run: make }]
"""
BULLFROG = """\
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: bullfrogsec/bullfrog@1831f79cce8ad602eef14d2163873f27081ebfb3 # v0.8.4
        with:
          egress-policy: block
          enable-sudo: false
          allowed-domains: |
            *.docker.com
            docker.io
            # images
            *.docker.io
          allowed-ips: |
            203.0.113.7
            198.51.100.0/24
            169.254.169.254
"""
FIREWALL = """\
# .github/egress-firewall.yaml
mode: enforce
no-default-urls: true
allow:
  - github.com
  - release-assets.githubusercontent.com
  - "*.example.org"
"""
HARDENED = (
    "jobs:\n  build:\n    steps:\n      - uses: step-security/harden-runner@v2\n        with:\n          allowed-endpoints: {}\n"
)


def made(kind: str, text: str) -> tuple[str, Policy]:
    """The policy's text, and what the loader makes of it for the job build."""
    policy, _left_out = imported(kind, "ci.yml", text)
    return policy, load_texts([("p.yml", policy)], job="build", given_by="")


def allows(policy: Policy, host: str, port: int = 443, protocol: Protocol = Protocol.TLS, method: str = "GET") -> bool:
    return decide(policy, Observation(Stage.REQUEST, protocol, host, port, host, True, method, "/x")).allowed


def line_of(policy: str, host: str) -> str:
    return next(line for line in policy.splitlines() if not line.startswith("#") and host in line)


def test_a_workflow_with_harden_runner() -> None:
    text, policy = made("harden-runner", WORKFLOW)
    assert policy.mode == "enforce"
    assert allows(policy, "api.github.com", method="POST")
    assert allows(policy, "pypi.org")
    assert not allows(policy, "anything.blob.core.windows.net")
    assert allows(policy, "azure.archive.ubuntu.com", 80, Protocol.HTTP)
    assert not allows(policy, "azure.archive.ubuntu.com")
    assert allows(policy, "ssh.github.com", 22, Protocol.TCP)
    assert allows(policy, "203.0.113.7", 8443)
    assert allows(policy, "proxy.golang.org")
    assert not allows(policy, "registry.npmjs.org")
    assert not allows(policy, "apt")
    docs = load_texts([("p.yml", text)], job="docs", given_by="")
    assert docs.mode == "audit"
    assert [str(entry.host) for entry in docs.allow] == ["api.github.com", "registry.npmjs.org"]
    nobody = load_texts([("p.yml", text)], job="unguarded", given_by="")
    assert [str(entry.host) for entry in nobody.allow] == ["api.github.com"]


def test_each_line_says_what_it_leaves_open() -> None:
    text, policy = made("harden-runner", WORKFLOW)
    entries = [line for line in text.splitlines() if line.lstrip().startswith("- ")]
    assert len(entries) >= len(policy.allow)
    assert all("  # " in line for line in entries)
    for host, words in {
        "api.github.com": "any account can make repositories",
        "pypi.org": "any method, any path; preset python",
        "azure.archive.ubuntu.com": "plain HTTP",
        "ssh.github.com": "opaque",
        "203.0.113.7": "an address",
    }.items():
        assert words in line_of(text, host)
    assert "port 8443" in line_of(text, "203.0.113.7")
    assert "#   python: files.pythonhosted.org pypi.org" in text
    assert "# disable-sudo: the action's input is sudo: remove" in text
    assert "${{ vars.MORE }}: an expression" in text
    assert "*.blob.core.windows.net:443: anybody can have a name below blob.core.windows.net" in text


def test_what_is_left_out_is_told_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ci.yml"
    file.write_text(WORKFLOW)
    done = run("harden-runner", str(file))
    assert done.returncode == 1
    line = next(number for number, one in enumerate(WORKFLOW.splitlines(), 1) if "vars.MORE" in one)
    assert f"{file}:{line}:13: left out: ${{{{ vars.MORE }}}}" in done.stderr


def test_a_workflow_with_bullfrog() -> None:
    text, policy = made("bullfrog", BULLFROG)
    assert [str(entry.host or entry.cidrs[0]) for entry in policy.allow] == [
        "*.docker.com", "docker.io", "*.docker.io", "203.0.113.7", "198.51.100.0/24", "169.254.169.254",
    ]  # fmt: skip
    assert allows(policy, "auth.docker.io")
    assert not allows(policy, "docker.com")
    assert allows(policy, "198.51.100.9")
    assert "every port was open, here 443 alone" in line_of(text, "docker.io")
    assert "special range" in line_of(text, "169.254.169.254")
    assert "# enable-sudo: false" in text


def test_bullfrog_only_watches_unless_told_to_block() -> None:
    text, policy = made("bullfrog", BULLFROG.replace("          egress-policy: block\n", ""))
    assert policy.mode == "audit"
    assert "mode: audit" in text


def test_the_file_of_githubs_firewall() -> None:
    text, policy = made("native-firewall", FIREWALL)
    assert policy.mode == "enforce"
    assert [str(entry.host) for entry in policy.allow] == ["github.com", "release-assets.githubusercontent.com", "*.example.org"]
    assert "every name below it" in line_of(text, "*.example.org")
    assert not allows(policy, "codeload.github.com")
    added = made("native-firewall", "mode: log\nallow: [a.example.org]\n")[1]
    assert added.mode == "audit"
    assert allows(added, "a.example.org", method="POST")
    assert allows(added, "codeload.github.com")


def test_a_pattern_of_hosts_that_a_preset_names_becomes_those_hosts() -> None:
    text, policy = made("harden-runner", HARDENED.format("productionresultssa*.blob.core.windows.net:443"))
    assert allows(policy, "productionresultssa7.blob.core.windows.net")
    assert not allows(policy, "productionresultssax.blob.core.windows.net")
    assert "one of productionresultssa*" in text


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ('"*"', "name the hosts"),
        ('"*:443"', "name the hosts"),
        ('"*.*:443"', "name the hosts"),
        ('"*.com:443"', "everybody's domains"),
        ('"*.co.uk:443"', "everybody's domains"),
        ('"*.workers.dev"', "anybody can have a name"),
        ("'*.github.io:443'", "anybody can have a name"),
        ("a*.example.com", "first label"),
        ("a.*.example.com", "first label"),
        ('"*example.com"', "first label"),
        ("${{ inputs.hosts }}", "an expression"),
        ("0.0.0.0/0", "every address"),
        ('"::/0"', "every address"),
    ],
)
def test_what_no_policy_says_is_left_out_and_told(endpoint: str, why: str) -> None:
    text, left_out = imported("harden-runner", "ci.yml", HARDENED.format(endpoint))
    assert [why in one.why for one in left_out] == [True]
    assert (left_out[0].line, left_out[0].column) == (6, 30 + endpoint.startswith(('"', "'")))
    assert f"# left out, line 6: {left_out[0].text}" in text
    assert not load_texts([("p.yml", text)], job="build", given_by="").allow


@pytest.mark.parametrize(
    ("kind", "text", "line", "column", "words"),
    [
        ("harden-runner", HARDENED.format("a.com:443 b.com:https"), 6, 40, "HOST:PORT"),
        ("harden-runner", HARDENED.format("a.com:0"), 6, 30, "not a port"),
        ("harden-runner", HARDENED.format("a.com:0443"), 6, 30, "not a port"),
        ("harden-runner", HARDENED.format("a.com:99999"), 6, 30, "not a port"),
        ("harden-runner", HARDENED.format("a.com:443,b.com:443"), 6, 30, "looks like"),
        ("harden-runner", HARDENED.format(">\n            a.com:443\n            https://b.com/x"), 8, 13, "without scheme"),
        ("harden-runner", HARDENED.format("|\n            a.com:443\n\n            b_-.com"), 9, 13, "host"),
        ("harden-runner", HARDENED.format("[a.com]"), 6, 30, "one text"),
        ("harden-runner", HARDENED.format("x\n          egress-policy: blok"), 7, 26, "audit nor block"),
        ("harden-runner", "jobs:\n  build:\n    steps: [{uses: actions/checkout@v4}]\n", 1, 1, "no step"),
        ("harden-runner", "jobs:\n  build:\n    steps: [{uses: step-security/harden-runner-x@v4}]\n", 1, 1, "no step"),
        ("harden-runner", "- a\n", 1, 1, "no step"),
        ("harden-runner", "jobs:\n  'a: b':\n    steps: [{uses: step-security/harden-runner@v2}]\n", 2, 3, "name of a job"),
        ("harden-runner", "jobs: &a\n  x: *a\n", 1, 7, "anchor"),
        ("bullfrog", WORKFLOW, 1, 1, "bullfrogsec/bullfrog"),
        ("native-firewall", "mode: block\nallow: [a.com]\n", 1, 7, "log nor enforce"),
        ("native-firewall", "mode: log\nalow: [a.com]\n", 2, 1, "did you mean allow?"),
        ("native-firewall", "mode: log\nallow: [a.com/x]\n", 2, 9, "host"),
        ("native-firewall", "no-default-urls: yes\nallow: [a.com]\n", 1, 18, "true or false"),
        ("native-firewall", "[]\n", 1, 1, "mapping"),
    ],
)
def test_mistakes_are_told_where_they_are(kind: str, text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(PolicyProblems) as caught:
        imported(kind, "ci.yml", text)
    assert [(one.line, one.column) for one in caught.value.problems] == [(line, column)], caught.value.cause
    assert words in caught.value.cause


HOSTILE = {
    "lines in a quoted text": r'"a.com:443\n  - evil.example"',
    "keys in a quoted text": r'"a.com\nmode: audit\nallow: [evil.example]"',
    "lines in an expression": r'"${{ x \n}} ${{\nallow:\n  - evil.example\n}}"',
    "a line separator": '"${{ \\u2028  - evil.example }}"',
    "the next line of Unicode": '"${{ \\x85  - evil.example }}"',
    "a carriage return": r'"${{ a\r  - evil.example }}"',
    "a comment's end": '"*x # - evil.example"',
    "colours and titles": r'"${{ \e]0;evil.example\a\e[31m }}"',
    "workflow commands": r'"${{ \n::error::evil.example }}"',
    "a bidirectional override": '"${{ \u202eelpmaxe.live }}"',
    "quotes": """'a.com"}, {host: evil.example'""",
    "a wildcard with quotes": """'*.a.com"}\n          - evil.example'""",
    "look-alike colons": "a.com：443",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_list_says_nothing_but_endpoints(name: str) -> None:
    try:
        text, left_out = imported("harden-runner", "ci\n- evil.example.yml", HARDENED.format(HOSTILE[name]))
    except PolicyProblems:
        return
    policy = load_texts([("p.yml", text)], job="build", given_by="")
    assert left_out
    assert not [entry for entry in policy.allow if "evil" in str(entry.host)]
    assert policy.mode == "enforce"
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("::") for line in text.splitlines())


def test_a_hostile_file_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "ci\n::error::.yml"
    file.write_text(HARDENED.format(HOSTILE["colours and titles"]))
    done = run("harden-runner", str(file))
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("left out") == 1
    assert all(line.isprintable() and not line.startswith("::") for line in (done.stdout + done.stderr).splitlines())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(["a.com:443", "*.b.org", "10.0.0.0/8", "# x", "${{ a }}", "[::1]:22", "*"]), max_size=6), st.sampled_from([" ", "\n", "\t"]))  # fmt: skip
def test_any_list_is_refused_or_becomes_a_policy_of_its_own_words(texts: list[str], between: str) -> None:
    """Whatever stands in the list: a problem, or a policy whose hosts are words of the list."""
    listed = between.join(texts)
    quoted = '"' + "".join(f"\\U{ord(one):08x}" for one in listed) + '"'
    try:
        text, _left_out = imported("harden-runner", "ci.yml", HARDENED.format(quoted))
    except PolicyProblems:
        return
    policy = load_texts([("p.yml", text)], job="build", given_by="")
    assert policy.mode == "enforce"
    assert len(policy.allow) <= len(listed.split())
    assert not policy.bindings
    assert not policy.deny


@pytest.mark.parametrize(
    "text",
    ["x" * (MAX_LIST + 1), "a.com " * (MAX_ENDPOINTS + 1), "${{ " * (MAX_LIST // 4)],
    ids=["long", "many", "unclosed expressions"],
)
def test_lists_are_bounded(text: str) -> None:
    with pytest.raises(PolicyProblems):
        imported("harden-runner", "ci.yml", HARDENED.format(f'"{text}{"." if text.startswith("$") else ""} a:b"'))


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe\x00", b"jobs: " + b"[" * 3000, b"a: !!python/object/apply:os.system [x]"])
def test_bytes_that_are_no_such_file(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "ci.yml"
    file.write_bytes(raw)
    for kind in GUARDS:
        with pytest.raises(PolicyProblems):
            imported(kind, str(file), read(file))
    done = run("native-firewall", str(file))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_file_is_never_replaced_without_being_told(tmp_path: Path) -> None:
    file, into = tmp_path / "firewall.yml", tmp_path / "ebbgate.yml"
    file.write_text(FIREWALL)
    into.write_text("mine\n")
    refused = run("native-firewall", str(file), "--into", str(into))
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    assert into.read_text() == "mine\n"
    done = run("native-firewall", str(file), "--into", str(into), "--overwrite")
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert into.read_text() == imported("native-firewall", str(file), FIREWALL)[0]
    checked = subprocess.run([sys.executable, "-m", "ebbgate", "check", str(into)], capture_output=True, text=True, check=False)
    assert checked.returncode == 1, checked.stderr
    assert "writable-host" in checked.stdout
    assert run("native-firewall", str(file), "--into", str(tmp_path / "new.yml")).returncode == 0
    assert run("native-firewall", str(file), "--into", str(tmp_path / "no" / "such.yml")).returncode == 2


def run(kind: str, file: str, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ebbgate", "import", kind, file, *options]
    return subprocess.run(line, capture_output=True, text=True, check=False)
