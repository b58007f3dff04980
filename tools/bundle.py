"""The prebuilt environment that a release carries: ``dist/bundle/``, a manifest and one archive for each Python.

An archive holds what the action would otherwise install: the locked wheels, each checked against its hash, our own package,
and compiled code, so that the first start compiles nothing. It is gzip, because Python's standard library reads that
everywhere (zstd only since 3.14) and a runner need not have a zstd program. The same input makes the same bytes: sorted,
no times, no users, compiled code that names no time. ``src/action/provision.py`` checks and unpacks it.

    python tools/bundle.py [PYTHON ...]      by default the interpreter that runs this
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".tools/bin/uv"
LEVEL = 6  # 9 saves 1 % and takes thrice as long
FACTS = "import sys, platform; print(f'{sys.version_info.major}.{sys.version_info.minor}', platform.machine())"
COMPILE = """
import compileall, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
sys.exit(not compileall.compile_dir(".", maxlevels=50, quiet=2, invalidation_mode=mode))
"""


def main(interpreters: list[str]) -> int:
    """0 when every archive was made."""
    make(ROOT, interpreters)
    return 0


def make(action: Path, interpreters: list[str]) -> None:
    """Make ``dist/bundle`` of an action's folder."""
    bundle = action / "dist/bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    provision = _provision()
    archives = []
    for interpreter in interpreters:
        python, arch = subprocess.run([interpreter, "-I", "-c", FACTS], check=True, capture_output=True, text=True).stdout.split()
        name = f"ebbgate-cp{python.replace('.', '')}-{arch}.tar.gz"
        with tempfile.TemporaryDirectory() as directory:
            site = Path(directory, "site")
            _fill(site, action, interpreter, provision)
            _pack(site, bundle / name)
        content = (bundle / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        archives.append({"python": python, "arch": arch, "file": name, "sha256": digest, "size": len(content)})
        print(f"{name}: {len(content) / 1e6:.1f} MB, SHA-256 {digest}")
    manifest = {"format": 1, "source": provision.source_digest(action), "archives": archives}
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _provision() -> types.ModuleType:
    """The action's own file, so that both sides mean the same by a digest and by "our code"."""
    spec = importlib.util.spec_from_file_location("provision", ROOT / "src/action/provision.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("src/action/provision.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fill(site: Path, action: Path, interpreter: str, provision: types.ModuleType) -> None:
    command = [str(UV), "pip", "install", "--quiet", "--no-deps", "--python", interpreter, "--target", str(site)]
    command += ["--require-hashes", "--only-binary", ":all:", "--requirement", str(action / "requirements/runtime.txt")]
    subprocess.run(command, check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)
    for leftover in site.glob("*.lock"):
        leftover.unlink()
    (site / ".lock").unlink(missing_ok=True)
    for file in provision.code_files(action):
        target = site / file.relative_to(action / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for stale in list(site.rglob("__pycache__")):
        shutil.rmtree(stale)
    # In one process, with relative names and a fixed hash seed: compiled code is then the same everywhere.
    environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}
    subprocess.run([interpreter, "-s", "-c", COMPILE], check=True, cwd=site, env=environment)


def _pack(site: Path, archive: Path) -> None:
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as plain,
        tarfile.open(None, "w", plain) as files,
    ):
        for path in sorted(site.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(site)))
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                files.addfile(entry)
                continue
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            files.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [sys.executable]))
