"""A change of a policy in terms of what it lets out. Sound: what the new policy allows and the old one does not is always told."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.policy.decide import decide
from ebbgate.policy.diff import Change, differences
from ebbgate.policy.load import load_texts, policies_of
from ebbgate.policy.model import Policy
from ebbgate.policy.observation import Observation, Protocol, RuleRef, Stage
from ebbgate.report.differences import FORMATS
from tests.policy.test_explain import a_policy, a_request

PAIRS, EACH = 1500, 30


def load(text: str) -> Policy:
    return load_texts([("p.yml", f"version: 1\n{text}")], job="", given_by="")


# name: (old, new, what becomes possible, what no longer is)
CHANGES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "nothing": ("allow: [a.com, b.com]", "allow: [b.com, a.com]", [], []),
    "a host": ("allow: [a.com]", "allow: [a.com, b.com]", ["tls://b.com:443"], []),
    "a host for another": ("allow: [a.com]", "allow: [b.com]", ["tls://b.com:443"], ["tls://a.com:443"]),
    "a wildcard for a host": ("allow: [a.b.com]", "allow: ['*.b.com']", ["tls://*.b.com:443"], []),
    "a method": ("allow: [{host: a.com, methods: [GET]}]", "allow: [{host: a.com, methods: [GET, PUT]}]", ["tls://a.com:443 PUT"], []),
    "HEAD comes with GET": ("allow: [{host: a.com, methods: [GET]}]", "allow: [{host: a.com, methods: [GET, HEAD]}]", [], []),
    "methods on two lines": ("allow: [{host: a.com, methods: [GET]}, {host: a.com, methods: [PUT]}]", "allow: [{host: a.com, methods: [PUT, GET]}]", [], []),
    "any path": ("allow: [{host: a.com, paths: [/x/**]}]", "allow: [a.com]", ["tls://a.com:443"], []),
    "a narrower path": ("allow: [{host: a.com, paths: [/x/**]}]", "allow: [{host: a.com, paths: [/x/y/*]}]", [], ["tls://a.com:443 /x/**"]),
    "a parameter": ("allow: [{host: a.com, query: [page]}]", "allow: [{host: a.com, query: [page, q=*]}]", ["tls://a.com:443 ?page&q=*"], []),
    "any query": ("allow: [{host: a.com, query: [page]}]", "allow: [a.com]", ["tls://a.com:443"], []),
    "a parameter less": ("allow: [{host: a.com, query: [page, q=*]}]", "allow: [{host: a.com, query: [page]}]", [], ["tls://a.com:443 ?page&q=*"]),
    "a port": ("allow: [a.com]", "allow: [{host: a.com, port: [443, 8443]}]", ["tls://a.com:8443"], []),
    "a protocol": ("allow: [a.com]", "allow: [a.com, 'tcp://a.com:443']", ["tcp://a.com:443"], []),
    "a preset": ("mode: enforce", "use: [rust]", ["tls://index.crates.io:443 GET", "tls://static.crates.io:443 GET", "tls://crates.io:443 GET /api/v1/crates/**", "tls://static.rust-lang.org:443 GET"], []),
    "passthrough": ("allow: [a.com]", "allow: [{host: a.com, tls: passthrough}]", ["tls://a.com:443 passthrough: passed through unread"], []),
    "own credentials": ("allow: [{host: a.com, credentials: own}]", "allow: [a.com]", ["tls://a.com:443: with anybody's credentials"], []),
    "own credentials, by order": ("allow: [{host: a.com, methods: [PUT], credentials: own}, a.com]", "allow: [a.com, {host: a.com, methods: [PUT], credentials: own}]", ["tls://a.com:443: with anybody's credentials"], []),
    "credentials of all": ("credentials: own\nallow: [a.com]", "allow: [a.com]", ["tls://a.com:443: with anybody's credentials"], []),
    "what cannot be read": ("uninspectable: deny\nallow: [a.com]", "uninspectable: allow\nallow: [a.com]", ["tls://a.com:443: with what cannot be read"], []),
    "a denial gone": ("allow: ['*.a.com']\ndeny: [x.a.com]", "allow: ['*.a.com']", ["x.a.com, which was denied"], []),
    "a denial of all gone": ("allow: [a.com]\ndeny: [a.com]", "allow: [a.com]", ["tls://a.com:443"], []),
    "a denial of nothing gone": ("allow: [a.com]\ndeny: [b.com]", "allow: [a.com]", [], []),
    "a denial widened": ("allow: ['*.a.com']\ndeny: [x.a.com]", "allow: ['*.a.com']\ndeny: ['*.a.com']", [], ["tls://*.a.com:443"]),
    "a denial added": ("allow: ['*.a.com']", "allow: ['*.a.com']\ndeny: [x.a.com]", [], ["x.a.com, which is denied now"]),
    "addresses": ("allow: [{cidr: 10.0.0.0/8, port: 1}]", "allow: [{cidr: 10.1.0.0/16, port: 1}]", [], ["tls://10.0.0.0/8:1"]),
    "addresses of a name": ("allow: [a.com]", "allow: [{host: a.com, cidr: 10.0.0.0/8}]", ["tls://a.com:443 in 10.0.0.0/8"], []),
    "audit": ("mode: enforce", "mode: audit", ["mode audit: everything, and only watched"], []),
    "enforce": ("mode: audit", "mode: enforce", [], ["mode audit: everything, and only watched"]),
    "containers": ("inspect-containers: true", "mode: enforce", ["TLS from containers to allowed hosts, unread"], []),
    "canaries": ("canary: true", "mode: enforce", ["thieves that use any credential they find: no canary is planted"], []),
    "an exception": ("mode: enforce", "exceptions: [coveralls]", ["exception coveralls: a use of credentials that is against the rule"], []),
    "a binding": ("secrets: {T: {to: [a.com]}}", "secrets: {T: {to: [a.com, b.com]}}", ["T may go to b.com in authorization"], []),
    "a place": ("secrets: {T: {to: [a.com]}}", "secrets: {T: {to: [a.com], in: [authorization, body]}}", ["T may go to a.com in body"], []),
    "a binding gone": ("secrets: {T: {to: [a.com]}}", "mode: enforce", ["T may go where its kind belongs"], ["T may go to a.com in authorization"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_as_what_it_lets_out(name: str) -> None:
    old, new, more, less = CHANGES[name]
    found = differences(load(old), load(new))
    assert [one.what for one in found if one.widens] == more
    if name not in ("a wildcard for a host", "passthrough", "any path"):
        shown = [one.what for one in found if not one.widens]
        assert all(one in shown for one in less)
    back = differences(load(new), load(old))
    assert {one.what for one in back if not one.widens} >= {one for one in more if "which was denied" not in one}


def test_what_becomes_possible_is_never_missed() -> None:
    """Pairs of generated policies, half of them small edits; requests that the new one allows and the old one does not."""
    widened = quiet = 0
    for seed in range(PAIRS):
        of = random.Random(seed)
        old_text = a_policy(of)
        new_text = edited(old_text, of) if seed % 2 else a_policy(of)
        old, new = (load_texts([("p.yml", one)], job="", given_by="") for one in (old_text, new_text))
        told = any(one.widens for one in differences(old, new))
        quiet += not told
        for _ in range(EACH):
            seen = a_request(of)
            before, after = decide(old, seen), decide(new, seen)
            laxer = after.allowed and before.allowed and (weakness(after) - weakness(before))
            if (after.allowed and not before.allowed) or laxer:
                widened += 1
                assert told, (old_text, new_text, seen)
            if seen.protocol is Protocol.TLS:
                name = Observation(Stage.NAME, Protocol.TLS, seen.host, seen.port, seen.host)
                if decide(new, name).passthrough and not decide(old, name).passthrough:
                    assert told, (old_text, new_text, seen)
    assert widened > PAIRS // 2
    assert quiet > PAIRS // 20


def weakness(decision) -> set[str]:
    return {name for name, is_weak in (("own", not decision.own_credentials), ("only", not decision.inspected_only)) if is_weak}


def edited(text: str, of: random.Random) -> str:
    lines = text.splitlines()
    at = of.randrange(3, len(lines))
    match of.randrange(4):
        case 0 if len(lines) > 5 or at == len(lines) - 1:
            del lines[at]
        case 1:
            lines[1] = "use: [python]"
        case 2:
            lines[at] = lines[at].replace(" }", ", uninspectable: deny }") if "passthrough" not in lines[at] else lines[at]
        case _:
            lines[3:-1] = of.sample(lines[3:-1], len(lines) - 4)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(40))
def test_a_policy_differs_in_nothing_from_itself(seed: int) -> None:
    policy = load_texts([("p.yml", a_policy(random.Random(seed)))], job="", given_by="")
    assert differences(policy, policy) == []


def test_jobs_are_compared_with_what_they_had(tmp_path: Path) -> None:
    (tmp_path / "old.yml").write_text("version: 1\nallow: [a.com]\njobs: {x: {allow: [b.com]}}\n")
    (tmp_path / "new.yml").write_text("version: 1\nallow: [a.com, c.com]\njobs: {x: {allow: [b.com]}, y: {allow: [d.com]}}\n")
    assert set(policies_of(tmp_path / "new.yml")) == {"", "x", "y"}
    done = run(tmp_path, "old.yml", "new.yml")
    assert done.returncode == 1
    assert [line.strip() for line in done.stdout.splitlines()[1:]] == [
        "+ tls://c.com:443  [new.yml:2]",
        "+ tls://d.com:443 (job y)  [new.yml:3]",
    ]
    assert run(tmp_path, "old.yml", "old.yml").returncode == 0
    back = run(tmp_path, "new.yml", "old.yml", "--format", "json")
    assert back.returncode == 0
    assert [one["widens"] for one in json.loads(back.stdout)["changes"]] == [False, False]
    (tmp_path / "bad.yml").write_text("x\n")
    assert run(tmp_path, "old.yml", "bad.yml").returncode == 2


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ebbgate", "diff", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_in_it_is_read_as_something_else(form: str) -> None:
    hostile = "a`|<b>\n| x | \x1b[31m\u202e"
    shown = FORMATS[form](
        [Change(True, "reach", hostile, hostile, RuleRef(hostile, 1, 1, hostile)), Change(False, "setting", "x")]
    )
    assert not any(sign in shown for sign in ("\x1b", "\u202e"))
    if form == "markdown":
        rows = [line for line in shown.splitlines() if line.startswith("| 🟡")]
        assert len(rows) == 1
        assert rows[0].count("|") == 5
        assert rows[0].count("`") == 6
