"""From runs to a policy: what the policy does not allow yet, written as presets, entries and bindings with their evidence.

::

    journals ─▶ sightings ─▶ not allowed yet? ─▶ presets that explain them ─▶ entries for the rest ─▶ inserted, compared
                    └─▶ refused, with reasons

Three rounds, each on the text of the one before: what runs without a job need, what every job needs, what one job needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ebbgate.errors import PolicyError
from ebbgate.events.reading import Run
from ebbgate.policy.addresses import may_dial
from ebbgate.policy.bindings_learned import learned_bindings
from ebbgate.policy.decide import decide
from ebbgate.policy.entries_learned import Evidence, Target, entry_items, targets_of
from ebbgate.policy.insertion import Item, Section, insert
from ebbgate.policy.model import Policy, index
from ebbgate.policy.observation import Action, Observation, Reason
from ebbgate.policy.path_patterns import READING
from ebbgate.policy.presets import RUNNER_PRESET, Preset, preset, preset_names
from ebbgate.policy.replay import policy_of, replay
from ebbgate.policy.rotating import MIN_SEEN, rotation_of
from ebbgate.policy.sightings import Refused, Seen, Sighting, seen_in

NEW_POLICY = "version: 1\nmode: enforce\n"
# What a person has narrowed is not made wide again beside it.
_NARROWED = {Reason.QUERY: "names other parameters for it (query:)", Reason.ONLY: "allows it to others (only:)"}
MIN_SHARE = 0.5  # of a preset's hosts that must have been seen: with less it allows more that is not needed than that is


@dataclass(frozen=True, slots=True)
class Unused:
    """An entry of the file that no run needed. runs: in which it was in force."""

    source: str
    line: int
    text: str
    runs: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """text: the policy with what was learned. added: entries, presets and bindings, in short. notes: for whoever reads it."""

    text: str
    added: tuple[str, ...]
    refused: tuple[Refused, ...]
    unused: tuple[Unused, ...]
    notes: tuple[str, ...] = ()


def learn(runs: Sequence[Run], text: str | None, source: str) -> Lesson:
    """Merge runs into a policy's text (None: a new one). PolicyError when they do not belong together or it has no place."""
    _refuse_mixture(runs)
    return _Learner(runs, text, source).lesson()


def _refuse_mixture(runs: Sequence[Run]) -> None:
    for what, plural in (("workflow", "workflows"), ("repository", "repositories")):
        names = sorted({name for run in runs if (name := getattr(run.started, what))})
        if len(names) > 1:
            cause = f"{', '.join(names[:5])}: one policy file is for one {what}"
            raise PolicyError(f"the runs are of several {plural}", cause, "give the runs of one")
    for run in runs:
        if not run.started.job.isprintable() or run.started.job != run.started.job.strip():
            raise PolicyError(f"{run.source}:1: the name of its job is none that a policy can have", "", "leave this run out")


