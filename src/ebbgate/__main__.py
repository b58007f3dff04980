"""``python -m ebbgate``."""

from ebbgate.cli.main import run

if __name__ == "__main__":
    run()
