"""What steps say to the runner: lines on standard output (``::error::``), and the command files that it made for them."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

FILES = {"path": "add_path_", "env": "set_env_", "step_summary": "step_summary_", "state": "save_state_", "output": "set_output_"}
# The runner refuses this one (SetEnvFileCommand), and no other.
REFUSED_VARIABLES = ("NODE_OPTIONS",)
SUMMARY_LIMIT = 1024 * 1024


class CommandError(Exception):
    pass


def parse_line(line: str) -> tuple[str, dict[str, str], str] | None:
    """(name, properties, value) of a workflow command, None when the line is none."""
    text = line.lstrip()
    end = text.find("::", 2)
    if not text.startswith("::") or end < 0:
        return None
    name, _, rest = text[2:end].partition(" ")
    properties = {}
    for pair in rest.split(","):
        key, _, value = pair.partition("=")
        if key.strip():
            properties[key.strip()] = _plain(value, property_=True)
    return name.lower(), properties, _plain(text[end + 2 :])


def _plain(text: str, *, property_: bool = False) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), *((("%3A", ":"), ("%2C", ",")) if property_ else ()), ("%25", "%")):
        text = text.replace(code, character)
    return text


class CommandFiles:
    """One set, made for one stage of one step. They stay on disk, as the runner leaves them."""

    def __init__(self, temp: Path) -> None:
        self.directory = temp / "_runner_file_commands"
        self.directory.mkdir(exist_ok=True)
        self._suffix = str(uuid.uuid4())
        for name in FILES:
            self.path(name).touch()

    def path(self, name: str) -> Path:
        return self.directory / f"{FILES[name]}{self._suffix}"

    def variables(self) -> dict[str, str]:
        return {f"GITHUB_{name.upper()}": str(self.path(name)) for name in FILES}

    def read(self, name: str) -> dict[str, str]:
        """Pairs of a file. :raises CommandError: as the runner would fail the step"""
        pairs: dict[str, str] = {}
        lines = iter(self._text(name).split("\n"))
        for line in lines:
            equal, heredoc = line.find("="), line.find("<<")
            if not line:
                continue
            if equal >= 0 and (heredoc < 0 or equal < heredoc):
                key, _, value = line.partition("=")
            elif heredoc >= 0:
                key, _, end = line.partition("<<")
                if not key or not end:
                    raise CommandError(f"Invalid format '{line}'")
                value = "\n".join(_until(lines, end))
            else:
                raise CommandError(f"Invalid format '{line}'")
            if name == "env" and key.upper() in REFUSED_VARIABLES:
                raise CommandError(f"Can't store {key} output parameter using '$GITHUB_ENV' command.")
            pairs[key] = value
        return pairs

    def paths(self) -> list[str]:
        return [line for line in self._text("path").splitlines() if line]

    def summary(self) -> str:
        if os.path.getsize(self.path("step_summary")) > SUMMARY_LIMIT:
            raise CommandError("$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k")
        return self._text("step_summary")

    def _text(self, name: str) -> str:
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return ""


def _until(lines, end: str):
    for line in lines:
        if line == end:
            return
        yield line
    raise CommandError(f"Matching delimiter not found '{end}'")
