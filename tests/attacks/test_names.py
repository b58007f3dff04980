"""Questions to the resolver of kinds that few programs ask."""

from __future__ import annotations

from tests.attacks.programs import python
from tests.world import World

_ASKS = """
import os, dns.edns, dns.message, dns.name, dns.query, dns.rrset
value = os.environ["A_TOKEN"]
def ask(message):
    try:
        return dns.query.udp(message, "192.0.2.53", timeout=2).rcode()
    except Exception as problem:
        return type(problem).__name__
for kind in ("TXT", "NULL", "SRV", "MX", "NAPTR", "CAA", "URI", "TYPE65400", "HTTPS", "SVCB", "ANY", "AXFR", "PTR", "CNAME"):
    print(kind, ask(dns.message.make_query("mirror.example.com", kind)))
option = dns.edns.GenericOption(65001, value.encode())
ask(dns.message.make_query("mirror.example.com", "A", use_edns=0, options=[option]))
more = dns.message.make_query("mirror.example.com", "A")
more.additional.append(dns.rrset.from_text("x.example.com.", 1, "IN", "TXT", value))
ask(more)
ask(dns.message.make_query("mirror.example.com", "A", rdclass="CH"))
ask(dns.message.make_query(dns.name.Name([b"a.b", b"c\\0d", b"example", b"com", b""]), "A"))
"""


def test_a_question_is_asked_anew_and_takes_nothing_along(world: World, secret: str) -> None:
    """Options, additional records and other classes stay behind; every kind of record can be asked for without a defect."""
    outcome = world.guard.run(["--allow", "*.example.com"], python(_ASKS), env={"A_TOKEN": secret})
    assert outcome.code in (0, 90), outcome.stderr
    assert {name for name, _kind in world.questions} == {"mirror.example.com"}
    assert {kind for _name, kind in world.questions} >= {"A", "TXT", "SRV", "TYPE65400"}
    assert not {"HTTPS", "SVCB", "ANY", "AXFR"} & {kind for _name, kind in world.questions}
    assert world.wires
    assert all(secret.encode() not in wire for wire in world.wires)
