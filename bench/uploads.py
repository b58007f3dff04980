"""``python -m bench.uploads``: what scanning costs an upload through the gate, in pairs: with it, and with it left out.

Left out means: a copy of the package whose bodies pass unread. Nothing else differs.
"""

from __future__ import annotations

import base64
import gzip
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import ebbgate
from bench.scanner import corpora
from tests.world import World

SIZE = 128 << 20  # bytes of each upload
ROUNDS = 3
SECRETS = {f"BENCH_TOKEN_{number}": os.urandom(20).hex() for number in range(50)}
_UNREAD = """

BodyStream.__call__ = lambda self, data: data
"""


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for the network namespace that the servers stand in")
    with tempfile.TemporaryDirectory(prefix="ebbgate-bench-") as name, World() as world:
        directory = Path(name)
        directory.chmod(0o755)
        unread = _unread(directory)
        print("| upload of 128 MiB, MB/s | unscanned | 50 secrets | ratio |\n| --- | --- | --- | --- |")
        for kind, data in _bodies().items():
            body = directory / "body"
            body.write_bytes(data)
            pairs = [(_speed(world, unread, body), _speed(world, "", body)) for _ in range(ROUNDS)]
            without, scanned = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
            ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
            print(f"| {kind} | {without:.0f} | {scanned:.0f} | {ratio:.2f} |", flush=True)


def _bodies() -> dict[str, bytes]:
    made = {kind: data * (SIZE // len(data)) for kind, data in corpora().items()}
    made["random"] = secrets.token_bytes(SIZE)
    # What artifacts are: compressed once, so that what is in them comes out again, three to one.
    made["gzip"] = gzip.compress(base64.b64encode(secrets.token_bytes(SIZE)), 1)[:SIZE]
    return made


def _unread(directory: Path) -> str:
    """A copy of the package that reads no bodies; where it is."""
    copy = directory / "unread" / "ebbgate"
    shutil.copytree(Path(ebbgate.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "gate" / "body.py").open("a") as file:
        file.write(_UNREAD)
    return str(copy.parent)


def _speed(world: World, package: str, body: Path) -> float:
    guard = [sys.executable, "-m", "ebbgate", "run", "--quiet", "--allow", "api.example.com"]
    for name in SECRETS:
        guard += ["--secret", name]
    upload = ["curl", "-sS", "-o", "/dev/null", "-w", "%{speed_upload}", "-H", "Expect:", "-T", str(body)]
    line = world.guard.entering([*guard, "--", *upload, "https://api.example.com/up"])
    env = world.guard.environment(SECRETS) | ({"PYTHONPATH": package} if package else {})
    done = subprocess.run(line, env=env, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        sys.exit(f"bench: {done.stderr[-500:]}")
    return float(done.stdout) / 1e6


if __name__ == "__main__":
    main()
