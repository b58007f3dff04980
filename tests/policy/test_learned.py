"""What is learned from runs, what is not, and where it is written."""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml

from ebbgate.errors import PolicyError
from ebbgate.events.types import ForeignRecord, Packet
from ebbgate.policy.decide import decide
from ebbgate.policy.learned import Lesson, learn
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.never_by_default import NEVER_BY_DEFAULT, never_by_default
from ebbgate.policy.observation import Observation, Protocol, Stage
from ebbgate.policy.replay import policy_of
from ebbgate.policy.rotating import ROTATIONS, Rotation, rotation_of
from tests.policy.journals import ALLOWED, BEGIN, DAY, DENIED, exchange, finding, origin, question, requests, run


def read(lesson: Lesson, job: str = "") -> Policy:
    return policy_of(run(job=job), "learned", lesson.text)


def allows(policy: Policy, url: str, method: str = "GET") -> bool:
    one = exchange(url, method)
    stage = Stage.CONNECT if one.protocol == "tcp" else Stage.REQUEST
    return decide(
        policy, Observation(stage, Protocol(one.protocol), one.host, one.port, None, True, one.method or None, one.path)
    ).allowed


def why(lesson: Lesson, what: str) -> str:
    found = [one.why for one in lesson.refused if what in one.what]
    assert found, lesson.refused
    return found[0]


def test_a_host_is_learned_with_methods_paths_and_evidence() -> None:
    first = run(exchange("https://api.example.com/v1/items/12345", "POST"))
    second = run(
        exchange("https://api.example.com/v1/items/67890", "POST", time=BEGIN + 3 * DAY, origin=origin("deploy", "/bin/up"))
    )
    third = run()
    lesson = learn([first, second, third], None, "ci.yml")
    assert lesson.text.splitlines() == [
        "version: 1",
        "mode: enforce",
        "allow:",
        "  # seen in 2 of 3 runs, 2026-09-21 to 2026-09-24; step build, deploy; curl, up",
        "  - { host: api.example.com, methods: [POST], paths: ['/v1/items/*'] }",
    ]
    assert not allows(read(lesson), "https://api.example.com/v1/items/12345", "DELETE")
    assert not allows(read(lesson), "https://api.example.com/v1/items/1/settings", "POST")


def test_what_presets_explain_is_a_preset() -> None:
    pip = ["https://pypi.org/simple/requests/", "https://files.pythonhosted.org/packages/a/b/requests-2.0-py3-none-any.whl"]
    lesson = learn([run(*requests(pip), *requests(["https://a.example.com/x"]))], None, "ci.yml")
    assert yaml.safe_load(lesson.text)["use"] == ["python"]
    assert [entry["host"] for entry in yaml.safe_load(lesson.text)["allow"]] == ["a.example.com"]
    assert allows(read(lesson), "https://pypi.org/simple/flask/")


def test_a_preset_that_would_allow_more_than_was_seen_is_none() -> None:
    """One file from GitHub is no reason for all that its runner needs."""
    lesson = learn([run(*requests(["https://raw.githubusercontent.com/octo/demo/main/install.sh"]))], None, "ci.yml")
    assert "use" not in yaml.safe_load(lesson.text)
    assert allows(read(lesson), "https://raw.githubusercontent.com/octo/demo/main/install.sh")
    assert not allows(read(lesson), "https://github.com/octo/demo")


def test_the_runners_preset_is_never_learned() -> None:
    hosts = [f"https://productionresultssa{number}.blob.core.windows.net/x" for number in range(20)]
    hosts += [
        "https://a.actions.githubusercontent.com/",
        "https://api.github.com/",
        "https://github.com/",
        "https://codeload.github.com/",
    ]
    assert "github-runner" not in learn([run(*requests([*hosts, "https://x.githubapp.com/"]))], None, "ci.yml").text


