"""Each attack is done by a step of a runner that the test makes, on files that the test makes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ebbgate.events.types import Concern, Event, Notice, Tampering
from ebbgate.host.file_events import FileEvents
from ebbgate.warden import findings, privileges
from ebbgate.warden.watches import WatchedPaths, Watches, program_directories, system_files, trust_store
from tests.warden.runner import PYTHON, FakeRunner, Observed

pytestmark = pytest.mark.root
USER = 34567


def full(guid: str) -> str:
    """A guid as the runner makes one, that ends in these digits."""
    return f"00000000-0000-4000-8000-{guid.zfill(12)}"


@dataclass
class Scene:
    seen: Observed
    watches: Watches
    root: Path
    commands: Path

    @property
    def runner(self) -> FakeRunner:
        return self.seen.runner

    def environment(self, guid: str) -> dict[str, str]:
        """As the runner names a step's command files, which it has made before."""
        names = {"GITHUB_ENV": "set_env_", "GITHUB_PATH": "add_path_", "GITHUB_OUTPUT": "set_output_"}
        for prefix in names.values():
            self.runner.touch(str(self.commands / (prefix + full(guid))))
        return {variable: str(self.commands / (prefix + full(guid))) for variable, prefix in names.items()}

    def step(self, script: str, name: str = "build", *, env: dict[str, str] | None = None, user: int | None = None) -> int:
        """Run a step's script to its end, the guard looking on; its first process' pid."""
        with tempfile.TemporaryDirectory(dir=self.root) as made:
            pipes = [Path(made) / "begin", Path(made) / "end"]
            for pipe in pipes:
                os.mkfifo(pipe)
                pipe.chmod(0o666)
            Path(made).chmod(0o755)
            script = f"read x < {pipes[0]}; {script}\nread x < {pipes[1]}; exit 0"
            pid = self.runner.start(["/bin/sh", "-c", script], name, env=env, user=user)
            self.seen.until(lambda: (entry := self.seen.table.look(pid)) and entry.step)
            for pipe in pipes:
                self.seen.until(lambda pipe=pipe: say(pipe))  # the second is not read before the script is done
            self.runner.wait(pid)
            self.seen.until(lambda: self.seen.table.look(pid).ended)
        self.look()
        return pid

    def look(self) -> None:
        self.seen.monitor.update()
        self.watches.read()
        self.watches.tick()

    def told(self, kind: type[Event]) -> list[str]:
        return [one.what for one in self.seen.told if isinstance(one, kind)]


def say(pipe: Path) -> bool:
    """Once somebody reads a pipe."""
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(descriptor, b"go\n")
    os.close(descriptor)
    return True


@pytest.fixture
def scene() -> Iterator[Scene]:
    root = Path(tempfile.mkdtemp(prefix="ebbgate-watches-"))
    root.chmod(0o755)
    for name in ("temp/_runner_file_commands", "actions/owner/name/v1/dist", "tools/Python/3.12.1/x64/bin", "etc/sudoers.d",
                 "etc/ssl/certs", "run", "usr/bin", "tmp"):  # fmt: skip
        (root / name).mkdir(parents=True)
    (root / "run" / "stub.conf").write_text("nameserver 203.0.113.53\n")
    (root / "etc" / "resolv.conf").symlink_to("../run/stub.conf")
    commands = root / "temp" / "_runner_file_commands"
    for path in (commands, root / "tmp", root / "usr" / "bin"):
        path.chmod(0o777)
    with FakeRunner() as runner:
        seen = Observed(runner)
        paths = WatchedPaths(
            commands, root / "actions", root / "tools",
            (*system_files(root / "etc"), *trust_store(root)), program_directories(root), {"NODE_EXTRA_CA_CERTS": "/run/ebbgate/ca.pem"},
        )  # fmt: skip
        watches = Watches(seen.monitor, paths, seen.told.append)
        made = Scene(seen, watches, root, commands)
        seen.also.append(watches.read)
        yield made
        watches.close()
        seen.close()
    shutil.rmtree(root)


# --- the runner's memory ----------------------------------------------------------------------------------------------

_PTRACE = "import ctypes; ctypes.CDLL(None).ptrace(0x4206, {pid}, 0, 0)"


