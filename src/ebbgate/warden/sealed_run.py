"""From options to an exit code: policy, secrets and doors in; a sealed run; verdict, report and files out."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TextIO

from ebbgate import __version__
from ebbgate.enclosure.sealed import Workload
from ebbgate.errors import PlatformError, PolicyError
from ebbgate.events.journal import Journal
from ebbgate.events.publish import printable
from ebbgate.events.types import (
    Armed,
    CommandEnded,
    DecisionRecord,
    Defect,
    DnsQuestion,
    RunEnded,
    RunStarted,
    Tampering,
)
from ebbgate.events.verdict import Verdict, exit_code, verdict
from ebbgate.exit_codes import BROKEN
from ebbgate.host import masks, streams
from ebbgate.host.doors import Doors, find_doors
from ebbgate.host.home_files import plant, take_away
from ebbgate.policy.load import load_policy
from ebbgate.policy.model import Policy
from ebbgate.policy.placeholders import context_of
from ebbgate.report.files import write_reports
from ebbgate.report.interface import build_report
from ebbgate.report.json_report import to_json
from ebbgate.report.terminal import render
from ebbgate.secrets.canaries import Canaries, new_canaries
from ebbgate.secrets.known import public_values, secrets_from
from ebbgate.secrets.prints import Redactor, prints_of
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret
from ebbgate.secrets.shapes import masked
from ebbgate.secrets.structured import with_files, with_inner
from ebbgate.warden.home_files import home_secrets
from ebbgate.warden.registered import registered
from ebbgate.warden.run import Run, RunRequest

NESTED_VARIABLE = "EBBGATE_RUN"  # tells programs inside that they are guarded; holds nothing but "sealed"
_MAX_COMMAND = 500
_EVENTS_FILE = "events.jsonl"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``ebbgate run``, as given. context: variables that options stand for."""

    command: tuple[str, ...]
    policy: Path | None = None
    job: str | None = None
    mode: str | None = None
    use: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    report: Path | None = None
    on_exfiltration: str = "kill"
    open_doors: tuple[str, ...] = ()
    quiet: bool = False
    context: Mapping[str, str] = field(default_factory=dict)


def sealed_run(options: Options, environ: Mapping[str, str], stream: TextIO) -> int:
    """Run the command and report on ``stream``. Raises PolicyError or PlatformError when nothing was run."""
    if not options.command or not options.command[0]:
        raise PolicyError("no command to run", "", "ebbgate run [options] -- COMMAND...")
    streams.refuse_ways_out()
    files = [options.policy] if options.policy else []
    policy = load_policy(
        files,
        job=options.job,
        mode=options.mode,
        use=options.use,
        allow=options.allow,
        deny=options.deny,
        context=context_of({**environ, **options.context}),
    )
    bound = [binding.name for binding in policy.bindings]
    known, warnings = secrets_from(environ, options.secrets, bound=bound)
    canaries = new_canaries(environ) if policy.canary else None
    known += canaries.secrets if canaries is not None else ()
    for warning in warnings:
        print(printable(f"ebbgate: warning: {warning}", 500), file=stream)
    salt = secrets.token_bytes(16)
    public = public_values(environ)
    everything = with_inner(with_files(known, home_secrets(environ, public)), public)
    scanner = Scanner(everything, salt=salt)
    directory = _report_directory(options.report) if options.report else None
    doors = _doors(options, environ)
    variables = {**environ, NESTED_VARIABLE: "sealed", **(canaries.variables if canaries is not None else {})}
    with Journal(_events_file(directory)) as journal, _planted(canaries, environ):
        request = RunRequest(
            workload=Workload(options.command, variables, doors, _shown(scanner, options.command[0])),
            policy=policy,
            secrets=tuple(everything),
            salt=salt,
            started=_started(options, environ, policy, known, salt, scanner, doors),
            enforce=policy.mode == "enforce",
            kill_on_exfiltration=options.on_exfiltration == "kill",
            seal_imports=_seal_imports,
        )
        code = Run(request, journal, scanner).execute()
        return _conclude(options, policy, journal, code, directory, stream)


@contextmanager
def _planted(canaries: Canaries | None, environ: Mapping[str, str]) -> Iterator[None]:
    """Canaries in the home directory for as long as the command runs."""
    home = environ.get("HOME", "")
    wanted = canaries.files if canaries is not None and home.startswith("/") else ()
    planted = plant(Path(home), [(one.path, one.content) for one in wanted])
    try:
        yield
    finally:
        take_away(planted)