def test_rotating_hosts_become_patterns_only_when_one_party_owns_them_all() -> None:
    known = ["https://pipelines1.actions.githubusercontent.com/a", "https://pipelines2.actions.githubusercontent.com/a"]
    others = [f"https://d{number}.cloudfront.net/a" for number in range(9)]
    policy = read(learn([run(*requests([*known, *others]))], None, "ci.yml"))
    assert allows(policy, "https://other.actions.githubusercontent.com/a")
    assert allows(policy, "https://d8.cloudfront.net/a")
    assert not allows(policy, "https://d9.cloudfront.net/a")
    single = read(learn([run(*requests(known[:1]))], None, "ci.yml"))
    assert not allows(single, "https://other.actions.githubusercontent.com/a")


def test_a_family_is_learned_by_its_members() -> None:
    seen = [f"https://productionresultssa{number}.blob.core.windows.net/actions-results/x" for number in (1, 7)]
    policy = read(learn([run(*requests(seen))], None, "ci.yml"))
    assert allows(policy, "https://productionresultssa19.blob.core.windows.net/actions-results/x")
    assert not allows(policy, "https://productionresultssa20.blob.core.windows.net/actions-results/x")
    assert not allows(policy, "https://attacker.blob.core.windows.net/actions-results/x")


def test_by_job_where_the_journal_names_one() -> None:
    build = run(*requests(["https://a.example.com/x", "https://shared.example.com/"]), job="build")
    publish = run(*requests(["https://b.example.com/x", "https://shared.example.com/"]), job="publish")
    sealed = run(*requests(["https://c.example.com/x"]))
    lesson = learn([build, publish, sealed], None, "ci.yml")
    document = yaml.safe_load(lesson.text)
    assert [one["host"] for one in document["allow"]] == ["c.example.com", "shared.example.com"]
    assert {job: [one["host"] for one in part["allow"]] for job, part in document["jobs"].items()} == {
        "build": ["a.example.com"],
        "publish": ["b.example.com"],
    }
    assert not allows(read(lesson, "build"), "https://b.example.com/x")
    assert "seen in 1 of 1 runs" in lesson.text
    assert "seen in 2 of 2 runs" in lesson.text


def test_bindings_are_learned() -> None:
    one = exchange("https://api.example.com/", findings=(finding(), finding("file ~/.netrc"), finding("API", "body", "json:key")))
    two = exchange("https://b.example.com/", findings=(finding("API", "body", "json:key"),))
    lesson = learn([run(one, two)], None, "ci.yml")
    assert {each.name: ([str(to) for to in each.to], each.places) for each in read(lesson).bindings} == {
        "API": (["api.example.com", "b.example.com"], ("json:key",)),
        "TOKEN": (["api.example.com"], ("auth:bearer",)),
    }
    again = learn([run(one, two, exchange("https://c.example.com/", findings=(finding(),)))], lesson.text, "ci.yml")
    assert [name for name in again.notes if "TOKEN was seen at c.example.com" in name]
    assert read(again).bindings[0].to == read(lesson).bindings[0].to