@pytest.mark.parametrize(
    "program",
    [
        "open('/proc/{pid}/mem', 'rb')",
        "open('/proc/{pid}/task/{pid}/mem', 'rb')",
        "import os; os.open('/proc/{pid}/mem', os.O_RDWR)",
        _PTRACE,
    ],
)
def test_reading_the_runners_memory(scene: Scene, program: str) -> None:
    pid = scene.step(f'{PYTHON} -c "{program.format(pid=scene.runner.pid)}"', "thief")
    found = [one for one in scene.seen.told if isinstance(one, Tampering)]
    assert len(found) == 1
    assert found[0].origin.step is not None
    assert found[0].origin.step.name == "thief"
    assert [one.pid for one in found[0].origin.ancestry] == [pid]


def test_memory_of_a_thread_by_the_threads_own_number(scene: Scene) -> None:
    """The directory /proc/TID is there although nothing lists it."""
    pids = [int(name) for name in os.listdir(f"/proc/{scene.runner.pid}/task")]
    scene.step(f"{PYTHON} -c \"open('/proc/{pids[-1]}/mem', 'rb')\"")
    assert len(scene.told(Tampering)) == 1


def test_memory_through_another_mount_of_proc_while_it_is_open(scene: Scene) -> None:
    """Found at the next look, if it is open still."""
    place = scene.root / "proc"
    place.mkdir()
    program = f"x = open('{place}/{scene.runner.pid}/mem', 'rb'); open('{scene.root}/opened', 'w').close(); open('{scene.root}/done').read()"
    os.mkfifo(scene.root / "done")
    os.mkfifo(scene.root / "opened")
    script = f'mount -t proc proc {place}; exec {PYTHON} -c "{program}"'
    pid = scene.runner.start(["unshare", "-m", "/bin/sh", "-c", script], "thief")
    (scene.root / "opened").read_text()
    scene.look()
    assert len(scene.told(Tampering)) == 1
    (scene.root / "done").write_text("")
    scene.runner.wait(pid)


def test_looking_where_the_memory_lies_is_a_notice(scene: Scene) -> None:
    scene.step(f"cat /proc/{scene.runner.pid}/maps > /dev/null")
    assert scene.told(Tampering) == []
    assert len(scene.told(Notice)) == 1


def test_what_everybody_reads_of_processes_is_nothing(scene: Scene) -> None:
    scene.step(f"ps aux > /dev/null; cat /proc/{scene.runner.pid}/status /proc/{scene.runner.pid}/cmdline > /dev/null")
    assert scene.seen.told == []


def test_the_guard_itself_may_read(scene: Scene) -> None:
    with open(f"/proc/{scene.runner.pid}/mem", "rb"):
        scene.look()
    assert scene.seen.told == []


# --- command files ----------------------------------------------------------------------------------------------------


def test_a_step_may_write_its_own_files(scene: Scene) -> None:
    scene.step("echo GREETING=hello >> $GITHUB_ENV; echo a=b >> $GITHUB_OUTPUT", env=scene.environment("1"))
    assert scene.seen.told == []


def test_another_steps_file(scene: Scene) -> None:
    other = scene.environment("2")
    scene.step("true", "release", env=other)
    scene.step(f"echo version=evil >> {other['GITHUB_OUTPUT']}", "build", env=scene.environment("1"))
    assert scene.told(Tampering) == ['step "build" changed a command file (set_output), that of step "release"']


def test_a_file_of_a_step_that_has_not_begun(scene: Scene) -> None:
    other = scene.environment("2")
    scene.step(f"echo version=evil >> {other['GITHUB_OUTPUT']}", "build", env=scene.environment("1"))
    assert scene.told(Tampering) == ['step "build" changed a command file (set_output), one that is not its own']


def test_another_steps_file_by_a_process_left_behind(scene: Scene) -> None:
    pipe = scene.root / "go"
    os.mkfifo(pipe)
    script = f"(GITHUB_ACTION=release setsid sh -c 'read x < {pipe}; for f in {scene.commands}/set_env_{full('2')}; do echo PATH=/tmp >> $f; done; echo done > {pipe}' &)"
    first = scene.step(script, "build", env=scene.environment("1"))
    other = scene.environment("2")
    pipe.write_text("go\n")
    assert pipe.read_text() == "done\n"
    scene.look()
    found = [one for one in scene.seen.told if isinstance(one, Tampering)]
    assert len(found) == 1
    assert other
    assert found[0].origin.step is not None
    assert found[0].origin.step.name == "build"
    assert found[0].origin.ancestry[-1].pid == first


