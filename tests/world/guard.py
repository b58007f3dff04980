"""Running commands in the world, guarded or not, as root or as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ORDINARY = 34567  # a user id that nobody has
# What a command in the world sees of the machine: its own resolver, hosts and name service configuration.
_PREPARE = """
set -e
for name in resolv.conf hosts nsswitch.conf; do
  target=$(readlink -f /etc/$name || echo /etc/$name)
  [ -e "$target" ] || continue
  mount --bind "$WORLD/$name" "$target"
done
"""
# An interpreter below a directory that others may not enter (root's home) is laid open, in this mount namespace alone.
_OPEN = """
closed={closed}
keep={keep}
mkdir -p "$WORLD/held"
mount --bind "$closed" "$WORLD/held"
mount -t tmpfs -o mode=755 none "$closed"
mkdir -p "$keep"
mount --bind "$WORLD/held/${{keep#"$closed"/}}" "$keep"
"""


@dataclass
class Outcome:
    """How a command ended, and what the guard wrote."""

    code: int
    stdout: str
    stderr: str
    directory: Path | None = None
    events: list[dict] = field(default_factory=list)
    report: dict = field(default_factory=dict)

    @property
    def incidents(self) -> list[dict]:
        return self.report.get("incidents", [])

    @property
    def suggested(self) -> str:
        return (self.directory / "policy.suggested.yml").read_text()

    def everything_written(self) -> bytes:
        """All bytes of the report directory and both streams."""
        files = b"".join(file.read_bytes() for file in sorted(self.directory.rglob("*")) if file.is_file())
        return files + self.stdout.encode() + self.stderr.encode()


class Guard:
    """``run``: through ``ebbgate run``. ``bare``: without it, to see that an attack is one."""

    def __init__(self, namespace: int, directory: Path) -> None:
        self._namespace, self._directory = namespace, directory

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        bundle = str(self._directory / "ca.pem")
        trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), bundle)
        return {**kept, **trust, "HOME": str(self._home()), "WORLD": str(self._directory), **(extra or {})}

    def _home(self) -> Path:
        home = self._directory / "home"
        home.mkdir(exist_ok=True)
        home.chmod(0o777)
        return home

    def entering(self, command: list[str], *, user: int | None = None) -> list[str]:
        """A command line that runs a command in the world."""
        script = _PREPARE
        if user is not None:
            script += opened()
        switch = f"setpriv --reuid {user} --regid {user} --clear-groups -- " if user is not None else ""
        script += f"exec {switch}{shlex.join(command)}\n"
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._namespace}", "unshare", "--mount", "sh", "-c", script]

    def bare(self, command: list[str], *, env: dict[str, str] | None = None, timeout: float = 60) -> Outcome:
        done = subprocess.run(
            self.entering(command),
            env=self.environment(env),
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=self._home(),
        )
        return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def command_line(self, options: list[str], command: list[str], *, program: list[str] | None = None) -> list[str]:
        return [*(program or [sys.executable, "-m", "ebbgate"]), "run", *options, "--", *command]

    def run(
        self,
        options: list[str],
        command: list[str],
        *,
        env: dict[str, str] | None = None,
        user: int | None = None,
        timeout: float = 90,
        report: bool = True,
        stdin: bytes | None = None,
        program: list[str] | None = None,
    ) -> Outcome:
        directory = Path(tempfile.mkdtemp(prefix="report-", dir=self._directory))
        directory.chmod(0o777)
        target = directory / "r"
        given = [*(["--report", str(target)] if report else []), *options]
        done = subprocess.run(
            self.entering(self.command_line(given, command, program=program), user=user),
            env=self.environment(env),
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=self._home(),
            input=stdin,
        )
        outcome = Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), target)
        with contextlib.suppress(FileNotFoundError):
            outcome.events = [json.loads(line) for line in (target / "events.jsonl").read_text().splitlines()]
            outcome.report = json.loads((target / "report.json").read_text())
        return outcome


def opened() -> str:
    """Shell text that lays open what an ordinary user needs to run our interpreter and package."""
    text = ""
    for path in {Path(sys.executable).resolve().parent.parent, ROOT}:
        closed = next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)
        if closed is not None:
            keep = closed / path.relative_to(closed).parts[0]
            text += _OPEN.format(closed=shlex.quote(str(closed)), keep=shlex.quote(str(keep)))
    return text


def lay_open(path: Path) -> None:
    """Let anybody enter a test's directory, up to (not including) the system's temporary directory."""
    for one in [path, *path.parents]:
        if one == Path(tempfile.gettempdir()).resolve():
            return
        one.chmod(0o755)
