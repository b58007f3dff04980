"""What the runner machine promises to the tests that use it; above all, that nothing of it reaches the real machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.attacks.programs import ask_name, send_udp
from tests.machine import Machine
from tests.machine.machine import ADDRESS
from tests.machine.real import runs
from tests.machine.runner import CHECKOUT, WORK
from tests.world.internet import API, EVIL, EVIL6, INTERNAL, METADATA, PLATFORM, RESOLVER
from tests.world.namespace import ADDRESSES

pytestmark = pytest.mark.root


def test_the_internet_is_reached_through_eth0_over_both_versions_of_ip(machine: Machine) -> None:
    assert machine.run(["curl", "-sS4", "https://api.example.com/four"]).code == 0
    assert machine.run(["curl", "-sS6", "https://api.example.com/six"]).code == 0
    peers = {one.peer[0]: one.requests[0].path for one in machine.world.at(API, "2001:db8::10")}
    assert peers == {ADDRESS: "/four", "2001:db8:1::2": "/six"}
    assert ("api.example.com", "A") in machine.world.questions
    assert {(API, 6, 443), ("2001:db8::10", 6, 443), (RESOLVER, 17, 53)} <= machine.sent()


def test_every_address_of_the_internet_answers(machine: Machine) -> None:
    for address in ADDRESSES:
        assert machine.run(["ping", "-c", "1", "-W", "5", address]).code == 0, address
    for address in (METADATA, PLATFORM, INTERNAL):
        assert machine.run(["curl", "-sS", "--max-time", "9", f"http://{address}/"]).code == 0, address
        assert len(machine.world.at(address)) == 1


def test_the_sniffer_has_what_no_server_answers(machine: Machine) -> None:
    machine.run(send_udp(EVIL, 443))
    machine.run(send_udp(EVIL6, 443))
    machine.run(send_udp(EVIL, 4444))
    machine.run(ask_name(EVIL, "stolen.attacker.example.org"))
    machine.run(["ping", "-c", "1", "-W", "0.1", "198.51.100.7"])
    assert machine.sent() == {(EVIL, 17, 443), (EVIL6, 17, 443), (EVIL, 17, 4444), (EVIL, 17, 53), ("198.51.100.7", 1, 0)}


def test_nothing_is_sent_by_itself(machine: Machine) -> None:
    machine.run(["curl", "-s", "--max-time", "1", "http://127.0.0.1:1/"])
    assert machine.sent() == set()


def test_the_runner_is_who_it_is_on_hosted_machines(machine: Machine) -> None:
    assert machine.run(["id", "-un"]).stdout == "runner\n"
    assert machine.run(["id", "-u"]).stdout == "1001\n"
    assert "docker" in machine.run(["id", "-Gn"]).stdout.split()
    assert machine.run(["sudo", "-n", "id", "-u"]).stdout == "0\n"
    assert machine.run(["pwd"]).stdout == f"{CHECKOUT}\n"
    assert machine.sh(f"touch {WORK}/_temp/a {WORK}/_actions/b {WORK}/_tool/c d ~/e").code == 0
    assert machine.run(["id", "-u"], user="root").stdout == "0\n"
    assert machine.run(["touch", "/etc/mine"]).code != 0


def test_our_interpreter_and_package_run_inside_for_both_users(machine: Machine) -> None:
    for user in ("runner", "root"):
        outcome = machine.run([machine.python, "-I", "-c", "import ebbgate.gate, mitmproxy; print(ebbgate.__file__)"], user=user)
        assert outcome.code == 0, outcome.stderr
        assert machine.read(outcome.stdout.strip()) == Path(outcome.stdout.strip()).read_text()


def test_the_internets_certificates_are_trusted_by_the_system_and_stay_so(machine: Machine) -> None:
    assert machine.run(["curl", "-sS", "https://api.example.com/"]).code == 0
    updated = machine.run(["update-ca-certificates"], user="root")
    assert updated.code == 0, updated.stderr
    assert machine.run(["curl", "-sS", "https://api.example.com/"]).code == 0


def test_streams_input_codes_and_time_limits(machine: Machine) -> None:
    outcome = machine.sh("cat; echo two >/dev/stderr; echo three >/dev/stdout; exit 7", input=b"one ")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (7, "one three\n", "two\n")
    assert machine.sh("head -c 3000000 /dev/zero | tr '\\0' x").stdout == "x" * 3_000_000
    assert machine.run(["printenv", "GIVEN"], env={"GIVEN": "value"}).stdout == "value\n"
    with pytest.raises(subprocess.TimeoutExpired):
        machine.run(["sleep", "60"], timeout=0.2)
    started = time.monotonic()
    assert machine.sh("sleep 60 & echo $$").code == 0, "what is left in the background is not waited for"
    assert time.monotonic() - started < 30


def test_process_ids_are_the_real_ones(machine: Machine) -> None:
    process = machine.popen(["sh", "-c", "echo $$; exec sleep 60"], stdout=subprocess.PIPE)
    with process.stdout:
        assert int(process.stdout.readline()) == process.pid
    assert process.pid in machine.processes()
    assert Path(f"/proc/{process.pid}/ns/net").stat().st_ino == machine.netns_path.stat().st_ino
    assert f"0::/{machine.name}/system.slice/hosted-compute-agent.service\n" in Path(f"/proc/{process.pid}/cgroup").read_text()
    process.kill()
    process.wait()


def test_functions_run_inside(machine: Machine) -> None:
    machine.write("/etc/new", "text", user="root", mode=0o600)
    assert machine.inside(lambda: (Path("/etc/new").read_text(), set(os.listdir("/sys/class/net")))) == ("text", {"eth0", "lo"})
    assert (machine.root / "etc/new").stat().st_mode & 0o777 == 0o600


def test_the_systems_control_group_tree_is_the_unified_one(machine: Machine) -> None:
    assert machine.run(["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    assert "0::/system.slice/hosted-compute-agent.service\n" in machine.run(["cat", "/proc/self/cgroup"]).stdout
    assert machine.run(["mkdir", "/sys/fs/cgroup/below"], user="root").code == 0
    assert machine.name in [path.parent.name for path in Path("/sys/fs/cgroup").rglob("below")]
    rule = 'socket cgroupv2 level 1 "below" counter'
    added = machine.sh(f"nft 'table inet t {{ chain c {{ type filter hook output priority 0; {rule}; }}; }}'", user="root")
    assert added.code == 0, added.stderr
    machine.sh(
        "ping -c 1 192.0.2.1; echo $$ >/sys/fs/cgroup/below/cgroup.procs; curl -sS http://198.51.100.9/ --max-time 0.1 || true",
        user="root",
    )
    assert "packets 1 " in machine.run(["nft", "list", "table", "inet", "t"], user="root").stdout


def test_only_the_networks_kernel_settings_can_be_changed(machine: Machine) -> None:
    assert machine.sh("echo 1 >/proc/sys/net/ipv4/ip_forward", user="root").code == 0
    assert machine.sh("cat /proc/sys/kernel/printk >/proc/sys/kernel/printk", user="root").code != 0


def test_registries_are_reached_over_an_uplink_and_nothing_else_changes() -> None:
    with Machine(uplink=True) as machine:
        done = machine.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{remote_ip}", "https://pypi.org/simple/six/"])
        assert done.stdout.startswith("200 198.51.100."), done.stderr
        assert machine.run(["curl", "-sS", "https://api.example.com/"]).code == 0
        assert machine.run(["curl", "-sS", "https://nobody.invalid/"]).code == 6
        assert {address for address, *_ in machine.sent()} <= {RESOLVER, API, "2001:db8::10", "198.51.100.2"}


def test_everything_started_inside_ends_with_it() -> None:
    with Machine() as machine:
        machine.sh("setsid -f sleep 300; (trap '' TERM HUP; sleep 300) >/dev/null 2>&1 &")
        machine.sh("setsid -f unshare -n -m sleep 300 >/dev/null", user="root")  # another namespace, the same cgroup
        machine.sh("echo $$ >/sys/fs/cgroup/cgroup.procs; setsid -f sleep 300 >/dev/null", user="root")  # the other way round
        left = machine.processes()
        assert len(left) >= 4
        holder = machine.holder
    assert not [pid for pid in (holder, *left) if runs(pid)]
    assert not _control_groups(machine.name)


def test_a_killed_test_run_leaves_nothing() -> None:
    script = (
        "import sys; from tests.machine import Machine\n"
        "with Machine() as machine:\n"
        "    machine.sh('setsid -f sleep 300 >/dev/null 2>&1')\n"
        "    print(machine.name, machine.holder, *machine.processes(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with run.stdin, run.stdout:
        name, *pids = run.stdout.readline().decode().split()
        run.kill()
        run.wait()
    assert len(pids) >= 2
    _until(lambda: not [pid for pid in pids if runs(pid)] and not _control_groups(name))


def test_the_real_machine_is_left_as_it_was(real_machine_unchanged: None) -> None:
    """As root, inside, everything that the guard and its attackers change."""
    changes = """
        echo x >>/etc/resolv.conf; echo x >>/etc/hosts; echo x:x:1002: >>/etc/group; rm /etc/nsswitch.conf
        useradd -m other; rm /etc/sudoers.d/runner; echo '%other ALL=(ALL) ALL' >/etc/sudoers.d/other
        cp /usr/local/share/ca-certificates/world.crt /usr/local/share/ca-certificates/more.crt; update-ca-certificates
        echo x >/run/docker.sock; mkdir -p /run/ebbgate /var/lib/docker/x /var/lib/ebbgate /opt/new /root/.docker; touch /tmp/leak
        nft add table inet leak; ip link add leak0 type bridge; ip link set leak0 up; ip netns add leak
        iptables -t nat -A OUTPUT -p tcp --dport 1 -j REDIRECT; echo 1 >/proc/sys/net/ipv4/ip_forward
        mount -t tmpfs none /opt; touch /usr/local/bin/leak; touch /dev/shm/leak
    """
    with Machine() as machine:
        done = machine.sh(changes, user="root")
        assert done.code == 0, done.stderr
        assert "table inet leak" in machine.run(["nft", "list", "ruleset"], user="root").stdout


def _control_groups(name: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob(name))


def _until(reached, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
