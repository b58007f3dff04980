"""The journal's records: frozen facts, one JSON object a line, the same in audit and enforce mode.

Every record has ``kind`` (its class), ``time`` (seconds since the epoch, UTC) and ``seq`` (position in the journal,
given by the journal itself). Text that came from the wire was made publishable (``gate.redact``) before it got here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

NOTHING_SENT = "nothing was sent"  # the error of a refused connection on which the client said nothing


@dataclass(frozen=True, slots=True)
class Process:
    """A process as seen when it opened a connection.

    pid: in the machine's (outermost visible) numbering. exe: path of the program, "" when unreadable.
    cmdline: redacted, joined with single spaces, bounded. certain: False when it is a best guess (the socket was
    already gone): the youngest processes of the workload at that moment.
    """

    pid: int
    exe: str
    cmdline: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """The workflow step a process belongs to, by the environment that the runner gave the step: evidence, not proof.

    name: GITHUB_ACTION, the step's id or the runner's name for it ("__run_2"). action: "owner/repo@ref" of the action, "" for
    a ``run:`` step. script: path of a ``run:`` step's script, "" otherwise.
    """

    name: str
    action: str = ""
    script: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """The container a process runs in. id: first 12 hexadecimal digits. image: as it was asked for, "" when unknown."""

    id: str
    image: str = ""


class Party(StrEnum):
    """Whose process it is, as far as what it does counts against the job."""

    JOB = "job"  # steps and everything that descends from them, containers and their runtimes included
    RUNNER = "runner"  # the CI runner's own processes, that is the ancestors of the steps
    MACHINE = "machine"  # services that ran before the guard was armed


@dataclass(frozen=True, slots=True)
class Origin:
    """The opener of a connection and its ancestors, nearest first; empty when unknown. party: a ``Party``."""

    process: Process | None = None
    ancestry: tuple[Process, ...] = ()
    step: Step | None = None
    container: Container | None = None
    party: str = "job"


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A registered secret, by name. origin: "--secret", "policy", "environment" or "canary". kind: id, "" when unknown."""

    name: str
    fingerprint: str
    origin: str
    bound_to: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """A finding as journalled. permitted: seen at its bound host in its bound place.

    kind: id of the secret's kind, "" when unknown. field: of the place, as far as that was read: "query:token", "json:a.b",
    "auth:bearer".
    """

    secret: str
    fingerprint: str
    place: str  # str(Place), e.g. "header:authorization"
    encodings: tuple[str, ...]
    offset: int
    permitted: bool
    kind: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """A credential of a known kind that is none of the job's, on its way to an allowed host.

    place, field: as of a finding. checked: "holds" or "fails" for the format's own test, "" when it has none. denied: the policy
    lets only the job's own be used there.
    """

    kind: str
    place: str
    field: str = ""
    checked: str = ""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision as journalled. rule: "source:line text" or ""."""

    action: str
    reason: str
    rule: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first record: what was to be run, and under what. repository, ref, workflow, job: as CI names them."""

    version: str
    mode: str  # "enforce" | "audit"
    command: str  # redacted
    policy: tuple[str, ...]  # sources: files, presets, options
    policy_digest: str  # sha256 of the canonical policy
    secrets: tuple[SecretInfo, ...]
    doors_opened: tuple[str, ...] = ()  # explicit options that left a door of the enclosure open
    time: float = 0.0
    repository: str = ""
    ref: str = ""
    workflow: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class Armed:
    """The enclosure stands and its self-test passed. seconds: since the start of the run."""

    seconds: float
    enclosure: str = "sealed"
    time: float = 0.0


