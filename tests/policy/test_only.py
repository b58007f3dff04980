"""``only``: an entry for some steps, programs or actions; for nobody where it is not known who asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ebbgate.events.types import Origin, Process, Step
from ebbgate.gate.judging import with_evidence
from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_texts
from ebbgate.policy.observation import Protocol, Reason, Stage
from tests.policy.test_decide import request

TEXT = """version: 1
allow:
  - { host: a.com, only: { steps: [publish] } }
  - { host: b.com, only: { executables: [/usr/bin/git, "/**/node"] } }
  - { host: c.com, only: { actions: [Actions/Checkout, my/action@v1] } }
  - { host: d.com, only: { steps: [publish], executables: [/usr/bin/twine] } }
"""
POLICY = load_texts([("p.yml", TEXT)], job="", given_by="")

TABLE = [
    ("a.com", {"step": "publish"}, True),
    ("a.com", {"step": "test"}, False),
    ("a.com", {}, False),
    ("b.com", {"executable": "/usr/bin/git"}, True),
    ("b.com", {"executable": "/opt/x/bin/node"}, True),
    ("b.com", {"executable": "/usr/bin/git2"}, False),
    ("b.com", {"executable": "/tmp/usr/bin/git"}, False),
    ("b.com", {}, False),
    ("c.com", {"action": "actions/checkout@v4"}, True),
    ("c.com", {"action": "ACTIONS/checkout@deadbeef"}, True),
    ("c.com", {"action": "my/action@v1"}, True),
    ("c.com", {"action": "my/action@v2"}, False),
    ("c.com", {"action": "evil/checkout@v4"}, False),
    ("c.com", {}, False),
    ("d.com", {"step": "publish", "executable": "/usr/bin/twine"}, True),
    ("d.com", {"step": "publish"}, False),
    ("d.com", {"executable": "/usr/bin/twine"}, False),
]


@pytest.mark.parametrize(("host", "who", "allowed"), TABLE, ids=str)
def test_who_may(host: str, who: dict[str, str], allowed: bool) -> None:
    decision = decide(POLICY, replace(request(host), **who))
    assert decision.allowed is allowed
    assert decision.reason is (Reason.RULE if allowed else Reason.ONLY)


def test_what_is_never_read_as_a_request_does_not_go_on_by_name() -> None:
    """TLS of containers goes on unread unless the decision about its name demands inspection."""
    assert decide(POLICY, replace(request("a.com"), stage=Stage.NAME, method=None, path=None)).inspected_only
    assert not decide(POLICY, replace(request("a.com"), step="publish")).inspected_only
    assert not decide(
        load_texts([("p.yml", "version: 1\nallow: [a.com]")], job="", given_by=""), replace(request("a.com"), stage=Stage.NAME)
    ).inspected_only


def test_a_guess_is_no_evidence() -> None:
    step = Step("publish", "my/action@v1")
    seen = request("a.com", protocol=Protocol.TLS)
    sure = with_evidence(seen, Origin(Process(1, "/usr/bin/git", "git"), step=step))
    assert (sure.step, sure.executable, sure.action) == ("publish", "/usr/bin/git", "my/action@v1")
    for origin in (Origin(), Origin(Process(1, "/usr/bin/git", "git", certain=False), step=step), Origin(step=step)):
        unsure = with_evidence(seen, origin)
        assert (unsure.step, unsure.executable, unsure.action) == ("", "", "")
