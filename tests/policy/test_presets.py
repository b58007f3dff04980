"""Presets: each entry has a reason and a source, none can write but where an install needs it, and the marks are true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.policy.decide import decide
from ebbgate.policy.entries import is_shared
from ebbgate.policy.load import load_policy
from ebbgate.policy.model import METHODS, Entry
from ebbgate.policy.never_by_default import never_by_default
from ebbgate.policy.observation import Observation, Protocol, Stage
from ebbgate.policy.presets import _read, preset, preset_names
from ebbgate.policy.yaml_source import PolicyProblems
from tests.legit.test_real_installs import CLIENTS

READING = {"GET", "HEAD"}
# What a preset may send, by preset and host, and why that ecosystem's install cannot do without.
WRITES: dict[tuple[str, str], tuple[set[str], str]] = {
    ("codecov", "ingest.codecov.io"): ({"POST"}, "an upload is what it is for; limited to /upload/"),
    ("codecov", "storage.googleapis.com"): ({"PUT"}, "the report goes to Codecov's bucket, by an address that was signed for it"),
    ("docker-hub", "auth.docker.io"): ({"POST"}, "OAuth2 token requests are POSTs; what comes back is a token for pulling"),
    ("github-actions", "github.com"): ({"POST"}, "git fetch negotiates by POST; git-receive-pack, which is push, is not among the paths"),
    ("github-actions", "*.actions.githubusercontent.com"): (set(METHODS), "artifacts, caches, logs and OIDC are calls by POST and PUT"),
    ("haskell", "casa.stackage.org"): ({"POST"}, "stack asks for files by hash, with the hashes in the body"),
    ("node", "registry.npmjs.org"): ({"POST"}, "npm install asks for advisories; publishing is PUT to other paths"),
    ("php", "packagist.org"): ({"POST"}, "Composer asks for advisories and counts installs by POST, and would be denied in every run"),
    ("cocoapods", "github.com"): ({"POST"}, "pods are git repositories; git fetch negotiates by POST"),
    ("homebrew", "github.com"): ({"POST"}, "Homebrew updates itself by git fetch"),
    ("swift", "github.com"): ({"POST"}, "packages are git repositories; git fetch negotiates by POST"),
    ("sentry-cli", "sentry.io"): ({"POST", "PUT"}, "releases and uploads are what it is for; with the job's own token only"),
    ("sentry-cli", "us.sentry.io"): ({"POST", "PUT"}, "the same"),
    ("sentry-cli", "de.sentry.io"): ({"POST", "PUT"}, "the same"),
}  # fmt: skip
# The runner's own processes are let through unread, and steps cannot use it: they are no workload.
UNREAD = {"github-runner"}
STEP_PRESETS = [name for name in preset_names() if name not in UNREAD]


def sent(entry: Entry) -> set[str]:
    """Methods by which an entry can send something."""
    everything = not entry.methods or entry.passthrough or entry.protocol is Protocol.TCP
    return (set(METHODS) if everything else set(entry.methods)) - READING


@pytest.mark.parametrize("name", preset_names())
def test_every_entry_has_a_reason_and_a_source(name: str) -> None:
    chosen = preset(name)
    assert chosen.name == name
    assert chosen.description
    assert chosen.entries
    assert all(entry.reason.strip() for entry in chosen.entries)
    assert len(chosen.sources) == len(chosen.entries)
    assert all(re.fullmatch(r"https://[^\s<>|]+", source) for source in chosen.sources), chosen.sources
    assert len({entry.ref.text for entry in chosen.entries}) == len(chosen.entries)
    assert load_policy([], use=[name]).allow


def test_they_are_many_and_listed_with_their_marks() -> None:
    assert len(preset_names()) >= 30
    done = subprocess.run([sys.executable, "-m", "ebbgate", "presets"], capture_output=True, text=True, check=True)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(lines) == set(preset_names())
    for name in preset_names():
        assert lines[name].endswith("(unverified)") is bool(preset(name).unverified)


@pytest.mark.parametrize("name", STEP_PRESETS)
def test_nothing_is_sent_but_what_the_install_needs(name: str) -> None:
    """A preset that writes anywhere else must say here why its ecosystem cannot do without."""
    for entry in preset(name).entries:
        allowed, why = WRITES.get((name, str(entry.host)), (set(), ""))
        assert sent(entry) <= allowed, f"{name} may send to {entry.ref.text}"
        assert not sent(entry) or why
        if sent(entry) and not entry.host.wildcard:  # type: ignore[union-attr]  # an entry of addresses has no place in WRITES
            assert entry.paths, f"{name} may send to all of {entry.host}"


def test_the_list_of_what_may_be_sent_is_no_longer_than_needed() -> None:
    used = {(name, str(entry.host)) for name in STEP_PRESETS for entry in preset(name).entries if sent(entry)}
    assert used == set(WRITES)


@pytest.mark.parametrize("name", STEP_PRESETS)
@pytest.mark.parametrize("method", sorted(set(METHODS) - READING))
def test_publishing_is_denied(name: str, method: str) -> None:
    """Paths by which packages, images and releases are published, at every host of the preset."""
    policy = load_policy([], use=[name])
    for entry in preset(name).entries:
        if entry.host is None or entry.host.wildcard:
            continue
        for path in ("/", "/is-number", "/legacy/", "/api/v1/crates/new", "/api/v1/gems", "/v2/me/image/blobs/uploads/", "/api/v2/package",
                     "/user/repos", "/gists", "/o/r/git-receive-pack", "/repos/o/r/releases", "/me/bucket/loot", "/api/0/projects/o/p/keys/"):  # fmt: skip
            seen = Observation(Stage.REQUEST, entry.protocol, entry.host.host, entry.ports[0], "203.0.113.1", True, method, path)
            assert not decide(policy, seen).allowed, f"{method} {path} at {entry.host}"


@pytest.mark.parametrize("name", preset_names())
def test_shared_platforms_only_with_a_reason_and_pinned(name: str) -> None:
    """Where anybody can have a name, a wildcard is pinned by path and only read; what is for handing data to anybody is in none."""
    for entry in preset(name).entries:
        assert entry.host is not None
        assert not entry.cidrs
        assert not never_by_default(entry.host.host)
        if entry.host.wildcard and is_shared(entry.host.host):
            assert entry.reason
            assert entry.paths
            assert not sent(entry)


@pytest.mark.parametrize(
    "bucket_host", ["storage.googleapis.com", "s3.amazonaws.com", "dl.google.com", "raw.githubusercontent.com"]
)
def test_hosts_with_everybodys_buckets_are_pinned(bucket_host: str) -> None:
    for name in set(preset_names()) - {"github-actions"}:
        for entry in preset(name).entries:
            if str(entry.host) == bucket_host:
                assert entry.paths
                assert not any(path.startswith(("/*", "/**")) for path in entry.paths)


@pytest.mark.parametrize("name", preset_names())
def test_verified_means_that_a_test_installs_with_it(name: str) -> None:
    tried = {client for client, (used, _command, _wanted) in CLIENTS.items() if used == name}
    assert set(preset(name).verified) <= tried
    assert bool(preset(name).verified) == bool(tried)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow: [{host: a.example, methods: [GET], reason: r}]", "without a source"),
        ("source: https://a.example\nallow: [{host: a.example, methods: [GET]}]", "without a reason"),
        ("source: https://a.example\nallow: [a.example]", "without a reason"),
        ("verified: [x]\nsource: s\nallow: [{host: a.example, reason: r}]", "either verified"),
        ("source: s\nallow: [{host: a.example, reason: r, sorce: x}]", "unknown key 'sorce'"),
        ("sources: s\nallow: []", "did you mean source?"),
    ],
)
def test_a_preset_that_says_too_little_is_refused(text: str, words: str) -> None:
    with pytest.raises(PolicyProblems) as caught:
        _read("made-up", f"version: 1\nunverified: made up\n{text}\n")
    assert words in caught.value.cause


def test_a_preset_without_a_mark_is_refused() -> None:
    with pytest.raises(PolicyProblems, match="problem") as caught:
        _read("made-up", "version: 1\nsource: s\nallow: [{host: a.example, reason: r}]\n")
    assert "either verified" in caught.value.cause


def test_policies_have_no_sources(tmp_path: Path) -> None:
    """`source` belongs to presets: in a policy it is a mistake like any other."""
    file = tmp_path / "p.yml"
    file.write_text("version: 1\nallow: [{host: a.example, source: https://a.example}]\n")
    with pytest.raises(PolicyProblems, match="problem") as caught:
        load_policy([file])
    assert "unknown key 'source'" in caught.value.cause
