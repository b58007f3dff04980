"""The ways a command can be given to the network: each starts what it needs, and says how to run a command through it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.world.watch import PeakMemory, descendants, gate_of

ROOT = Path(__file__).resolve().parent.parent
PORT = 3129


@dataclass
class Peer:
    """One column. proxy: "host:port" or "". prefix: what stands before a command. bundle: what its clients trust."""

    name: str
    prefix: list[str] = field(default_factory=list)
    proxy: str = ""
    bundle: str = ""
    started: float = 0.0
    pids: list[int] = field(default_factory=list)

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """The environment of a command run through this peer."""
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
        changed = dict(base)
        if self.proxy:
            changed |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), f"http://{self.proxy}")
            changed |= dict.fromkeys(names, self.bundle)
        return changed

    def peak(self) -> float:
        """Peak resident megabytes of its processes so far."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) * 1024
        return total / 1e6


def ebbgate(options: list[str]) -> Peer:
    """The guard: a prefix, nothing to start."""
    return Peer("ebbgate", [sys.executable, "-m", "ebbgate", "run", "--quiet", *options, "--"])


@contextlib.contextmanager
def mitmdump(entering: list[str], env: dict[str, str], trusted: str, directory: Path) -> Iterator[Peer]:
    """The full mitmdump as an explicit proxy, with its default addons."""
    program = str(Path(sys.executable).parent / "mitmdump")
    command = [program, "-q", "--listen-host", "127.0.0.1", "-p", str(PORT), "--set", f"confdir={directory}"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={trusted}"]
    with _running([*entering, *command], env) as (process, seconds):
        bundle = directory / "bundle.pem"
        bundle.write_text(Path(trusted).read_text() + (directory / "mitmproxy-ca-cert.pem").read_text())
        yield Peer("mitmdump", [], f"127.0.0.1:{PORT}", str(bundle), seconds, [process.pid, *descendants(process.pid)])


SQUID = """
http_port 127.0.0.1:{port} ssl-bump cert={dir}/ca.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program {crtd} -s {dir}/db -M 4MB
ssl_bump bump all
tls_outgoing_options cafile={trusted}
http_access allow all
cache deny all
access_log none
cache_log {dir}/cache.log
pid_filename {dir}/squid.pid
coredump_dir {dir}
visible_hostname bench
shutdown_lifetime 0 seconds
{resolver}
"""


def squid_program() -> str | None:
    """Squid with OpenSSL, from its Debian package when root may install it."""
    if shutil.which("squid", path="/usr/sbin:/usr/bin") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "install", "-qq", "-y", "squid-openssl"], env=quiet, capture_output=True, check=False)
    return shutil.which("squid", path="/usr/sbin:/usr/bin")


@contextlib.contextmanager
def squid(entering: list[str], env: dict[str, str], trusted: str, directory: Path, resolver: str = "") -> Iterator[Peer | None]:
    """Squid with ssl-bump as an explicit proxy; None where it cannot be had."""
    program = squid_program()
    crtd = Path("/usr/lib/squid/security_file_certgen")
    if program is None or not crtd.exists():
        yield None
        return
    _authority(directory)
    subprocess.run([str(crtd), "-c", "-s", str(directory / "db"), "-M", "4MB"], capture_output=True, check=True)
    subprocess.run(["chown", "-R", "proxy:proxy", str(directory)], check=False, capture_output=True)
    directory.chmod(0o755)
    text = SQUID.format(port=PORT, dir=directory, crtd=crtd, trusted=trusted, resolver=resolver)
    (directory / "squid.conf").write_text(text)
    with _running([*entering, program, "-N", "-f", str(directory / "squid.conf")], env) as (process, seconds):
        bundle = directory / "bundle.pem"
        bundle.write_text(Path(trusted).read_text() + (directory / "ca.pem").read_text())
        yield Peer("squid", [], f"127.0.0.1:{PORT}", str(bundle), seconds, [process.pid, *descendants(process.pid)])


def _authority(directory: Path) -> None:
    subject = ["-subj", "/CN=bench squid", "-addext", "basicConstraints=critical,CA:TRUE"]
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], capture_output=True, check=True)
    (directory / "ca.pem").write_text(cert.read_text() + key.read_text())


@contextlib.contextmanager
def _running(command: list[str], env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A proxy that accepts, and how many seconds that took; ended afterwards."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        while not _accepts(process.pid):
            if process.poll() is not None or time.monotonic() > began + 30:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.01)
        yield process, time.monotonic() - began
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _accepts(pid: int) -> bool:
    """Whether something listens on the port in the process's network namespace."""
    with contextlib.suppress(OSError):
        wanted = f":{PORT:04X} "
        return any(wanted in line and " 0A " in line for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines())
    return False


__all__ = ["PeakMemory", "Peer", "ebbgate", "gate_of", "mitmdump", "squid"]
