"""``python -m ebbgate`` and the console script."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Start the gate of a run or a job at once, since that takes longest, and read the rest of the program meanwhile.

    A gate that nobody asks for ends with this process, before it was given anything.
    """
    if sys.argv[1:2] == ["start"] and "--help" not in sys.argv and os.geteuid() == 0:
        from ebbgate.warden import detached  # noqa: PLC0415 - before everything else

        detached.run(_program, _serve)
    standard = (sys.stdin, sys.stdout, sys.stderr)  # None where closed: then nothing may be opened before they are filled
    if sys.argv[1:2] == ["run"] and "--help" not in sys.argv and None not in standard:
        from ebbgate.warden.gate_process import GateProcess  # noqa: PLC0415 - before everything else

        GateProcess.begin(os.environ)
    _program()


def _program() -> None:
    from ebbgate.cli.main import run  # noqa: PLC0415 - after the gate was started

    run()


def _serve() -> None:
    from ebbgate.warden.daemon import serve  # noqa: PLC0415 - after the gate was started

    serve()


if __name__ == "__main__":
    main()