@dataclass(slots=True)
class _Learner:
    runs: Sequence[Run]
    given: str | None
    source: str
    text: str = ""
    policies: tuple[Policy, ...] = ()  # of each run
    added: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unlearnable: set[tuple[Observation, str]] = field(default_factory=set)  # with the job

    def lesson(self) -> Lesson:
        """Everything, in order."""
        self._take(NEW_POLICY if self.given is None else self.given)
        unused = () if self.given is None else tuple(_unused(self.runs, self.policies, self.source))
        seen = seen_in(self.runs, self._is_allowed)
        self.refused += seen.refused
        evidence = Evidence(
            tuple(run.started.job for run in self.runs),
            next((run.started.repository for run in self.runs if run.started.repository), ""),
            frozenset(_rotating(seen)),
        )
        jobs = sorted({run.started.job for run in self.runs} - {""})
        bindings = learned_bindings(seen.bound, jobs, self.policies, evidence)
        self.notes += bindings.notes
        self._round("", self._needs(seen, [""]), bindings.items.get("", []), evidence)
        if len(jobs) > 1:
            self._round("", self._shared(seen, jobs), [], evidence)
        for job in jobs:
            self._round(job, self._needs(seen, [job]), bindings.items.get(job, []), evidence)
        left = self._needs(seen, ["", *jobs])
        if left:
            what = ", ".join(sorted({f"{one.observation.protocol}://{one.observation.host}" for one in left})[:5])
            raise PolicyError("what was learned does not allow what was seen", what, "report this; nothing was changed")
        return Lesson(self.text, tuple(self.added), tuple(dict.fromkeys(self.refused)), unused, tuple(self.notes))

    def _take(self, text: str) -> None:
        """Read a text as the policy of every run. PolicyProblems when it is none."""
        self.text = text
        known: dict[tuple[str, str], Policy] = {}
        for run in self.runs:
            key = (run.started.job, run.started.ref)
            if key not in known:
                known[key] = policy_of(run, self.source, text)
        self.policies = tuple(known[run.started.job, run.started.ref] for run in self.runs)

    def _is_allowed(self, one: Sighting) -> bool:
        policy = self.policies[one.run]
        decision = decide(policy, one.observation)
        if decision.reason is Reason.LOCAL:
            return True
        return decision.allowed and (not one.cidr or may_dial(one.cidr.partition("/")[0], decision.permitted_ranges))

    def _needs(self, seen: Seen, jobs: Sequence[str]) -> list[Sighting]:
        """What is not allowed yet, and can be by adding to the file."""
        found: list[Sighting] = []
        for one in seen.sightings:
            if one.job in jobs and (one.observation, one.job) not in self.unlearnable and not self._is_allowed(one):
                why = self._why_not(one)
                if why:
                    self.refused.append(Refused(f"{one.observation.protocol}://{one.observation.host}", why))
                else:
                    found.append(one)
        return found

    def _why_not(self, one: Sighting) -> str:
        """Why an entry more would change nothing: of several that match, the first decides."""
        decision = decide(self.policies[one.run], one.observation)
        where = f"{decision.rule.source}:{decision.rule.line}" if decision.rule is not None else ""
        if decision.reason is Reason.EXPLICIT_DENY:
            return f"{where} denies it"
        if decision.reason in _NARROWED:
            return f"{where} {_NARROWED[decision.reason]}"
        return f"{where} allows the name, but not where it led to: add cidr: {one.cidr} there" if decision.allowed else ""

    def _shared(self, seen: Seen, jobs: Sequence[str]) -> list[Sighting]:
        """Needs of every job: by the destinations, since paths differ from job to job."""
        by_job = {job: self._needs(seen, [job]) for job in jobs}
        hosts = [{(one.observation.host, one.observation.port, one.observation.protocol) for one in by_job[job]} for job in jobs]
        common = set.intersection(*hosts)
        return [
            one
            for job in jobs
            for one in by_job[job]
            if (one.observation.host, one.observation.port, one.observation.protocol) in common
        ]

    def _round(self, job: str, needs: list[Sighting], secrets: list[Item], evidence: Evidence) -> None:
        """Learn what is needed, into the policy itself (job "") or a job of it."""
        section = Section(secrets=secrets)
        for chosen, explained in _presets(needs):
            section.use.append(Item(chosen.name, f"explains {_hosts(explained)}, {evidence.text(explained)}"))
            left = set(needs) - set(explained)
            needs = [one for one in needs if one in left]
        targets, unlearnable = targets_of(needs, evidence)
        for sighting, why in unlearnable:
            self.unlearnable.add((sighting.observation, sighting.job))
            self.refused.append(Refused(f"{sighting.observation.protocol}://{sighting.observation.host}", why))
        section.allow += [item for target in sorted(targets, key=Target.order) for item in entry_items(target, evidence)]
        if not section.parts():
            return
        before, known = self.text, self.policies
        self._take(insert(before, self.source, job, section))
        self.added += [f"{f'{job}: ' if job else ''}{item.text}" for _key, items in section.parts() for item in items]
        _compare(known, self.policies, self.source)


