"""How facts are put into words, the same in every renderer. Plain text; escaping is each renderer's own business."""

from __future__ import annotations

from collections.abc import Iterable

from ebbgate.events.incidents import Incident, Kind
from ebbgate.events.publish import printable
from ebbgate.events.types import Container, Origin, Process, Step
from ebbgate.events.verdict import Verdict
from ebbgate.exit_codes import BLOCKED, EXFILTRATION
from ebbgate.policy.observation import Reason
from ebbgate.report.interface import Destination, Foreign, RunReport
from ebbgate.report.rotation import Rotation, kind_name
from ebbgate.secrets.credentials import CANARY

MAX_NAMES, MAX_PLACES = 10, 3  # of secrets, and where they were, in one line
MAX_COMMAND = 240  # characters of a command line
AUDITED = {Verdict.blocked: BLOCKED, Verdict.exfiltration: EXFILTRATION}
LABELS = {
    Verdict.clean: "clean",
    Verdict.blocked: "blocked destination",
    Verdict.exfiltration: "exfiltration attempt",
    Verdict.tampered: "tampered with",
    Verdict.broken: "the guard broke",
}
_REASONS = {
    Reason.NO_RULE: "no rule allows it",
    Reason.PORT: "the host is allowed, on another port",
    Reason.PROTOCOL: "the host is allowed, for another protocol",
    Reason.METHOD: "the host is allowed, for other methods",
    Reason.PATH: "the host is allowed, for other paths",
    Reason.QUERY: "the host is allowed, for other query parameters",
    Reason.ONLY: "the host is allowed, for other steps, programs or actions",
    Reason.ADDRESS_MISMATCH: "forged: the address is not one of this name's",
    Reason.HOST_MISMATCH: "forged: the Host header is not the TLS server name",
    Reason.SPECIAL_ADDRESS: "the name leads to an internal address",
    Reason.NO_NAME: "no name is known for the address",
    Reason.NOT_CARRIED: "only TCP and DNS are ever carried",
    Reason.FOREIGN_CREDENTIAL: "it carries a credential that is none of the job's",
    Reason.UNINSPECTABLE: "some of it cannot be read",
    Reason.MALFORMED: "it can be read in more than one way",
    Reason.DEFECT: "the guard failed while judging it",
}


def verdict_text(report: RunReport) -> str:
    """The verdict in one line."""
    label = LABELS[report.verdict]
    if report.mode == "audit" and report.verdict in AUDITED:
        label = f"only watched; enforce mode would end with {AUDITED[report.verdict]} ({label})"
    return label


def why(incident: Incident) -> str:
    """The reason of a refused destination."""
    if incident.reason not in set(Reason):
        return incident.reason
    reason = _REASONS.get(Reason(incident.reason), incident.reason)
    return reason + (f": {incident.detail}" if incident.reason in ("method", "path") else "")


def watched(report: RunReport) -> str:
    """The secrets that are looked for, by name."""
    names = [secret.name for secret in report.secrets]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{len(names)} watched: {shown}" if names else "none watched"


def together(incidents: Iterable[Incident]) -> list[list[Incident]]:
    """Secrets that went the same way from the same process are one thing to act on."""
    groups: dict[tuple[object, ...], list[Incident]] = {}
    for number, one in enumerate(incidents):
        leak = one.kind is Kind.exfiltration
        key = (one.destination, one.place, one.encodings, one.origin, one.stopped) if leak else (number,)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def headline(incident: Incident, names: str) -> str:
    """An incident in one line. names: of all secrets that went the same way."""
    if incident.kind is Kind.exfiltration:
        verb, plural = ("cut" if incident.stopped else "sent"), ("s" if "," in names else "")
        return f"{verb}: secret{plural} {names} on the way to {incident.destination}"
    if incident.kind is Kind.blocked:
        return f"{'blocked' if incident.stopped else 'would be blocked'}: {incident.destination}"
    return incident.detail


def sighting(incident: Incident) -> str:
    """Where in the request a secret was seen, and how it was written."""
    where = incident.place + (f" ({incident.field})" if incident.field else "")
    at = f", at byte {incident.offset:,}" if incident.offset >= 0 else ""
    return f"{where}{at}, written as {' in '.join(reversed(incident.encodings)) or 'raw'}"


def about_secrets(group: list[Incident]) -> list[tuple[str, str]]:
    """(word, text) of what is known of the secrets that went the same way."""
    kinds = dict.fromkeys(f"{one.secret}: {kind_name(one.credential)}" for one in group if kind_name(one.credential))
    found = [("kind", "; ".join(kinds))] if kinds else []
    places = list(dict.fromkeys(map(sighting, group)))
    more = f"; and in {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    found.append(("where", "; ".join(places[:MAX_PLACES]) + more))
    found.append(("left", left(group[0])))
    others = sorted({name for one in group for name in one.visible} - {one.secret for one in group})
    if others:
        shown = ", ".join(others[:MAX_NAMES]) + (f" and {len(others) - MAX_NAMES} more" if len(others) > MAX_NAMES else "")
        found.append(("in reach", f"of the same process: {shown}"))
    return found


def rotation_text(one: Rotation) -> str:
    """When the steps are to be taken."""
    if one.kind == CANARY:
        return "it was used"
    return "it left" if one.left else "unless it was meant to be sent there"


def foreign_text(one: Foreign) -> str:
    """A credential that is none of the job's, in one line."""
    verb = "refused" if one.denied else "seen"
    doubt = ", whose checksum does not hold" if one.checked == "fails" else ", whose checksum holds" if one.checked else ""
    by = f", by {', '.join(one.programs)}" if one.programs else ""
    step = f" in step {', '.join(one.steps)}" if one.steps else ""
    times = f" ({one.count} times)" if one.count > 1 else ""
    return f"{verb}: {one.kind_name or one.kind}{doubt}, to {one.destination} in {one.place}{by}{step}{times}"


def left(incident: Incident) -> str:
    """How much of an exfiltration attempt got out."""
    value = "the value did not" if incident.stopped else "THE VALUE LEFT"
    return f"{value}; {size(incident.bytes_left)} of the request did, {size(incident.bytes_withheld)} were held back"


def process_text(process: Process) -> str:
    """A process in one line."""
    program = process.exe.rpartition("/")[2] or "?"
    cmdline = printable(process.cmdline, MAX_COMMAND)
    if not process.certain:
        return f"{program} (a guess: the sender had ended already): {cmdline}"
    return f"{program} (pid {process.pid}): {cmdline}"


def remarks(one: Destination) -> str:
    """What else there is to say of a destination."""
    parts = [f"{name} where it belongs" for name in one.secrets]
    parts += [f"not inspected: {reason}" for reason in one.uninspected]
    if one.containers:
        parts.append("containers: " + ", ".join(map(container_text, one.containers)))
    if one.failed:
        parts.append(f"{one.failed} failed: {one.error}")
    return "; ".join(parts)


def size(count: int) -> str:
    """Decimal units, as network tools print them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{count:,} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def step_text(step: Step) -> str:
    """A step in one line: its name, and the action or script that it runs."""
    what = step.action or step.script.rpartition("/")[2]
    return f"{step.name} ({what})" if what else step.name


def container_text(container: Container) -> str:
    """A container in one line."""
    return f"{container.image or 'unknown image'} ({container.id})"


def whereabouts(origin: Origin) -> list[tuple[str, str]]:
    """(word, text) of the step and container that an origin belongs to, as far as they are known."""
    found = [("step", step_text(origin.step))] if origin.step is not None else []
    return found + ([("container", container_text(origin.container))] if origin.container is not None else [])
