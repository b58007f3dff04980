"""The first lock: the job's user gets root neither by asking nor by writing what root trusts.

**Denied last, by number.** sudo, doas and polkit's old files take the last rule that matches, polkit's new ones the first
that answers. So one line at the end of /etc/sudoers, after every include, denies everything to the uid, and every grant
before it is void, whether it names the user, one of its groups, an alias or ALL. Taking grants out instead would need a
parser for a language with aliases, includes, netgroups and directories, and would lock others out of a self-hosted
machine. Leaving the user out of a group would not do: running processes keep their groups. ``sudo -l`` still lists the
grants, and below them ``!ALL``, which is in force.

**Verified by trying**, as the user, with every sudo on the machine, and by root asking sudo's policy for that user, because
a user who has to type a password fails ``sudo -n`` without being denied.

**Files that root trusts** and that the user may write are root by another way: see ``trusted_paths``.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import trusted_paths
from ebbgate.host.lockdown import LockResult
from ebbgate.host.permissions import Memory
from ebbgate.host.runner_identity import CLEAN_ENVIRONMENT, Runner, group_names, run_as

BEGIN, END = "# >>> ebbgate: the job gets no root", "# <<< ebbgate"
SUDOERS = ("etc/sudoers", "usr/etc/sudoers", "etc/sudoers-rs")
DOAS = ("etc/doas.conf", "usr/local/etc/doas.conf")
# "!" sorts before every letter and digit: polkit reads the files of all its directories in the order of their names.
POLKIT_RULE = "etc/polkit-1/rules.d/!ebbgate.rules"
POLKIT_LOCAL = "etc/polkit-1/localauthority/90-mandatory.d/zz-ebbgate.pkla"
DOAS_DROP_IN = "etc/doas.d/zz-ebbgate.conf"
TIMESTAMPS = ("run/sudo/ts", "var/run/sudo/ts", "var/lib/sudo/ts", "var/db/sudo/ts", "run/sudo-rs/ts", "run/doas")
SUDO_PROGRAMS = ("usr/bin/sudo", "usr/bin/sudo.ws", "usr/bin/sudo-rs", "usr/local/bin/sudo", "bin/sudo", "run/wrappers/bin/sudo")
DOAS_PROGRAMS = ("usr/bin/doas", "usr/local/bin/doas", "bin/doas", "run/wrappers/bin/doas")
# Groups that are root by another way than asking, and what that way is.
POWERFUL_GROUPS = {
    "disk": "reads and writes the machine's disks directly",
    "kmem": "reads the kernel's memory",
    "shadow": "reads password hashes",
}
_ASKED = 2.0  # seconds for polkit to notice its new rule, which it does through inotify
_HARMLESS_CAPABILITIES = 1 << 10  # CAP_NET_BIND_SERVICE


class SudoLock:
    """``sudo: remove``. memory: file in the guard's state directory that keeps the modes of files that were closed."""

    name = "sudo"

    def __init__(self, runner: Runner, memory: Path, *, root: Path = Path("/"), proc: Path = Path("/proc")) -> None:
        self._runner, self._root, self._proc = runner, root, proc
        self._memory = Memory(memory)

    def apply(self) -> LockResult:
        """Deny, close, forget cached passwords, verify. PlatformError, IntegrityError."""
        if self._runner.uid == 0:
            raise PlatformError(
                "the job's steps run as root", "nothing can be taken from root", "run the runner as another user, or `sudo: keep`"
            )
        held = self._runner.capabilities & ~_HARMLESS_CAPABILITIES
        if held:
            raise PlatformError(
                "the runner's processes hold capabilities of root",
                f"CapPrm {held:x}",
                "start the runner without, or `sudo: keep`",
            )
        try:
            self._memory.add(trusted_paths.close(trusted_paths.writable(self._runner, self._root, self._proc)))
            for file, text in self._denials():
                _replace(file, text)
            self._forget_passwords()
        except OSError as problem:
            raise PlatformError("sudo could not be taken from the job", str(problem)[:300], "use `sudo: keep`") from None
        return self.verify()

    def verify(self) -> LockResult:
        """Try to become root as the job's user. IntegrityError when that works."""
        tried = [*self._try_sudo(), *self._try_doas(), *self._try_polkit()]
        left = trusted_paths.writable(self._runner, self._root, self._proc)
        if left:
            raise IntegrityError("the job can write files that root trusts", left[0].path, "use another machine, or `sudo: keep`")
        closed = len(self._memory.recall())
        detail = [f"refused: {one}" for one in tried]
        detail += (
            [f"{closed} files and directories that root trusts were writable for the job and are not any more"] if closed else []
        )
        detail += [f"set-user-ID program: {one}" for one in trusted_paths.unusual_setuid(self._root)]
        sentence = "The job's user cannot become root: sudo was taken from it, tried and refused."
        if not tried:
            sentence = "The job's user cannot become root by sudo: there is none on this machine."
        return LockResult(self.name, True, True, sentence, tuple(detail), self._warnings())

    def undo(self) -> LockResult:
        """Take our lines and files away and put permissions back."""
        for name in (*self._sudoers(), *DOAS):
            file = self._root / name
            if file.is_file() and BEGIN in (text := _read(file)):
                _replace(file, _without_block(text))
        for name in (POLKIT_RULE, POLKIT_LOCAL, DOAS_DROP_IN):
            (self._root / name).unlink(missing_ok=True)
        count = self._memory.restore()
        return LockResult(self.name, False, False, "The job's user may use sudo again.", (f"{count} permissions put back",))

    def _sudoers(self) -> list[str]:
        """Files of sudo's policy that are there, those named in sudo.conf included."""
        named: list[str] = re.findall(r"sudoers_file=/(\S+)", _read(self._root / "etc/sudo.conf"))
        return [name for name in dict.fromkeys([*SUDOERS, *named]) if (self._root / name).is_file()]

    def _denials(self) -> Iterator[tuple[Path, str]]:
        """(file, its new text) of everything that denies."""
        uid, name = self._runner.uid, self._runner.name
        for sudoers in self._sudoers():
            yield self._root / sudoers, _with_block(_read(self._root / sudoers), f"#{uid} ALL=(ALL:ALL) !ALL")
        for doas in DOAS:
            if (self._root / doas).is_file():
                yield self._root / doas, _with_block(_read(self._root / doas), f"deny {uid}")
        if (self._root / DOAS_DROP_IN).parent.is_dir():
            yield self._root / DOAS_DROP_IN, f"deny {uid}\n"
        if not name:
            return  # polkit knows users by their names
        if (self._root / "etc/polkit-1").is_dir():
            answer = f"if (subject.user == {json.dumps(name)}) {{ return polkit.Result.NO; }}"
            yield (
                self._root / POLKIT_RULE,
                f"{BEGIN}\n".replace("#", "//") + f"polkit.addRule(function(action, subject) {{ {answer} }});\n",
            )
        if (self._root / POLKIT_LOCAL).parent.is_dir():
            answers = "ResultAny=no\nResultInactive=no\nResultActive=no\n"
            yield self._root / POLKIT_LOCAL, f"[ebbgate]\nIdentity=unix-user:{name}\nAction=*\n{answers}"

    def _forget_passwords(self) -> None:
        for place in TIMESTAMPS:
            directory = self._root / place
            for name in {self._runner.name, str(self._runner.uid)} - {""}:
                (directory / name).unlink(missing_ok=True)

    def _try_sudo(self) -> Iterator[str]:
        for program in _setuid_programs(self._root, SUDO_PROGRAMS, "snap/core*/current/usr/bin/sudo"):
            for arguments in (("-n", "true"), ("-n", "-g", "#0", "true"), ("-n", "-l", "true")):
                self._must_fail([program, *arguments])
            self._must_not_be_granted(program)
            yield f"{program} -n true"

    def _must_not_be_granted(self, program: str) -> None:
        """Root asks for the user, which needs no password. A sudo that cannot answer for another user says no."""
        if self._runner.name:
            line = [program, "-n", "-l", "-U", self._runner.name, "true"]
            inside = line if self._root == Path("/") else ["chroot", str(self._root), *line]
            try:
                done = subprocess.run(  # noqa: S603
                    inside, stdin=subprocess.DEVNULL, capture_output=True, env=CLEAN_ENVIRONMENT, timeout=10, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as problem:
                raise IntegrityError("sudo's policy could not be asked", str(problem)[:200], "") from None
            if done.returncode == 0:
                raise IntegrityError(
                    "sudo is still granted to the job's user",
                    "a source of rules after /etc/sudoers grants it: LDAP, SSSD or a plugin",
                    "take the grant out at its source, or `sudo: keep`",
                )

    def _try_doas(self) -> Iterator[str]:
        for program in _setuid_programs(self._root, DOAS_PROGRAMS):
            self._must_fail([program, "-n", "true"])
            yield f"{program} -n true"

    def _try_polkit(self) -> Iterator[str]:
        for program in _setuid_programs(self._root, ("usr/bin/pkexec",)):
            self._must_fail([program, "--disable-internal-agent", "/bin/true"], within=_ASKED)
            yield f"{program} /bin/true"

    def _must_fail(self, command: list[str], *, within: float = 0.0) -> None:
        end = time.monotonic() + within
        while True:
            try:
                granted = run_as(self._runner, command, root=self._root).returncode == 0
            except subprocess.TimeoutExpired:
                granted = False  # it waited for somebody to type a password
            except OSError as problem:
                raise IntegrityError("the lock on sudo could not be tried", str(problem)[:200], "") from None
            if not granted:
                return
            if time.monotonic() >= end:
                raise IntegrityError(
                    f"the job's user still becomes root: {' '.join(command)}", "", "use another machine, or `sudo: keep`"
                )
            time.sleep(0.05)

    def _warnings(self) -> tuple[str, ...]:
        groups = group_names(self._runner, self._root)
        found = [
            f"The job's user is in the group {name}, which {POWERFUL_GROUPS[name]}." for name in groups if name in POWERFUL_GROUPS
        ]
        if re.search(r"^\s*auth\s.*pam_(wheel\.so.*\btrust|permit\.so)", _read(self._root / "etc/pam.d/su"), re.MULTILINE):
            found.append("PAM lets some users use su without a password; see /etc/pam.d/su.")
        return tuple(found)


def _setuid_programs(root: Path, names: tuple[str, ...], pattern: str = "") -> list[str]:
    """Paths, as seen below root, of those of these programs that are set-user-ID; each file once."""
    found: dict[tuple[int, int], str] = {}
    for path in [*(root / name for name in names), *(root.glob(pattern) if pattern else ())]:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_mode & stat.S_ISUID:
            found.setdefault((status.st_dev, status.st_ino), "/" + str(path.relative_to(root)))
    return list(found.values())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _with_block(text: str, line: str) -> str:
    """A file's text with our lines at its very end. The empty line ends a line that was continued with a backslash."""
    return f"{_without_block(text).rstrip('\n')}\n\n{BEGIN}\n{line}\n{END}\n"


def _without_block(text: str) -> str:
    return re.sub(rf"\n*^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?", "\n", text, flags=re.MULTILINE | re.DOTALL)


def _replace(file: Path, text: str) -> None:
    """Exchange a file's content at once, keeping owner and mode. Readers never see half a policy."""
    target = Path(os.path.realpath(file))
    try:
        before = os.stat(target)
        owner, mode = (before.st_uid, before.st_gid), stat.S_IMODE(before.st_mode)
    except FileNotFoundError:
        owner, mode = (0, 0), 0o644
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and _read(target) == text:
        return
    temporary = target.with_name(f".{target.name}.ebbgate")  # names with a dot are passed over by @includedir
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write(text)
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
    temporary.replace(target)
