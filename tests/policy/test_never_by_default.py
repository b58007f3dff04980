"""The list of hosts that a person has to allow: canonical, each with a reason, by suffix and by nothing else."""

from __future__ import annotations

import pytest

from ebbgate.policy.names import canonical_host, is_literal
from ebbgate.policy.never_by_default import NEVER_BY_DEFAULT, never_by_default
from ebbgate.policy.presets import preset, preset_names


@pytest.mark.parametrize("suffix", NEVER_BY_DEFAULT)
def test_suffixes_are_canonical_hosts(suffix):
    assert canonical_host(suffix) == suffix
    assert "." in suffix or is_literal(suffix)
    assert NEVER_BY_DEFAULT[suffix]


def test_below_a_suffix_is_meant_and_beside_it_is_not():
    assert never_by_default("pastebin.com")
    assert never_by_default("abc.def.ngrok.io")
    assert not never_by_default("notpastebin.com")
    assert not never_by_default("pastebin.com.example.com")
    assert not never_by_default("")


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_allows_what_nobody_should_by_default(name):
    assert [entry.ref.text for entry in preset(name).entries if entry.host and never_by_default(entry.host.host)] == []
