"""Decisions, as a table: what is asked under which policy, and the answer with its reason."""

from __future__ import annotations

import timeit
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_policy, load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.names import canonical_host
from ebbgate.policy.observation import Observation, Protocol, Reason, Stage

TEXT = """
version: 1
allow:
  - example.com
  - "*.cdn.example.net"
  - { host: api.example.com, methods: [GET], paths: ["/repos/*/x/**", "/exact"] }
  - { host: db.example.com, port: 5432, protocol: tcp }
  - { host: pinned.example.com, tls: passthrough }
  - { cidr: 192.0.2.0/28, port: 8443 }
  - { host: inside.example.com, cidr: 10.0.0.0/8 }
  - bücher.example
deny: [bad.cdn.example.net, { host: example.com, port: 8080 }]
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    file = tmp_path_factory.mktemp("policy") / "p.yml"
    file.write_text(TEXT)
    return load_policy([file])


def request(host: str, port: int = 443, method: str = "GET", path: str = "/", protocol: Protocol = Protocol.TLS) -> Observation:
    return Observation(Stage.REQUEST, protocol, host, port, "203.0.113.1", True, method, path)


TABLE = [
    (request("example.com"), Reason.RULE),
    (request("example.com", method="DELETE"), Reason.RULE),
    (request("example.com", 8443), Reason.PORT),
    (request("example.com", 80, protocol=Protocol.HTTP), Reason.PORT),
    (request("www.example.com"), Reason.NO_RULE),
    (request("notexample.com"), Reason.NO_RULE),
    (request("example.com.attacker.org"), Reason.NO_RULE),
    (request("a.cdn.example.net"), Reason.RULE),
    (request("a.b.cdn.example.net"), Reason.RULE),
    (request("cdn.example.net"), Reason.NO_RULE),
    (request("bad.cdn.example.net"), Reason.EXPLICIT_DENY),
    (request("acdn.example.net"), Reason.NO_RULE),
    (request("api.example.com", path="/exact"), Reason.RULE),
    (request("api.example.com", path="/exact", method="HEAD"), Reason.RULE),
    (request("api.example.com", path="/exact", method="POST"), Reason.METHOD),
    (request("api.example.com", path="/exact/"), Reason.PATH),
    (request("api.example.com", path="/repos/a/x/b/c"), Reason.RULE),
    (request("api.example.com", path="/repos/a/b/x/c"), Reason.PATH),
    (request("api.example.com", path="/repos/a/x/../../../user"), Reason.PATH),
    (request("api.example.com", path="/repos/a/x/%2e%2e/%2e%2e/user"), Reason.PATH),
    (request("api.example.com", path="/repos/a%2fb/x/c"), Reason.PATH),
    (request("api.example.com", path="/%65xact"), Reason.RULE),
    (request("api.example.com", path="//exact"), Reason.PATH),
    (request("api.example.com", path="/exact;a=b"), Reason.PATH),
    (request("db.example.com"), Reason.PORT),
    (request("db.example.com", 5432), Reason.PROTOCOL),
    (request("192.0.2.5", 8443), Reason.RULE),
    (request("192.0.2.16", 8443), Reason.NO_RULE),
    (request("xn--bcher-kva.example"), Reason.RULE),
    (Observation(Stage.CONNECT, Protocol.TCP, "db.example.com", 5432, "203.0.113.1"), Reason.RULE),
    (Observation(Stage.CONNECT, Protocol.TCP, None, 5432, "203.0.113.1"), Reason.NO_NAME),
    (Observation(Stage.NAME, Protocol.TLS, "example.com", 443, "203.0.113.1", address_known=False), Reason.ADDRESS_MISMATCH),
    (Observation(Stage.CONNECT, Protocol.UDP, "example.com", 443, "203.0.113.1"), Reason.NOT_CARRIED),
    (Observation(Stage.CONNECT, Protocol.ICMP, None, None, "203.0.113.1"), Reason.NOT_CARRIED),
    (Observation(Stage.DNS, Protocol.DNS, "example.com"), Reason.RULE),
    (Observation(Stage.DNS, Protocol.DNS, "api.example.com"), Reason.RULE),
    (Observation(Stage.DNS, Protocol.DNS, "x.attacker.org"), Reason.NO_RULE),
    (Observation(Stage.DNS, Protocol.DNS, "printer"), Reason.LOCAL),
    (Observation(Stage.DNS, Protocol.DNS, "1.0.0.127.in-addr.arpa"), Reason.LOCAL),
    (Observation(Stage.DNS, Protocol.DNS, "_https._tcp.example.com"), Reason.LOCAL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("observation", "reason"), TABLE, ids=lambda one: f"{getattr(one, 'host', '')}" if isinstance(one, Observation) else str(one)
)
def test_table(policy: Policy, observation: Observation, reason: Reason) -> None:
    decision = decide(policy, observation)
    assert decision.reason is reason
    assert decision.allowed is (reason is Reason.RULE)


def test_quic_to_an_allowed_host_is_quiet_and_to_another_is_not(policy: Policy) -> None:
    def quic(host: str | None) -> bool:
        return decide(policy, Observation(Stage.CONNECT, Protocol.UDP, host, 443, "203.0.113.1")).quiet

    assert quic("example.com")
    assert not quic("attacker.org")
    assert not quic(None)


def test_an_empty_policy_allows_nothing() -> None:
    for observation, _reason in TABLE:
        assert not decide(load_policy([]), observation).allowed


HOSTILE = st.text(max_size=80) | st.sampled_from(["", ".", "..", "a..b", "[::", "1.2.3", "0x7f.1", "xn--", "*.", "a" * 300])


@given(
    HOSTILE,
    st.integers(-5, 70000) | st.none(),
    st.sampled_from(list(Protocol)),
    st.sampled_from(list(Stage)),
    st.text(max_size=60),
)
def test_decide_never_raises(host: str, port: int | None, protocol: Protocol, stage: Stage, path: str) -> None:
    policy = load_policy([], allow=["example.com", "*.example.net", "tcp://db.example.com:5432"])
    decision = decide(policy, Observation(stage, protocol, host, port, host, True, "GET", path))
    if decision.allowed:
        assert host == "example.com" or host.endswith(".example.net") or host == "db.example.com"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("Example.COM.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("example。com", "example.com"),
        ("127.1", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("1.2.3.4.", "1.2.3.4"),
        ("１２７.０.０.１", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("[::FFFF:7f00:1]", "127.0.0.1"),
        ("64:ff9b::7f00:1", "127.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_names_have_one_form(written: str, canonical: str) -> None:
    assert canonical_host(written) == canonical


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "a b",
        "a\tb",
        "a..b",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.0x100",
        "fe80::1%eth0",
        "exam\u202eple.com",
        "a_b-.com",
        "-a.com",
        "x" * 64 + ".com",
        "a.1",
        "08.1.1.1",
        "127。.",
        "a.example。.",
    ],
)
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(ValueError):
        canonical_host(written)


@given(st.text(max_size=100))
def test_canonical_is_a_fixed_point(text: str) -> None:
    try:
        once = canonical_host(text)
    except ValueError:
        return
    assert canonical_host(once) == once


def test_jobs_add_to_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "p.yml"
    file.write_text("version: 1\nallow: [a.example.com]\njobs:\n  publish: {allow: [b.example.com], mode: audit}\n  test: {}\n")
    assert decide(load_policy([file], job="publish"), request("b.example.com")).allowed
    assert load_policy([file], job="publish").mode == "audit"
    assert not decide(load_policy([file], job="test"), request("b.example.com")).allowed
    assert not decide(load_policy([file]), request("b.example.com")).allowed


def test_yaml_surprises_stay_text(tmp_path: Path) -> None:
    """``no`` and ``on`` are booleans in YAML 1.1: as hosts they would be the top-level domains of Norway and nothing."""
    file = tmp_path / "p.yml"
    file.write_text("version: 1\nallow: [no.example.com, on.example.com]\nsecrets: {NO: {to: [yes.example.com]}}\n")
    loaded = load_policy([file])
    assert [str(entry.host) for entry in loaded.allow] == ["no.example.com", "on.example.com"]
    assert loaded.bindings[0].name == "NO"


def test_addresses_are_found_by_prefix_in_the_order_of_the_file() -> None:
    lines = [
        "{cidr: [10.0.0.0/8, 10.1.0.0/16], port: 1, methods: [PUT]}",
        "{cidr: 10.1.2.0/24, port: 1}",
        "{cidr: '2001:db8::/32', port: 1}",
        "{cidr: 0.0.0.0/0, port: 2}",
    ]
    policy = load_texts([("p.yml", "version: 1\nallow:\n" + "".join(f"  - {line}\n" for line in lines))], job="", given_by="")
    assert [one.ref.line for one in policy.allow_index.around("10.1.2.3")] == [3, 4, 6]
    assert [one.ref.line for one in policy.allow_index.around("2001:db8::1")] == [5]
    assert policy.allow_index.around("2001:db9::1") == []
    assert decide(policy, request("10.1.2.3", 1)).rule == policy.allow[1].ref
    assert decide(policy, request("192.0.2.1", 2)).allowed


def test_a_large_policy_is_no_slower_than_a_small_one() -> None:
    """Generously: ten thousand rules were found one by one once, which took a thousand times as long."""

    def seconds(size: int) -> float:
        rules = [
            *(f"h{number}.example.com" for number in range(size)),
            *(f"203.{number >> 8}.{number & 255}.0/24" for number in range(size)),
        ]
        policy = load_policy([], allow=rules)
        asked = [request("h1.example.com"), request("203.0.1.1"), request("x.h1.example.com"), request("198.51.100.1")]
        assert [decide(policy, one).allowed for one in asked] == [True, True, False, False]
        return min(timeit.repeat(lambda: [decide(policy, one) for one in asked], number=50, repeat=5))

    assert seconds(5000) < 50 * seconds(5)
