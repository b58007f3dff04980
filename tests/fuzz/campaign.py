"""Coverage-guided fuzzing of every target for some minutes: ``python -m tests.fuzz.campaign [MINUTES [TARGET ...]]``.

Each target runs in a process of its own, again if it dies, until its share of the time is over. What is worth keeping is kept in
``.fuzz/corpus/TARGET`` for the next time, what failed in ``.fuzz/crashes``: one input for each place where something was raised.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
HANG = 60  # seconds for one input, on a machine that does other things too
MEMORY = 2048  # MB
_FINAL = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_INITED = re.compile(r"#(\d+)\s+INITED\s+cov: (\d+) ft: (\d+)")
_RUNS = re.compile(r"^#(\d+)\s", re.MULTILINE)


def explore(name: str, seconds: int) -> None:
    """The process of one target."""
    import atheris

    with atheris.instrument_imports(include=["ebbgate"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = KEPT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    crashes = KEPT / "crashes"
    crashes.mkdir(exist_ok=True)

    def one(data: bytes) -> None:
        try:
            target.run(data)
        except Exception as problem:
            _keep(crashes, name, data, problem)

    options = [f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", f"-max_len={target.longest}"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-", str(corpus)], one)
    atheris.Fuzz()


def _keep(crashes: Path, name: str, data: bytes, problem: Exception) -> None:
    """The shortest input for each place: the same mistake is met thousands of times."""
    frames = [f"{Path(one.filename).name}-{one.lineno}" for one in traceback.extract_tb(problem.__traceback__)]
    place = crashes / "-".join([name, type(problem).__name__, *frames[-2:]])
    if not place.exists() or place.stat().st_size > len(data):
        place.write_bytes(data)
        place.with_name(place.name + ".text").write_text("".join(traceback.format_exception(problem)))


def _campaign(minutes: float, names: list[str]) -> int:
    from tests.fuzz.targets import TARGETS

    chosen = {name: TARGETS[name] for name in names or TARGETS}
    shares = sum(target.share for target in chosen.values())
    for name, target in chosen.items():
        until = time.monotonic() + minutes * 60 * target.share / shares
        executions, began, ended, deaths = 0, "", "", 0
        while (left := int(until - time.monotonic())) > 0:
            command = [sys.executable, "-m", "tests.fuzz.campaign", "--explore", name, str(left)]
            output = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
            KEPT.joinpath(f"{name}.log").write_text(output.stderr)
            inited, final = _INITED.search(output.stderr), _FINAL.search(output.stderr)
            executions += max((int(one) for one in _RUNS.findall(output.stderr)), default=0)
            began = began or (inited[2] if inited else "?")
            ended = final[2] if final else "?"
            deaths += output.returncode != 0
            if output.returncode:
                print(f"{name}: ended by itself:\n{output.stderr[-2000:]}", flush=True)
        print(f"{name}: {executions} executions, coverage {began} to {ended}, deaths {deaths}", flush=True)
    found = sorted(one.name for one in (KEPT / "crashes").iterdir() if one.suffix != ".text")
    print(f"{len(found)} failures" + "".join(f"\n  .fuzz/crashes/{one}" for one in found))
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--explore"]:
        explore(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(_campaign(float((sys.argv[1:] or ["30"])[0]), sys.argv[2:]))
