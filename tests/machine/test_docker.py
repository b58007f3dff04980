"""Containers in the runner machine: real ones, whose traffic leaves through eth0."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine import Machine, start_docker
from tests.machine.machine import ADDRESS
from tests.machine.real import runs
from tests.world.internet import API, EVIL, METADATA

pytestmark = pytest.mark.root
DOCKERFILE = "FROM busybox\nRUN wget -qO- http://api.example.com/built\n"


def test_every_network_of_containers_leads_through_eth0(docker_machine: Machine) -> None:
    assert docker_machine.run(["docker", "network", "create", "mine"]).code == 0
    for name in ("bridge", "mine", "host"):
        done = docker_machine.run(["docker", "run", "--rm", "--network", name, "busybox", "wget", "-qO-", f"http://{API}/{name}"])
        assert done.code == 0, done.stderr
    seen = {one.requests[0].path: one.peer[0] for one in docker_machine.world.at(API)}
    assert seen == {"/bridge": ADDRESS, "/mine": ADDRESS, "/host": ADDRESS}


def test_containers_resolve_names_and_have_curl(docker_machine: Machine) -> None:
    for network in ("bridge", "host"):
        done = docker_machine.run(
            ["docker", "run", "--rm", "--network", network, "curl", "curl", "-sS", "https://api.example.com/x"]
        )
        assert "got GET /x" in done.stdout, done.stderr
    assert ("api.example.com", "A") in docker_machine.world.questions
    without = docker_machine.run(["docker", "run", "--rm", "--network", "none", "curl", "curl", "-sS", f"http://{EVIL}/"])
    assert without.code != 0
    assert not docker_machine.world.at(EVIL)


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_a_build_reaches_the_internet(docker_machine: Machine, buildkit: str) -> None:
    docker_machine.write("/home/runner/work/repo/repo/Dockerfile", DOCKERFILE)
    done = docker_machine.run(["docker", "build", "-t", "built", "."], env={"DOCKER_BUILDKIT": buildkit})
    assert done.code == 0, done.stderr
    assert [one.requests[0].path for one in docker_machine.world.at(API)] == ["/built"]


def test_a_privileged_container_is_the_machines_root(docker_machine: Machine) -> None:
    attack = ["chroot", "/host", "nft", "add", "table", "inet", "by_container"]
    done = docker_machine.run(["docker", "run", "--rm", "--privileged", "--network", "host", "-v", "/:/host", "busybox", *attack])
    assert done.code == 0, done.stderr
    assert "table inet by_container" in docker_machine.run(["nft", "list", "tables"], user="root").stdout


def test_the_metadata_service_is_reached_from_a_container(docker_machine: Machine) -> None:
    assert docker_machine.run(["docker", "run", "--rm", "busybox", "wget", "-qO-", f"http://{METADATA}/"]).code == 0
    assert len(docker_machine.world.at(METADATA)) == 1


def test_a_container_is_told_by_its_control_group(docker_machine: Machine) -> None:
    name = docker_machine.run(["docker", "run", "-d", "busybox", "sleep", "300"]).stdout.strip()
    pid = docker_machine.run(["docker", "inspect", "-f", "{{.State.Pid}}", name]).stdout.strip()
    assert f"0::/{docker_machine.name}/docker/{name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    assert int(pid) in docker_machine.processes()


def test_the_socket_is_the_docker_groups(docker_machine: Machine) -> None:
    assert docker_machine.run(["stat", "-c", "%U %G %a", "/var/run/docker.sock"]).stdout == "root docker 660\n"
    assert docker_machine.run(["docker", "ps"], user="daemon").code != 0


def test_the_daemon_leaves_nothing_behind(real_machine_unchanged: None) -> None:
    with Machine() as machine:
        start_docker(machine)
        assert machine.run(["docker", "run", "-d", "--privileged", "-p", "8080:80", "busybox", "sleep", "300"]).code == 0
        pids = machine.processes()
    assert len(pids) > 3
    assert not [pid for pid in pids if runs(pid)]
