"""Generated files: made from the code, committed, and compared in the checks. ``--check`` compares; without it they are made."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import typer.main
import yaml

from ebbgate import exit_codes
from ebbgate.cli.main import app
from ebbgate.events import schema
from ebbgate.host import doors, trust
from ebbgate.policy import load
from ebbgate.policy import schema as policy_schema
from ebbgate.policy.checks.registry import INVALID, RULES
from ebbgate.policy.entries import ENTRY_KEYS
from ebbgate.policy.presets import preset, preset_names
from ebbgate.secrets import bindings, credential_files
from ebbgate.secrets.credentials import CredentialKind, compact
from ebbgate.secrets.credentials import credentials as credentials_table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.detection import table as detection  # noqa: E402 - it needs the tests' encodings


def reference() -> str:
    """docs/reference.md: the command line, exit codes, presets, doors and variables, as the code has them."""
    parts = ["# Reference\n", "Made by `tools/generated.py` from the code; do not edit.\n"]
    parts += _commands()
    parts += ["## Exit codes\n", "| code | meaning |\n| --- | --- |"]
    lines = Path(exit_codes.__file__).read_text().splitlines()
    pairs = [line.partition(" = ")[2].partition("  # ") for line in lines if " = " in line]
    parts += ["\n".join(f"| {code} | {meaning} |" for code, _, meaning in pairs)]
    parts += ["| other | the command's own, the verdict being clean |\n"]
    parts += _action()
    parts += _policy()
    parts += _checks()
    parts += _presets()
    parts += _doors()
    parts += _credential_files()
    names = "\n".join(f"- `{name}`" for name in trust.BUNDLE_VARIABLES)
    parts += ["## Variables set for the command\n", "To the bundle of the system's roots and the run's authority:\n", names]
    parts += ["- `JAVA_TOOL_OPTIONS` (a trust store), `UV_SYSTEM_CERTS`, `NODE_USE_SYSTEM_CA`\n"]
    parts += ["In a guarded job, what `sudo` starts is given them too, by an `env_file` of root's.\n"]
    return "\n".join(parts)


def _commands() -> list[str]:
    group = typer.main.get_command(app)
    parts = ["## Command line\n"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        parts += [f"### ebbgate {name}\n", f"{(command.help or '').strip()}\n"]
        rows = ["| option | meaning |", "| --- | --- |"]
        for one in command.params:
            flags = (
                ", ".join(f"`{flag}`" for flag in one.opts) if one.param_type_name == "option" else f"`{one.metavar or one.name}`"
            )
            rows.append(f"| {flags} | {(getattr(one, 'help', '') or '').replace('|', chr(92) + '|')} |".replace("\n", " "))
        parts += ["\n".join(rows) + "\n"]
    return parts


def _action() -> list[str]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    parts = ["## The GitHub Action\n", "| input | default | meaning |\n| --- | --- | --- |"]
    rows = [f"| `{name}` | {_code(one['default'])} | {_cell(one['description'])} |" for name, one in action["inputs"].items()]
    parts += ["\n".join(rows) + "\n", "Secrets go into the step's `env`, as `EBBGATE_SECRET_<NAME>`.\n"]
    rows = [f"| `{name}` | {_cell(one['description'])} |" for name, one in action["outputs"].items()]
    return [*parts, "| output | meaning |\n| --- | --- |", "\n".join(rows) + "\n"]


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.strip().replace("|", chr(92) + "|").replace("\n", " ")


def _policy() -> list[str]:
    fine = ", ".join(f"`{one}:NAME`" for one in bindings.FINE)
    return [
        "## The policy\n",
        "| key | meaning |\n| --- | --- |",
        "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in load.KEYS.items()) + "\n",
        "| key of an entry | meaning |\n| --- | --- |",
        "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in ENTRY_KEYS.items()) + "\n",
        f"Places of a secret (`in`): {_codes(bindings.COARSE)}; or exactly, where the part of a request is small enough",
        f"to be taken apart: {fine}.",
        "Secrets of known kinds need no `secrets:` entry: see [credentials.md](credentials.md).\n",
    ]


def _checks() -> list[str]:
    rows = [f"| `{name}` | error | {_cell(meaning)} |" for name, meaning in INVALID.items()]
    rows += [f"| `{rule.name}` | {rule.severity} | {_cell(rule.meaning)} |" for rule in RULES]
    return ["## What `ebbgate check` finds\n", "| rule | severity | meaning |\n| --- | --- | --- |", "\n".join(rows) + "\n"]


def kinds() -> str:
    """docs/credentials.md: kinds of credentials, and where each may go."""
    table = credentials_table()
    shaped, checked = (sum(1 for kind in table.kinds if has(kind)) for has in (lambda one: one.regex, lambda one: one.check))
    parts = [
        "# Kinds of credentials\n",
        "Made by `tools/generated.py` from `src/ebbgate/secrets/credentials.yml`; do not edit.\n",
        f"{len(table.kinds)} kinds, {shaped} of them with a shape, {checked} with an offline test.",
        "A secret's kind is known by its shape or its variable's name; then it may go to these hosts in these places, and",
        "nowhere else. A kind without hosts never travels. `${NAME}`: the host of the URL in that variable. Sure: `source`, read",
        "in the issuer's documentation or a client; `knowledge`, general; `weak`.\n",
        "| kind | variables | hosts | places | sure |\n| --- | --- | --- | --- | --- |",
    ]
    parts += [_kind_row(kind) for kind in table.kinds]
    parts += ["\n## Id-tokens, by their audience\n", "| audience | hosts | places |\n| --- | --- | --- |"]
    parts += [f"| `{name}` | {_codes(use.hosts)} | {_codes(use.places)} |" for name, use in table.audiences]
    parts += ["\n## Exceptions, for a policy's `exceptions`\n", "| name | kind | hosts | places |\n| --- | --- | --- | --- |"]
    for kind in table.kinds:
        parts += [f"| `{name}` | {kind.id} | {_codes(use.hosts)} | {_codes(use.places)} |" for name, use in kind.exceptions]
    return "\n".join(parts) + "\n"


def _kind_row(kind: CredentialKind) -> str:
    cells = [_cell(kind.name), _codes(kind.variables), _codes(kind.hosts) or "none", _codes(kind.places), kind.confidence]
    return f"| {' | '.join(cells)} |"


def _codes(texts: Iterable[str]) -> str:
    return " ".join(f"`{one}`" for one in texts)


def _presets() -> list[str]:
    parts = ["## Presets\n"]
    for name in preset_names():
        chosen = preset(name)
        rows = ["| entry | reason | source |", "| --- | --- | --- |"]
        rows += [
            f"| `{_cell(entry.ref.text)}` | {_cell(entry.reason)} | <{source}> |"
            for entry, source in zip(chosen.entries, chosen.sources, strict=True)
        ]
        trial = chosen.trial[0].upper() + chosen.trial[1:]
        parts += [f"### {name}\n", f"{chosen.description}. {trial}.\n", "\n".join(rows) + "\n"]
    return parts


def _credential_files() -> list[str]:
    parts = ["## Files in which secrets are looked for\n"]
    parts += [
        "In home directories, the workspace and the runner's temporary directory; SECURITY.md says what is done with them.\n"
    ]
    parts += ["| kind | in the home directory | belongs to, where the file names no host |\n| --- | --- | --- |"]
    rows = [
        f"| {one.kind} | {_code(one.home)} | {', '.join(one.hosts) or 'the first host it is used at'} |"
        for one in credential_files.TABLE
    ]
    return [*parts, "\n".join(rows) + "\n"]


def _doors() -> list[str]:
    covered = ", ".join(f"`{path}`" for path in doors.COVERED_DIRECTORIES)
    for_root = ", ".join(f"`{path}`" for path in doors.ROOT_COVERED_DIRECTORIES)
    read_only = ", ".join(f"`{path}`" for path in doors.ROOT_READ_ONLY)
    rows = "\n".join(f"| `{name}` | {', '.join(f'`{path}`' for path in paths)} |" for name, paths in doors.NAMED_DOORS.items())
    return [
        "## Doors\n",
        "Ways to have a program outside act for the command. Inside the enclosure they are masked:\n",
        f"- covered with empty directories: {covered}; for root also {for_root}",
        f"- read-only for root: {read_only}; and no device but the usual harmless ones",
        "- covered one by one: every Unix socket and named pipe that the kernel lists as bound, that is a mount point, that a",
        f"  variable names ({', '.join(f'`{name}`' for name in doors.SOCKET_VARIABLES)}),",
        f"  or that a look into {', '.join(f'`{path}`' for path, _ in doors.SEARCHED)} and the home directory finds\n",
        "`--open-door NAME` leaves one open, and the report says so:\n",
        "| name | paths |\n| --- | --- |",
        rows,
        "| `ssh-agent` | `$SSH_AUTH_SOCK` |",
        "| `/any/path` | that path |\n",
    ]


def credentials() -> str:
    """src/ebbgate/secrets/credentials.json: the table of credentials' kinds as it is loaded."""
    text = (ROOT / "src/ebbgate/secrets/credentials.yml").read_text()
    return compact(yaml.safe_load(text))


# The table comes first: the reference is made of it too.
FILES = {
    "src/ebbgate/secrets/credentials.json": credentials,
    "schema/events.schema.json": schema.text,
    "schema/policy.schema.json": policy_schema.text,
    "docs/reference.md": reference,
    "docs/credentials.md": kinds,
    "docs/detection.md": detection,
}


def main() -> int:
    """0 when everything is as it should be."""
    code = 0
    for name, make in FILES.items():
        path = ROOT / name
        text = make()
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{name} is out of date: run .venv/bin/python tools/generated.py")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
