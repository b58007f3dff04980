"""Root by asking and root by writing: each way works before the lock, and none after it."""

from __future__ import annotations

import shutil
import time

import pytest

from tests.host.locks import Job
from tests.machine import Machine

pytestmark = pytest.mark.root

# What grants root in sudoers, beside the runner's own drop-in that the machine has anyway.
GRANTS = {
    "the drop-in of hosted runners": "",
    "a group": "%docker ALL=(ALL) NOPASSWD:ALL",
    "a group by number": "%#1001 ALL=(ALL) NOPASSWD:ALL",
    "everybody": "ALL ALL=(ALL) NOPASSWD: ALL",
    "an alias": "User_Alias CI = runner, %adm\nCmnd_Alias ANY = ALL\nCI ALL=(ALL:ALL) NOPASSWD: ANY",
    "the number": "#1001 ALL=(ALL) NOPASSWD: ALL",
    "one program": "runner ALL=(root) NOPASSWD: /usr/bin/id",
    "no password by default": "Defaults:runner !authenticate\nrunner ALL=(ALL) ALL",
    "a line that goes on": "runner ALL=(ALL) \\\n  NOPASSWD: \\\n ALL",
    "a last line that would go on with ours": "runner ALL=(ALL) NOPASSWD: ALL\n# and so on \\",
    "another directory": "@includedir /etc/more-sudoers",
}


@pytest.fixture
def job(machine: Machine) -> Job:
    return Job(machine)


def grant(machine: Machine, text: str) -> None:
    machine.write("/etc/more-sudoers/zzzz", "runner ALL=(ALL) NOPASSWD:ALL\n", mode=0o440, user="root")
    if text:
        machine.write("/etc/sudoers.d/runner", "", mode=0o440, user="root")
        machine.write("/etc/sudoers", machine.read("/etc/sudoers") + text + "\n", mode=0o440, user="root")


@pytest.mark.parametrize("name", GRANTS)
def test_no_grant_survives(machine: Machine, job: Job, name: str) -> None:
    grant(machine, GRANTS[name])
    assert job.is_root()
    (result,) = job.lock("sudo", "apply")
    assert result["done"], result
    assert result["verified"]
    assert not job.is_root()
    for attempt in ("sudo -n -g root id -u", "sudo -n -u '#0' id -u", "sudo -n -i id -u", "sudo -n -s id -u", "sudo -nl id"):
        assert machine.sh(attempt, cwd="/").code != 0, attempt
    assert machine.sh("EDITOR=cat sudo -n -e /etc/shadow", cwd="/").code != 0
    assert machine.run(["sudo", "-n", "id", "-u"], user="root").stdout == "0\n"


