"""The environment that only root can change: what is taken for complete, what is refused, and that the real one works."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.action.guarded import Guarded
from tests.machine import Machine
from tests.machine.machine import ROOT
from tests.runner import Runner
from tests.world.guard import Outcome
from tools import bundle

pytestmark = pytest.mark.root

HOME = "/var/lib/ebbgate"


def provision(machine: Machine, action: str, *, copy: bool = False, python: str = "", index: dict | None = None) -> Outcome:
    document = json.dumps({"action": action, "copy": copy, "index": index or {}}).encode()
    command = [python or "/usr/local/bin/python3.12", "-I", "-B", f"{action}/src/action/provision.py"]
    return machine.run(command, user="root", input=document, timeout=180)


def made(outcome: Outcome) -> tuple[str, str]:
    assert outcome.code == 0, outcome.stderr
    answer = json.loads(outcome.stdout)
    return answer["python"], answer["from"]


def test_everything_in_it_is_roots_and_it_is_used_again(guarded: Guarded) -> None:
    machine = guarded.machine
    python, how = made(provision(machine, guarded.action))
    assert how == "archive"
    assert made(provision(machine, guarded.action)) == (python, "reused")
    found = machine.run(["find", HOME, "(", "!", "-user", "root", "-o", "!", "-type", "l", "-perm", "/022", ")"], user="root")
    assert found.stdout == ""
    assert machine.run(["find", HOME, "-name", ".new*"], user="root").stdout == ""
    assert machine.run([python, "-I", "-c", "import ebbgate; print(ebbgate.__version__)"]).stdout == "0.0.0+fake\n"


@pytest.mark.parametrize(
    "damage",
    [
        "chmod o+w {place}/lib/python3.12/site-packages/ebbgate/__main__.py",
        "chown runner {place}/lib/python3.12/site-packages/ebbgate",
        "rm {place}/complete.json",
        "echo '{{}}' >{place}/complete.json",
        "chmod 777 {place}",
        "mv {place} {place}.x && ln -s {place}.x {place} && chown -h runner {place}",
    ],
)
def test_one_that_others_could_have_changed_is_made_again(guarded: Guarded, damage: str) -> None:
    machine = guarded.machine
    python, _ = made(provision(machine, guarded.action))
    place = str(Path(python).parent.parent)
    assert machine.sh(damage.format(place=place), user="root").code == 0
    assert made(provision(machine, guarded.action)) == (python, "archive")
    assert made(provision(machine, guarded.action)) == (python, "reused")


def test_an_archive_that_is_not_the_manifests_is_refused(guarded: Guarded) -> None:
    machine = guarded.machine
    assert machine.sh(f"printf x >>{guarded.action}/dist/bundle/*.tar.gz", user="root").code == 0
    outcome = provision(machine, guarded.action)
    assert outcome.code == 3
    assert "is not what its manifest says" in outcome.stderr
    assert machine.sh(f"ls -A {HOME}", user="root").stdout == ""
    result = guarded.run()
    assert result.conclusion == "failure"
    assert "is not what its manifest says" in result.messages("error")[0]


def test_an_archive_of_another_source_is_not_used(guarded: Guarded) -> None:
    machine = guarded.machine
    assert machine.sh(f"echo '# changed' >>{guarded.action}/src/ebbgate/__init__.py", user="root").code == 0
    (guarded.machine.root / guarded.action.lstrip("/") / "requirements/runtime.txt").write_text("absent==1 --hash=sha256:00\n")
    outcome = provision(machine, guarded.action, index={"PIP_NO_INDEX": "1"})
    assert outcome.code == 3
    assert "the locked packages could not be installed" in outcome.stderr
    assert machine.sh(f"ls -A {HOME}", user="root").stdout == ""


@pytest.mark.parametrize(
    "prepared",
    ["mkdir -m 777 {home}", "mkdir {home} && chown runner {home}", "mkdir /tmp/x && ln -s /tmp/x {home} && chmod 777 /tmp/x"],
)
def test_a_place_that_others_prepared_is_refused(guarded: Guarded, prepared: str) -> None:
    assert guarded.machine.sh(prepared.format(home=HOME), user="root").code == 0
    outcome = provision(guarded.machine, guarded.action)
    assert outcome.code == 3
    assert "others than root can change" in outcome.stderr


def test_links_in_the_source_are_refused(guarded: Guarded) -> None:
    assert guarded.machine.sh(f"ln -s /etc/shadow {guarded.action}/src/ebbgate/data.txt", user="root").code == 0
    outcome = provision(guarded.machine, guarded.action)
    assert outcome.code == 3
    assert "is no regular file" in outcome.stderr


def test_an_interpreter_of_the_tool_cache_is_copied(guarded: Guarded) -> None:
    """It belongs to the runner's user on hosted machines, and everybody may write there."""
    machine = guarded.machine
    cached = "/opt/hostedtoolcache/Python/3.12.1/x64"
    prefix = Path(machine.python).resolve().parent.parent
    machine.inside(lambda: _copy_prefix(prefix, Path(cached)))
    machine.inside(lambda: os.unlink("/usr/local/bin/python3.12"))
    result = guarded.run("- run: rm -rf /opt/hostedtoolcache/Python")
    assert result.conclusion == "success", result.log
    (start,) = guarded.calls("start")
    assert start["executable"].startswith(HOME)
    assert [path for path in start["path"] if not path.startswith(HOME)] == []


