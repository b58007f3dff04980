"""Policy files and options to one ``Policy``. All problems are reported at once, and then nothing is applied."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping as ValuesByName
from collections.abc import Sequence as ListOf
from dataclasses import replace
from pathlib import Path

from ebbgate.errors import PolicyError
from ebbgate.policy.entries import CREDENTIALS, UNINSPECTABLE, Reader, describe, either, entries, option_entry
from ebbgate.policy.model import PRESET, Entry, HostPattern, Policy, SecretBinding, index
from ebbgate.policy.names import canonical_host
from ebbgate.policy.observation import RuleRef
from ebbgate.policy.placeholders import PLACEHOLDERS, filled, missing_in
from ebbgate.policy.presets import preset, preset_names
from ebbgate.policy.yaml_source import Mapping, Node, PolicyProblems, Problem, Scalar, parse, read
from ebbgate.secrets.bindings import COARSE, FINE
from ebbgate.secrets.credentials import credentials

MODES = ("enforce", "audit")
PLACES = COARSE
# What a policy may say, and a job of it; the reference is made of the meanings.
JOB_KEYS = {
    "mode": "`enforce` stops what no rule allows, `audit` only watches",
    "use": "presets",
    "allow": "entries: hosts, or mappings with the keys below",
    "deny": "entries that are refused without failing the job",
    "secrets": "`NAME: {to: [hosts], in: [places]}` replaces where the variable's secret may go by its kind",
    "credentials": "`own`: requests may carry the job's own credentials only; `any` (default): others are reported",
    "uninspectable": "`deny`: what the guard cannot read does not leave; `allow` (default): it is counted",
    "exceptions": "uses of credentials that are against the rule and wanted, by the names in credentials.md",
    "canary": "`true` plants credentials that nobody issued; any use of one is an attempt to steal",
    "inspect-containers": "`true`: TLS from containers must be read, although they do not know the guard's authority",
}
KEYS = {"version": "`1`", **JOB_KEYS, "jobs": "by name, what is added for a job; the same keys but `version` and `jobs`"}
_SECRET = ("to", "in")
ValuesOf = ValuesByName[str, str]


class _Draft:
    """What has been collected so far."""

    def __init__(self) -> None:
        self.mode: str | None = None
        self.inspect_containers = False
        self.own_credentials: bool | None = None
        self.inspected_only: bool | None = None
        self.canary = False
        self.exceptions: list[str] = []
        self.use: list[str] = []
        self.allow: list[Entry] = []
        self.deny: list[Entry] = []
        self.bindings: list[SecretBinding] = []
        self.sources: list[str] = []
        self.problems: list[Problem] = []
        self.jobs: set[str] = set()


def load_policy(
    files: ListOf[Path],
    *,
    job: str | None = None,
    mode: str | None = None,
    use: ListOf[str] = (),
    allow: ListOf[str] = (),
    deny: ListOf[str] = (),
    given_by: str = "--",
    context: ValuesOf | None = None,
) -> Policy:
    """The policy of files, presets and options together. PolicyProblems carries every problem found.

    job: must be among the files' jobs. given_by: what stands before the names of options where a mistake is told. context: of
    the run, for placeholders; None: there is no run, and they stay as they are.
    """
    draft = _Draft()
    for path in files:
        _add_file(draft, path, job)
    if job is not None and files and job not in draft.jobs and not draft.problems:
        known = ", ".join(sorted(draft.jobs)) or "none"
        draft.problems.append(Problem(str(files[0]), 1, 1, f"there is no job {job!r}", f"jobs: {known}"))
    if job is not None and not files:
        raise PolicyError("--job needs a policy file", "", "add --policy FILE")
    return _with_options(draft, mode, use, allow, deny, given_by, context)


def load_texts(
    texts: ListOf[tuple[str, str]],
    *,
    job: str,
    mode: str | None = None,
    use: ListOf[str] = (),
    allow: ListOf[str] = (),
    deny: ListOf[str] = (),
    given_by: str,
    context: ValuesOf | None = None,
) -> Policy:
    """As ``load_policy``, from (name, text) pairs. A policy need not speak of the job: it may have nothing to add for it."""
    draft = _Draft()
    for source, text in texts:
        _add_text(draft, source, text, job)
    return _with_options(draft, mode, use, allow, deny, given_by, context)


def job_names(path: Path) -> tuple[str, ...]:
    """Names of the jobs that a policy file speaks of, in its order."""
    node = parse(read(path), str(path))
    jobs = node.get("jobs") if isinstance(node, Mapping) else None
    return tuple(name.text for name, _job in jobs.items) if isinstance(jobs, Mapping) else ()


def policies_of(path: Path) -> dict[str, Policy]:
    """A file's policy for each job, by name; the one of "" is what every job has."""
    return {"": load_policy([path]), **{job: load_policy([path], job=job) for job in job_names(path)}}