def test_replacing_a_file_by_renaming(scene: Scene) -> None:
    other = scene.environment("2")
    scene.step(f"echo x=y > {scene.root}/tmp/mine; mv {scene.root}/tmp/mine {other['GITHUB_OUTPUT']}", env=scene.environment("1"))
    assert len(scene.told(Tampering)) == 1


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("LD_PRELOAD=/tmp/evil-value.so", ["LD_PRELOAD"]),
        ("NODE_OPTIONS<<END\\n--require evil-value\\nEND", ["NODE_OPTIONS"]),
        (
            "PYTHONSTARTUP=evil-value\\nBASH_ENV=evil-value\\nGIT_SSH_COMMAND=evil-value",
            ["PYTHONSTARTUP", "BASH_ENV", "GIT_SSH_COMMAND"],
        ),
        ("TEXT<<END\\nLD_PRELOAD=in a text\\nEND\\nPATH=evil-value", ["PATH"]),
        ("NODE_EXTRA_CA_CERTS=/run/ebbgate/ca.pem", []),
        ("NODE_EXTRA_CA_CERTS=evil-value", ["NODE_EXTRA_CA_CERTS"]),
        ("HOME=/x\\nPATHS=/y\\nMY_LD_PRELOAD=z", []),
    ],
)
def test_variables_that_load_code(scene: Scene, written: str, names: list[str]) -> None:
    scene.step(f"printf '{written}\\n' >> $GITHUB_ENV", "build", env=scene.environment("1"))
    assert scene.told(Notice) == [f'step "build" set {name} for all later steps' for name in names]
    assert "evil-value" not in repr(list(scene.told(Notice)))
    assert scene.told(Tampering) == []


def test_a_variable_in_a_file_that_is_deleted_at_once(scene: Scene) -> None:
    """As the runner does when the step has ended."""
    scene.step("echo LD_AUDIT=x >> $GITHUB_ENV; rm $GITHUB_ENV", env=scene.environment("1"))
    assert scene.told(Notice) == ['step "build" set LD_AUDIT for all later steps']


def test_a_path_that_shadows_trusted_programs(scene: Scene) -> None:
    (scene.root / "bin").mkdir()
    for name in ("sudo", "python3"):
        (scene.root / "bin" / name).write_text("#!/bin/sh\n")
        (scene.root / "bin" / name).chmod(0o755)
    scene.step(f"echo {scene.root}/bin >> $GITHUB_PATH; echo /nowhere >> $GITHUB_PATH", env=scene.environment("1"))
    assert scene.told(Notice) == ['step "build" set the program that is run as sudo for all later steps']


# --- actions, tools, the system ---------------------------------------------------------------------------------------


def test_another_actions_files(scene: Scene) -> None:
    dist = scene.root / "actions/owner/name/v1/dist"
    scene.step(f"echo evil > {dist}/index.js; mkdir {dist}/new; echo evil > {dist}/new/post.js")
    assert scene.told(Tampering) == ['step "build" changed files of the action owner/name@v1']


def test_an_actions_own_files(scene: Scene) -> None:
    scene.step(
        f"echo cache > {scene.root}/actions/owner/name/v1/dist/cache",
        env={"GITHUB_ACTION_REPOSITORY": "Owner/name", "GITHUB_ACTION_REF": "v1"},
    )
    assert scene.seen.told == []


def test_files_in_a_directory_made_later(scene: Scene) -> None:
    new = scene.root / "actions/owner/name/v1/later"
    scene.step(f"mkdir -p {new}/deep", "one", env={"GITHUB_ACTION_REPOSITORY": "owner/name", "GITHUB_ACTION_REF": "v1"})
    assert scene.told(Tampering) == []
    scene.step(f"echo evil > {new}/deep/file", "two")
    assert scene.told(Tampering) == ['step "two" changed files of the action owner/name@v1']


def test_the_tool_cache(scene: Scene) -> None:
    tools = scene.root / "tools"
    scene.step(f"echo evil > {tools}/Python/3.12.1/x64/bin/python3; echo evil > {tools}/Python/3.12.1/x64/bin/pip")
    assert scene.told(Notice) == ['step "build" changed the tool Python/3.12.1 in the tool cache']


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo x >> etc/hosts", "etc/hosts"),
        ("echo x >> etc/resolv.conf", "etc/resolv.conf"),
        ("echo x > run/new; mv run/new run/stub.conf", "etc/resolv.conf"),
        ("ln -sf /dev/null etc/resolv.conf", "etc/resolv.conf"),
        ("echo x > etc/sudoers.d/mine", "etc/sudoers.d"),
        ("echo x > etc/ssl/certs/mine.pem", "etc/ssl/certs"),
        ("echo x > etc/passwd+; mv etc/passwd+ etc/passwd", "etc/passwd"),
        ("echo x > etc/motd", ""),
    ],
)
def test_files_of_the_system(scene: Scene, script: str, told: str) -> None:
    scene.step(f"cd {scene.root}; {script}; cd /")
    assert scene.told(Notice) == ([f'step "build" changed {scene.root}/{told}'] if told else [])


