"""``start`` and ``verdict`` that only record how they were called, and answer as /etc/fake.json says.

Not the real program because these tests ask for answers that it would never give, and must see what reached it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

RECORDS = Path("/run/fake")


def main() -> int:
    command = sys.argv[1]
    told = json.loads(Path("/etc/fake.json").read_text()).get(command, {})
    record = {
        "argv": sys.orig_argv,
        "environ": dict(os.environ),
        "uid": os.getuid(),
        "cwd": os.getcwd(),
        "executable": sys.executable,
        "path": sys.path,
        "pid": os.getpid(),
        "at": time.time(),
    }
    if command == "start":
        record["document"] = json.load(sys.stdin)
    (RECORDS / f"{command}-{os.getpid()}.json").write_text(json.dumps(record))
    while (RECORDS / "hold").exists():
        time.sleep(0.02)
    time.sleep(told.get("sleep", 0))
    if command == "verdict":
        _write_files(sys.argv)
    sys.stderr.write(told.get("stderr", ""))
    sys.stdout.write(told.get("stdout", ""))
    return told.get("code", 0)


def _write_files(argv: list[str]) -> None:
    options = dict(zip(argv[2::2], argv[3::2], strict=False))
    with open(options["--summary"], "a") as summary:
        summary.write("### the verdict\n")
    with open(options["--output"], "a") as output:
        output.write("verdict=clean\n")
    Path(options["--report"]).mkdir()
    Path(options["--report"], "report.json").write_text("{}")


if __name__ == "__main__":
    sys.exit(main())
