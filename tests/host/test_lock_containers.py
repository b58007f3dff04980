"""The doors to daemons that start containers as root: open before the lock, and closed after it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading

import pytest

from tests.host.locks import Job
from tests.machine import Machine

pytestmark = pytest.mark.root

KNOCK = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(9)\ns.connect(sys.argv[1])\nprint(s.recv(9))"
PLACES = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/libvirt/libvirt-sock",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
)


@pytest.fixture
def job(machine: Machine) -> Job:
    return Job(machine)


def serve(machine: Machine, path: str, *, mode: int = 0o660, group: str = "docker") -> socket.socket:
    """A daemon's socket as distributions make it: for root and the group docker."""
    gid = int(next(line for line in machine.read("/etc/group").splitlines() if line.startswith(f"{group}:")).split(":")[2])

    def make() -> socket.socket:
        import os

        os.makedirs(os.path.dirname(path), exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        os.chown(path, 0, gid)
        os.chmod(path, mode)
        server.listen()
        return server

    server = machine.inside(make)

    def answer() -> None:
        kept = []
        while True:
            try:
                kept.append(server.accept()[0])
            except OSError:
                return
            with contextlib.suppress(BrokenPipeError):  # the lock itself only knocks
                kept[-1].sendall(b"door")

    threading.Thread(target=answer, daemon=True).start()
    return server


def knock(machine: Machine, path: str) -> str:
    done = machine.run([machine.python, "-I", "-c", KNOCK, path], cwd="/")
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("place", PLACES)
def test_sockets_are_closed_wherever_they_are(machine: Machine, job: Job, place: str) -> None:
    serve(machine, place)
    assert knock(machine, place) == "b'door'"
    (result,) = job.lock("containers", "apply")
    assert result["verified"], result
    assert f"closed: {place}" in result["detail"]
    assert "PermissionError" in knock(machine, place)


def test_an_access_list_does_not_keep_it_open(machine: Machine, job: Job) -> None:
    """``setfacl -m user:runner:rw`` is a usual way of giving Docker to one user."""
    serve(machine, "/run/docker.sock", mode=0o600, group="root")
    entries = [(1, 6, 0xFFFFFFFF), (2, 6, 1001), (4, 0, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    import os
    import struct

    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
    machine.inside(lambda: os.setxattr("/run/docker.sock", "system.posix_acl_access", value))
    assert knock(machine, "/run/docker.sock") == "b'door'"
    job.lock("containers", "apply")
    assert "PermissionError" in knock(machine, "/run/docker.sock")
    job.lock("containers", "undo")
    assert knock(machine, "/run/docker.sock") == "b'door'"


def test_a_link_to_it_is_no_way_round(machine: Machine, job: Job) -> None:
    serve(machine, "/run/docker.sock")
    machine.sh("ln -s /run/docker.sock /tmp/link; ln /run/docker.sock /run/hard", user="root", cwd="/")
    job.lock("containers", "apply")
    for path in ("/tmp/link", "/run/hard", "/var/run/docker.sock"):
        assert "PermissionError" in knock(machine, path), path


def test_laying_it_twice_and_taking_it_away(machine: Machine, job: Job) -> None:
    serve(machine, "/run/docker.sock")
    first, second, undone = job.lock("containers", "apply", "apply", "undo")
    assert first == second
    assert not undone["done"]
    assert machine.sh("stat -c '%U %G %a' /run/docker.sock", user="root").stdout == "root docker 660\n"
    assert knock(machine, "/run/docker.sock") == "b'door'"


def test_a_socket_made_anew_is_noticed(machine: Machine, job: Job) -> None:
    serve(machine, "/run/docker.sock")
    job.lock("containers", "apply")
    machine.sh("rm /run/docker.sock", user="root", cwd="/")
    serve(machine, "/run/docker.sock")
    (result,) = job.lock("containers", "verify")
    assert result["error"] == "IntegrityError"
    assert result["cause"] == "/run/docker.sock"
    (again,) = job.lock("containers", "apply")
    assert again["verified"]


def test_a_connection_from_before_is_named(machine: Machine, job: Job) -> None:
    serve(machine, "/run/docker.sock")
    holding = KNOCK.replace("s.recv(9)", "s.recv(9), flush=True") + "\nimport time\ntime.sleep(300)"
    command = [machine.python, "-I", "-c", holding, "/var/run/docker.sock"]
    holder = machine.popen(command, stdout=subprocess.PIPE, cwd="/")
    assert holder.stdout.readline() == b"b'door'\n"
    (result,) = job.lock("containers", "apply")
    assert result["warnings"] == [f"Process {holder.pid} has had a connection to a container daemon since before the lock."]


def test_a_machine_without_daemons(machine: Machine, job: Job) -> None:
    (result,) = job.lock("containers", "apply")
    assert result["done"]
    assert "No container daemon" in result["sentence"]


def test_a_socket_of_systemd_and_a_rootless_one_are_told_apart(machine: Machine, job: Job) -> None:
    machine.sh(
        "mkdir -p /etc/systemd/system /run/user/1001; echo >/etc/systemd/system/docker.socket; chown 1001 /run/user/1001",
        user="root", cwd="/",
    )  # fmt: skip
    serve(machine, "/run/user/1001/docker.sock", mode=0o666)
    (result,) = job.lock("containers", "apply")
    assert "docker.socket: systemd makes this socket anew, open again, when root restarts it" in result["detail"]
    assert "rootless, an ordinary process under the rules: /run/user/1001/docker.sock" in result["detail"]
    assert knock(machine, "/run/user/1001/docker.sock") == "b'door'"


# --- a real daemon -----------------------------------------------------------------------------------------------------


def test_a_real_docker(docker_machine: Machine) -> None:
    escape = ["docker", "run", "--rm", "--privileged", "-v", "/:/host", "busybox", "cat", "/host/etc/shadow"]
    assert "runner:" in docker_machine.run(escape).stdout
    job = Job(docker_machine)
    (result,) = job.lock("containers", "apply")
    assert result["verified"]
    closed = {line for line in result["detail"] if line.startswith("closed")}
    assert "closed: /run/docker.sock" in closed
    assert any("containerd" in line for line in closed)
    assert docker_machine.run(escape).code != 0
    assert docker_machine.run(["docker", "version"]).code != 0
    assert docker_machine.run(["docker", "version"], user="root").code == 0
    job.lock("containers", "undo")
    assert docker_machine.run(["docker", "version"]).code == 0


def test_a_real_docker_that_listens_elsewhere_and_on_tcp(machine: Machine) -> None:
    from tests.machine.docker import start_docker

    start_docker(machine, "--host", "unix:///srv/other.sock", "--host", "tcp://127.0.0.1:2375", "--tls=false")
    job = Job(machine)
    assert machine.run(["docker", "--host", "unix:///srv/other.sock", "version"]).code == 0
    assert machine.run(["docker", "--host", "tcp://127.0.0.1:2375", "version"]).code == 0
    (result,) = job.lock("containers", "apply")
    assert result["error"] == "IntegrityError"
    assert "TCP port 2375" in result["title"]
    assert machine.run(["docker", "--host", "unix:///srv/other.sock", "version"]).code != 0