class Inspection(StrEnum):
    """How much of what left was read by the scanner."""

    FULL = "full"
    PARTIAL = "partial"  # over a bound (decode budget, sinkhole bound): see Exchange.uninspected
    NONE = "none"  # TLS passthrough, unknown content encoding


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request, WebSocket, opaque or passed-through connection, or refused attempt: the canonical record.

    host: publishable form of the name it was judged by; "" when none. address, port: what the client chose.
    enforced: False in audit mode. ``would_deny`` is ``decision.action == "deny"`` or a finding not permitted.
    blocked: traffic was really stopped. bytes_out: payload bytes of the workload (headers and body) that were handed to
    the network towards the host; 0 when it was never dialled. bytes_withheld: read by the guard and not forwarded.
    suggestion: the option that would allow it, e.g. "--allow example.com"; "" when allowed or not allowable.
    error: why an allowed exchange failed, e.g. "client refused the certificate"; "" if it did not.
    foreign: credentials that are none of the job's. visible: of an exfiltration attempt, secrets (by name) that stand in the
    sender's environment. overrides: methods by which headers ask the server to replace ``method``; each is judged too.
    query: its parameters, long values and what looks encoded hidden.
    """

    id: str
    protocol: str
    host: str
    port: int
    address: str
    method: str
    path: str
    status: int
    decision: DecisionRecord
    enforced: bool
    would_deny: bool
    blocked: bool
    bytes_out: int
    bytes_in: int
    bytes_withheld: int
    inspection: str
    uninspected: str  # reason, "" when inspection is full
    findings: tuple[FindingRecord, ...] = ()
    origin: Origin = field(default_factory=Origin)
    suggestion: str = ""
    error: str = ""
    duration: float = 0.0
    time: float = 0.0
    foreign: tuple[ForeignRecord, ...] = ()
    visible: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    query: str = ""


@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """One question that reached the gate's resolver. forwarded: asked of the world. transport: "udp" | "tcp"."""

    name: str
    qtype: str
    transport: str
    server: str  # address the client meant to ask
    decision: DecisionRecord
    enforced: bool
    would_deny: bool
    blocked: bool
    forwarded: bool
    findings: tuple[FindingRecord, ...] = ()
    origin: Origin = field(default_factory=Origin)
    suggestion: str = ""
    time: float = 0.0
    visible: tuple[str, ...] = ()  # as of an exchange


@dataclass(frozen=True, slots=True)
class Packet:
    """Packets the enclosure refused: UDP, ICMP, raw. count: how many of this kind from this process were seen."""

    protocol: str
    address: str
    port: int
    host: str  # name our resolver handed out for the address, publishable; "" if none
    decision: DecisionRecord
    enforced: bool
    count: int = 1
    origin: Origin = field(default_factory=Origin)
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Defect:
    """The guard failed somewhere; whatever it was judging was denied. error: exception class, never its text."""

    component: str
    operation: str
    error: str
    location: str = ""  # file:line inside the guard
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class GateLost:
    """The gate ended although the run had not. Traffic stayed closed from then on."""

    how: str  # "signal 9", "exit 1"
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Tampering:
    """Something changed the guard or its enclosure. what: one sentence."""

    what: str
    origin: Origin = field(default_factory=Origin)
    time: float = 0.0


class Concern(StrEnum):
    """What a notice is about."""

    LOCKDOWN = "lockdown"  # a lock was laid and verified, or is not to be had here
    EARLY = "early-connection"  # opened before the guard was armed
    ORDER = "order"  # something of the job ran before the guard
    NAME = "name"  # an allowlisted name does not resolve
    FILE = "file"  # a file of the runner, a tool or a privilege changed
    PROCESS = "process"  # a process did what honest ones rarely do
    CANARY = "canary"  # planted values, and where
    DEGRADED = "degraded"  # the machine lacks something; what is done instead


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a reader should know that does not change the verdict. concern: a ``Concern``. what: one sentence."""

    concern: str
    what: str
    origin: Origin = field(default_factory=Origin)
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class GateReplaced:
    """A gate that was lost has a successor. seconds: between the two nothing could leave, and nothing was seen."""

    seconds: float
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """exit_code: as a shell would give it (128+n for signals). killed_by_guard: ended after an exfiltration attempt."""

    exit_code: int
    killed_by_guard: bool
    seconds: float
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class RunEnded:
    """complete: every part of the guard said goodbye in order; False means the record may lack its tail."""

    complete: bool
    uninspected_bytes: int
    dropped_events: int
    time: float = 0.0


type Event = (
    RunStarted
    | Armed
    | Exchange
    | DnsQuestion
    | Packet
    | Defect
    | GateLost
    | GateReplaced
    | Tampering
    | Notice
    | CommandEnded
    | RunEnded
)
