"""``decide(policy, observation) -> Decision``: pure, total, and the only place where an answer is made.

Order: what cannot be judged is denied; deny entries; allow entries; names that are nobody's business; and for the rest the
reason that helps most: a wrong method is said to be one, not an unknown host.
"""

from __future__ import annotations

from collections.abc import Iterator

from ebbgate.policy.model import Entry, Only, Policy
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Action, Decision, Observation, Protocol, Reason, RuleRef, Stage
from ebbgate.policy.paths import normal_matches, normal_path
from ebbgate.policy.queries import query_matches

_NEVER_CARRIED = (Protocol.UDP, Protocol.ICMP, Protocol.OTHER)
_QUIC_PORT = 443
_LOCAL_SUFFIXES = ("localhost", "local", "internal", "lan", "home.arpa", "in-addr.arpa", "ip6.arpa", "invalid")
# How near a denial came to being allowed: the nearest one explains.
_NEARNESS = {
    Reason.PORT: 1,
    Reason.PROTOCOL: 2,
    Reason.METHOD: 3,
    Reason.PATH: 4,
    Reason.QUERY: 5,
    Reason.ONLY: 6,
    Reason.ADDRESS_MISMATCH: 7,
}


def decide(policy: Policy, observation: Observation) -> Decision:
    """Judge one observation. Never raises: a failure is a denial with reason ``defect``."""
    try:
        return _decide(policy, observation)
    except Exception:
        return Decision(Action.DENY, Reason.DEFECT)


def _decide(policy: Policy, seen: Observation) -> Decision:
    if seen.protocol in _NEVER_CARRIED:
        return _not_carried(policy, seen)
    if seen.host is None:
        return Decision(Action.DENY, Reason.NO_NAME)
    for entry in _entries(policy, seen.host, deny=True):
        if _deny_applies(entry, seen):
            return Decision(Action.DENY, Reason.EXPLICIT_DENY, entry.ref, quiet=True)
    nearest: tuple[Reason, RuleRef] | None = None
    for entry, why_not in considered(policy, seen):
        if why_not is None:
            own = policy.own_credentials if entry.own_credentials is None else entry.own_credentials
            only = policy.inspected_only if entry.inspected_only is None else entry.inspected_only
            return Decision(
                Action.ALLOW,
                Reason.RULE,
                entry.ref,
                entry.passthrough,
                _ranges(entry, seen.host),
                own_credentials=own,
                inspected_only=(only or _waits_for_request(entry, seen)) and not entry.passthrough,
            )
        if nearest is None or _NEARNESS[why_not] > _NEARNESS[nearest[0]]:
            nearest = (why_not, entry.ref)
    if nearest is not None:
        return Decision(Action.DENY, nearest[0], nearest[1])
    return _unknown(policy, seen)


def considered(policy: Policy, seen: Observation) -> Iterator[tuple[Entry, Reason | None]]:
    """The allow entries for an observation's host, in the order of judging, and why each does not allow it: None when it does."""
    entries = _entries(policy, seen.host or "", deny=False)
    path = normal_path(seen.path) if seen.path is not None and any(entry.paths for entry in entries) else None
    for entry in entries:
        yield entry, _why_not(entry, seen, path)


def _entries(policy: Policy, host: str, *, deny: bool) -> list[Entry]:
    index = policy.deny_index if deny else policy.allow_index
    found = index.candidates(host)
    if is_literal(host):
        found += index.around(host)
    return found


def _deny_applies(entry: Entry, seen: Observation) -> bool:
    """A deny entry without ports denies the host whatever is spoken; with ports, these ports (and not the name itself)."""
    return not entry.ports if seen.stage is Stage.DNS else not entry.ports or seen.port in entry.ports


def _why_not(entry: Entry, seen: Observation, path: str | None) -> Reason | None:  # noqa: PLR0911 - one return for each reason
    """Why an entry whose host matches does not allow it; None when it does. path: in normal form, None when it has none."""
    if seen.stage is Stage.DNS:
        return None
    if seen.port not in entry.ports:
        return Reason.PORT
    if seen.protocol is not entry.protocol:
        return Reason.PROTOCOL
    if seen.stage is Stage.REQUEST and not entry.passthrough:
        if entry.methods and not _method_allowed(entry.methods, seen.method):
            return Reason.METHOD
        if entry.paths and not (path is not None and normal_matches(path, entry.paths)):
            return Reason.PATH
        if entry.query and not (seen.query is not None and query_matches(seen.query, entry.query)):
            return Reason.QUERY
        if entry.only is not None and not _is_meant(entry.only, seen):
            return Reason.ONLY
    if not seen.address_known and not is_literal(seen.host or ""):
        return Reason.ADDRESS_MISMATCH
    return None


def _is_meant(only: Only, seen: Observation) -> bool:
    if only.steps and seen.step not in only.steps:
        return False
    if only.executables and not (seen.executable and normal_matches(seen.executable, only.executables)):
        return False
    action = seen.action.lower()
    return not only.actions or (bool(action) and (action in only.actions or action.partition("@")[0] in only.actions))


def _waits_for_request(entry: Entry, seen: Observation) -> bool:
    """Who may use an entry is judged with the request, so what is never read as one must not go on by its name."""
    return entry.only is not None and seen.stage is not Stage.REQUEST


def _method_allowed(methods: tuple[str, ...], method: str | None) -> bool:
    return method in methods or (method == "HEAD" and "GET" in methods)


def _ranges(entry: Entry, host: str) -> tuple[str, ...]:
    """Special ranges that an entry names: its CIDRs, or the literal that it consists of."""
    if entry.host is not None and is_literal(entry.host.host):
        return (*entry.cidrs, host)
    return entry.cidrs


def _not_carried(policy: Policy, seen: Observation) -> Decision:
    """QUIC to an allowed host is quiet: the client falls back to TCP, and nobody needs to act."""
    quiet = False
    if seen.protocol is Protocol.UDP and seen.port == _QUIC_PORT and seen.host is not None:
        quiet = any(entry.protocol is Protocol.TLS for entry in _entries(policy, seen.host, deny=False))
    return Decision(Action.DENY, Reason.NOT_CARRIED, quiet=quiet)


def _unknown(policy: Policy, seen: Observation) -> Decision:
    """No entry names the host. Questions that are nobody's business are denied quietly: nothing is ever forwarded."""
    if seen.stage is Stage.DNS and seen.host is not None:
        host = seen.host
        if "." not in host or any(host == one or host.endswith("." + one) for one in _LOCAL_SUFFIXES):
            return Decision(Action.DENY, Reason.LOCAL, quiet=True)
        base = _service_base(host)
        if base != host and policy.allow_index.candidates(base):
            return Decision(Action.DENY, Reason.LOCAL, quiet=True)
    return Decision(Action.DENY, Reason.NO_RULE)


def _service_base(host: str) -> str:
    """``_http._tcp.deb.debian.org`` (SRV, RFC 2782) asks about ``deb.debian.org``."""
    while host.startswith("_") and "." in host:
        host = host.partition(".")[2]
    return host
