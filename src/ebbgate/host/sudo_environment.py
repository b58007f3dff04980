"""The variables of trust for what sudo starts. It empties the environment, and Node, Java and older pips know no system store.

sudo adds variables from a file of root's (sudoers(5): env_file). Whoever calls it has no say in them, which keeping the
caller's (env_keep) would give: with ``JAVA_TOOL_OPTIONS`` a right to one program would be a right to any.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ebbgate.host.runner_identity import CLEAN_ENVIRONMENT

DROP_IN = "etc/sudoers.d/ebbgate-trust"  # no dot in the name: sudo passes such files over
_VISUDO = "usr/sbin/visudo"
_SECONDS = 10.0
_OWN_FILE = re.compile(r"^\s*Defaults\b[^#\n]*\benv_file\b", re.MULTILINE)


def install(variables: Mapping[str, str], file: Path, *, root: Path = Path("/")) -> str:
    """Have sudo set the variables. Returns why it does not, "" when it does or there is no sudo. file: to be written."""
    drop_in = root / DROP_IN
    if not drop_in.parent.is_dir() or not (root / _VISUDO).exists():
        return ""
    try:
        if any(_OWN_FILE.search(one.read_text(errors="replace")) for one in _sudoers(root)):
            return "sudoers names an env_file already"
        file.write_text("".join(f'{name}="{value}"\n' for name, value in variables.items()))
        file.chmod(0o644)
        draft = file.with_suffix(".sudoers")
        draft.write_text(f"Defaults env_file={file}\n")
        draft.chmod(0o440)
        if not _is_understood(draft, root):
            draft.unlink()
            return "this sudo knows no env_file"
        _move(draft, drop_in)
    except subprocess.TimeoutExpired:
        return "visudo does not answer"
    except OSError as problem:
        return f"its files could not be changed ({os.strerror(problem.errno or 0)})"
    return ""


def remove(*, root: Path = Path("/")) -> None:
    """Take the setting away again. Safe to call again."""
    (root / DROP_IN).unlink(missing_ok=True)


def _sudoers(root: Path) -> list[Path]:
    return [one for one in (root / "etc/sudoers", *sorted((root / "etc/sudoers.d").iterdir())) if one.is_file()]


def _is_understood(draft: Path, root: Path) -> bool:
    """A mistake in one file would make sudo refuse everything."""
    command = [str(root / _VISUDO), "-c", "-q", "-f", str(draft)]
    done = subprocess.run(command, capture_output=True, env=CLEAN_ENVIRONMENT, cwd="/", timeout=_SECONDS, check=False)  # noqa: S603
    return done.returncode == 0


def _move(draft: Path, place: Path) -> None:
    """Whole or not at all, from another file system; sudo passes over names that end with a tilde."""
    beside = place.with_name(f"{place.name}~")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o440)
    with os.fdopen(descriptor, "w") as out:
        out.write(draft.read_text())
        os.fchmod(descriptor, 0o440)
    beside.replace(place)
    draft.unlink()
