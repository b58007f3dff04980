"""What machine this is: facts of machines as they are, and refusals that name the cause and a way out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ebbgate.errors import PlatformError
from ebbgate.host import runner_platform
from ebbgate.host.runner_identity import group_names, name_of, runner_of
from tests.host.locks import Job
from tests.machine import Machine

NFT = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "nft"
ALL = (1 << 41) - 1
HOSTED = {"RUNNER_OS": "Linux", "RUNNER_ENVIRONMENT": "github-hosted", "ImageOS": "ubuntu24", "ImageVersion": "20260901.1"}


@pytest.mark.root
def test_a_hosted_runner(machine: Machine) -> None:
    machine.sh("mkdir -p /run/systemd/system; rm -f /.dockerenv", user="root", cwd="/")
    found = machine.inside(lambda: runner_platform.examine(HOSTED, nft=NFT, release="6.17.0-1008-azure"))
    assert found.hosted
    assert found.image == "ubuntu24 20260901.1"
    assert found.systemd
    assert found.kernel == (6, 17)
    assert not found.in_container
    assert found.cgroup == Path("/sys/fs/cgroup/ebbgate")


@pytest.mark.root
def test_nft_is_asked_and_nothing_is_left_behind(machine: Machine) -> None:
    assert machine.run([NFT, "list", "ruleset"], user="root").stdout == ""
    found = machine.inside(lambda: runner_platform.examine({}, nft=NFT))
    assert "owner" not in found.missing
    assert machine.run([NFT, "list", "ruleset"], user="root").stdout == ""


@pytest.mark.root
def test_a_piece_that_the_kernel_does_not_know_is_missing(machine: Machine) -> None:
    asked = {"real": runner_platform._RULES["fib"], "unreal": (runner_platform._OUTPUT, "tide ebbs")}
    assert machine.inside(lambda: runner_platform.missing_rules(asked, nft=NFT)) == ("unreal",)


REFUSED = {
    "macOS": ({"RUNNER_OS": "macOS"}, {}, "not on macOS", "ubuntu-latest"),
    "Windows": ({"RUNNER_OS": "Windows"}, {}, "not on Windows", "ubuntu-latest"),
    "a job in a container": (HOSTED | {"GITHUB_WORKSPACE": "/__w/repo/repo"}, {}, "`container:`", "docker run"),
    "ubuntu-slim": (HOSTED, {"marker": ".dockerenv"}, "ubuntu-slim", "ubuntu-latest"),
    "podman": (HOSTED, {"marker": "run/.containerenv"}, "ubuntu-slim", "ubuntu-latest"),
    "not root": (HOSTED, {"capabilities": 0}, "may not change", "sudo"),
    "root of a container": (HOSTED, {"capabilities": 0xA80425FB}, "may not change", "ebbgate run"),
    "an old kernel": (HOSTED, {"release": "4.19.0-1-amd64"}, "4.19 is too old", "newer image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_machines_that_are_refused(tmp_path: Path, name: str) -> None:
    environ, given, title, way_out = REFUSED[name]
    given = {"capabilities": ALL, **given}
    if marker := given.pop("marker", ""):
        (tmp_path / marker).parent.mkdir(exist_ok=True)
        (tmp_path / marker).touch()
    with pytest.raises(PlatformError) as caught:
        runner_platform.examine(environ, nft=NFT, root=tmp_path, **given)
    assert title in caught.value.title
    assert way_out in caught.value.next_step


def test_nft_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="nft could not be run"):
        runner_platform.examine({}, nft=str(tmp_path / "nft"), root=tmp_path, capabilities=ALL)


# --- a user for the gate -----------------------------------------------------------------------------------------------


def tree(root: Path, **files: str) -> Path:
    (root / "etc").mkdir()
    (root / "proc").mkdir()
    for name, text in files.items():
        (root / "etc" / name).write_text(text)
    return root


def test_a_free_uid_is_free(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        passwd="a:x:65519:1::/:/bin/sh\nbroken\n",
        group="b:x:65518:\n",
        subuid="c:65500:17\n",
        subgid="c:65400:100\n",
    )
    for pid, line in ((7, "Uid:\t65499\t65498\t65497\t65496\n"), (8, "Gid:\t65495\t1\t1\t1\nGroups:\t65494 4\n")):
        (root / f"proc/{pid}").mkdir()
        (root / f"proc/{pid}/status").write_text(line)
    (root / "run/systemd/dynamic-uid").mkdir(parents=True)
    (root / "run/systemd/dynamic-uid/65493").touch()
    (root / "run/systemd/dynamic-uid/direct:65492").touch()
    assert runner_platform.free_uid(root, root / "proc") == 65517
    (root / "etc/passwd").write_text("a:x:65519:1::/:/bin/sh\nd:x:65517:1::/:/bin/sh\n")
    assert runner_platform.free_uid(root, root / "proc") == 65399  # below both ranges of subordinate ids


def test_no_free_uid(tmp_path: Path) -> None:
    root = tree(tmp_path, subuid="c:60000:6000\n")
    with pytest.raises(PlatformError, match="no free user id"):
        runner_platform.free_uid(root, root / "proc")


def test_a_free_uid_of_this_machine_has_no_name() -> None:
    uid = runner_platform.free_uid()
    assert uid in runner_platform.DYNAMIC_UIDS
    assert name_of(uid) == ""


# --- the runner --------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_the_runner_of_a_process(machine: Machine) -> None:
    job = Job(machine)
    runner = runner_of(job.process.pid, root=machine.root)
    assert (runner.uid, runner.gid, runner.name, runner.capabilities) == (1001, 1001, "runner", 0)
    assert runner.pids == (job.process.pid,)
    assert {"runner", "docker", "adm"} <= set(group_names(runner, machine.root))


def test_a_runner_that_has_ended() -> None:
    with pytest.raises(PlatformError, match="has ended"):
        runner_of(1 << 22)
