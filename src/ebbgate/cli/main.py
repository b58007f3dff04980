"""The ``ebbgate`` program. Errors are printed here and nowhere else."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from ebbgate import __version__
from ebbgate.cli import check, diff, explain, import_, learn, presets, replay, start, status, stop, verdict
from ebbgate.cli import run as run_command
from ebbgate.cli.errors import print_error
from ebbgate.errors import EbbgateError, IntegrityError, PlatformError
from ebbgate.exit_codes import BAD_USAGE, BROKEN, PLATFORM
from ebbgate.host.streams import ensure_open

app = typer.Typer(
    name="ebbgate",
    help="Run a command so that it reaches the world only through a gate: allowlist, secret detection, an honest record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"ebbgate {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""


app.command("run", context_settings={"ignore_unknown_options": False})(run_command.run)
app.command("check")(check.check)
app.command("diff")(diff.diff)
app.command("explain")(explain.explain)
app.command("import")(import_.import_)
app.command("presets")(presets.presets)
app.command("learn")(learn.learn)
app.command("replay")(replay.replay)
app.command("start")(start.start)
app.command("status")(status.status)
app.command("verdict")(verdict.verdict)
app.command("stop")(stop.stop)


def run() -> None:
    """Console script. Exit codes are a contract: see ``ebbgate.exit_codes``."""
    ensure_open()
    try:
        app()
    except PlatformError as problem:
        print_error(problem)
        sys.exit(PLATFORM)
    except IntegrityError as problem:
        print_error(problem)
        sys.exit(BROKEN)
    except EbbgateError as problem:
        print_error(problem)
        sys.exit(BAD_USAGE)
    except Exception as problem:
        if os.environ.get("EBBGATE_DEBUG"):
            raise
        # Its text, and the source lines of a traceback, may hold what was being read: secrets come on standard input.
        print_error(IntegrityError("the guard failed", f"{type(problem).__name__} at {_place(problem)}", "report this"))
        sys.exit(BROKEN)


def _place(problem: BaseException) -> str:
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{os.path.basename(last.filename)}:{last.lineno}"
