"""Ebbgate's own Python environment, in a place that only root can change. Run by the action as root, with nothing but the
standard library: ``python -I -B provision.py``, one JSON document on standard input, one on standard output. (-B: in a tool
cache, files of root would be in the way of its owner.)

    /var/lib/ebbgate/DIGEST/bin/python            link to the system's interpreter, or the copy of one that others can change
    /var/lib/ebbgate/DIGEST/lib/pythonX.Y/...     the locked dependencies, and ``ebbgate`` from the action's folder
    /var/lib/ebbgate/DIGEST/complete.json         written last

DIGEST names everything that went in: interpreter, locked requirements, our own code, archive. It is made beside its place
and renamed, so that it is there whole or not at all. Not in /opt: on hosted runners everybody may rename what lies there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HOME = Path("/var/lib/ebbgate")
FORMAT = "1"  # changes when the same input makes another environment
OTHERS_WRITE = 0o022
FIXED = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
MOST_ARCHIVE = 512 * 1024 * 1024
# Of an interpreter's own files, what no part of Ebbgate uses.
NOT_COPIED = (
    "__pycache__",
    "config-*",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
)
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
# What the warden and the gate import. Compiled beforehand, since the gate's user may write nothing: it would compile each time.
PROGRAMS = ("ebbgate.cli.main, ebbgate.ci.github, ebbgate.warden.daemon", "ebbgate.gate.process")
# Every file that a started interpreter maps must be root's: a library that others can exchange would be code in the guard.
MAPPED = """
import _ctypes, _hashlib, _socket, _ssl, sys
print(*{line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if line.count("/")}, sep="\\n")
"""


class ProvisionError(Exception):
    """Told to the person on standard error; nothing was armed."""


def main() -> int:
    """0 when there is a complete environment; its interpreter is printed."""
    began = time.monotonic()
    wanted = json.load(sys.stdin)
    os.umask(0o022)
    try:
        action = Path(wanted["action"])
        found = _archive(action)
        digest = _digest(action, found, copied=wanted["copy"])
        place = HOME / digest
        how = "reused"
        if not _is_complete(place, digest):
            how = _make(place, action, found, wanted)
    except (ProvisionError, OSError, tarfile.TarError, ValueError) as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return 3
    seconds = round(time.monotonic() - began, 3)
    print(json.dumps({"python": str(place / "bin/python"), "from": how, "seconds": seconds}))
    return 0


# What goes in


def source_digest(action: Path) -> str:
    """Our own code and the locked requirements, as one digest. :raises ProvisionError: a link or a special file among them"""
    whole = hashlib.sha256()
    for file in [action / "requirements/runtime.txt", *code_files(action)]:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{file.relative_to(action)}\0{content}\n".encode())
    return whole.hexdigest()


def code_files(action: Path) -> list[Path]:
    """The files of the package, sorted. Links would lead out of what was checked."""
    found = []
    for folder, folders, files in os.walk(action / "src/ebbgate"):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            path = Path(folder, name)
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ProvisionError(f"{path} is no regular file")
            found.append(path)
    if not found:
        raise ProvisionError(f"{action} holds no src/ebbgate")
    return found


def _digest(action: Path, archive: dict[str, str] | None, *, copied: bool) -> str:
    parts = [FORMAT, source_digest(action), platform.machine(), sys.version, os.path.realpath(sys.executable), str(copied)]
    parts.append(archive["sha256"] if archive else "wheels")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _archive(action: Path) -> dict[str, str] | None:
    """The prebuilt archive that fits this interpreter and this very source, None when there is none."""
    try:
        manifest = json.loads((action / "dist/bundle/manifest.json").read_text())
    except FileNotFoundError:
        return None
    if manifest["format"] != 1 or manifest["source"] != source_digest(action):
        return None  # made from another state of the source: a developer's working copy
    for one in manifest["archives"]:
        if one["python"] == MINOR and one["arch"] == platform.machine() and Path(one["file"]).name == one["file"]:
            return {"path": str(action / "dist/bundle" / one["file"]), "sha256": one["sha256"]}
    return None


# What is there


def _is_complete(place: Path, digest: str) -> bool:
    """Whether an earlier job on this machine made it, and nobody but root could have changed it since."""
    try:
        marker = json.loads((place / "complete.json").read_text())
    except (OSError, ValueError):
        return False
    if place.is_symlink() or marker.get("digest") != digest:
        return False
    return _leads_only_through_roots(HOME) and all(_is_safe(path) for path in [place, *_everything(place)])


def _leads_only_through_roots(path: Path) -> bool:
    """Whether nobody but root can change what the path means, links on the way included."""
    real = Path(os.path.realpath(path))
    return all(_is_safe(part) for part in [path, *path.parents, real, *real.parents])


def _everything(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        yield from (Path(folder, name) for name in (*folders, *files))


def _is_safe(path: Path) -> bool:
    found = path.lstat()
    return found.st_uid == 0 and (stat.S_ISLNK(found.st_mode) or not found.st_mode & OTHERS_WRITE)


# Making it


def _make(place: Path, action: Path, archive: dict[str, str] | None, wanted: dict[str, object]) -> str:
    """Returns from what, in words."""
    HOME.mkdir(mode=0o755, exist_ok=True)
    if not _leads_only_through_roots(HOME):
        raise ProvisionError(f"others than root can change {HOME}")
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=HOME))
    try:
        packages = new / f"lib/python{MINOR}/site-packages"
        packages.mkdir(parents=True)
        _interpreter(new, copied=bool(wanted["copy"]))
        if archive:
            how = "archive"
            _unpack(archive, packages, new)
        else:
            how = _install(action, packages, new, _index(wanted["index"]))
            _copy_code(action, packages)
            _compile(new, leftovers=(new / "tool", new / "cache", packages / "bin"))
        _only_roots(new)
        _check(new)
        (new / "complete.json").write_text(json.dumps({"digest": place.name, "made": time.time()}))
        if place.exists() or place.is_symlink():
            os.rename(place, new.with_name(f"{new.name}.old"))
        os.rename(new, place)
        return how
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(new.with_name(f"{new.name}.old"), ignore_errors=True)


def _interpreter(new: Path, *, copied: bool) -> None:
    base = Path(os.path.realpath(sys.executable))
    (new / "bin").mkdir()
    if copied:
        _copy_interpreter(new, base)
    else:
        (new / "bin/python").symlink_to(base)
        text = f"home = {base.parent}\ninclude-system-site-packages = false\nversion = {platform.python_version()}\n"
        (new / "pyvenv.cfg").write_text(text)


def _copy_interpreter(new: Path, base: Path) -> None:
    """An interpreter that others than root can change (the runner's tool cache) is copied and from then on ours."""
    shutil.copy(base, new / "bin/python")
    library = Path(sysconfig.get_path("stdlib"))
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(library, new / f"lib/python{MINOR}", ignore=ignored, symlinks=False, dirs_exist_ok=True)
    for shared in Path(sys.base_prefix).glob("lib/libpython*.so*"):
        shutil.copy(shared, new / "lib" / shared.name)
    for file in [new / "bin/python", *new.glob("lib/libpython*.so*")]:
        _relocate(file, Path(sys.base_prefix) / "lib")


def _relocate(file: Path, library: Path) -> None:
    """Have an ELF file look for its libraries beside itself. It names where it was built for as text, which may get shorter."""
    content = file.read_bytes()
    for old in {str(library), f"{library}/"}:
        relative = b"$ORIGIN/../lib"
        if len(old) >= len(relative):
            content = content.replace(f"{old}\0".encode(), relative.ljust(len(old), b"\0") + b"\0")
    file.write_bytes(content)


def _unpack(archive: dict[str, str], packages: Path, new: Path) -> None:
    """Check and unpack a copy that nobody else can change in between."""
    kept = new / "archive"
    whole = hashlib.sha256()
    descriptor = os.open(archive["path"], os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as source, kept.open("wb") as target:
        while piece := source.read(1 << 20):
            whole.update(piece)
            if target.tell() > MOST_ARCHIVE:
                raise ProvisionError(f"{archive['path']} is larger than any archive of ours")
            target.write(piece)
    if whole.hexdigest() != archive["sha256"]:
        raise ProvisionError(f"{archive['path']} is not what its manifest says: its SHA-256 is {whole.hexdigest()}")
    with gzip.open(kept) as plain, tarfile.open(fileobj=plain, mode="r|") as files:
        files.extractall(packages, filter="data")
    kept.unlink()


def _index(given: object) -> dict[str, str]:
    values = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    for pip, uv in {
        "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
        "PIP_FIND_LINKS": "UV_FIND_LINKS",
    }.items():
        if pip in values:
            values.setdefault(uv, values[pip])
    return values


def _install(action: Path, packages: Path, new: Path, index: dict[str, str]) -> str:
    """The locked wheels, each checked against its hash: with uv, itself got by its hash, because pip takes six times as long."""
    locked = ["--require-hashes", "--only-binary", ":all:", "--requirement"]
    tool, cache = new / "tool", new / "cache"
    pip = [sys.executable, "-I", "-B", "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--no-compile", "--quiet"]
    pip += ["--disable-pip-version-check", "--root-user-action=ignore"]
    environment = {**FIXED, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environment |= {"UV_SYSTEM_CERTS": "true", **index}  # an index of one's own may have a certificate of one's own
    failure = _call([*pip, "--target", str(tool), *locked, str(action / "requirements/uv.txt")], environment)
    if not failure:
        uv = [str(tool / "bin/uv"), "pip", "install", "--quiet", "--no-deps", "--cache-dir", str(cache)]
        uv += ["--python", sys.executable, "--target", str(packages)]
        uv += ["--no-index"] if index.get("PIP_NO_INDEX") else []  # for which it has no variable
        failure = _call([*uv, *locked, str(action / "requirements/runtime.txt")], environment)
    if not failure:
        return "wheels"
    shutil.rmtree(packages)
    packages.mkdir()
    failure = _call([*pip, "--target", str(packages), *locked, str(action / "requirements/runtime.txt")], environment)
    if failure:
        raise ProvisionError(f"the locked packages could not be installed:\n{failure}")
    return "wheels, by pip"


def _call(command: list[str], environment: dict[str, str]) -> str:
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return "" if ended.returncode == 0 else (ended.stderr or ended.stdout or f"exit code {ended.returncode}")[-3000:]


def _copy_code(action: Path, packages: Path) -> None:
    for file in code_files(action):
        target = packages / file.relative_to(action / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def _compile(new: Path, leftovers: tuple[Path, ...]) -> None:
    """Only what is imported, which is a fifth of what was installed; both at once, while what is left over is removed."""
    commands = [[str(new / "bin/python"), "-I", "-c", f"import {names}"] for names in PROGRAMS]
    started = [subprocess.Popen(one, env=FIXED, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for one in commands]
    for leftover in leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    for process in started:
        _out, failure = process.communicate()
        if process.returncode != 0:
            raise ProvisionError(f"the environment's program does not start:\n{failure[-2000:]}")


# Proving it


def _only_roots(top: Path) -> None:
    for path in [top, *_everything(top)]:
        os.chown(path, 0, 0, follow_symlinks=False)
        if not path.is_symlink():
            mode = stat.S_IMODE(path.lstat().st_mode)
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)


def _check(new: Path) -> None:
    """Start it once, and look at every file it maps."""
    ended = subprocess.run([str(new / "bin/python"), "-I", "-c", MAPPED], env=FIXED, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise ProvisionError(f"the environment's interpreter does not start:\n{ended.stderr[-2000:]}")
    for name in ended.stdout.splitlines():
        path = Path(name)
        if not _leads_only_through_roots(path):
            raise ProvisionError(f"the environment's interpreter loads {path}, which others than root can change")


if __name__ == "__main__":
    sys.exit(main())
