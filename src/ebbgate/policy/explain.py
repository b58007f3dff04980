"""Why a request would be allowed or denied: the gate's own decisions, stage by stage, and what stood nearby.

    URL ──▶ NAME (TLS server name) ──▶ REQUEST (method, path)      for tls
            the first denial is the answer; what is passed through has no second stage
    URL ──▶ REQUEST for http, CONNECT for tcp

A name is taken to lead to ordinary addresses: what the world's DNS says on the day is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebbgate.errors import PolicyError
from ebbgate.policy.decide import considered, decide
from ebbgate.policy.entries import DEFAULT_PORTS
from ebbgate.policy.model import METHODS, Policy
from ebbgate.policy.names import canonical_authority
from ebbgate.policy.observation import Decision, Observation, Protocol, Reason, RuleRef, Stage
from ebbgate.policy.paths import normal_path
from ebbgate.secrets.bindings import Bindings
from ebbgate.secrets.credentials import credentials
from ebbgate.secrets.finding import Carrier, Finding, Place

MAX_NEAR = 10  # entries that almost matched; the nearest explains, and hundreds for one host say nothing more
_SCHEMES = {"https": Protocol.TLS, "tls": Protocol.TLS, "http": Protocol.HTTP, "tcp": Protocol.TCP}
_GLOB_SIGNS = frozenset("*{}?#")


@dataclass(frozen=True, slots=True)
class Near:
    """An entry for the same host that does not allow it, and why not."""

    rule: RuleRef
    reason: Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to what was seen. near: in the order of judging. fix: a YAML entry that would allow it, or words.

    places: where the secret that was asked for may be in it; None when none was asked for.
    """

    seen: Observation
    decision: Decision
    near: tuple[Near, ...]
    fix: str = ""
    is_entry: bool = False
    places: tuple[str, ...] | None = None


def observation_of(method: str, url: str) -> Observation:
    """What the gate would see of a request. PolicyError when the URL could be read in more than one way."""
    scheme, mark, rest = url.partition("://")
    protocol = _SCHEMES.get(scheme.lower()) if mark else Protocol.TLS
    if protocol is None:
        raise PolicyError(f"unknown scheme {scheme!r}", "", "https://, http:// or tcp://HOST:PORT")
    rest = rest if mark else url
    cut = min((at for sign in "/?#" if (at := rest.find(sign)) >= 0), default=len(rest))
    authority, target = rest[:cut], rest[cut:].partition("#")[0]
    if any(ord(sign) <= 32 or ord(sign) == 127 for sign in url):
        raise PolicyError("the URL holds white space or a control character", "", "write it percent-encoded")
    try:
        host, port = canonical_authority(authority, DEFAULT_PORTS.get(protocol, 0))
    except ValueError as problem:
        raise PolicyError("the URL cannot be read in one way only", str(problem), "write https://HOST/PATH") from None
    if protocol is Protocol.TCP:
        if not port or target.strip("/"):
            raise PolicyError("opaque TCP has a port and no path", "", f"write tcp://{host}:PORT")
        return Observation(Stage.CONNECT, protocol, host, port, host)
    path, _, query = target.partition("?")
    return Observation(Stage.REQUEST, protocol, host, port, host, True, method.upper(), path or "/", query)


def explain(policy: Policy, seen: Observation, secret: str | None = None) -> Explanation:
    """The explanation of one request, as ``observation_of`` makes it."""
    name = replace(seen, stage=Stage.NAME, method=None, path=None, query=None)
    if seen.protocol is Protocol.TLS:
        decision = decide(policy, name)
        if not decision.allowed or decision.passthrough:
            return _with(policy, name, seen, decision, secret)
    return _with(policy, seen, seen, decide(policy, seen), secret)


def _with(policy: Policy, judged: Observation, seen: Observation, decision: Decision, secret: str | None) -> Explanation:
    pairs = [(entry, reason) for entry, reason in considered(policy, judged) if reason is not None]
    near = tuple(Near(entry.ref, reason) for entry, reason in pairs[:MAX_NEAR])
    fix, is_entry = ("", False) if decision.allowed else _fix(seen, decision)
    places = None if secret is None else tuple(_places(policy, seen, decision, secret))
    return Explanation(seen, decision, near, fix, is_entry, places)


def _places(policy: Policy, seen: Observation, decision: Decision, secret: str) -> list[str]:
    """Where a secret may be, its kind taken from its name alone."""
    if decision.passthrough or seen.host is None:
        return []
    bindings = Bindings(policy.bindings, frozenset(policy.exceptions))
    kinds = [kind.id for kind in credentials().by_variable.get(secret, ())] or [""]
    found = (Finding(secret, "", Place(Carrier.BODY), ("raw",), -1, kind) for kind in kinds)
    tls = seen.protocol is Protocol.TLS
    return list(dict.fromkeys(place for one in found for place in bindings.places(one, seen.host, tls=tls)))


def _fix(seen: Observation, decision: Decision) -> tuple[str, bool]:
    """(what would allow it, whether that is an entry)."""
    if decision.reason is Reason.EXPLICIT_DENY and decision.rule is not None:
        return f"take {decision.rule.text} out of deny: (and allow it, if nothing else does)", False
    if decision.reason is Reason.DEFECT:
        return "nothing: the guard failed while judging it", False
    return _entry(seen), True


def _entry(seen: Observation) -> str:
    """The smallest entry: this host, port, protocol, method and path. One flow mapping, as it is written below ``allow:``."""
    parts = [f"host: {quoted(seen.host or '')}"]
    if seen.port != DEFAULT_PORTS.get(seen.protocol):
        parts.append(f"port: {seen.port}")
    if seen.protocol is not Protocol.TLS:
        parts.append(f"protocol: {seen.protocol}")
    if seen.method in METHODS:
        parts.append(f"methods: [{seen.method}]")
    path = normal_path(seen.path) if seen.path is not None else None
    if path is not None and not _GLOB_SIGNS & set(path):  # any other is meant by no pattern, or by one that means more
        parts.append(f"paths: [{quoted(path)}]")
    return f"- {{ {', '.join(parts)} }}"


def quoted(text: str) -> str:
    """As YAML's double-quoted style writes it where a plain scalar could be read otherwise."""
    if text[:1].isalpha() and all(one.isalnum() or one in ".-_/" for one in text) and text.isascii():
        return text
    signs = (one if one.isprintable() and one not in '"\\' else f"\\U{ord(one):08X}" for one in text)
    return f'"{"".join(signs)}"'