def _compare(before: Sequence[Policy], after: Sequence[Policy], source: str) -> None:
    """Whether everything that was there still is, and means the same."""
    for old, new in zip(before, after, strict=True):
        kept = all(
            _subsequence([one.ref.text for one in getattr(old, name)], [one.ref.text for one in getattr(new, name)])
            for name in ("allow", "deny")
        )
        same = [(one.name, one.to, one.places) for one in new.bindings]
        bound = all((one.name, one.to, one.places) in same for one in old.bindings)
        rest = all(getattr(old, name) == getattr(new, name) for name in _UNTOUCHED)
        if not (kept and bound and rest):
            raise PolicyError(f"{source}: what was learned cannot be placed in it", "nothing was changed", "add it by hand")


_UNTOUCHED = ("mode", "inspect_containers", "exceptions", "own_credentials", "inspected_only", "canary")


def _subsequence(old: list[str], new: list[str]) -> bool:
    following = iter(new)
    return all(one in following for one in old)


def _presets(needs: Sequence[Sighting]) -> Iterable[tuple[Preset, list[Sighting]]]:
    """Presets that explain needs and allow little besides, best first, each with what it explains that none before did."""
    left = [one for one in needs if not one.passthrough and not one.cidr]
    candidates = [preset(name) for name in preset_names() if name != RUNNER_PRESET]
    while left:
        explained = {one.name: _explained(one, left) for one in candidates}
        fitting = [one for one in candidates if explained[one.name] and _adds_little(one, left)]
        if not fitting:
            return
        best = min(fitting, key=lambda one: (-len(explained[one.name]), len(one.entries), one.name))
        yield best, explained[best.name]
        done = set(explained[best.name])
        left = [one for one in left if one not in done]
        candidates.remove(best)


def _alone(chosen: Preset) -> Policy:
    return Policy("enforce", chosen.entries, allow_index=index(chosen.entries))


def _explained(chosen: Preset, needs: Iterable[Sighting]) -> list[Sighting]:
    policy = _alone(chosen)
    found = [one for one in needs if decide(policy, one.observation).allowed]
    return found if any(one.evidence for one in found) else []


def _adds_little(chosen: Preset, needs: Sequence[Sighting]) -> bool:
    """Whether most of its hosts were seen, and what it allows at others is but reading."""
    seen = {one.observation.host for one in needs if one.evidence and one.observation.host}
    hosts = {entry.host for entry in chosen.entries if entry.host is not None}
    met = {host for host in hosts if any(host.matches(one) for one in seen)}
    harmless = all(
        entry.host in met or (entry.methods and set(entry.methods) <= set(READING) and entry.host and not entry.host.wildcard)
        for entry in chosen.entries
    )
    return bool(harmless) and len(met) >= MIN_SHARE * len(hosts)


def _hosts(sightings: Sequence[Sighting]) -> str:
    count = len({one.observation.host for one in sightings})
    return "1 host" if count == 1 else f"{count} hosts"


def _rotating(seen: Seen) -> Iterable[str]:
    """Hosts that are members of a rotation of which several were seen."""
    members: dict[str, set[str]] = {}
    for one in seen.sightings:
        rotation = rotation_of(one.observation.host or "")
        if rotation is not None:
            members.setdefault(rotation.reason, set()).add(one.observation.host or "")
    for hosts in members.values():
        if len(hosts) >= MIN_SEEN:
            yield from hosts


def _unused(runs: Sequence[Run], policies: Sequence[Policy], source: str) -> Iterable[Unused]:
    """Entries of the file that decided nothing in any run in which they were in force."""
    used: set[tuple[int, int]] = set()
    in_force: dict[tuple[int, int], tuple[str, int]] = {}
    for run, policy in zip(runs, policies, strict=True):
        for entry in (*policy.allow, *policy.deny):
            if entry.ref.source == source:
                key = (entry.ref.line, entry.ref.column)
                in_force[key] = (entry.ref.text, in_force.get(key, ("", 0))[1] + 1)
        for one in replay(policy, run):
            decision = one.after.decision
            if one.rule is not None and (decision.action == Action.ALLOW or decision.reason == Reason.EXPLICIT_DENY):
                used.add((one.rule.line, one.rule.column))
    for (line, column), (text, count) in sorted(in_force.items()):
        if (line, column) not in used:
            yield Unused(source, line, text, count)
