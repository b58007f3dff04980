"""Whose doing a process is, whatever it does to look like somebody else's."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbgate.events.types import Concern, Container, Notice, Origin, Step
from ebbgate.host import containers, processes
from ebbgate.host.process_events import Executed, Exited, Forked, Lost, UserChanged
from ebbgate.host.process_poll import ProcessPoller
from ebbgate.warden.process_entry import MAX_DEPTH, Entry, Kind, Program
from ebbgate.warden.process_table import RECENT, ProcessTable
from ebbgate.warden.step_context import script_path
from tests.warden.runner import PYTHON, FakeRunner, Observed, sleeping

pytestmark = pytest.mark.root
_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 0)
_CLONE3 = 435


@pytest.fixture
def runner() -> Iterator[FakeRunner]:
    with FakeRunner() as made:
        yield made


@pytest.fixture
def seen(runner: FakeRunner) -> Iterator[Observed]:
    made = Observed(runner)
    yield made
    made.close()


def above(pid: int) -> list[int]:
    """A process' ancestors but init, as the runner's are given to the guard."""
    found: list[int] = []
    while (pid := processes.parent(pid)) > 1:
        found.append(pid)
    return found


def named(seen: Observed, marker: str) -> Entry:
    """The running process that has a word among its arguments, once it is there."""

    def find() -> Entry | None:
        for entry in seen.table.live():
            if entry.program.image and marker.encode() in entry.program.image.arguments.split(b"\0"):
                return entry
        return None

    found: Entry = seen.until(find)
    return found


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def check(origin: Origin, step: str, root: int) -> None:
    assert origin.party == "job"
    assert origin.step is not None
    assert origin.step.name == step
    chain = [origin.process, *origin.ancestry]
    assert chain[-1] is not None
    assert chain[-1].pid == root


# Leaves its parent, session, name and environment behind, in every way at once.
_ESCAPE = f"""
import ctypes, os, sys
if "subreaper" in sys.argv: ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
            os.execve({PYTHON!r}, ["systemd", "-c", "import time; time.sleep(300)", sys.argv[1]], {{"GITHUB_ACTION": "other"}})
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
open(sys.argv[2]).read()
"""


@pytest.mark.parametrize("subreaper", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_process_that_left_its_parents(
    runner: FakeRunner, seen: Observed, tmp_path: Path, subreaper: bool, ended: bool
) -> None:
    os.mkfifo(tmp_path / "go")
    root = runner.start(
        [PYTHON, "-c", _ESCAPE, "left-behind", str(tmp_path / "go"), *(["subreaper"] if subreaper else [])], "build"
    )
    entry: Entry = seen.until(lambda: escaped(seen, root))
    try:
        if ended:
            with open(tmp_path / "go", "w"):
                pass
            assert runner.wait(root) == 0
            seen.until(lambda: seen.table.look(root).ended)
        origin = seen.table.origin(entry.pid)
        check(origin, "build", root)
        assert origin.process is not None
        assert origin.process.exe == os.path.realpath(PYTHON)
        assert len(origin.ancestry) == 3
        assert seen.table.step_root(entry.pid) == root
        if not ended:
            assert entry.pid in seen.table.descendants(root)
        assert seen.monitor.kill_step(entry.pid) >= (1 if ended else 2)
        assert entry.ended
        assert entry.root.ended
    finally:
        end(entry.pid)


def escaped(seen: Observed, root: int) -> Entry | None:
    for entry in seen.table.live():
        arguments = entry.program.image.arguments if entry.program.image else b""
        if arguments.startswith(b"systemd\0") and entry.root.pid == root:
            return entry
    return None


_SIBLING = f"""
import ctypes, os, sys
def leave():
    if os.fork(): os._exit(0)
    while os.getppid() == first: pass
first = os.getpid()
if "orphan" in sys.argv: leave()
pid = ctypes.CDLL(None).syscall({_CLONE}, 0x8000 | 17, 0, 0, 0, 0)
if pid == 0:
    os.execve({PYTHON!r}, ["x", "-c", "import time; time.sleep(300)", sys.argv[1] + "!"], {{}})