def _copy_prefix(prefix: Path, to: Path) -> None:
    ignored = shutil.ignore_patterns("test", "site-packages", "__pycache__", "config-*", "*.a")
    shutil.copytree(prefix / "lib", to / "lib", ignore=ignored)
    (to / "bin").mkdir()
    shutil.copy(prefix / "bin/python3.12", to / "bin/python3.12")
    for path in (to.parent.parent, *to.parent.parent.rglob("*")):
        os.chown(path, 1001, 1001)


def test_without_any_suitable_python_it_says_where_it_looked(guarded: Guarded) -> None:
    guarded.machine.inside(lambda: os.unlink("/usr/local/bin/python3.12"))
    result = guarded.run()
    assert result.conclusion == "failure"
    assert "No Python of 3.12 or newer was found" in result.messages("error")[0]
    assert "/usr/bin" in result.messages("error")[0]


def test_the_real_one_from_its_archive(machine: Machine, tmp_path: Path) -> None:
    Runner.stage(ROOT, tmp_path)
    bundle.make(tmp_path, [machine.python])
    first = (tmp_path / "dist/bundle/manifest.json").read_text()
    bundle.make(tmp_path, [machine.python])
    assert (tmp_path / "dist/bundle/manifest.json").read_text() == first, "the same input makes the same bytes"
    runner = Runner(machine)
    runner.release(tmp_path)
    python, how = made(provision(machine, "/srv/actions/ebbgate"))
    assert how == "archive"
    assert machine.run([python, "-I", "-m", "ebbgate", "--version"]).stdout.startswith("ebbgate ")
    assert machine.run([python, "-I", "-c", "import ebbgate.gate.engine"]).code == 0


def test_the_real_one_from_locked_wheels() -> None:
    with Machine(uplink=True) as machine:
        runner = Runner(machine)
        runner.release(ROOT)
        machine.run(["rm", "-rf", "/srv/actions/ebbgate/dist"], user="root")
        python, how = made(provision(machine, "/srv/actions/ebbgate"))
        assert how == "wheels", "by uv: pip takes several times as long"
        script = "import ebbgate.gate.process, sys; print(*(getattr(one, '__cached__', '') for one in sys.modules.values()))"
        imported = machine.run([python, "-I", "-c", script])  # as a user who could not compile for the next time
        assert imported.code == 0, imported.stderr
        compiled = [one for one in imported.stdout.split() if one.startswith(HOME)]
        assert compiled
        assert machine.run(["ls", *compiled]).code == 0
        assert machine.run(["ls", "-A", HOME], user="root").stdout.split() == [Path(python).parent.parent.name]
