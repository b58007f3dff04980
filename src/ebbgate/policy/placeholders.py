"""``{owner}``, ``{repo}`` and ``{ref}`` in paths: what a run is about, so that one policy serves many repositories.

Values come from the variables that CI sets. They become literal text of a path: a value that could be read as more (a pattern,
another segment, a placeholder) is refused. Without a run, as in ``check`` and ``diff``, placeholders stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ebbgate.policy.model import Entry

REPOSITORY, REF = "GITHUB_REPOSITORY", "GITHUB_REF_NAME"
# Name: the variable it comes from, with the option that stands for it.
PLACEHOLDERS = {
    "owner": f"{REPOSITORY} or --repository OWNER/NAME",
    "repo": f"{REPOSITORY} or --repository OWNER/NAME",
    "ref": f"{REF} or --ref NAME",
}
_NAMED = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}\Z")  # GitHub's owners and repositories
# git-check-ref-format(1) allows neither these nor white space nor ".."; ";" and "%" have no normal form in a path.
_REF = re.compile(r"(?!/)(?!.*(?://|/\Z|(?:\A|/)\.{1,2}(?:/|\Z)))[^\s~^:?*\[\]{}\\;%#\x00-\x20\x7f]{1,250}\Z")


def unknown_in(glob: str) -> str | None:
    """What stands in braces and is no placeholder, or a brace that belongs to none; None when all is well."""
    for match in _NAMED.finditer(glob):
        if match[1] not in PLACEHOLDERS:
            return match[0]
    rest = _NAMED.sub("", glob)
    return next((sign for sign in "{}" if sign in rest), None)


def given(repository: str | None, ref: str | None) -> dict[str, str]:
    """The variables that options stand for."""
    return {name: value for name, value in ((REPOSITORY, repository), (REF, ref)) if value is not None}


def context_of(variables: Mapping[str, str]) -> dict[str, str]:
    """The values that a run's variables give. One that is not well-formed gives none."""
    owner, slash, repo = variables.get(REPOSITORY, "").partition("/")
    ref = variables.get(REF, "")
    found = {"owner": owner, "repo": repo} if slash and _NAME.match(owner) and _NAME.match(repo) else {}
    return {**found, "ref": ref} if _REF.match(ref) else found


def missing_in(entry: Entry, context: Mapping[str, str]) -> list[str]:
    """Placeholders of an entry for which a run has no value."""
    used = (match[1] for glob in entry.paths for match in _NAMED.finditer(glob))
    return [name for name in dict.fromkeys(used) if name not in context]


def filled(entry: Entry, context: Mapping[str, str]) -> Entry:
    """An entry with its placeholders' values. KeyError when one is missing."""
    if not any("{" in glob for glob in entry.paths):
        return entry
    return replace(entry, paths=tuple(_NAMED.sub(lambda match: context[match[1]], glob) for glob in entry.paths))
