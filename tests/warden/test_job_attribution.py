"""Which process of the machine a connection or packet came from."""

from __future__ import annotations

import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbgate.host import netlink
from ebbgate.host.netlink import RefusedPacket
from ebbgate.warden.job_attribution import JobAttribution
from tests.warden.runner import PYTHON, FakeRunner, Observed

pytestmark = pytest.mark.root

WORKERS, CALLS = 8, 126  # an even number of calls: each loop makes two


@pytest.fixture
def seen() -> Iterator[Observed]:
    with FakeRunner() as runner:
        made = Observed(runner)
        yield made
        made.close()


@pytest.fixture
def attribution(seen: Observed) -> Iterator[JobAttribution]:
    diagnostics = netlink.diagnostic_socket()
    made = JobAttribution(seen.monitor, diagnostics)
    yield made
    made.close()
    diagnostics.close()


def test_a_thousand_short_lived_clients_of_eight_workers(seen: Observed, attribution: JobAttribution) -> None:
    """Half of them leave parent and session; each is asked for while its connection is open, as the gate does."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        address = server.getsockname()
        roots: dict[str, int] = {}
        for worker in range(WORKERS):
            step = f"step{worker % 2}"
            call = f"curl -s -m 120 http://127.0.0.1:{address[1]}/{step}/{worker}/$i"
            script = f"i=0; while [ $i -lt {CALLS} ]; do i=$((i+1)); {call}; i=$((i+1)); (setsid {call} &) ; done; wait"
            roots[f"{step}/{worker}"] = seen.runner.start(["/bin/bash", "-c", script], step, loud=True)
        told: Counter[str] = Counter()
        server.settimeout(120)
        for _ in range(WORKERS * CALLS):
            client, remote = server.accept()
            origin = attribution.connection("tcp", remote, address)
            request = client.recv(4096).split()[1].decode()
            step, worker, _number = request.strip("/").split("/")
            assert origin.process is not None, request
            assert origin.process.certain, request
            assert os.path.basename(origin.process.exe) == "curl"
            assert request in origin.process.cmdline
            assert origin.step is not None
            assert origin.step.name == step
            assert origin.ancestry[-1].pid == roots[f"{step}/{worker}"]
            told[step] += 1
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
            client.close()
        assert told.total() == WORKERS * CALLS
    for root in roots.values():
        seen.runner.wait(root)


_CLIENT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as client:
    client.connect((sys.argv[1].replace("v4:", "::ffff:"), int(sys.argv[2])))
    client.recv(1)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "v4:127.0.0.1"])
def test_ipv4_over_either_kind_of_socket(seen: Observed, attribution: JobAttribution, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        root = seen.runner.start([PYTHON, "-c", _CLIENT, host, str(server.getsockname()[1])], "build")
        client, remote = server.accept()
        origin = attribution.connection("tcp", remote, server.getsockname())
        assert origin.process is not None
        assert (origin.process.pid, origin.process.certain) == (root, True)
        client.close()


def test_a_socket_in_a_threads_own_table(seen: Observed, attribution: JobAttribution) -> None:
    """A thread can have descriptors that its process does not have."""
    program = (
        "import os, socket, sys, threading\n"
        "def run():\n"
        "    os.unshare(os.CLONE_FILES)\n"
        "    socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)\n"
        "t = threading.Thread(target=run); t.start(); t.join()"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        root = seen.runner.start([PYTHON, "-c", program, str(server.getsockname()[1])], "build")
        client, remote = server.accept()
        origin = attribution.connection("tcp", remote, server.getsockname())
        assert origin.process is not None
        assert (origin.process.pid, origin.process.certain) == (root, True)
        client.close()


def test_a_socket_the_runner_shares_with_a_step_is_the_jobs(seen: Observed, attribution: JobAttribution) -> None:
    """A child that inherited a socket is nearer to the act than its parent."""
    program = (
        "import os, socket, subprocess, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "os.set_inheritable(s.fileno(), True)\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.socket(fileno=%d).recv(1)' % s.fileno()], close_fds=False)"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        root = seen.runner.start([PYTHON, "-c", program, str(server.getsockname()[1])], "build")
        client, remote = server.accept()

        def child() -> bool:
            process = attribution.connection("tcp", remote, server.getsockname()).process
            return process is not None and process.pid != root

        seen.until(child)
        client.close()


def test_a_socket_that_is_gone_is_guessed(seen: Observed, attribution: JobAttribution) -> None:
    root = seen.runner.start(["/bin/true"], "build")
    seen.runner.wait(root)
    origin = attribution.connection("tcp", ("127.0.0.1", 1), ("127.0.0.1", 2))
    assert origin.process is not None
    assert not origin.process.certain
    assert origin.party == "job"


def test_a_datagrams_sender(seen: Observed, attribution: JobAttribution) -> None:
    program = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b'x', ('::ffff:127.0.0.1', int(sys.argv[1]), 0, 0)); time.sleep(300)"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        root = seen.runner.start([PYTHON, "-c", program, str(server.getsockname()[1])], "build")
        _data, (source, port) = server.recvfrom(10)
        packet = RefusedPacket("udp", socket.AF_INET, "127.0.0.1", server.getsockname()[1], source, port)
        for origin in (attribution.packet(packet), attribution.connection("udp", (source, port), ("", 0))):
            assert origin.process is not None
            assert (origin.process.pid, origin.process.certain) == (root, True)
        seen.monitor.kill_step(root)


_IN_A_NAMESPACE = """
import os, socket, subprocess, sys
os.unshare(os.CLONE_NEWNET)
subprocess.run("ip link set lo up; ip addr add 203.0.113.9/32 dev lo", shell=True, check=True)
server = socket.create_server(("203.0.113.9", 0))
client = socket.create_connection(server.getsockname(), source_address=("203.0.113.9", 0))
accepted = server.accept()[0]
server.close()
open(sys.argv[1], "w").write(repr((client.getsockname(), client.getpeername())))
client.recv(1)
"""


def test_a_process_in_a_network_namespace_of_its_own(seen: Observed, attribution: JobAttribution, tmp_path: Path) -> None:
    """As in a container: its address is not the machine's, its socket is known only in there."""
    pipe = f"{tmp_path}/ends"
    os.mkfifo(pipe)
    root = seen.runner.start([PYTHON, "-c", _IN_A_NAMESPACE, pipe], "build")
    with open(pipe) as file:
        local, remote = eval(file.read())
    origin = attribution.connection("tcp", local, remote)
    assert origin.process is not None
    assert (origin.process.pid, origin.process.certain) == (root, True)
    assert len(attribution._owners._sockets) == 1
    seen.monitor.kill_step(root)
    seen.runner.wait(root)
    attribution.tick()
    assert len(attribution._owners._sockets) == 0, "an open socket would keep the namespace"


def test_the_address_of_a_container_is_not_looked_for_in_the_machine(seen: Observed, attribution: JobAttribution) -> None:
    """UDP sockets are found by port alone: a container's must not be taken for one of the machine's with the same port."""
    program = "import socket, sys, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 0)); print(s.getsockname()[1], flush=True); time.sleep(300)"
    mine = subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE)
    assert mine.stdout
    port = int(mine.stdout.readline())
    origin = attribution.connection("udp", ("203.0.113.77", port), ("", 0))
    assert origin.process is None or (origin.process.pid != mine.pid and not origin.process.certain)
    mine.kill()
    mine.wait()
    mine.stdout.close()
