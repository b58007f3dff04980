"""What the kernel tells of processes, and what a poller finds where it tells nothing."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbgate.host import process_events
from ebbgate.host.process_events import (
    Executed,
    Exited,
    Forked,
    Lost,
    ProcessEvent,
    ProcessEvents,
    ProcessSource,
    Renamed,
    Traced,
    UserChanged,
    open_process_events,
)
from ebbgate.host.process_poll import ProcessPoller

pytestmark = pytest.mark.root


@pytest.fixture
def events() -> Iterator[ProcessEvents]:
    opened = open_process_events()
    yield opened
    opened.close()


def collect(source: ProcessSource, pid: int) -> list[ProcessEvent]:
    """Everything about a child of ours, up to its end."""
    found: list[ProcessEvent] = []
    deadline = time.monotonic() + 60
    while not any(isinstance(one, Exited) and one.pid == pid for one in found):
        assert time.monotonic() < deadline
        select.select([source], [], [], 1.0)
        found += source.read()
    return [one for one in found if pid in (getattr(one, "pid", 0), getattr(one, "child", 0), getattr(one, "parent", 0))]


def test_the_life_of_a_process(events: ProcessEvents) -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
    child.wait()
    life = collect(events, child.pid)
    assert [type(one) for one in life] == [Forked, Executed, Exited]
    forked, _executed, exited = life
    assert isinstance(forked, Forked)
    assert isinstance(exited, Exited)
    assert forked.parent == os.getpid()
    assert os.waitstatus_to_exitcode(exited.status) == 7
    assert 0 < exited.time - forked.time < 60e9
    assert abs(time.monotonic_ns() - forked.time) < 120e9


def test_death_by_signal(events: ProcessEvents) -> None:
    child = subprocess.Popen(["/bin/sleep", "100"])
    child.kill()
    child.wait()
    exited = collect(events, child.pid)[-1]
    assert isinstance(exited, Exited)
    assert os.waitstatus_to_exitcode(exited.status) == -signal.SIGKILL


def test_a_change_of_user_and_of_name(events: ProcessEvents) -> None:
    program = "import os, ctypes; os.setuid(34567); ctypes.CDLL(None).prctl(15, b'kworker/0:0')"
    child = subprocess.Popen([sys.executable, "-c", program])
    child.wait()
    life = collect(events, child.pid)
    assert any(isinstance(one, UserChanged) and (one.real, one.effective) == (34567, 34567) for one in life)
    assert any(isinstance(one, Renamed) and one.name == "kworker/0:0" for one in life)


def test_a_debugger(events: ProcessEvents) -> None:
    target = subprocess.Popen(["/bin/sleep", "100"])
    program = f"import ctypes; libc = ctypes.CDLL(None); assert libc.ptrace(16, {target.pid}, 0, 0) == 0"
    tracer = subprocess.Popen([sys.executable, "-c", program])
    tracer.wait()
    target.kill()
    target.wait()
    assert any(isinstance(one, Traced) and one.tracer == tracer.pid for one in collect(events, target.pid))


def test_threads_are_not_told(events: ProcessEvents) -> None:
    program = "import threading\nfor _ in range(200):\n    t = threading.Thread(target=int); t.start(); t.join()"
    child = subprocess.Popen([sys.executable, "-c", program])
    child.wait()
    life = collect(events, child.pid)
    assert sum(isinstance(one, Forked | Exited) for one in life) == 2


def test_lost_events_are_noticed_and_later_ones_come(events: ProcessEvents) -> None:
    events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the smallest there is
    for _ in range(50):
        subprocess.run(["/bin/true"], check=True)
    assert any(isinstance(one, Lost) for one in events.read())
    assert events.gaps >= 1
    events._socket.setsockopt(socket.SOL_SOCKET, process_events._SO_RCVBUFFORCE, process_events.RECEIVE_BUFFER)
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert collect(events, child.pid)


def test_what_root_sends_to_the_socket_is_not_believed(events: ProcessEvents) -> None:
    forged = struct.pack("=IHHII", 76, 3, 0, 0, 0) + struct.pack("=IIIIHH", 1, 1, 0, 0, 40, 0)
    forged += struct.pack("=IIQ4I", process_events._EXIT, 0, time.monotonic_ns(), os.getpid(), os.getpid(), 0, 0) + bytes(8)
    assert process_events.parse(forged) is not None
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11) as sender:
        sender.sendto(forged, (events._socket.getsockname()[0], 0))
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    deadline = time.monotonic() + 60
    found: list[ProcessEvent] = []
    while not any(isinstance(one, Exited) and one.pid == child.pid for one in found):
        assert time.monotonic() < deadline
        select.select([events], [], [], 1.0)
        found += events.read()
    assert not any(isinstance(one, Exited) and one.pid == os.getpid() for one in found)


def in_a_new_namespace(function: object) -> list[object]:
    results: list[object] = []

    def inside() -> None:
        os.unshare(os.CLONE_NEWNET)
        try:
            results.append(function())  # type: ignore[operator]
        except OSError as problem:
            results.append(problem)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    return results


def test_from_another_network_namespace() -> None:
    """The warden may be in a namespace of its own; the kernel speaks only in the initial one."""
    silent, speaking = (
        in_a_new_namespace(open_process_events),
        in_a_new_namespace(lambda: open_process_events(Path(f"/proc/{os.getpid()}/ns/net"))),
    )
    assert isinstance(silent[0], OSError)
    opened = speaking[0]
    assert isinstance(opened, ProcessEvents)
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert collect(opened, child.pid)
    opened.close()


@pytest.mark.parametrize("data", [b"", bytes(51), bytes(76), os.urandom(76)])
def test_what_is_no_event(data: bytes) -> None:
    data = data[:36] + struct.pack("=I", 0x40000000) + data[40:] if len(data) == 76 else data
    assert process_events.parse(data) is None


def test_the_poller_tells_the_same() -> None:
    poller = ProcessPoller("because this is a test", interval=0.01)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    found: list[ProcessEvent] = []
    deadline = time.monotonic() + 60
    while not any(isinstance(one, Executed) and one.pid == child.pid for one in found):
        assert time.monotonic() < deadline
        select.select([poller], [], [], 1.0)
        found += poller.read()
    assert any(isinstance(one, Forked) and (one.parent, one.child) == (os.getpid(), child.pid) for one in found)
    child.kill()
    child.wait()
    assert isinstance(collect(poller, child.pid)[-1], Exited)
    assert poller.degraded
    poller.close()


def test_the_filter_is_right_about_bytes() -> None:
    """Constants of the filter are as the kernel will compare them: it loads big-endian numbers from native ones."""
    program = process_events._program()
    assert all(len(one) == 4 for one in program)
    jumps = [(index, one) for index, one in enumerate(program) if one[0] in (0x15, 0x1D)]
    assert all(index + 1 + max(one[1], one[2]) < len(program) for index, one in jumps)
    assert ctypes.sizeof(ctypes.c_void_p) == struct.calcsize("P")
