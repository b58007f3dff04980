"""Reading a process' environment: what is asked for, and nothing else of it is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ebbgate.host import process_memory
from ebbgate.host.process_memory import MemoryReader
from tests.job.test_credentials import memory_of

WANTED = frozenset({b"GITHUB_ACTION", b"EMPTY", b"LONG"})
LONG = "9" * 40_000  # more than /proc gives at a time
SIZE = 1 << 18
# Says who reads, asks again and again, and waits.
READS = """
import sys
from ebbgate.host import process_memory
begun = []
reader = process_memory.MemoryReader(print, begun.append)
read = reader.read if sys.argv[1] == "another process" else process_memory.read
for _ in range(50):
    found = read(int(sys.argv[2]), "environ", 1 << 18, frozenset({b"GITHUB_ACTION"}))
print(begun[0], found.decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def step(secret: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"A_TOKEN": secret, "GITHUB_ACTION": "x=y", "LONG": LONG, "EMPTY": "", "GITHUB_ACTIONS": "true"}
    process = subprocess.Popen(["cat"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b"begun\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"begun\n"
    yield process
    process.kill()
    process.communicate()


def test_what_is_asked_for(step: subprocess.Popen[bytes], secret: str) -> None:
    reader = MemoryReader(print)
    for read in (process_memory.read, reader.read):
        assert set(read(step.pid, "environ", SIZE, WANTED).split(b"\0")) == {
            b"GITHUB_ACTION=x=y",
            b"EMPTY=",
            b"LONG=" + LONG.encode(),
        }
        assert read(step.pid, "environ", SIZE, frozenset({b"NONE"})) == b""
        assert read(step.pid, "cmdline", SIZE) == b"cat\0"
        assert read(step.pid, "cmdline", 2) == b"ca"
        assert secret.encode() in read(step.pid, "environ", SIZE)
    reader.close()
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert process_memory.read(gone.pid, "environ", SIZE, WANTED) is None


@pytest.mark.parametrize("who", ["another process", "itself"])
def test_nothing_else_is_kept(step: subprocess.Popen[bytes], secret: str, who: str) -> None:
    command = [sys.executable, "-c", READS, who, str(step.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reading:
        reader, found = reading.stdout.readline().split()
        assert found == b"GITHUB_ACTION=x=y"
        for pid in (reading.pid, int(reader)):
            assert b"GITHUB_ACTION" in memory_of(pid)
            assert secret.encode() not in memory_of(pid)
