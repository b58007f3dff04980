"""Mistakes in policy files: each named with line and column and what to write instead, and nothing is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.policy.load import load_policy
from ebbgate.policy.yaml_source import PolicyProblems

# name: (text with § where the mistake is, words that the message must hold)
BROKEN = {
    "an unknown key": ("version: 1\n§alow:\n  - example.com\n", "did you mean allow?"),
    "an unknown key in an entry": ("version: 1\nallow:\n  - host: example.com\n    §method: [GET]\n", "did you mean methods?"),
    "a key given twice": ("version: 1\nallow: []\n§allow: [example.com]\n", "given twice"),
    "no version": ("§allow: [example.com]\n", "version is missing"),
    "another version": ("version: §2\n", "version: 1"),
    "an unknown mode": ("version: 1\nmode: §enforced\n", "did you mean enforce?"),
    "an unknown preset": ("version: 1\nuse: [python, §nodejs]\n", "did you mean node?"),
    "a star for everything": ('version: 1\nallow:\n  - §"*"\n', "every host"),
    "a wildcard in the middle": ("version: 1\nallow: [§a.*.example.com]\n", "first label"),
    "a wildcard over a shared platform": ("version: 1\nallow:\n  - §'*.github.io'\n", "anybody"),
    "a wildcard over a cloud": ("version: 1\nallow:\n  - §'*.blob.core.windows.net'\n", "anybody"),
    "a wildcard over a top-level domain": ("version: 1\nallow:\n  - §'*.com'\n", "anybody"),
    "an octal port": ("version: 1\nallow: [{host: example.com, port: §010}]\n", "not a port"),
    "a port that is sexagesimal in YAML 1.1": ("version: 1\nallow: [{host: example.com, port: §1:30}]\n", "not a port"),
    "a port out of range": ("version: 1\nallow: [§'example.com:70000']\n", "not a port"),
    "an unknown method": ("version: 1\nallow: [{host: example.com, methods: [§GTE]}]\n", "did you mean GET?"),
    "a method in lower case": ("version: 1\nallow: [{host: example.com, methods: [§get]}]\n", "did you mean GET?"),
    "a path that does not begin with a slash": ("version: 1\nallow: [{host: example.com, paths: [§a/b]}]\n", "/a/b"),
    "an unknown placeholder": ("version: 1\nallow: [{host: example.com, paths: [§'/{user}']}]\n", "known: {owner}"),
    "a path with a query": ("version: 1\nallow: [{host: example.com, paths: [§'/a?b']}]\n", "query"),
    "a query with a question mark": ("version: 1\nallow: [{host: a.com, query: [§'?a=b']}]\n", "name=pattern"),
    "two parameters in one": ("version: 1\nallow: [{host: a.com, query: [§'a=b&c=d']}]\n", "name=pattern"),
    "a query with tcp": ("version: 1\nallow: [{host: a.com, port: 1, protocol: tcp, query: §[a]}]\n", "cannot be judged"),
    "only of nothing": ("version: 1\nallow: [{host: a.com, only: §{}}]\n", "steps"),
    "only of something unknown": ("version: 1\nallow: [{host: a.com, only: {§step: [x]}}]\n", "did you mean steps?"),
    "a program without its path": ("version: 1\nallow: [{host: a.com, only: {executables: [§git]}}]\n", "/usr/bin/NAME"),
    "only where nothing is read": ("version: 1\nallow: [{host: a.com, tls: passthrough, only: §{steps: [x]}}]\n", "cannot be judged"),
    "methods with tcp": ("version: 1\nallow: [{host: example.com, port: 1, protocol: tcp, methods: §[GET]}]\n", "methods"),
    "tcp without a port": ("version: 1\nallow: [§{host: example.com, protocol: tcp}]\n", "port"),
    "an unknown protocol": ("version: 1\nallow: [{host: example.com, protocol: §htttp}]\n", "did you mean http?"),
    "passthrough misspelt": ("version: 1\nallow: [{host: example.com, tls: §passtrough}]\n", "passthrough"),
    "a range with host bits": ("version: 1\nallow: [{host: a.example.com, cidr: §10.0.0.1/8}]\n", "did you mean 10.0.0.0/8?"),
    "a URL instead of a host": ("version: 1\nallow: [§'https://example.com/path']\n", "a path does not belong here"),
    "a host with a space": ("version: 1\nallow: [§'exa mple.com']\n", "white space"),
    "a host with an underscore too many": ("version: 1\nallow: [§-bad-.example.com]\n", "host"),
    "an address with an octal part too large": ("version: 1\nallow: [§'127.0.0.09']\n", "octal"),
    "an allow that is no list": ("version: 1\nallow: §example.com\n", "must be a list"),
    "an entry without a host": ("version: 1\nallow:\n  - §methods: [GET]\n", "host"),
    "an unknown place of a secret": ("version: 1\nsecrets: {T: {to: [example.com], in: [§authorisation]}}\n", "did you mean authorization?"),
    "a secret bound to nothing": ("version: 1\nsecrets: {T: §{in: [body]}}\n", "to: [host]"),
    "a secret with a bad name": ("version: 1\nsecrets: {§my-token: {to: [example.com]}}\n", "environment variable"),
    "a place without a name": ("version: 1\nsecrets: {T: {to: [example.com], in: [§'json:']}}\n", "json"),
    "credentials of nobody": ("version: 1\ncredentials: §owned\n", "did you mean own?"),
    "what cannot be read neither denied nor allowed": ("version: 1\nuninspectable: §denied\n", "did you mean deny?"),
    "a list where one of two words is meant": ("version: 1\nuninspectable: §[deny]\n", "must be text"),
    "credentials where nothing is read": ("version: 1\nallow: [§{host: a.com, port: 1, protocol: tcp, credentials: own}]\n", "cannot be judged"),
    "credentials of a denied host": ("version: 1\ndeny: [§{host: a.com, credentials: own}]\n", "cannot be judged"),
    "a canary that is no yes or no": ("version: 1\ncanary: §yes\n", "true or false"),
    "an unknown exception": ("version: 1\nexceptions: [§coverals]\n", "did you mean coveralls?"),
    "an anchor": ("version: 1\nallow: §&a [example.com]\n", "anchor"),
    "an alias": ("version: 1\nallow: [§*a]\n", "alias"),
    "a tag": ("version: 1\nallow: §!!python/object/apply:os.system [x]\n", "tag"),
    "a merge key": ("version: 1\n§<<: {allow: []}\n", "merge key"),
    "a tabulator": ("version: 1\nallow:\n§\t- example.com\n", "not valid YAML"),
    "an unclosed bracket": ("version: 1\nallow: [example.com\n§", "not valid YAML"),
    "two documents": ("version: 1\n§---\nversion: 1\n", "document"),
    "a mistake in another job": ("version: 1\njobs:\n  build:\n    allow: [{host: a.com, §prot: tcp}]\n", "did you mean port"),
    "a job that is no mapping": ("version: 1\njobs:\n  build: §[]\n", "mapping"),
    "a list instead of a policy": ("§- example.com\n", "mapping"),
    "an empty file": ("§", "version: 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_mistake_is_found_where_it_is(tmp_path: Path, name: str) -> None:
    text, words = BROKEN[name]
    before = text[: text.index("§")]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    file = tmp_path / "policy.yml"
    file.write_text(text.replace("§", "", 1))
    with pytest.raises(PolicyProblems) as caught:
        load_policy([file])
    assert [(one.line, one.column) for one in caught.value.problems] == [(line, column)], caught.value.cause
    assert words in caught.value.cause
    assert f"{file}:{line}:{column}: " in caught.value.cause


@pytest.mark.parametrize("name", list(BROKEN)[::3])
def test_nothing_is_run(tmp_path: Path, name: str) -> None:
    text, words = BROKEN[name]
    file, marker = tmp_path / "policy.yml", tmp_path / "ran"
    file.write_text(text.replace("§", "", 1))
    line = [sys.executable, "-m", "ebbgate", "run", "--policy", str(file), "--", "touch", str(marker)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert str(file) in done.stderr
    assert not marker.exists()


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text("version: 2\nmode: off\nuse: [x]\nallow: ['*', {host: a.com, port: 0}]\n")
    done = subprocess.run([sys.executable, "-m", "ebbgate", "check", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if str(file) in line]) == 5
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"version: 1\nallow: ['\x00']\n", b"version: 1\n# \x07\n", b"a: " + b"[" * 2000])
def test_bytes_that_are_no_policy(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "policy.yml"
    file.write_bytes(raw)
    with pytest.raises(PolicyProblems):
        load_policy([file])


def test_a_missing_file() -> None:
    with pytest.raises(PolicyProblems, match="nothing was run") as caught:
        load_policy([Path("/nowhere/policy.yml")])
    assert "cannot be read" in caught.value.cause


def test_options_are_judged_alike() -> None:
    with pytest.raises(PolicyProblems) as caught:
        load_policy([], allow=["*", "https://a.com/x", "tcp://a.com"], use=["pyhton"])
    assert len(caught.value.problems) == 4
