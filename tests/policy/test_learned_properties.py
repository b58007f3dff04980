"""Whatever runs did: what may be learned is allowed then, nothing else is, twice is once, and a person's words stay."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebbgate.events.reading import Run
from ebbgate.events.types import DnsQuestion, Event
from ebbgate.policy.decide import decide
from ebbgate.policy.learned import NEW_POLICY, Lesson, learn
from ebbgate.policy.observation import Observation, Protocol, Stage
from ebbgate.policy.replay import policy_of
from ebbgate.policy.sightings import seen_in
from tests.policy.journals import ALLOWED, BEGIN, DAY, exchange, finding, origin, question, run
from tests.policy.test_insertion import is_kept

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HOSTS = (
    "pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "github.com", "api.github.com", "a.example.com", "b.example.com",
    "x1.actions.githubusercontent.com", "x2.actions.githubusercontent.com", "deb.debian.org", "d1.cloudfront.net", "d2.cloudfront.net",
    "productionresultssa3.blob.core.windows.net", "productionresultssa9.blob.core.windows.net", "10.1.2.3", "pastebin.com", "db.example.net",
)  # fmt: skip
SEGMENTS = st.sampled_from(
    [
        "v1",
        "octo",
        "demo",
        "items",
        "12345",
        "1.2.3",
        "pkg-1.0.0-py3-none-any.whl",
        "deadbeef01",
        "latest",
        "%20",
        "ü",
        "..",
        "*",
        "{x}",
        "a'b",
        "",
    ]
) | st.text("abcXYZ019._~-%[]…", max_size=30)
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts))
METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "STEAL"])
NAMES = st.text("abc- #:'\"\n\u2028\x85{}é", max_size=8)


@st.composite
def events(draw: st.DrawFn) -> Event:
    host = draw(st.sampled_from(HOSTS))
    who = origin(draw(NAMES), f"/usr/bin/{draw(NAMES)}", draw(st.sampled_from(["job", "job", "job", "runner"])))
    time = BEGIN + DAY * draw(st.integers(0, 40))
    if draw(st.integers(0, 4)) == 0 and not host[0].isdigit():
        return question(host, origin=who, time=time)
    scheme = draw(st.sampled_from(["https", "https", "https", "http", "tcp"]))
    port = ":5432" if scheme == "tcp" else draw(st.sampled_from(["", "", ":8443"]))
    address = (
        "10.1.2.3"
        if host == "10.1.2.3"
        else draw(st.sampled_from(["203.0.113.10", "203.0.113.10", "10.9.8.7", "169.254.169.254"]))
    )
    secret = draw(st.sampled_from(["TOKEN", "API_KEY", "not a name"]))
    place, field = draw(
        st.sampled_from([("header:authorization", "auth:bearer"), ("body", "json:a.b"), ("url:query", ""), ("body", "")])
    )
    kinds = [(), (), (), (finding(secret, place, field),), (finding(secret, permitted=False),)]
    changes = {"origin": who, "time": time, "address": address, "findings": draw(st.sampled_from(kinds))}
    if draw(st.integers(0, 9)) == 0:
        changes["overrides"] = ("DELETE",)
    if draw(st.integers(0, 9)) == 0 and scheme == "https":
        rule = f"ci.yml:3 tls://{host}:443 passthrough"
        changes |= {"decision": dataclasses.replace(ALLOWED, rule=rule), "overrides": ()}
    one = exchange(f"{scheme}://{host}{port}/", draw(METHODS), **changes)
    if one.decision.rule or not one.method:
        return dataclasses.replace(one, method="", path="")
    return dataclasses.replace(one, path=draw(PATHS))


JOBS = st.sampled_from(["", "build", "publish", "a: [b]"])
RUNS = st.lists(st.builds(lambda parts, job: run(*parts, job=job), st.lists(events(), max_size=12), JOBS), min_size=1, max_size=4)


def refused_hosts(lesson: Lesson) -> set[str]:
    return {
        one.what.removeprefix("dns:").partition("://")[2].partition(" ")[0] or one.what.removeprefix("dns:")
        for one in lesson.refused
    }


def check_allowed(lesson: Lesson, runs: list[Run]) -> None:
    """Every sighting is allowed by the policy of its job, or was refused by name."""
    policies = {one.started.job: policy_of(run(job=one.started.job), "p", lesson.text) for one in runs}
    refused = {one.what for one in lesson.refused}
    for one in seen_in(runs, lambda _one: False).sightings:
        seen = one.observation
        if not decide(policies[one.job], seen).allowed:
            assert f"{seen.protocol}://{seen.host}" in refused, (seen, lesson.text)


def check_unlisted(lesson: Lesson, runs: list[Run]) -> None:
    """No host is allowed that was never seen, other than those of presets and rotations; none that is never allowed by default."""
    for job in {one.started.job for one in runs}:
        policy = policy_of(run(job=job), "p", lesson.text)
        for host in (
            "attacker.example.org",
            "c.example.com",
            "pastebin.com",
            "x.pastebin.com",
            "d3.cloudfront.net",
            "evil.github.io",
        ):
            for protocol, port, method in ((Protocol.TLS, 443, "GET"), (Protocol.TLS, 443, "POST"), (Protocol.HTTP, 80, "GET")):
                seen = Observation(Stage.REQUEST, protocol, host, port, None, True, method, "/")
                assert not decide(policy, seen).allowed
            assert not decide(policy, Observation(Stage.CONNECT, Protocol.TCP, host, 5432)).allowed
            assert not decide(policy, Observation(Stage.DNS, Protocol.DNS, host)).allowed


def check_writing(lesson: Lesson, runs: list[Run]) -> None:
    """Outside of presets no method is allowed at a host where it was not seen."""
    seen = {
        (e.host or e.address, m) for one in runs for e in one.events if hasattr(e, "overrides") for m in (e.method, *e.overrides)
    }
    for job in {one.started.job for one in runs}:
        for entry in policy_of(run(job=job), "p", lesson.text).allow:
            if not entry.is_of_preset and not entry.passthrough and entry.protocol is not Protocol.TCP:
                assert entry.methods
                for method in set(entry.methods) - {"GET"}:
                    assert any(entry.host is not None and entry.host.matches(host) for host, m in seen if m == method) or (
                        entry.host is not None and entry.host.host.startswith("productionresultssa")
                    )


@SETTINGS
@given(RUNS)
def test_learned_from_nothing(runs: list[Run]) -> None:
    lesson = learn(runs, None, "p")
    check_allowed(lesson, runs)
    check_unlisted(lesson, runs)
    check_writing(lesson, runs)
    again = learn(runs, lesson.text, "p")
    assert (again.text, again.added) == (lesson.text, ())
    leaked = {
        e.name if isinstance(e, DnsQuestion) else e.host
        for one in runs
        for e in one.events
        if any(not f.permitted for f in getattr(e, "findings", ())) and e.origin.party == "job"
    }
    for host in leaked - {"", None}:
        assert f"host: {host}," not in lesson.text


EDITS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["# a person's words", "", "    # deep: [words]", "  # : # -", "\t# a tab" and "# tab"]),
    ),
    max_size=8,
)
ENTRIES = st.lists(
    st.sampled_from(
        [
            "- mine.example.com",
            "- { host: a.example.com, methods: [PUT] }",
            "- host: mine.example.com\n    port: 8443  # ours",
            "- '*.mine.example.com'",
        ]
    ),
    max_size=3,
)


@settings(SETTINGS, max_examples=30)
@given(RUNS, RUNS, EDITS, ENTRIES, st.booleans())
def test_hand_edits_survive(
    first: list[Run], second: list[Run], edits: list[tuple[int, str]], entries: list[str], windows: bool
) -> None:
    text = learn(first, None, "p").text
    if entries:  # in front of what was learned, or where nothing was
        mine = "".join(f"  {one}\n" for one in entries)
        head, key, tail = text.partition("\nallow:\n")
        text = f"{head}{key}{mine}{tail}" if key else f"{text}allow:\n{mine}"
    lines = text.splitlines()
    for position, words in edits:
        lines.insert(min(position, len(lines)), words)
    text = ("\r\n" if windows else "\n").join(lines) + "\n"
    lesson = learn([*first, *second], text, "p")
    assert is_kept(text, lesson.text)
    kept = [line for line in lesson.text.splitlines() if "person's words" in line]
    assert len(kept) == sum("person's words" in words for _position, words in edits)
    check_allowed(lesson, [*first, *second])
    twice = learn([*first, *second], lesson.text, "p")
    assert (twice.text, twice.added) == (lesson.text, ())
    before, after = (policy_of(run(job="build"), "p", each) for each in (text, lesson.text))
    assert [one.ref.text for one in after.allow if one.ref in before.allow] == [
        one.ref.text for one in before.allow if one.ref in after.allow
    ]
    assert {one.ref.text for one in before.allow} <= {one.ref.text for one in after.allow}


@SETTINGS
@given(RUNS)
def test_one_run_after_another_allows_what_all_at_once_allows(runs: list[Run]) -> None:
    text = NEW_POLICY
    for one in runs:
        text = learn([one], text, "p").text
    together = learn(runs, None, "p")
    policies = {one.started.job: policy_of(run(job=one.started.job), "p", text) for one in runs}
    for one in seen_in(runs, lambda _one: False).sightings:
        refused = any(one.observation.host in each.what for each in together.refused)
        assert refused or decide(policies[one.job], one.observation).allowed