def _conclude(options: Options, policy: Policy, journal: Journal, code: int, directory: int | None, stream: TextIO) -> int:
    found = verdict(journal.events)
    ending = exit_code(found, mode=policy.mode, command_code=code, on_exfiltration=options.on_exfiltration)
    try:
        report = build_report(journal.events, ending)
        if directory is not None:
            write_reports(Path(f"/proc/self/fd/{directory}"), report)
        if not options.quiet or found is not Verdict.clean:
            render(report, stream)
    except Exception as problem:
        print(f"ebbgate: {found}, but the report failed: {type(problem).__name__}", file=stream)
        return BROKEN if found is Verdict.clean else ending
    return ending


def _started(
    options: Options,
    environ: Mapping[str, str],
    policy: Policy,
    known: list[Secret],
    salt: bytes,
    scanner: Scanner,
    doors: Doors,
) -> RunStarted:
    return RunStarted(
        version=__version__,
        mode=policy.mode,
        command=_shown(scanner, *options.command),
        policy=policy.sources,
        policy_digest=policy.digest,
        secrets=registered(known, salt, policy),
        doors_opened=doors.requested,
        time=time.time(),
        repository=_shown(scanner, environ.get("GITHUB_REPOSITORY", "")),
        ref=_shown(scanner, environ.get("GITHUB_REF_NAME", "")),
        workflow=_shown(scanner, environ.get("GITHUB_WORKFLOW", "")),
        job=_shown(scanner, options.job or ""),
    )


def _shown(scanner: Scanner, *words: str) -> str:
    return printable(masked(" ".join(scanner.redact(word) for word in words)), _MAX_COMMAND)


def _doors(options: Options, environ: Mapping[str, str]) -> Doors:
    found = find_doors(environ, open_doors=options.open_doors, as_root=os.geteuid() == 0)
    if options.report is None:
        return found
    covered = (*found.directories, _private(os.path.realpath(options.report)))
    return Doors(covered, found.sockets, found.read_only, found.opened, found.requested)


def _private(directory: str) -> str:
    """The report directory, unless the command works in it: it is covered for the command, which would see nothing of its own."""
    working = masks.working_directory()
    if working == directory or working.startswith(directory.rstrip("/") + "/"):
        raise PolicyError(
            "the command works inside the report directory", f"{directory} is out of its reach", "give a directory of its own"
        )
    return directory


def _report_directory(path: Path) -> int:
    """A descriptor of the report directory, made if needed. Held open: the workload cannot exchange it for another.

    The same directory is covered inside the enclosure, since the workload may have the same user.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise PolicyError(
            f"the report directory cannot be used: {path}", os.strerror(problem.errno or 0), "give another --report DIR"
        ) from None


def _events_file(directory: int | None) -> TextIO | None:
    if directory is None:
        return None
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(_EVENTS_FILE, flags, 0o600, dir_fd=directory), "w", encoding="utf-8")
    except OSError as problem:
        raise PlatformError("events.jsonl cannot be written", os.strerror(problem.errno or 0), "") from None


def _seal_imports() -> None:
    """Load everything the report needs now, then import nothing more: the workload may own the files of our packages.

    Inside the enclosure those files are read-only; this holds even where they could be changed by another way.
    """
    refused = DecisionRecord("deny", "no-rule")
    events = (
        RunStarted(__version__, "audit", "é→界🜂", (), "", ()),
        Armed(0.0),
        DnsQuestion("a.example.com", "A", "udp", "", refused, enforced=True, would_deny=True, blocked=True, forwarded=False),
        Tampering("…"),
        Defect("", "", ""),
        CommandEnded(0, killed_by_guard=False, seconds=0.0),
        RunEnded(complete=True, uninspected_bytes=0, dropped_events=0),
    )
    for color in (True, False):
        report = build_report(events, 0)
        render(report, StringIO(), color=color)
        to_json(report)
    salt = b"rehearsal"
    rehearsal = Secret("rehearsal", b"rehearsal", "")
    for shown in (Redactor(prints_of(rehearsal, salt), salt), Scanner([rehearsal], salt=salt)):
        shown.redact("é rehearsal cmVoZWFyc2FsIG9mIGV2ZXJ5dGhpbmc= %20 \\u0041")
    sys.meta_path.clear()
