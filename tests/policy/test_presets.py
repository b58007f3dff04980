"""Presets: least methods. What can store data is listed here by hand, each with the reason why an install needs it."""

from __future__ import annotations

import pytest

from ebbgate.policy.model import METHODS
from ebbgate.policy.presets import preset, preset_names
from ebbgate.policy.suffixes import public_suffix_list
from tests.legit.test_real_installs import CLIENTS

READING = {"GET", "HEAD"}
# (preset, host): what is sent, and why an install cannot do without it. Any other entry may only read.
WRITES = {
    ("github-actions", "github.com", "/*/*/git-upload-pack"): "git fetch",
    ("github-actions", "*.actions.githubusercontent.com", ""): "artifacts, caches and logs of the run",
    ("node", "registry.npmjs.org", "/-/npm/v1/security/advisories/bulk"): "names of what is installed",
    ("node", "registry.npmjs.org", "/-/npm/v1/security/audits/quick"): "names of what is installed",
    ("node", "registry.npmjs.org", "/-/npm/v1/security/audits"): "names of what is installed",
    ("php", "packagist.org", "/api/security-advisories/"): "names of what is installed",
    ("swift", "github.com", "/*/*/git-upload-pack"): "git fetch",
    ("homebrew", "github.com", "/Homebrew/*/git-upload-pack"): "git fetch",
    ("cocoapods", "github.com", "/*/*/git-upload-pack"): "git fetch",
}
FOR_THE_RUNNER = "github-runner"  # its entries are passed through, for the runner's own processes


def test_there_are_some_thirty() -> None:
    assert len(preset_names()) >= 30


@pytest.mark.parametrize("name", [one for one in preset_names() if one != FOR_THE_RUNNER])
def test_nothing_can_be_stored_that_an_install_does_not_need(name: str) -> None:
    writing = {
        (name, str(entry.host), path)
        for entry in preset(name).entries
        if entry.passthrough or not entry.methods or not READING.issuperset(entry.methods)
        for path in entry.paths or ("",)
    }
    assert writing <= set(WRITES)
    assert all(set(entry.methods) <= {*READING, "POST"} for entry in preset(name).entries)
    assert "PUT" in METHODS


@pytest.mark.parametrize("name", preset_names())
def test_every_entry_says_why_and_is_narrow(name: str) -> None:
    chosen = preset(name)
    assert chosen.name == name
    assert chosen.description
    assert chosen.source.startswith("https://")
    for entry in chosen.entries:
        assert entry.host is not None
        assert len(entry.reason) > 3
        assert not entry.host.wildcard or public_suffix_list().publicsuffix(entry.host.host) != entry.host.host
    texts = [entry.ref.text for entry in chosen.entries]
    assert len(set(texts)) == len(texts)


def test_every_exception_is_one() -> None:
    for name, host, path in WRITES:
        assert any(str(entry.host) == host and (path in entry.paths or not path) for entry in preset(name).entries)


def test_verified_is_what_a_real_client_was_run_with() -> None:
    assert {name for name in preset_names() if preset(name).verified} == {
        preset_name for preset_name, _command, _wanted in CLIENTS.values()
    }