def _with_options(
    draft: _Draft,
    mode: str | None,
    use: ListOf[str],
    allow: ListOf[str],
    deny: ListOf[str],
    given_by: str,
    context: ValuesOf | None,
) -> Policy:
    for name in use:
        _add_use(draft, Scalar(name, 1, 1), f"{given_by}use")
    for values, option, is_deny in ((allow, f"{given_by}allow", False), (deny, f"{given_by}deny", True)):
        for text in values:
            _add_option(draft, text, option, deny=is_deny)
    names = tuple(dict.fromkeys(draft.use))
    draft.allow += _of_presets(names)
    if context is not None:
        draft.allow, draft.deny = _filled(draft, draft.allow, context), _filled(draft, draft.deny, context)
    if draft.problems:
        raise PolicyProblems(draft.problems)
    return _finished(draft, mode, names)


def _filled(draft: _Draft, given: list[Entry], context: ValuesOf) -> list[Entry]:
    """Entries with the run's values in the place of placeholders."""
    found: list[Entry] = []
    for entry in given:
        absent = missing_in(entry, context)
        for name in absent:
            message = f"{{{name}}} has no value in this run"
            draft.problems.append(
                Problem(entry.ref.source, entry.ref.line, entry.ref.column, message, f"set {PLACEHOLDERS[name]}")
            )
        if not absent:
            made = filled(entry, context)
            found.append(entry if made is entry else replace(made, ref=replace(entry.ref, text=describe(made))))
    return found


def _finished(draft: _Draft, mode: str | None, names: ListOf[str]) -> Policy:
    sources = (*draft.sources, *(f"{PRESET}{name}" for name in names))
    chosen = mode or draft.mode or "enforce"
    allow, deny = tuple(draft.allow), tuple(draft.deny)
    text = "\n".join(
        [chosen, *(f"allow {describe(one)}" for one in allow), *(f"deny {describe(one)}" for one in deny)]
        + [f"secret {one.name} {[str(host) for host in one.to]} {one.places}" for one in draft.bindings]
        + (["inspect-containers"] if draft.inspect_containers else [])
        + (["credentials own"] if draft.own_credentials else [])
        + (["uninspectable deny"] if draft.inspected_only else [])
        + (["canary"] if draft.canary else [])
        + [f"exception {name}" for name in draft.exceptions]
    )
    return Policy(
        chosen,
        allow,
        deny,
        tuple(draft.bindings),
        sources,
        hashlib.sha256(text.encode()).hexdigest(),
        draft.inspect_containers,
        tuple(dict.fromkeys(draft.exceptions)),
        draft.own_credentials is True,
        draft.inspected_only is True,
        draft.canary,
        index(allow),
        index(deny),
    )


def _of_presets(names: ListOf[str]) -> list[Entry]:
    """The presets' entries after all others, those that are read first: whatever the order in which presets are named."""
    found = [entry for name in sorted(names) for entry in preset(name).entries]
    return sorted(
        found, key=lambda entry: (entry.passthrough, entry.own_credentials is not True, entry.inspected_only is not True)
    )


def _add_option(draft: _Draft, text: str, option: str, *, deny: bool) -> None:
    entry, problems = option_entry(text, option, deny=deny)
    draft.problems += [Problem(f"{option} {text}", one.line, one.column, one.message, one.fix) for one in problems]
    if entry is not None:
        (draft.deny if deny else draft.allow).append(entry)
    if option not in draft.sources:
        draft.sources.append(option)


def _add_use(draft: _Draft, node: Scalar, source: str) -> None:
    if node.text in preset_names():
        draft.use.append(node.text)
        return
    near = difflib.get_close_matches(node.text, preset_names(), n=1, cutoff=0.4)
    fix = f"did you mean {near[0]}?" if near else f"presets: {', '.join(preset_names())}"
    draft.problems.append(Problem(source, node.line, node.column, f"unknown preset {node.text!r}", fix, "unknown-preset"))


def _add_file(draft: _Draft, path: Path, job: str | None) -> None:
    try:
        text = read(path)
    except PolicyProblems as found:
        draft.problems += found.problems
        return
    _add_text(draft, str(path), text, job)


def _add_text(draft: _Draft, source: str, text: str, job: str | None) -> None:
    try:
        node = parse(text, source)
    except PolicyProblems as found:
        draft.problems += found.problems
        return
    draft.sources.append(source)
    reader = Reader(source)
    if not isinstance(node, Mapping):
        reader.fail(node, "a policy is a mapping", "begin with: version: 1")
    else:
        reader.unknown_keys(node, KEYS, "the policy")
        _version(reader, node)
        _section(draft, reader, node)
        _jobs(draft, reader, node.get("jobs"), job)
    draft.problems += reader.problems


def _version(reader: Reader, node: Mapping) -> None:
    version = node.get("version")
    if version is None:
        reader.fail(node, "version is missing", "begin with: version: 1")
    elif not isinstance(version, Scalar) or version.text != "1":
        reader.fail(version, "unknown version", "this release reads version: 1")