def test_groups_that_a_running_process_keeps_are_worth_nothing(machine: Machine, job: Job) -> None:
    grant(machine, "%docker ALL=(ALL) NOPASSWD:ALL")
    machine.write("/tmp/go", "#!/bin/bash\nread _\nexec sudo -n id -u\n", mode=0o755)
    import subprocess

    waiting = machine.popen(["/tmp/go"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    job.lock("sudo", "apply")
    assert waiting.communicate(b"\n", timeout=20)[0] == b""


def test_a_cached_password_is_forgotten(machine: Machine, job: Job) -> None:
    for name in ("runner", "1001", "somebody"):
        machine.write(f"/run/sudo/ts/{name}", b"remembered", mode=0o600, user="root")
    job.lock("sudo", "apply")  # which tries sudo, so that there is a new file afterwards
    assert machine.sh("grep -l remembered /run/sudo/ts/*", user="root").stdout.split() == ["/run/sudo/ts/somebody"]


def test_laying_it_twice_and_taking_it_away(machine: Machine, job: Job) -> None:
    before = machine.read("/etc/sudoers")
    first, second = job.lock("sudo", "apply", "apply")
    assert first == second
    assert machine.read("/etc/sudoers").count("!ALL") == 1
    assert machine.sh("stat -c '%U %G %a' /etc/sudoers", user="root").stdout == "root root 440\n"
    (undone,) = job.lock("sudo", "undo")
    assert not undone["done"]
    assert machine.read("/etc/sudoers").rstrip() == before.rstrip()
    assert job.is_root()


def test_a_lock_that_was_broken_open_is_noticed(machine: Machine, job: Job) -> None:
    job.lock("sudo", "apply")
    machine.write("/etc/sudoers", machine.read("/etc/sudoers") + "runner ALL=(ALL) NOPASSWD:ALL\n", mode=0o440, user="root")
    (result,) = job.lock("sudo", "verify")
    assert result["error"] == "IntegrityError"
    (again,) = job.lock("sudo", "apply")
    assert again["verified"]
    assert not job.is_root()


def test_a_user_who_only_lacks_the_password_is_not_taken_for_denied(machine: Machine, job: Job) -> None:
    """``sudo -n`` fails for want of a password; whoever knows the password would be root."""
    grant(machine, "runner ALL=(ALL) ALL")
    assert not job.is_root()
    (result,) = job.lock("sudo", "verify")
    assert result["error"] == "IntegrityError"
    assert "granted" in result["title"]
    (applied,) = job.lock("sudo", "apply")
    assert applied["verified"]


def test_a_second_sudo_is_tried_too(machine: Machine, job: Job) -> None:
    """Snaps carry sudo programs of their own, which read the machine's sudoers."""
    machine.sh("mkdir -p /snap/core22/current/usr/bin; cp -p /usr/bin/sudo /snap/core22/current/usr/bin/", user="root", cwd="/")
    assert job.is_root("/snap/core22/current/usr/bin/sudo", "-n", "id", "-u")
    (result,) = job.lock("sudo", "apply")
    assert "refused: /snap/core22/current/usr/bin/sudo -n true" in result["detail"]
    assert not job.is_root("/snap/core22/current/usr/bin/sudo", "-n", "id", "-u")


def test_a_machine_without_sudo(machine: Machine, job: Job) -> None:
    machine.sh("rm -f /usr/bin/sudo /etc/sudoers; rm -rf /etc/sudoers.d", user="root", cwd="/")
    (result,) = job.lock("sudo", "apply")
    assert result["done"]
    assert "none on this machine" in result["sentence"]


def test_a_runner_that_is_root_is_refused(machine: Machine, job: Job) -> None:
    job = Job(machine, user="root")
    (result,) = job.lock("sudo", "apply")
    assert result["error"] == "PlatformError"
    assert "as root" in result["title"]


def test_a_runner_with_capabilities_is_refused(machine: Machine, job: Job) -> None:
    setpriv = ["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", "--inh-caps", "+net_admin"]
    job = Job(machine, [*setpriv, "--ambient-caps", "+net_admin", "sleep", "300"], user="root")
    (result,) = job.lock("sudo", "apply")
    assert result["error"] == "PlatformError"
    assert "capabilities" in result["title"]


# --- by writing what root trusts ---------------------------------------------------------------------------------------

# As hosted images are made: chmod -R 777 /usr/share, and /usr/local/bin.
OPEN_WALL = "chmod -R 777 /usr/share/dbus-1 /usr/share/polkit-1 /usr/share/ca-certificates; chmod 777 /usr/share /usr/local/bin"
WRITES = {
    "a rule of polkit": "echo x >/usr/share/polkit-1/rules.d/00-mine.rules",
    "a rule of polkit in a directory of one's own": "mv /usr/share/polkit-1 /usr/share/p && cp -r /usr/share/p /usr/share/polkit-1",
    "a service of D-Bus": "mkdir -p /usr/share/dbus-1/system-services && echo x >/usr/share/dbus-1/system-services/mine.service",
    "a file of a package": "echo x >>/usr/share/polkit-1/policyconfig-1.dtd",
    "a program before root's own": "echo x >/usr/local/bin/iptables",
    "an authority": "echo x >$(find /usr/share/ca-certificates -name '*.crt' | head -1)",
}


@pytest.mark.parametrize("name", WRITES)
def test_what_root_trusts_is_not_written(machine: Machine, job: Job, name: str) -> None:
    machine.sh(OPEN_WALL, user="root", cwd="/")
    command = ["bash", "-ec", WRITES[name]]
    job.lock("sudo", "apply")
    assert machine.run(command, cwd="/").code != 0
    job.lock("sudo", "undo")
    assert machine.run(command, cwd="/").code == 0


def test_a_file_of_root_that_belongs_to_the_job(machine: Machine, job: Job) -> None:
    """Its owner could give itself the right again."""
    machine.write("/etc/systemd/system/mine.service", "[Service]\nExecStart=/home/runner/x\n", mode=0o444)
    assert machine.sh("chmod u+w /etc/systemd/system/mine.service", cwd="/").code == 0
    (result,) = job.lock("sudo", "apply")
    assert any("writable for the job" in line for line in result["detail"])
    assert machine.sh("chmod u+w /etc/systemd/system/mine.service", cwd="/").code != 0
    assert machine.sh("echo x >>/etc/systemd/system/mine.service", cwd="/").code != 0


def test_the_rest_of_usr_share_stays_as_it_was(machine: Machine, job: Job) -> None:
    machine.sh(f"{OPEN_WALL}; mkdir -m 777 /usr/share/dotnet", user="root", cwd="/")
    job.lock("sudo", "apply")
    assert machine.sh("touch /usr/share/dotnet/sdk /usr/share/new", cwd="/").code == 0


def test_a_writable_file_is_noticed_later(machine: Machine, job: Job) -> None:
    job.lock("sudo", "apply")
    machine.sh("chmod 666 /etc/passwd", user="root", cwd="/")
    (result,) = job.lock("sudo", "verify")
    assert result["error"] == "IntegrityError"
    assert result["cause"] == "/etc/passwd"


def test_sockets_that_everybody_uses_stay_open(machine: Machine, job: Job) -> None:
    """D-Bus's is among what root made writable for all, on purpose."""
    import socket

    def make() -> socket.socket:
        import os

        os.makedirs("/run/systemd/system", exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind("/etc/bus.socket")
        os.chmod("/etc/bus.socket", 0o666)
        server.listen()
        return server

    with machine.inside(make):
        job.lock("sudo", "apply")
        assert machine.sh("stat -c %a /etc/bus.socket", cwd="/").stdout == "666\n"


# --- polkit, doas ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("pkcheck"), reason="NEEDS POLKIT: apt-get install polkitd dbus")
def test_a_real_polkitd_says_no(machine: Machine, job: Job) -> None:
    """With a rule that says yes to everybody, which before the lock it does."""
    rule = "polkit.addRule(function(action, subject) { return polkit.Result.YES; });"
    machine.write("/etc/polkit-1/rules.d/00-yes.rules", rule, user="root")
    machine.sh("mkdir -p /run/dbus; dbus-daemon --system --fork --nopidfile", user="root", cwd="/")
    machine.popen(["/usr/lib/polkit-1/polkitd", "--no-debug"], user="root", cwd="/")
    asking = "pkcheck --action-id org.freedesktop.policykit.exec --process $$"

    def until(code: int) -> int:
        """The daemon is started, and reads its rules again, in its own time."""
        deadline = time.monotonic() + 20
        while (answer := machine.sh(asking, cwd="/").code) != code and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer

    assert until(0) == 0
    job.lock("sudo", "apply")
    assert until(1) == 1  # "Not authorized."
    job.lock("sudo", "undo")
    assert until(0) == 0


def test_polkit_and_doas_are_told_no(machine: Machine, job: Job) -> None:
    """What their daemons would read."""
    machine.write("/etc/doas.conf", "permit nopass runner", mode=0o400, user="root")
    machine.sh("mkdir -p /etc/doas.d /etc/polkit-1/localauthority/90-mandatory.d", user="root", cwd="/")
    job.lock("sudo", "apply")
    rules = machine.sh("ls /etc/polkit-1/rules.d | LC_ALL=C sort", user="root").stdout.split()
    assert rules[0] == "!ebbgate.rules"
    assert 'if (subject.user == "runner") { return polkit.Result.NO; }' in machine.read("/etc/polkit-1/rules.d/!ebbgate.rules")
    assert machine.read("/etc/doas.conf").splitlines()[-2] == "deny 1001"
    assert machine.read("/etc/doas.d/zz-ebbgate.conf") == "deny 1001\n"
    assert "Identity=unix-user:runner\nAction=*" in machine.read("/etc/polkit-1/localauthority/90-mandatory.d/zz-ebbgate.pkla")
    job.lock("sudo", "undo")
    assert machine.read("/etc/doas.conf").strip() == "permit nopass runner"
    assert machine.sh("find /etc -name '*ebbgate*'", user="root").stdout == ""


def test_powerful_groups_and_programs_are_named(machine: Machine, job: Job) -> None:
    machine.sh("sed -i 's/^disk:.*/disk:x:6:runner/' /etc/group; cp -p /usr/bin/passwd /usr/local/bin/mine", user="root", cwd="/")
    (result,) = Job(machine).lock("sudo", "apply")
    assert result["warnings"] == ["The job's user is in the group disk, which reads and writes the machine's disks directly."]
    assert "set-user-ID program: /usr/local/bin/mine" in result["detail"]
