"""What to do about an incident, in words that every renderer shares."""

from __future__ import annotations

from ebbgate.events.incidents import Incident, Kind
from ebbgate.policy.observation import Reason
from ebbgate.policy.places import is_bindable, place_of
from ebbgate.secrets.credentials import CANARY

ALLOWABLE = frozenset(
    {Reason.NO_RULE, Reason.PORT, Reason.PROTOCOL, Reason.METHOD, Reason.PATH, Reason.QUERY, Reason.SPECIAL_ADDRESS}
)


def advice(incident: Incident, names: str = "") -> list[str]:
    """One to three sentences. names: of all secrets that went the same way, when there were several."""
    match incident.kind:
        case Kind.exfiltration:
            return _about_secret(incident, names or incident.secret)
        case Kind.blocked:
            return _about_destination(incident)
        case Kind.tampered:
            return ["treat this machine and every secret of the run as lost; find out what did it before the next run"]
        case Kind.broken:
            return ["traffic was stopped, nothing was let through; run again with EBBGATE_DEBUG=1 and report the defect"]


def _about_secret(incident: Incident, names: str) -> list[str]:
    if incident.credential == CANARY:
        return ["no honest program uses a canary: find out what this process is, and take every secret in its reach for stolen"]
    if not incident.stopped:
        return [
            f"rotate {names} now: the value left the machine",
            f"find out what {incident.host} is and why it was sent there",
        ]
    lines = [f"find out why this process sends that there; if nobody meant it to, rotate {names} and look for what did"]
    if incident.destination.startswith("tls:") and is_bindable(incident.place):
        place = place_of(incident.place, incident.field)
        lines.append(f"if it belongs there, bind it: secrets: {{{incident.secret}: {{to: [{incident.host}], in: [{place}]}}}}")
    return lines


def _about_destination(incident: Incident) -> list[str]:
    if incident.reason == Reason.FOREIGN_CREDENTIAL:
        return [
            "find out whose credential it is and how the process came by it: attackers bring their own, or another victim's",
            "if it is the job's, make it known (--secret, EBBGATE_SECRET_<NAME>); or write credentials: any for this host",
        ]
    if incident.reason in (Reason.ADDRESS_MISMATCH, Reason.HOST_MISMATCH):
        return ["no honest client does this; find out what started the process"]
    if incident.reason in ALLOWABLE and incident.suggestion:
        return [f"if it is wanted: {incident.suggestion}; if not, deny it: --deny {incident.host}"]
    return []
