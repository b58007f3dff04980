"""The runner's memory and the ways to it. Sysctls are files of the test's own: the machine's are left alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host.lock_memory import MemoryFiles, MemoryLock, memory_is_readable
from ebbgate.host.runner_identity import Runner, acting_as, opened_by
from tests.host.locks import Job
from tests.machine import Machine

pytestmark = pytest.mark.root

RUNNER = Runner(1001, 1001)
HAS_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope").exists()


def sysctls(directory: Path, *, yama: str | None = "1", core: str = "core") -> Path:
    (directory / "kernel/yama").mkdir(parents=True)
    (directory / "kernel/core_pattern").write_text(f"{core}\n")
    if yama is not None:
        (directory / "kernel/yama/ptrace_scope").write_text(f"{yama}\n")
    return directory


def memory_lock(directory: Path, **options) -> MemoryLock:
    kept = MemoryFiles(directory / "state/ports", directory / "state/core")
    return MemoryLock(RUNNER, kept, sysctls=directory, **options)


@pytest.mark.skipif(HAS_YAMA, reason="NEEDS A KERNEL WITHOUT YAMA: with it, the answer depends on the machine's setting")
def test_reading_another_process_is_really_tried() -> None:
    assert memory_is_readable(RUNNER)


def test_without_yama_the_result_says_so(tmp_path: Path) -> None:
    result = memory_lock(sysctls(tmp_path, yama=None)).apply()
    assert not result.done
    assert not result.verified
    assert "no Yama" in result.sentence


@pytest.mark.skipif(HAS_YAMA, reason="NEEDS A KERNEL WITHOUT YAMA: the setting in the file must be without effect")
def test_a_setting_without_effect_is_no_lock(tmp_path: Path) -> None:
    """The file says 3 and memory can be read all the same: what counts is the try."""
    with pytest.raises(IntegrityError, match="memory can be read"):
        memory_lock(sysctls(tmp_path)).apply()
    assert (tmp_path / "kernel/yama/ptrace_scope").read_text() == "3\n"


def test_the_latch_is_set_read_back_and_stays(tmp_path: Path) -> None:
    """``readable`` stands in for a kernel with Yama, which a test cannot have without latching the whole machine."""
    lock = memory_lock(sysctls(tmp_path, core="|/usr/share/apport/apport %p"), readable=lambda _runner: False)
    result = lock.apply()
    assert result.done
    assert result.verified
    assert lock.apply() == result
    assert (tmp_path / "kernel/core_pattern").read_text() == "|/bin/false\n"
    undone = lock.undo()
    assert (tmp_path / "kernel/core_pattern").read_text() == "|/usr/share/apport/apport %p\n"
    assert (tmp_path / "kernel/yama/ptrace_scope").read_text() == "3\n"
    assert "started anew" in undone.sentence


def test_a_setting_that_was_taken_back_is_noticed(tmp_path: Path) -> None:
    lock = memory_lock(sysctls(tmp_path), readable=lambda _runner: False)
    lock.apply()
    (tmp_path / "kernel/core_pattern").write_text("core\n")
    with pytest.raises(IntegrityError, match="core dumps"):
        lock.verify()
    lock.apply()
    (tmp_path / "kernel/yama/ptrace_scope").write_text("1\n")
    with pytest.raises(IntegrityError, match="memory can be read"):
        lock.verify()


def test_settings_that_cannot_be_written(tmp_path: Path) -> None:
    directory = sysctls(tmp_path)
    (directory / "kernel/yama/ptrace_scope").unlink()
    (directory / "kernel/yama/ptrace_scope").symlink_to("/proc/version")  # readable, and refuses to be written
    with pytest.raises(PlatformError, match="could not be protected"):
        memory_lock(directory).apply()


DOTNET = """
import os, socket, sys, time
place = os.environ.get("TMPDIR", "/tmp")
server = socket.socket(socket.AF_UNIX)
os.umask(0o077)
server.bind(f"{place}/dotnet-diagnostic-{os.getpid()}-12345-socket")
server.listen()
for end in ("in", "out"):
    os.mkfifo(f"{place}/clr-debug-pipe-{os.getpid()}-12345-{end}")
print("listening", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("place", ["/tmp", "/home/runner/tmp"])
def test_the_runners_own_diagnostic_ports_are_closed(machine: Machine, place: str) -> None:
    """As the .NET runtime makes them at its start: for the same user, who is also the job's."""
    machine.sh(f"mkdir -p {place}; mkdir -p ~/tmp", cwd="/")
    machine.inside(lambda: sysctls(Path("/run/sysctls"), yama=None))
    env = {} if place == "/tmp" else {"TMPDIR": place}
    import subprocess

    job = Job(machine)
    job.process = machine.popen([machine.python, "-I", "-c", DOTNET], env=env, stdout=subprocess.PIPE, cwd="/")
    assert job.process.stdout.readline() == b"listening\n"
    name = f"{place}/dotnet-diagnostic-{job.process.pid}-12345-socket"
    attach = [machine.python, "-I", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"]
    debug = f"exec 3<>{place}/clr-debug-pipe-{job.process.pid}-12345-in"
    assert machine.run(attach, cwd="/").code == 0
    assert machine.sh(debug, cwd="/").code == 0
    (result,) = job.lock("memory", "apply")
    assert len([line for line in result["detail"] if line.startswith("closed")]) == 3, result
    assert "Permission" in machine.run(attach, cwd="/").stderr
    assert machine.sh(debug, cwd="/").code != 0
    assert machine.sh(f"chmod 777 {name}", cwd="/").code != 0
    job.lock("memory", "undo")
    assert machine.run(attach, cwd="/").code == 0


# --- acting as the runner ----------------------------------------------------------------------------------------------


def test_acting_as_the_runner_has_its_rights_and_no_more(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    files = {"others": (0, 0, 0o604), "own": (1001, 0, 0o400), "group": (0, 4242, 0o040), "root": (0, 0, 0o600)}
    for name, (uid, gid, mode) in files.items():
        (tmp_path / name).write_text(name)
        os.chown(tmp_path / name, uid, gid)
        (tmp_path / name).chmod(mode)

    def readable() -> set[str]:
        found = set()
        for name in files:
            try:
                found.add((tmp_path / name).read_text())
            except PermissionError:
                continue
        return found

    assert acting_as(Runner(1001, 1001), readable) == {"others", "own"}
    assert acting_as(Runner(1001, 1001, (4242,)), readable) == {"others", "own", "group"}
    assert readable() == set(files)  # the process itself stayed root


def test_what_goes_wrong_while_acting_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        acting_as(RUNNER, lambda: 1 // 0)


def test_a_socket_without_a_listener_counts_as_open_unless_it_is_closed(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    path = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    os.chmod(path, 0o666)
    assert opened_by(RUNNER, [path]) == [path]
    os.chmod(path, 0o600)
    assert opened_by(RUNNER, [path]) == []
