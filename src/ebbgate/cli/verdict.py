"""``ebbgate verdict``: what the action's last step asks, shows and ends with."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Any  # Any: the warden's answer

import typer

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.warden.control import ask
from ebbgate.warden.job_request import STATE

TIMEOUT = 20.0  # seconds; the action gives the whole step 30
JOURNAL_SECONDS = 5.0  # for the record, which is worth less than the verdict


def verdict(
    *,
    state: Annotated[Path, typer.Option(help="Directory of the running guard.", metavar="DIR")] = STATE,
    summary: Annotated[Path | None, typer.Option(help="File to append the Markdown summary to.", metavar="FILE")] = None,
    output: Annotated[Path | None, typer.Option(help="File to append the action's outputs to.", metavar="FILE")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Directory for report.json, events.jsonl and policy.suggested.yml.", metavar="DIR")
    ] = None,
    annotations: Annotated[bool, typer.Option("--annotations", help="Print workflow commands.")] = False,
) -> None:
    """Ask the running guard for its verdict, and end with the code that it means for the job.

    Exit codes: 0 the job may pass; 90 blocked destination, 91 exfiltration attempt, 92 tampered, 93 the guard broke or does
    not answer. Nothing is opened by this: the guard goes on.
    """
    answer = ask(state, {"type": "verdict"}, timeout=TIMEOUT)
    if answer.get("type") != "verdict":
        raise IntegrityError("the guard gave no verdict", str(answer.get("why", "")), "treat the job as failed")
    code = int(answer["exit_code"])
    try:
        _show(answer, summary, output, report, annotations=annotations)
        if report is not None:
            _keep_journal(state, report / "events.jsonl")
    except OSError as problem:
        problem_text = f"{problem.filename or 'a file'}: {os.strerror(problem.errno or 0)}"
        if not code:
            raise PlatformError("the report could not be written", problem_text, "see the step's inputs") from None
        print(f"ebbgate: the report could not be written: {problem_text}", file=sys.stderr)
    sys.exit(code)


def _show(answer: dict[str, Any], summary: Path | None, output: Path | None, report: Path | None, *, annotations: bool) -> None:
    if annotations:
        for line in answer["annotations"]:
            print(line)
    print(f"ebbgate: {answer['verdict']} · exit code {answer['exit_code']} · blocked: {answer['blocked']}")
    values = {"verdict": str(answer["verdict"]), "blocked-count": str(answer["blocked"])}
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        values["report-json"] = str(_write(report / "report.json", answer["report"]))
        if answer["suggested"]:
            values["suggested-policy"] = str(_write(report / "policy.suggested.yml", answer["suggested"]))
    if summary is not None:
        _append(summary, answer["summary"])
    if output is not None:
        end = f"ebbgate_{secrets.token_hex(16)}"
        _append(output, "".join(f"{name}<<{end}\n{value}\n{end}\n" for name, value in values.items()))


def _keep_journal(state: Path, path: Path) -> None:
    """The record, for `ebbgate learn` and `ebbgate replay`. A part of one would mislead them, so it is all of it or none."""
    deadline = time.monotonic() + JOURNAL_SECONDS
    lines: list[str] = []
    following = 0
    while following >= 0:
        try:
            page = ask(state, {"type": "journal", "from": following}, timeout=max(0.1, deadline - time.monotonic()))
        except IntegrityError:
            page = {}
        if page.get("type") != "journal" or time.monotonic() > deadline:
            print("ebbgate: the journal was not kept: it is too long, or the guard does not tell it", file=sys.stderr)
            return
        lines += page["lines"]
        following = int(page["next"])
    _write(path, "".join(lines))


def _write(path: Path, text: str) -> Path:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _append(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "a", encoding="utf-8") as file:
        file.write(text)
