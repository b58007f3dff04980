"""What is known about one attempt to reach the world, and what was decided about it.

An observation is a fact without opinion; ``ebbgate.policy.decide`` turns it into a decision. Both cross
process borders and end in the journal, so they hold plain values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """How much is known: each later stage knows all of the earlier ones."""

    DNS = "dns"  # a name is asked for: could any rule allow traffic to it?
    CONNECT = "connect"  # an address and port; for TCP the names our resolver handed out for it
    NAME = "name"  # the TLS server name or the HTTP authority
    REQUEST = "request"  # method and path


class Protocol(StrEnum):
    """What is spoken. ``udp`` and ``icmp`` are never carried; they are observed and refused."""

    TLS = "tls"  # HTTP inside TLS, or TLS passed through by rule
    HTTP = "http"
    TCP = "tcp"  # opaque bytes
    UDP = "udp"
    ICMP = "icmp"
    DNS = "dns"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt, at one stage.

    host: canonical name (``policy.names``) or canonical address literal by which the attempt is judged;
        None when none is known (a packet, an opaque connection to an address no name was handed out for).
    port: destination port; None for DNS and ICMP.
    address: address the client chose (evidence, not authority), canonical text; None when it has no meaning.
    address_known: whether ``address`` is one that ``host`` really resolves to (handed out by our resolver in this run,
        or resolved by the gate just now), or ``host`` is that very address. False means forged or stale: denied.
        Ignored at stages DNS and for literal hosts.
    method: HTTP method, upper case; None before stage REQUEST.
    path: the request target's path as sent, without query and fragment, always beginning with "/"; None before REQUEST.
    query: what follows its "?", as sent; "" when nothing does.
    step, executable, action: who opened the connection, by evidence; "" when unknown, and then no ``only`` is met.
    """

    stage: Stage
    protocol: Protocol
    host: str | None
    port: int | None = None
    address: str | None = None
    address_known: bool = True
    method: str | None = None
    path: str | None = None
    query: str | None = None
    step: str = ""
    executable: str = ""
    action: str = ""


class Action(StrEnum):
    """What a decision asks for."""

    ALLOW = "allow"
    DENY = "deny"


class Reason(StrEnum):
    """Why; stable text for the journal."""

    RULE = "rule"  # an allow entry matched
    LOCAL = "local"  # answered by the guard itself, nothing leaves and nobody needs to act (PTR, single labels)
    EXPLICIT_DENY = "explicit-deny"  # a deny entry matched: quiet, does not fail the job
    NO_RULE = "no-rule"  # no entry names this destination
    PORT = "port"  # the host is allowed, on another port
    PROTOCOL = "protocol"  # the host and port are allowed, for another protocol
    METHOD = "method"
    PATH = "path"
    QUERY = "query"  # a parameter that no pattern means
    ONLY = "only"  # allowed to others
    ADDRESS_MISMATCH = "address-mismatch"  # the address is not one of this name's
    HOST_MISMATCH = "host-mismatch"  # HTTP authority differs from the TLS server name
    SPECIAL_ADDRESS = "special-address"  # loopback, link-local, metadata, private: no rule says so
    NO_NAME = "no-name"  # opaque, and no name is known
    NOT_CARRIED = "not-carried"  # UDP, ICMP and whatever else the enclosure never carries
    FOREIGN_CREDENTIAL = "foreign-credential"  # a credential that is not one of the job's, where only those may be used
    UNINSPECTABLE = "uninspectable"  # some of it could not be read, where everything must be
    MALFORMED = "malformed"  # cannot be parsed; what cannot be judged is denied
    DEFECT = "defect"  # the guard failed while judging: denied


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where the matching entry stands. source: file name, preset name or option; line, column: 1-based, 0 if none."""

    source: str
    line: int
    column: int
    text: str  # the entry in canonical short form, e.g. "https://example.com:443 GET,HEAD"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of ``decide``.

    rule: the entry that matched, or for a denial inside an allowed host the nearest one; None otherwise.
    passthrough: TLS is to be forwarded without decryption (rule with ``tls: passthrough``).
    permitted_ranges: CIDR texts in which the matched rule lets the gate dial although they are special.
    quiet: denied without failing the job. own_credentials: requests may carry the job's own credentials only.
    inspected_only: what cannot be read does not leave.
    """

    action: Action
    reason: Reason
    rule: RuleRef | None = None
    passthrough: bool = False
    permitted_ranges: tuple[str, ...] = ()
    quiet: bool = False
    own_credentials: bool = False
    inspected_only: bool = False

    @property
    def allowed(self) -> bool:
        return self.action is Action.ALLOW
