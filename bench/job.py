"""The job enclosure: from the call of ``ebbgate start`` to armed, memory, and what a request costs, beside direct and sealed.

On a runner machine in namespaces, with the environment that the action makes: from hashed wheels, with nothing cached.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.client import CLIENTS, EACH, NEW, SEQUENTIAL
from tests.job.guarded import Job
from tests.machine import Machine
from tests.machine.machine import ROOT
from tests.runner import Runner

COLUMNS = {
    "direct": "",
    "job": "direct",
    "direct beside the servers": "",
    "sealed": "direct beside the servers",
}  # what each is a multiple of
ROWS = {
    "latency": ("small request", "ms"),
    "rate": (f"requests, {CLIENTS} clients", "req/s"),
    "fresh": ("new TLS connection", "ms"),
}
REQUESTS = SEQUENTIAL + CLIENTS * EACH + NEW
ARMED, COLD, MEMORY = 2.0, 6.0, 160.0  # goals: seconds, seconds, megabytes
ACTION, PYTHON, WHEELS = "/srv/actions/ebbgate", "/usr/local/bin/python3.12", "srv/wheels"
FIGURES = {
    "warm": ("start to armed, warm environment", "s", ARMED),
    "provision": ("making the environment from wheels", "s", None),
    "local": ("cold: from wheels in a folder to armed", "s", COLD),
    "registry": ("cold: from wheels of the registry to armed", "s", COLD),
    "idle": ("memory of warden and gate, idle (PSS)", "MB", MEMORY),
    "idle resident": ("the same, RSS", "MB", MEMORY),
    "used": (f"memory after {REQUESTS:,} requests (PSS)", "MB", MEMORY),
    "used resident": ("the same, RSS", "MB", MEMORY),
}
Values = dict[str, list[float]]


def job_tables(*, quick: bool) -> str:
    """Measure; Markdown: what requests cost with their ratio to direct, and figures with their goals."""
    figures: Values = defaultdict(list)
    costs: dict[str, Values] = {column: defaultdict(list) for column in COLUMNS}
    with Machine(uplink=True) as machine, tempfile.TemporaryDirectory(prefix="ebbgate-wheels-") as wheels:
        Runner(machine).release(ROOT)
        machine.run(["rm", "-rf", f"{ACTION}/dist"], user="root")
        folder = _wheels(machine, Path(wheels))
        for _round in range(1 if quick else 3):
            if not quick:
                _cold(machine, "registry", {}, figures)
            _cold(machine, "local", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder}, figures)
            _costs(machine, costs, figures)
    return f"{_cost_table(costs)}\n\n{_figure_table(figures)}"


def _wheels(machine: Machine, directory: Path) -> str:
    """A folder in the machine with every wheel that the action installs."""
    command = [
        str(Path(machine.python).resolve()),
        "-I",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    for name in ("uv.txt", "runtime.txt"):
        command += ["--require-hashes", "-r", str(ROOT / "requirements" / name)]
    subprocess.run([*command, "--dest", str(directory)], check=True)
    shutil.copytree(directory, machine.root / WHEELS)
    return f"/{WHEELS}"


def _cold(machine: Machine, name: str, index: dict[str, str], figures: Values) -> None:
    """Nothing is there but a Python: as the first job on a machine. The machine goes on with what was made."""
    machine.run(["rm", "-rf", "/var/lib/ebbgate"], user="root")
    document = json.dumps({"action": ACTION, "copy": False, "index": index}).encode()
    began = time.monotonic()
    made = machine.run([PYTHON, "-I", "-B", f"{ACTION}/src/action/provision.py"], user="root", input=document, timeout=180)
    provisioned = time.monotonic() - began
    if made.code:
        print(f"bench: {name} failed: {made.stderr.strip()[-300:]}", file=sys.stderr)
        return
    machine.python = json.loads(made.stdout)["python"]
    if name == "local":
        figures["provision"].append(provisioned)
    figures[name].append(provisioned + _start(machine))


def _start(machine: Machine) -> float:
    """Seconds from the call to the answer; ended again."""
    with Job(machine, allow="api.example.com") as job:
        return job.start_seconds


def _costs(machine: Machine, costs: dict[str, Values], figures: Values) -> None:
    client = [machine.python, str(ROOT / "bench/client.py")]
    _note(costs["direct"], machine.run(client, timeout=120).stdout)
    beside = machine.world.guard  # a sealed enclosure needs a /proc of its own, which the machine may not have
    ours = [sys.executable, *client[1:]]
    _note(costs["direct beside the servers"], beside.bare(ours, timeout=120).stdout)
    _note(costs["sealed"], beside.run(["--quiet", "--allow", "api.example.com"], ours, report=False, timeout=120).stdout)
    with Job(machine, allow="api.example.com") as job:
        figures["warm"].append(job.start_seconds)
        _memory(job, "idle", figures)
        _note(costs["job"], job.step(client, timeout=120).stdout)
        _memory(job, "used", figures)


def _note(into: Values, out: str) -> None:
    for name, value in json.loads(out).items():
        into[name].append(value)


def _memory(job: Job, when: str, figures: Values) -> None:
    """PSS shares among processes what they share, so that sums are right; RSS counts it for each."""
    total: dict[str, int] = defaultdict(int)
    status = job.status()
    for part in ("warden", "gate"):
        for line in Path(f"/proc/{status[part]}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, value = line.partition(":")
            total[name] += int(value.split()[0])
    figures[when].append(total["Pss"] / 1024)
    figures[f"{when} resident"].append(total["Rss"] / 1024)


def _cost_table(costs: dict[str, Values]) -> str:
    lines = ["| job enclosure | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for name, (row, unit) in ROWS.items():
        value = {column: statistics.median(costs[column][name]) for column in COLUMNS}
        cells = [
            f"{_shown(value[column])} {unit}" + (f" ({value[column] / value[base]:.2f}×)" if base else "")
            for column, base in COLUMNS.items()
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _figure_table(figures: Values) -> str:
    lines = ["| job enclosure | measured | least | goal |", "| --- | --- | --- | --- |"]
    for name, (row, unit, goal) in FIGURES.items():
        if figures[name]:
            shown = f"{_shown(statistics.median(figures[name]))} {unit} | {_shown(min(figures[name]))} {unit}"
            lines.append(f"| {row} | {shown} | {f'< {goal:g} {unit}' if goal else '–'} |")
    return "\n".join(lines)