"""


@pytest.mark.skipif(not _CLONE, reason="the number of clone(2) on this architecture is not known to this test")
@pytest.mark.parametrize("orphan", [False, True])
def test_a_sibling_made_by_clone_parent(runner: FakeRunner, orphan: bool) -> None:
    """The kernel names the runner, or init, as the parent."""
    seen = Observed(runner)
    table = ProcessTable([runner.pid, *above(runner.pid)], str)
    seen.monitor.table = seen.table = table
    table.arm()
    root = runner.start([PYTHON, "-c", _SIBLING, "sibling", *(["orphan"] if orphan else [])], "build")
    entry = named(seen, "sibling!")
    try:
        assert entry.kind is Kind.JOB
        assert entry.parent is None or entry.parent.pid != root
        assert table.origin(entry.pid).party == "job"
        if not orphan:
            seen.monitor.kill_step(root)
            assert entry.ended
    finally:
        end(entry.pid)
        seen.close()


def test_a_next_step_whose_program_is_not_told_yet(runner: FakeRunner, seen: Observed) -> None:
    """It was ended with the step before it: /proc shows a program before the kernel tells that it was started."""
    root = runner.start(sleeping("first"), "build")
    seen.until(lambda: (entry := seen.table.look(root)) and entry.step)
    following = runner.start(sleeping("second"), "test")
    seen.table.apply(Forked(runner.pid, following, time.monotonic_ns()))
    try:
        assert [one.pid for one in seen.table.step_members(root)] == [root]
        assert seen.table.is_settling(root, time.monotonic_ns())
        assert seen.monitor.kill_step(root) == 1
        assert not seen.table.look(following).ended
        os.kill(following, 0)
    finally:
        end(following)


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child", "parent", "signal", "stack", "size", "tls", "set_tid", "set_tid_size", "cgroup")
    )


_REUSE = f"""
import ctypes, os, sys, time
class A(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in "flags pidfd child parent signal stack size tls set_tid set_tid_size cgroup".split()]
wanted = (ctypes.c_int * 1)(int(sys.argv[2]))
a = A(signal=17, set_tid=ctypes.addressof(wanted), set_tid_size=1)
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(100000):
    pid = libc.syscall({_CLONE3}, ctypes.byref(a), ctypes.sizeof(a))
    if pid >= 0: break
if pid == 0:
    os.execve({PYTHON!r}, ["x", "-c", "import time; time.sleep(300)", sys.argv[1] + "!"], {{}})
