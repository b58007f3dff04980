"""From options to an exit code: journals and a policy in; what it would have done out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ebbgate.errors import PolicyError
from ebbgate.events.reading import Run, read_run
from ebbgate.policy.load import load_policy
from ebbgate.policy.model import Policy
from ebbgate.policy.replay import Replayed, context_of_run, policy_of, replay
from ebbgate.policy.yaml_source import read
from ebbgate.report.replayed import render, replay_report, to_json


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of ``ebbgate replay``, as given. job: None: each run's own, as its journal names it."""

    runs: tuple[Path, ...]
    policy: Path
    job: str | None = None
    changed_only: bool = False
    as_json: bool = False


def replay_runs(options: ReplayOptions, stream: TextIO) -> int:
    """Judge the runs one after another, and report on ``stream``. PolicyError when a policy or journal cannot be read."""
    if not options.runs:
        raise PolicyError("no run to replay", "", "ebbgate replay RUN... --policy FILE")
    report = replay_report(_replayed(options), len(options.runs))
    if options.as_json:
        stream.write(to_json(report))
    else:
        render(report, stream, changed_only=options.changed_only)
    return report.exit_code


def _replayed(options: ReplayOptions) -> Iterator[Replayed]:
    for path in options.runs:
        run = read_run(path)
        yield from replay(_policy(options, run), run)


def _policy(options: ReplayOptions, run: Run) -> Policy:
    if options.job is not None:
        return load_policy([options.policy], job=options.job, context=context_of_run(run))
    return policy_of(run, str(options.policy), read(options.policy))
