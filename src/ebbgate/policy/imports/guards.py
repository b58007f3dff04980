"""The guards whose lists can be read, and the one function that turns a file of theirs into a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ebbgate.errors import IntegrityError
from ebbgate.policy.imports.listing import LeftOut, Listing
from ebbgate.policy.imports.native_firewall import read_firewall
from ebbgate.policy.imports.render import policy_text
from ebbgate.policy.imports.workflows import BULLFROG, HARDEN_RUNNER, read_workflow
from ebbgate.policy.load import load_texts
from ebbgate.policy.yaml_source import PolicyProblems


@dataclass(frozen=True, slots=True)
class Guard:
    """name: as people call it. unlisted: what it lets through without being told. every_port: whether a host means every port."""

    name: str
    read: Callable[[str, str], list[Listing]]
    unlisted: str
    every_port: bool = False


GUARDS: Mapping[str, Guard] = {
    "harden-runner": Guard(
        "Harden-Runner",
        lambda source, text: read_workflow(source, text, HARDEN_RUNNER),
        "codeload.github.com, *.actions.githubusercontent.com, GitHub's result stores, private networks, metadata services",
    ),
    "bullfrog": Guard(
        "Bullfrog",
        lambda source, text: read_workflow(source, text, BULLFROG),
        "GitHub's hosts for checkout, artifacts and summaries, metadata services",
        every_port=True,
    ),
    "native-firewall": Guard(
        "GitHub's firewall",
        read_firewall,
        "github.com, codeload.github.com, GitHub's result stores and *.actions.githubusercontent.com, without no-default-urls",
    ),
}


def imported(kind: str, source: str, text: str) -> tuple[str, list[LeftOut]]:
    """A policy in YAML, and what of the list it does not carry. PolicyProblems for what cannot be read."""
    guard = GUARDS[kind]
    listings = guard.read(source, text)
    made = policy_text(guard.name, guard.unlisted, source, listings, every_port=guard.every_port)
    try:
        for job in dict.fromkeys(["", *(one.job for one in listings)]):
            load_texts([("the policy made", made)], job=job, given_by="")
    except PolicyProblems as problems:
        raise IntegrityError("the policy that was made cannot be read", problems.cause, "report this") from None
    return made, [one for listing in listings for one in listing.left_out]
