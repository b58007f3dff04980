"""What is legal and still worth a look: each rule at the very place, and nothing where a careful policy stands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.policy.checks.finding import Severity
from ebbgate.policy.checks.registry import MEANINGS, RULES, review, review_file
from ebbgate.policy.load import load_policy

# name: (text after "version: 1" with § where the finding is, rule, severity, words that it must hold)
FOUND = {
    "an entry twice": ("allow:\n  - a.example.com\n  - §a.example.com\n", "duplicate", "warning", "on line 3"),
    "a denial twice": ("deny:\n  - a.example.com\n  - §a.example.com\n", "duplicate", "warning", "twice"),
    "one written in two ways": ("allow: [b.example.com, §B.example.com.]\n", "duplicate", "warning", "twice"),
    "one of a job": ("allow: [a.example.com]\njobs: {x: {allow: [§a.example.com]}}\n", "duplicate", "warning", "line 2"),
    "a host below a wildcard": ("allow: ['*.example.com', §a.example.com]\n", "shadowed", "warning", "allows all of it"),
    "a wildcard below a wildcard": ("allow: [§'*.a.example.com', '*.example.com']\n", "shadowed", "warning", "*.example.com"),
    "fewer methods": ("allow: [a.example.com, §{host: a.example.com, methods: [GET]}]\n", "shadowed", "warning", "allows all"),
    "a narrower path": ("allow: [{host: a.com, paths: [/x/**]}, §{host: a.com, paths: [/x/*/y]}]\n", "shadowed", "warning", "/x/**"),
    "what a preset has": ("use: [python]\nallow: [§{host: pypi.org, methods: [GET]}]\n", "duplicate", "warning", "twice"),
    "part of what a preset has": ("use: [python]\nallow: [§{host: pypi.org, methods: [GET], paths: [/simple/**]}]\n", "shadowed", "warning", "the preset python"),
    "own credentials that are never asked for": ("allow: [a.com, §{host: a.com, methods: [PUT], credentials: own}]\n", "shadowed", "warning", "never reached"),
    "addresses within addresses": ("allow: [{cidr: [192.0.2.0/28, 10.0.0.0/8], port: 1}, §{cidr: 10.0.0.0/8, port: 1}]\n", "shadowed", "warning", "allows all"),
    "what is denied anyway": ("allow: [§a.example.com]\ndeny: ['*.example.com']\n", "denied", "warning", "denies all of it"),
    "a port that is denied": ("allow: [§'a.example.com:8443']\ndeny: ['a.example.com:8443']\n", "denied", "warning", "8443"),
    "everybody's domains": ("allow: [§{host: '*.co.uk', reason: all of them}]\n", "public-suffix", "error", "co.uk"),
    "everybody's blobs": ("allow: [§{host: '*.blob.core.windows.net', reason: ours}]\n", "anyone-below", "note", "anybody"),
    "everybody's pages": ("allow: [§{host: '*.github.io', reason: ours}]\n", "anyone-below", "note", "anybody"),
    "a paste site": ("allow: [§pastebin.com]\n", "never-by-default", "warning", "paste"),
    "a paste site with a reason": ("allow: [§{host: pastebin.com, reason: we publish there}]\n", "never-by-default", "note", "paste"),
    "a tunnel by a name": ("allow: [§x.ngrok-free.app]\n", "never-by-default", "warning", "tunnel"),
    "a wildcard with a webhook in it": ("allow: [§'*.slack.com']\n", "never-by-default", "warning", "webhook"),
    "a resolver": ("allow: [§dns.google]\n", "doh-resolver", "warning", "resolves names"),
    "a resolver's address": ("allow: [§1.1.1.1]\n", "doh-resolver", "warning", "resolves names"),
    "anybody's repositories": ("allow: [§api.github.com]\n", "writable-host", "warning", "any account"),
    "anybody's buckets": ("allow: [§{host: s3.amazonaws.com, methods: [GET, PUT]}]\n", "writable-host", "warning", "buckets"),
    "anybody's repositories, unread": ("allow: [§{host: github.com, tls: passthrough, reason: pinned}]\n", "writable-host", "note", "any account"),
    "opaque bytes": ("allow: [§'tcp://db.example.com:5432']\n", "not-read", "warning", "opaque"),
    "opaque bytes, with a reason": ("allow: [§{host: a.com, port: 22, protocol: tcp, reason: git}]\n", "not-read", "note", "opaque"),
    "passthrough": ("allow: [§{host: a.com, tls: passthrough}]\n", "not-read", "warning", "passed through"),
    "uploads in the clear": ("allow: [§'http://a.example.com']\n", "clear-text", "warning", "plain HTTP"),
    "a binding to nowhere": ("secrets:\n  §T: {to: [a.example.com]}\n", "binding-unreachable", "warning", "no entry allows"),
    "a binding to what is not read": ("allow: [{host: a.com, tls: passthrough, reason: x}]\nsecrets: {§T: {to: [a.com]}}\n", "binding-unread", "warning", "no effect"),
    "a binding to plain HTTP": ("allow: [{host: a.com, protocol: http, methods: [GET]}]\nsecrets: {§T: {to: [a.com]}}\n", "binding-unread", "warning", "no effect"),
    "a binding to anybody": ("allow: [x.github.io]\nsecrets: {§T: {to: ['*.github.io']}}\n", "binding-anybody", "warning", "anybody"),
    "an unknown preset": ("use: [§pyhton]\n", "unknown-preset", "error", "pyhton"),
    "an unknown key": ("§alow: []\n", "invalid", "error", "alow"),
}  # fmt: skip


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "policy.yml"
    file.write_text("version: 1\n" + text)
    return file


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_where_it_is(tmp_path: Path, name: str) -> None:
    text, rule, severity, words = FOUND[name]
    before = "version: 1\n" + text[: text.index("§")]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    file = written(tmp_path, text.replace("§", ""))
    found = [one for one in review_file(file)[1] if one.rule == rule]
    assert [(one.source, one.line, one.column, one.severity) for one in found] == [(str(file), line, column, Severity(severity))]
    assert words in found[0].message
    if rule != "invalid":
        assert found[0].fix


def test_every_rule_is_tried() -> None:
    assert {rule for _text, rule, _severity, _words in FOUND.values()} == set(MEANINGS)


CAREFUL = """
use: [python, node, github-actions]
allow:
  - example.com
  - "*.cdn.example.net"
  - { host: api.github.com, methods: [POST], paths: [/repos/me/mine/statuses/*] }
  - { host: api.example.com, methods: [GET] }
  - { host: api.example.com, methods: [PUT], credentials: own }
  - { host: s3.amazonaws.com, paths: [/my-bucket/**] }
  - { host: registry.npmjs.org, methods: [PUT], paths: [/mine], credentials: own }
  - { host: "a.example.com", protocol: http, methods: [GET] }
  - { host: "*.example.org", tls: passthrough, reason: they pin }
  - { host: inspected.example.org, reason: this one does not }
deny: [telemetry.example.com, "example.com:8443"]
secrets: { TOKEN: { to: [api.example.com] } }
"""


def test_a_careful_policy_has_nothing_to_look_at(tmp_path: Path) -> None:
    policy, found = review_file(written(tmp_path, CAREFUL))
    assert policy is not None
    assert [one for one in found if one.severity is not Severity.NOTE] == []


def test_a_finding_of_two_jobs_is_told_once(tmp_path: Path) -> None:
    file = written(tmp_path, "allow: [pastebin.com]\njobs: {a: {}, b: {}}\n")
    assert [one.rule for one in review_file(file)[1]] == ["never-by-default"]


def test_many_entries_are_compared_by_host_only(tmp_path: Path) -> None:
    """A fail-safe: comparing each of 10,000 with all others takes minutes."""
    hosts = "".join(f"  - h{number}.example.com\n" for number in range(10_000))
    policy = load_policy([written(tmp_path, f"allow:\n{hosts}  - '*.example.com'\n")])
    assert len([one for one in review(policy) if one.rule == "shadowed"]) == 10_000


def check(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ebbgate", "check", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)


def test_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text("version: 1\nallow: [{host: pastebin.com, reason: ours}]\n")
    (tmp_path / "look.yml").write_text("version: 1\nallow: [pastebin.com]\n")
    (tmp_path / "bad.yml").write_text("version: 1\nalow: []\n")
    assert check("good.yml", cwd=tmp_path).returncode == 0
    assert check("good.yml", "look.yml", cwd=tmp_path).returncode == 1
    assert check("look.yml", "bad.yml", "good.yml", cwd=tmp_path).returncode == 2
    assert check("nowhere.yml", cwd=tmp_path).returncode == 2
    for form in ("json", "sarif", "github"):
        assert check("bad.yml", "--format", form, cwd=tmp_path).returncode == 2
        assert "alow" in check("bad.yml", "--format", form, cwd=tmp_path).stdout


def test_machine_formats_are_alone_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "look.yml").write_text("version: 1\nallow: [pastebin.com]\n")
    found = json.loads(check("look.yml", "--format", "json", cwd=tmp_path).stdout)["findings"]
    assert [(one["rule"], one["file"], one["line"], one["column"]) for one in found] == [("never-by-default", "look.yml", 2, 9)]
    assert check("look.yml", "--format", "github", cwd=tmp_path).stdout.startswith(
        "::warning title=Ebbgate never-by-default,file=look.yml,line=2,col=9::"
    )


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