@pytest.mark.parametrize(
    ("script", "gives"),
    [
        ("cp /bin/true {0}/usr/bin/mine; chmod 4755 {0}/usr/bin/mine", "the rights of user 0"),
        ("cp /bin/true {0}/tmp/mine; chmod 2755 {0}/tmp/mine", "the rights of group 0"),
        ("cp /bin/true {0}/mine; chmod 4755 {0}/mine; mv {0}/mine {0}/usr/bin/mine", "the rights of user 0"),
        ("cp /bin/true {0}/usr/bin/mine; chmod 755 {0}/usr/bin/mine", ""),
    ],
)
def test_new_programs_with_rights(scene: Scene, script: str, gives: str) -> None:
    scene.step(script.format(scene.root))
    told = scene.told(Notice)
    assert len(told) == bool(gives)
    assert not gives or f"made a program that gives {gives}" in told[0]


def test_a_program_with_capabilities(scene: Scene) -> None:
    mine = scene.root / "usr/bin/mine"
    value = (0x02000001).to_bytes(4, "little") + (1 << 21).to_bytes(4, "little") + bytes(12)
    scene.step(
        f"cp /bin/true {mine}; {PYTHON} -c \"import os; os.setxattr('{mine}', 'security.capability', bytes.fromhex('{value.hex()}'))\""
    )
    assert len(scene.told(Notice)) == 1
    assert "capabilities" in scene.told(Notice)[0]


# --- becoming root ----------------------------------------------------------------------------------------------------


def run_with_roots_rights(scene: Scene) -> tuple[str, int]:
    program = scene.root / "usr/bin/become"
    shutil.copy("/bin/sleep", program)
    program.chmod(0o4755)
    pid = scene.runner.start([str(program), "300"], "build", user=USER)
    scene.seen.until(lambda: (found := scene.seen.table.look(pid)) and found.program.name == "become" and found.users[1] == 0)
    scene.look()
    return str(program), pid


def test_becoming_root_by_a_program_of_ones_own(scene: Scene) -> None:
    program, pid = run_with_roots_rights(scene)
    assert [one.concern for one in scene.seen.told if isinstance(one, Notice)] == [Concern.PROCESS]
    assert scene.told(Notice) == [f"a process became root by running {program}"]
    scene.seen.monitor.kill_step(pid)


def test_becoming_root_by_a_program_that_is_meant_to(scene: Scene) -> None:
    scene.watches._privileges._expected |= {str(scene.root / "usr/bin/become")}
    _program, pid = run_with_roots_rights(scene)
    assert scene.seen.told == []
    assert "/usr/bin/sudo" in privileges.SUDO
    scene.seen.monitor.kill_step(pid)


def test_root_that_changes_users_is_nothing(scene: Scene) -> None:
    scene.step(f"{PYTHON} -c 'import os; os.seteuid(34567); os.seteuid(0); os.setuid(34567)'")
    assert scene.seen.told == []


# --- bounds and failures ----------------------------------------------------------------------------------------------


def test_findings_are_bounded_and_tampering_is_not_hidden(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_NOTICES", 3)
    scene.step(f"for i in 1 2 3 4 5 6 7 8 9; do cp /bin/true {scene.root}/tmp/$i; chmod u+s {scene.root}/tmp/$i; done")
    assert len(scene.told(Notice)) == 4
    assert scene.watches.findings.suppressed == 6
    scene.step(f"{PYTHON} -c \"open('/proc/{scene.runner.pid}/mem', 'rb')\"")
    assert len(scene.told(Tampering)) == 1


def test_a_machine_without_fanotify(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock: no kernel without it is to be had here."""

    def refuse(_self: FileEvents) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(FileEvents, "__init__", refuse)
    with FakeRunner() as runner:
        seen = Observed(runner)
        watches = Watches(seen.monitor, WatchedPaths(), seen.told.append)
        watches.read()
        watches.tick()
        assert [one.concern for one in seen.told if isinstance(one, Notice)] == [Concern.DEGRADED]
        assert watches.fileno() >= 0
        watches.close()
        seen.close()