def _section(draft: _Draft, reader: Reader, node: Mapping) -> None:
    given = node.get("mode")
    text = reader.text(given, "mode")
    if given is not None and text is not None:
        if text in MODES:
            draft.mode = text
        else:
            near = difflib.get_close_matches(text, MODES, n=1, cutoff=0.4)
            reader.fail(given, f"unknown mode {text!r}", f"did you mean {near[0]}?" if near else "enforce or audit")
    draft.inspect_containers = _truth(reader, node, "inspect-containers") or draft.inspect_containers
    draft.canary = _truth(reader, node, "canary") or draft.canary
    own = either(reader, node, "credentials", CREDENTIALS)
    draft.own_credentials = draft.own_credentials if own is None else own
    only = either(reader, node, "uninspectable", UNINSPECTABLE)
    draft.inspected_only = draft.inspected_only if only is None else only
    draft.exceptions += _exceptions(reader, node.get("exceptions"))
    for item in reader.texts(node.get("use"), "use") if node.get("use") is not None else ():
        _add_use(draft, item, reader.source)
    draft.allow += entries(reader, node.get("allow"), "allow", deny=False)
    draft.deny += entries(reader, node.get("deny"), "deny", deny=True)
    draft.bindings += _secrets(reader, node.get("secrets"))


def _truth(reader: Reader, node: Mapping, key: str) -> bool:
    given = node.get(key)
    truth = reader.text(given, key)
    if given is not None and truth not in ("true", "false", None):
        reader.fail(given, f"{key} is a yes or no", "true or false")
    return truth == "true"


def _exceptions(reader: Reader, node: Node | None) -> list[str]:
    """Names of uses that the table of kinds knows, and forbids unless they are named here."""
    known = sorted(credentials().exceptions)
    found: list[str] = []
    for item in reader.texts(node, "exceptions"):
        if item.text in known:
            found.append(item.text)
            continue
        near = difflib.get_close_matches(item.text, known, n=1, cutoff=0.4)
        fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        reader.fail(item, f"unknown exception {item.text!r}", fix)
    return found


def _jobs(draft: _Draft, reader: Reader, node: Node | None, job: str | None) -> None:
    """Every job is checked, the wanted one is added."""
    if node is None:
        return
    if not isinstance(node, Mapping):
        reader.fail(node, "jobs must be a mapping", "write: jobs: {build: {allow: [...]}}")
        return
    for name, value in node.items:
        draft.jobs.add(name.text)
        if not isinstance(value, Mapping):
            reader.fail(value, f"job {name.text} must be a mapping")
            continue
        reader.unknown_keys(value, JOB_KEYS, f"job {name.text}")
        target = draft if name.text == job else _Draft()
        _section(target, reader, value)
        if target is not draft:
            draft.problems += target.problems


def _secrets(reader: Reader, node: Node | None) -> list[SecretBinding]:
    if node is None:
        return []
    if not isinstance(node, Mapping):
        reader.fail(node, "secrets must be a mapping", "write: secrets: {NAME: {to: [example.com]}}")
        return []
    return [one for one in (_secret(reader, name, value) for name, value in node.items) if one is not None]


def _secret(reader: Reader, name: Scalar, value: Node) -> SecretBinding | None:
    if not name.text.replace("_", "a").isalnum() or name.text[:1].isdigit():
        reader.fail(name, f"not the name of an environment variable: {name.text[:40]!r}", "letters, digits, _")
    if not isinstance(value, Mapping):
        reader.fail(value, f"secret {name.text} must be a mapping", "write: {to: [example.com], in: [authorization]}")
        return None
    reader.unknown_keys(value, _SECRET, f"secret {name.text}")
    hosts = [_bound_host(reader, item) for item in reader.texts(value.get("to"), "to")]
    if value.get("to") is None:
        reader.fail(value, f"secret {name.text} is bound to nothing", "add to: [host]")
    places = tuple(_place(reader, item) for item in reader.texts(value.get("in"), "in"))
    ref = RuleRef(reader.source, name.line, name.column, f"secret {name.text}")
    return SecretBinding(name.text, tuple(one for one in hosts if one is not None), places, ref)


def _bound_host(reader: Reader, item: Scalar) -> HostPattern | None:
    text = item.text.strip()
    wildcard = text.startswith("*.")
    try:
        return HostPattern(canonical_host(text[2:] if wildcard else text), wildcard)
    except ValueError as problem:
        reader.fail(item, str(problem), "a secret is bound to hosts such as api.example.com")
        return None


def _place(reader: Reader, item: Scalar) -> str:
    text = item.text.strip().lower()
    kind, _, name = text.partition(":")
    if text not in PLACES and not (kind in FINE and name):
        near = difflib.get_close_matches(text, PLACES, n=1, cutoff=0.4)
        known = f"{', '.join(PLACES)}, or one of {', '.join(FINE)} with :NAME"
        reader.fail(item, f"unknown place {item.text!r}", f"did you mean {near[0]}?" if near else known)
    return text
