"""What to do about an incident, in words that every renderer shares."""

from __future__ import annotations

from ebbgate.events.incidents import Incident, Kind
from ebbgate.policy.observation import Reason

ALLOWABLE = frozenset({Reason.NO_RULE, Reason.PORT, Reason.PROTOCOL, Reason.METHOD, Reason.PATH, Reason.SPECIAL_ADDRESS})


def advice(incident: Incident) -> list[str]:
    """One to three sentences."""
    match incident.kind:
        case Kind.exfiltration:
            return _about_secret(incident)
        case Kind.blocked:
            return _about_destination(incident)
        case Kind.tampered:
            return ["treat this machine and every secret of the run as lost; find out what did it before the next run"]
        case Kind.broken:
            return ["traffic was stopped, nothing was let through; run again with EBBGATE_DEBUG=1 and report the defect"]


def _about_secret(incident: Incident) -> list[str]:
    name = incident.secret
    if not incident.stopped:
        return [
            f"rotate {name} now: its value left the machine",
            f"find out what {incident.host} is and why it was sent there",
        ]
    return [
        f"find out why this process sends {name} there; if you did not write it, rotate {name} and look for what did",
        f"if it belongs there, bind it in the policy: secrets: {{{name}: {{to: [{incident.host}], in: [...]}}}}",
    ]


def _about_destination(incident: Incident) -> list[str]:
    if incident.reason in (Reason.ADDRESS_MISMATCH, Reason.HOST_MISMATCH):
        return ["no honest client does this; find out what started the process"]
    if incident.reason in ALLOWABLE and incident.suggestion:
        return [f"if it is wanted: {incident.suggestion}; if not, deny it: --deny {incident.host}"]
    return []