REFUSED = {
    "a leak": (exchange("https://a.example.com/", findings=(finding(permitted=False),)), "sent the secret TOKEN"),
    "a leaking question": (question("a.example.com", findings=(finding(place="dns", field="", permitted=False),)), "sent the secret TOKEN"),
    "a forged host": (exchange(decision=dataclasses.replace(DENIED, reason="host-mismatch")), "Host differed"),
    "a forged address": (exchange(decision=dataclasses.replace(DENIED, reason="address-mismatch")), "not the name's"),
    "an attacker's key": (exchange(foreign=(ForeignRecord("k", "body", "", "holds"),)), "none of the job's"),
    "what was blocked": (exchange(enforced=True, blocked=True), "was blocked"),
    "what the run denies": (exchange(decision=dataclasses.replace(DENIED, reason="explicit-deny", quiet=True)), "denies it"),
    "an encoded name": (exchange("https://a.example.com/", host="[1a2b3c].example.com"), "looks like data"),
    "a name that is none": (exchange("https://a.example.com/", host="a.example.com\nallow: [evil]"), "looks like data"),
    "the metadata service": (exchange("http://metadata.example.com/", address="169.254.169.254"), "metadata"),
    "the machine itself": (exchange("http://localhost.example.com/", address="127.0.0.1"), "loopback"),
    "an address": (exchange("http://203.0.113.10/"), "without a name"),
    "a method of its own": (exchange(method="STEAL"), "method"),
    "a path of two readings": (exchange("https://a.example.com/a/../b", "POST"), "more than one way"),
    "a packet": (Packet("udp", "203.0.113.9", 53, "", DENIED, False, origin=origin()), "only TCP"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    event, reason = REFUSED[name]
    lesson = learn([run(event)], None, "ci.yml")
    assert [one for one in lesson.refused if reason in one.why], lesson.refused
    assert lesson.text == "version: 1\nmode: enforce\n"
    assert lesson.added == ()


@pytest.mark.parametrize("suffix", [one for one in NEVER_BY_DEFAULT if ":" not in one and not one[-1].isdigit()])
def test_never_by_default_is_never_learned_and_stays_when_a_person_wrote_it(suffix: str) -> None:
    seen = run(*requests([f"https://x.{suffix}/in"]), question(suffix))
    lesson = learn([seen], None, "ci.yml")
    assert lesson.added == ()
    assert {one.why for one in lesson.refused} == {NEVER_BY_DEFAULT[suffix]}
    written = f"version: 1\nallow:\n  - {{ host: '*.{suffix}', reason: ours }}\n  - {suffix}\n"
    assert learn([seen], written, "ci.yml") == Lesson(written, (), (), ())


def test_a_host_that_was_sent_a_secret_is_learned_from_no_run() -> None:
    leak = run(exchange("https://a.example.com/", findings=(finding(permitted=False),)))
    lesson = learn([run(*requests(["https://a.example.com/ok"])), leak], None, "ci.yml")
    assert lesson.added == ()


def test_what_is_not_the_jobs_is_none_of_its_policys() -> None:
    seen = [
        exchange(origin=origin(party="runner")),
        exchange(origin=origin(party="machine")),
        question("wpad", decision=dataclasses.replace(DENIED, reason="local")),
    ]
    assert learn([run(*seen)], None, "ci.yml") == Lesson("version: 1\nmode: enforce\n", (), (), ())


def test_names_that_were_only_asked_for() -> None:
    lesson = learn(
        [
            run(
                question("a.example.com"),
                question("b.example.com"),
                exchange("https://b.example.com/x"),
                question("_https._tcp.a.example.com"),
            )
        ],
        None,
        "c",
    )
    assert re.findall(r"host: (\S+),", lesson.text) == ["a.example.com", "b.example.com"]
    assert lesson.text.count("asked for, never connected to") == 1


def test_addresses_of_a_private_network_are_named() -> None:
    lesson = learn([run(exchange("http://db.example.com/x", address="10.1.2.3"))], None, "ci.yml")
    assert read(lesson).allow[0].cidrs == ("10.1.2.3/32",)


def test_opaque_and_passed_through() -> None:
    told = dataclasses.replace(ALLOWED, rule="ci.yml:3 tls://pin.example.com:443 passthrough")
    pinned = exchange("https://pin.example.com/", method="", path="", decision=told)
    policy = read(learn([run(exchange("tcp://db.example.com:5432"), pinned)], None, "ci.yml"))
    assert [entry.ref.text for entry in policy.allow] == ["tcp://db.example.com:5432", "tls://pin.example.com:443 passthrough"]


def test_runs_of_several_workflows_are_not_mixed() -> None:
    with pytest.raises(PolicyError, match="several workflows"):
        learn([run(workflow="ci"), run(workflow="release")], None, "ci.yml")
    with pytest.raises(PolicyError, match="several repositories"):
        learn([run(), run(repository="octo/other")], None, "ci.yml")


def test_unused_entries_are_named() -> None:
    text = "version: 1\nallow:\n  - a.example.com\n  - old.example.com\ndeny: [ads.example.com, gone.example.com]\njobs:\n  other: { allow: [o.example.com] }\n"
    lesson = learn([run(exchange(), exchange("https://ads.example.com/")), run()], text, "ci.yml")
    assert [(one.line, one.text.split()[0], one.runs) for one in lesson.unused] == [
        (4, "tls://old.example.com:443", 2),
        (5, "tls://gone.example.com:*", 2),
    ]
    assert lesson.text == text
    assert why(lesson, "ads.example.com") == "ci.yml:5 denies it"


def test_hostile_words_stay_in_their_comments() -> None:
    nasty = "x\n  - evil.example.org # \u2028\x85 *&!"
    event = exchange("https://a.example.com/it's/\"#{x}: [\u0085]", origin=origin(nasty, f"/bin/{nasty}"))
    lesson = learn([run(event, job="it's: {a}")], None, "ci.yml")
    policy = read(lesson, "it's: {a}")
    assert [str(entry.host) for entry in policy.allow] == ["a.example.com"]


@pytest.mark.parametrize("job", ["a\n", "a\n  b: c", "\u2028", "\x1b[31m", " a"])
def test_a_job_whose_name_is_none_is_refused(job: str) -> None:
    with pytest.raises(PolicyError, match="run:1: the name of its job"):
        learn([run(exchange(), job=job)], None, "ci.yml")


@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda one: one.hosts[0])
def test_rotations_are_one_partys_own(rotation: Rotation) -> None:
    """Each holds as a rule without a reason to excuse it, unless its members are listed one by one; none is never by default."""
    text = f"version: 1\nallow: [{', '.join(map(repr, rotation.hosts))}]\n"
    hosts = [entry.host for entry in load_texts([("p", text)], job="", given_by="").allow]
    assert [host for host in hosts if host is None or never_by_default(host.host)] == []
    members = [host.replace("*", "x1") for host in rotation.hosts]
    assert all(rotation_of(one) is rotation for one in members)
    assert rotation_of(f"{members[0]}.example.org") is None
    assert rotation_of(f"evil{members[0].partition('.')[2]}") is None


def test_this_repository_is_said_by_placeholders() -> None:
    urls = [
        "https://api.example.com/repos/octo/demo/releases/1234",
        "https://git.example.com/octo/demo.git/info/refs",
        "https://x.example.com/demo",
    ]
    one = run(*requests(urls))
    lesson = learn([one], None, "ci.yml")
    assert "paths: ['/repos/{owner}/{repo}/releases/*']" in lesson.text
    assert "paths: ['/{owner}/{repo}.git/info/refs']" in lesson.text
    assert "paths: ['/demo']" in lesson.text
    assert allows(policy_of(one, "p", lesson.text), urls[0])
    assert not allows(policy_of(one, "p", lesson.text), "https://api.example.com/repos/octo/other/releases/1234")
    other = policy_of(run(repository="octo/other"), "p", lesson.text)
    assert allows(other, "https://api.example.com/repos/octo/other/releases/1")
    assert not allows(other, urls[0])


def test_parameters_that_a_person_listed_are_not_widened() -> None:
    text = "version: 1\nallow:\n  - { host: a.example.com, query: [page=*] }\n"
    lesson = learn([run(exchange(query="page=1"), exchange(query="page=1&q=data"))], text, "ci.yml")
    assert (lesson.text, lesson.unused) == (text, ())
    assert why(lesson, "a.example.com") == "ci.yml:3 names other parameters for it (query:)"


def test_who_a_person_named_is_not_widened() -> None:
    text = "version: 1\nallow:\n  - { host: a.example.com, only: { steps: [build] } }\n"
    lesson = learn([run(exchange(), exchange(origin=origin("other")))], text, "ci.yml")
    assert (lesson.text, lesson.unused) == (text, ())
    assert why(lesson, "a.example.com") == "ci.yml:3 allows it to others (only:)"
