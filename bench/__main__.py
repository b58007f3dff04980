"""``make bench``: one table, every column measured in this run, ratios to direct in parentheses.

Rounds alternate between the columns, so that a machine that slows down slows all of them. Medians. Nothing here passes or
fails. ``python -m bench quick`` takes one round and no installs; ``python -m bench job`` the job enclosure alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.job import job_tables
from bench.peers import PeakMemory, Peer, ebbgate, gate_of, mitmdump, squid
from tests.world import World
from tests.world.internet import RESOLVER
from tests.world.servers import pattern

ROOT = Path(__file__).resolve().parent.parent
SIZE = 200_000_000  # bytes of the large transfers
SECRETS = {f"BENCH_TOKEN_{number}": os.urandom(20).hex() for number in range(50)}
SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
Results = dict[str, dict[str, list[float]]]
# row, unit, whether more is better
ROWS = (
    ("real install, pip, cold", "s", False),
    ("real install, npm, cold", "s", False),
    ("one large download", "MB/s", True),
    ("one large upload, 50 secrets", "MB/s", True),
    ("small request", "ms", False),
    ("requests, 8 clients", "req/s", True),
    ("new TLS connection", "ms", False),
    ("start to armed", "s", False),
    ("resident memory, peak", "MB", False),
)
COLUMNS = ("direct", "ebbgate", "mitmdump", "squid")


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for the network namespace that the servers stand in: sudo make bench")
    quick = "quick" in sys.argv[1:]
    if "job" not in sys.argv[1:]:
        print(peers_table(quick=quick), end="\n\n")
    print(job_tables(quick=quick))


def peers_table(*, quick: bool) -> str:
    """One command, side by side with what else could guard it."""
    results: Results = {column: defaultdict(list) for column in COLUMNS}
    with tempfile.TemporaryDirectory(prefix="ebbgate-bench-") as name, World() as world:
        directory = Path(name)
        directory.chmod(0o755)
        upload = directory / "upload"
        upload.write_bytes(pattern(SIZE))
        for _round in range(1 if quick else 3):
            local_round(world, directory, upload, results)
        if not quick:
            for _round in range(5):
                install_round(directory, results)
    return table(results)


def fresh(directory: Path, name: str) -> Path:
    """A new directory."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=directory))


def local_round(world: World, directory: Path, upload: Path, results: Results) -> None:
    """All columns against servers in a namespace of their own."""
    env, trusted = world.guard.environment(SECRETS), str(world.directory / "ca.pem")

    measure_local(world, Peer("direct"), env, upload, results)
    measure_local(world, ebbgate(["--allow", "api.example.com"]), env, upload, results)
    with _start(world, "mitmdump", env, trusted, directory) as peer:
        measure_local(world, peer, env, upload, results)
    with _start(world, "squid", env, trusted, directory) as peer:
        if peer is not None:
            measure_local(world, peer, env, upload, results)


Started = contextlib.AbstractContextManager[Peer | None]


def _start(world: World, name: str, env: dict[str, str], trusted: str, directory: Path) -> Started:
    prefix = [*world.guard.entering(["true"])[:-1], _script(world)]
    if name == "mitmdump":
        return mitmdump([*prefix, "sh"], env, trusted, fresh(directory, "mitm"))
    return squid([*prefix, "sh"], env, trusted, fresh(directory, "squid"), f"dns_nameservers {RESOLVER}")


def _script(world: World) -> str:
    """The world's preparation, ending in whatever arguments follow."""
    return world.guard.entering(["true"])[-1].replace("exec true", 'exec "$@"')


