"""What the guarded program is told when it is refused: what happened and what would allow it, never which rule."""

from __future__ import annotations

from ebbgate.gate.draft import Draft
from ebbgate.policy.observation import Reason

_REASONS = {
    Reason.METHOD: "its method is not allowed for this host",
    Reason.PATH: "its path is not allowed for this host",
    Reason.ONLY: "it is allowed to others",
    Reason.QUERY: "its query is not allowed for this host",
    Reason.ADDRESS_MISMATCH: "it was sent to an address that does not belong to the name",
    Reason.HOST_MISMATCH: "its Host differs from the TLS server name",
    Reason.SPECIAL_ADDRESS: "the name resolves to an internal address",
    Reason.FOREIGN_CREDENTIAL: "it carries a credential that is none of the job's",
    Reason.UNINSPECTABLE: "some of it cannot be read",
    Reason.MALFORMED: "it can be read in more than one way",
    Reason.DEFECT: "the guard failed while judging it",
}


def explain(draft: Draft) -> str:
    """Plain text for the 403. Names are those the program itself used."""
    destination = f"{draft.protocol}://{draft.host}:{draft.port}"
    lines = [f"Ebbgate refused this request to {destination}."]
    if draft.leaks:
        names = ", ".join(sorted({finding.secret for finding in draft.findings if not finding.permitted}))
        lines.append(f"It carries a secret that may not go there: {names}.")
    else:
        lines.append(f"Why: {_REASONS.get(draft.decision.reason, 'the destination is not allowed')}.")
        if draft.suggestion:
            lines.append(f"To allow it, add: {draft.suggestion}")
    return "\n".join(lines) + "\n"