time.sleep(300)
"""


def daemon(marker: str) -> int:
    """A process of the machine: no descendant of the runner, started before the table was armed."""
    program = f"import os, sys\nif os.fork() == 0:\n os.setsid(); os.execv({PYTHON!r}, {[PYTHON, *sleeping(marker)[1:]]!r})"
    subprocess.run([PYTHON, "-c", program], check=True)
    while True:
        for pid in processes.all_pids():
            found = processes.image(pid)
            if (
                found is not None
                and found.arguments.rstrip(b"\0").endswith(marker.encode())
                and processes.parent(pid) != os.getpid()
            ):
                return pid


def test_a_pid_that_was_the_machines(runner: FakeRunner) -> None:
    service = daemon("a-service-of-the-machine")
    seen = Observed(runner)
    try:
        assert seen.table.origin(service).party == "machine"
        end(service)
        seen.until(lambda: seen.table.look(service).ended)
        root = runner.start([PYTHON, "-c", _REUSE, "reborn", str(service)], "build")
        entry = named(seen, "reborn!")
        assert entry.pid == service
        check(seen.table.origin(service), "build", root)
        assert seen.monitor.kill_step(root) == 2
    finally:
        seen.close()


def test_what_the_machine_forks_is_the_machines(runner: FakeRunner) -> None:
    program = (
        "import os, subprocess, sys\nif os.fork() == 0:\n os.setsid()\n open(sys.argv[1]).read()\n"
        f" subprocess.run([{PYTHON!r}, '-c', 'import time; time.sleep(300)', 'child-of-a-service'])"
    )
    with tempfile.TemporaryDirectory() as directory:
        pipe = Path(directory) / "go"
        os.mkfifo(pipe)
        subprocess.run([PYTHON, "-c", program, str(pipe)], check=True)
        seen = Observed(runner)
        with open(pipe, "w"):
            pass
        entry = named(seen, "child-of-a-service")
        assert seen.table.origin(entry.pid).party == "machine"
        assert seen.table.step_root(entry.pid) is None
        assert seen.monitor.kill_step(entry.pid) == 0
        end(entry.pid)
        seen.close()


def test_steps_that_run_when_the_guard_comes(runner: FakeRunner) -> None:
    root = runner.start(sleeping("was-there"), "early", env={"GITHUB_ACTION_REPOSITORY": "owner/name", "GITHUB_ACTION_REF": "v1"})
    while b"was-there" not in (processes.image(root) or processes.Image("", b"")).arguments:
        pass
    seen = Observed(runner)
    origin = seen.table.origin(root)
    assert (origin.party, origin.step) == ("job", Step("early", "owner/name@v1"))
    assert seen.table.origin(runner.pid).party == "runner"
    seen.monitor.kill_step(root)
    seen.close()


def test_a_runners_script(runner: FakeRunner, seen: Observed, tmp_path: Path) -> None:
    (tmp_path / "_temp").mkdir()
    script = tmp_path / "_temp" / "0b6c.sh"
    script.write_text(f"{PYTHON} -c 'import time; time.sleep(300)' in-a-script; true")
    root = runner.start(["/bin/bash", "-e", str(script)], "__run_2")
    entry = named(seen, "in-a-script")
    origin = seen.table.origin(entry.pid)
    assert origin.step == Step("__run_2", "", str(script))
    assert [one.pid for one in origin.ancestry] == [root]
    assert seen.monitor.kill_step(entry.pid) == 2


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (b"/usr/bin/bash\0-e\0/home/runner/work/_temp/a-b.sh\0", "/home/runner/work/_temp/a-b.sh"),
        (b"/usr/bin/pwsh\0-command\0. '/w/_temp/x.ps1'\0", "/w/_temp/x.ps1"),
        (b"python\0/w/_temp/x.py\0", "/w/_temp/x.py"),
        (b"bash\0/w/my_temp/deeper/x.sh\0", ""),
        (b"", ""),
    ],
)
def test_script_paths(arguments: bytes, path: str) -> None:
    assert script_path(arguments) == path


def test_a_step_cannot_speak_for_another(runner: FakeRunner, seen: Observed, tmp_path: Path) -> None:
    """Once its first program has been seen. A first process that runs another at once may be believed: it is evidence."""
    os.mkfifo(tmp_path / "go")
    root = runner.start(
        ["/bin/sh", "-c", f"read x < {tmp_path}/go; GITHUB_ACTION=release exec {PYTHON} -c 'import time; time.sleep(300)' liar"],
        "build",
    )
    seen.until(lambda: (found := seen.table.look(root)) and found.step)
    with open(tmp_path / "go", "w"):
        pass
    check(seen.table.origin(named(seen, "liar").pid), "build", root)
    seen.monitor.kill_step(root)


def test_the_guards_own_are_nobodys_doing(runner: FakeRunner, seen: Observed) -> None:
    helper = runner.start(sleeping("helper"), "setup")
    entry = named(seen, "helper")
    seen.table.ignore(helper)
    assert seen.table.origin(helper).party == "machine"
    assert seen.monitor.kill_step(helper) == 0
    assert not entry.ended
    end(helper)


def test_the_first_thread_ends_before_the_others(runner: FakeRunner, seen: Observed) -> None:
    """The pid lives on, and what it forks is its child still."""
    program = (
        "import ctypes, os, subprocess, sys, threading\n"
        "def later():\n"
        "    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z': pass\n"
        f"    subprocess.run([{PYTHON!r}, '-c', 'import time; time.sleep(300)', sys.argv[1] + '!'])\n"
        "threading.Thread(target=later).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    root = runner.start([PYTHON, "-c", program, "of-a-thread"], "build")
    entry = named(seen, "of-a-thread!")
    check(seen.table.origin(entry.pid), "build", root)
    assert seen.monitor.kill_step(entry.pid) == 2
    seen.until(lambda: seen.table.look(root).ended)


def test_chains_of_forks_do_not_fill_the_memory(runner: FakeRunner, seen: Observed) -> None:
    program = "import os, sys, time\nfor _ in range(300):\n    if os.fork(): os._exit(0)\nos.execv(sys.executable, ['x', '-c', 'import time; time.sleep(300)', 'last-one'])"
    root = runner.start([PYTHON, "-c", program], "build")
    entry = named(seen, "last-one")
    origin = seen.table.origin(entry.pid)
    check(origin, "build", root)
    assert len(origin.ancestry) == processes.MAX_ANCESTRY
    assert len(list(entry.ancestors())) <= MAX_DEPTH + 1
    seen.monitor.kill_step(entry.pid)


def test_ended_processes_are_forgotten_but_not_those_that_are_needed() -> None:
    table = ProcessTable([], str)
    job = Entry(2**22 + 1, 0, table.look(os.getpid()).program, (0, 0))
    table._inherit(job, None)
    table.apply(Forked(job.pid, 2**22 + 2, 1))
    table.apply(Exited(job.pid, 0, 2))
    for number in range(RECENT + 10):
        table.apply(Forked(2**22 + 2, 2**22 + 10 + number, 3))
        table.apply(Exited(2**22 + 10 + number, 0, 4))
    assert job.pid not in table._pids
    assert [one.pid for one in table.look(2**22 + 2).ancestors()] == [job.pid]
    assert len(table._pids) < RECENT + 10


def test_events_lost_and_found_again(runner: FakeRunner, seen: Observed) -> None:
    before = runner.start(sleeping("before"), "build")
    named(seen, "before")
    source = seen.monitor._source
    during = runner.start(sleeping("during"), "test")
    end(before)
    runner.wait(before)
    while b"during" not in (processes.image(during) or processes.Image("", b"")).arguments:
        pass
    source.read()  # the loss
    seen.monitor._take([Lost(0)])
    assert seen.table.look(before).ended
    check(seen.table.origin(during), "test", during)
    assert [one.concern for one in seen.told if isinstance(one, Notice)] == [Concern.DEGRADED]
    seen.monitor.kill_step(during)


def test_without_the_kernels_events(runner: FakeRunner) -> None:
    seen = Observed(runner, source=ProcessPoller("no events here", interval=0.01))
    root = runner.start(["/bin/sh", "-c", f"{PYTHON} -c 'import time; time.sleep(300)' polled; true"], "build")
    entry = named(seen, "polled")
    check(seen.table.origin(entry.pid), "build", root)
    assert seen.monitor.degraded
    assert [(one.concern, one.what) for one in seen.told if isinstance(one, Notice)] == [(Concern.DEGRADED, "no events here")]
    assert seen.monitor.kill_step(entry.pid) == 2
    seen.close()


def test_becoming_root_is_marked() -> None:
    table = ProcessTable([], str)
    pid = 2**22 + 1
    table._inherit(Entry(pid, 0, table.look(os.getpid()).program, (1001, 1001)), None)
    table.apply(UserChanged(pid, 1001, 0, 1))
    assert table.look(pid).escalated
    table.apply(UserChanged(pid, 0, 1001, 1))
    assert not table.look(pid).escalated  # it was root already


# --- containers -------------------------------------------------------------------------------------------------------

ID = "0123456789ab" + "cdef" * 13


@pytest.mark.parametrize(
    ("cgroup", "found"),
    [
        (f"0::/docker/{ID}\n", ID),
        (f"0::/system.slice/docker-{ID}.scope\n", ID),
        (f"12:memory:/docker/{ID}\n0::/\n", ID),
        (f"0::/../../docker/{ID}\n", ID),
        (f"0::/system.slice/docker-{ID}.scope/init.scope\n", ID),
        (f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-{ID}.scope\n", ID),
        (f"0::/kubepods/besteffort/pod6f1d/{ID}\n", ID),
        (f"0::/kubepods.slice/crio-{ID}.scope\n", ID),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container\n", ID),
        (f"0::/machine.slice/libpod-conmon-{ID}.scope\n", ""),
        ("0::/docker/buildkit/rgy8x8pdc4gjvwuyh6gy2nlh3\n", "rgy8x8pdc4gjvwuyh6gy2nlh3"),
        (f"0::/docker/{'f' * 64}/docker/{ID}\n", ID),
        ("0::/system.slice/hosted-compute-agent.service\n", ""),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_container_ids(cgroup: str, found: str) -> None:
    assert containers.container_id(cgroup) == found


def hierarchy() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _source, place, kind, *_rest = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    return None


def test_a_process_in_a_containers_group(runner: FakeRunner, tmp_path: Path) -> None:
    """The control group is as Docker makes it. A step can make such a one, so it counts only for what a runtime started."""
    top = hierarchy()
    if top is None:
        pytest.skip("no cgroup2 hierarchy can be written to here")
    full = secrets.token_hex(32)
    described = tmp_path / "containers" / full
    described.mkdir(parents=True)
    (described / "config.v2.json").write_text(json.dumps({"Config": {"Image": "busybox:1.36"}}))
    seen = Observed(runner, docker_root=tmp_path)
    group = top / f"ebbgate-test-{os.getpid()}"
    inner = group / "docker" / full
    inner.mkdir(parents=True)
    script = f"echo $$ > {inner}/cgroup.procs; exec {PYTHON} -c 'import time; time.sleep(300)' contained"
    root = runner.start(["/bin/sh", "-c", script], "build")
    try:
        entry = named(seen, "contained")
        assert entry.container == full
        assert seen.table.origin(entry.pid).container is None
        entry.root.put_below(_runtime(seen.table), Kind.JOB)
        assert seen.table.origin(entry.pid).container == Container(full[:12], "busybox:1.36")
    finally:
        seen.monitor.kill_step(root)
        runner.wait(root)
        inner.rmdir()
        inner.parent.rmdir()
        group.rmdir()
        seen.close()


def test_what_a_container_runtime_starts_is_the_jobs() -> None:
    """By names alone: no runtime is run here; tests of the whole guard have a real one."""
    table = ProcessTable([], str)
    base = _runtime(table).pid
    table.apply(Forked(base, base + 1, 1))
    assert table.look(base + 1).kind is Kind.RUNTIME
    table.apply(Executed(base + 1, 2))  # not to be read any more: no runtime's program as far as is known
    entry = table.look(base + 1)
    assert (entry.kind, entry.root) == (Kind.JOB, entry)
    assert table.origin(base + 1).party == "job"


def test_a_jobs_process_is_no_runtime_by_its_name(runner: FakeRunner, seen: Observed) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fake = Path(directory) / "dockerd"
        fake.write_bytes(Path("/bin/sleep").read_bytes())
        fake.chmod(0o755)
        root = runner.start(["/bin/sh", "-c", f"{fake} 300; true"], "build")
        entry = named(seen, str(fake))
        assert entry.kind is Kind.JOB
        assert seen.monitor.kill_step(entry.pid) == 2
        runner.wait(root)


@pytest.mark.skipif(not _CLONE, reason="the number of clone(2) on this architecture is not known to this test")
@pytest.mark.parametrize("user", [65534, 0])
def test_an_orphans_sibling_is_a_runtime_only_as_root(runner: FakeRunner, user: int) -> None:
    """To the kernel's events it is init's child, as a runtime that systemd started is; anybody can be that."""
    seen = Observed(runner)
    with tempfile.TemporaryDirectory() as directory:
        fake = Path(directory).resolve() / "dockerd"
        fake.write_bytes(Path("/bin/sleep").read_bytes())
        for path, mode in ((fake, 0o755), (fake.parent, 0o755)):
            path.chmod(mode)
        script = _SIBLING.replace(
            f'{PYTHON!r}, ["x", "-c", "import time; time.sleep(300)", sys.argv[1] + "!"]', f'{str(fake)!r}, ["x", "300"]'
        )
        runner.wait(runner.start(["/usr/bin/python3", "-c", script, "sibling", "orphan"], "build", user=user))
        entry = seen.until(
            lambda: next((one for one in seen.table.live() if one.program.image and one.program.image.exe == str(fake)), None)
        )
        try:
            assert entry.parent is not None
            assert entry.parent.pid == 1
            assert entry.kind is (Kind.RUNTIME if user == 0 else Kind.JOB)
            assert (seen.table.origin(entry.pid).container is None) is (user != 0)
        finally:
            end(entry.pid)
            seen.close()


def _runtime(table: ProcessTable) -> Entry:
    """A runtime that is not to be found in /proc."""
    made = Entry(2**22, 0, Program(processes.Image("/usr/bin/dockerd", b"")), (0, 0))
    made.put_below(None, Kind.RUNTIME)
    table._pids[made.pid] = table._live[made.pid] = made
    return made