def measure_local(world: World, peer: Peer | None, env: dict[str, str], upload: Path, results: Results) -> None:
    """One column's transfers and requests."""
    if peer is None:
        return
    into = results[peer.name]
    speeds = ["-sS", "-o", "/dev/null", "-w"]
    runs = {
        "client": [sys.executable, str(ROOT / "bench" / "client.py"), peer.proxy],
        "one large download": ["curl", *speeds, "%{speed_download}", f"https://api.example.com/bytes/{SIZE}"],
        "one large upload, 50 secrets": [
            "curl",
            *speeds,
            "%{speed_upload}",
            "-H",
            "Expect:",
            "-T",
            str(upload),
            "https://api.example.com/up",
        ],
    }
    for name, command in runs.items():
        report = Path(tempfile.mkdtemp(dir=world.directory))
        prefix = [*peer.prefix[:-1], "--report", str(report), "--"] if peer.prefix else []
        line = world.guard.entering([*prefix, *command])
        run = subprocess.Popen(line, env=peer.environment(env), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        memory = PeakMemory(gate_of(run)) if peer.prefix else None
        out, err = run.communicate(timeout=300)
        if run.returncode:
            if not peer.proxy:
                sys.exit(f"bench: {peer.name}: {name}: {err.decode()[-500:]}")
            print(f"bench: {peer.name} failed: {name}: {err.decode().strip()[-200:]}", file=sys.stderr)
            continue
        if name == "client":
            found = json.loads(out)
            into["small request"].append(found["latency"])
            into["requests, 8 clients"].append(found["rate"])
            into["new TLS connection"].append(found["fresh"])
        else:
            into[name].append(float(out) / 1e6)
        if memory is not None:
            into["resident memory, peak"].append(memory.result() / 1e6)
            armed = [json.loads(one) for one in (report / "events.jsonl").read_text().splitlines()]
            into["start to armed"] += [one["seconds"] for one in armed if one["kind"] == "Armed"]
    if peer.proxy:
        into["resident memory, peak"].append(peer.peak())
        into["start to armed"].append(peer.started)


def install_round(directory: Path, results: Results) -> None:
    """Real installs from the registries, each with nothing cached."""
    env = dict(os.environ)
    trusted = os.environ.get("SSL_CERT_FILE", SYSTEM)
    install(Peer("direct"), env, directory, results)
    install(ebbgate(["--use", "python", "--use", "node"]), env, directory, results)
    with mitmdump([], env, trusted, fresh(directory, "mitm")) as peer:
        install(peer, env, directory, results)
    with squid([], env, trusted, fresh(directory, "squid")) as peer2:
        if peer2 is not None:
            install(peer2, env, directory, results)


INSTALL_LIMIT = 120  # seconds
FAILED: set[tuple[str, str]] = set()  # not tried again
PIP = ["pip", "download", "--no-cache-dir", "--disable-pip-version-check", "-q", "--only-binary", ":all:", "-d"]
PIP_PACKAGES = ["flask", "requests", "numpy", "pandas", "cryptography", "boto3"]
NPM = ["npm", "install", "--no-fund", "--silent", "--cache"]
NPM_PACKAGES = ["express", "typescript", "webpack", "eslint"]


def install(peer: Peer, env: dict[str, str], directory: Path, results: Results) -> None:
    """Both installers, timed from outside, the guard's start included."""
    for name, command in (("pip", [*PIP, "D", *PIP_PACKAGES]), ("npm", [*NPM, "C", *NPM_PACKAGES])):
        if (peer.name, name) in FAILED:
            continue
        place = fresh(directory, name)
        environment = peer.environment(env)
        if name == "npm" and peer.bundle:
            environment["NODE_EXTRA_CA_CERTS"] = peer.bundle
        began = time.monotonic()
        line = ["timeout", str(INSTALL_LIMIT), *peer.prefix, *command]
        done = subprocess.run(line, env=environment, cwd=place, capture_output=True, check=False)
        if done.returncode:
            if not peer.proxy:
                sys.exit(f"bench: {peer.name}: {name}: {done.stderr.decode()[-800:]}")
            FAILED.add((peer.name, name))
            print(f"bench: {peer.name} failed: {name}: {done.stderr.decode().strip()[-200:]}", file=sys.stderr)
            continue
        results[peer.name][f"real install, {name}, cold"].append(time.monotonic() - began)


def table(results: Results) -> str:
    """Markdown: medians, and the ratio to direct."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for row, unit, _more in ROWS:
        base = _median(results["direct"].get(row, []))
        cells = []
        for column in COLUMNS:
            value = _median(results[column].get(row, []))
            ratio = f" ({value / base:.2f}×)" if value is not None and base and column != "direct" else ""
            shown = "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
            cells.append(shown if value is None else f"{shown} {unit}{ratio}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


if __name__ == "__main__":
    main()
