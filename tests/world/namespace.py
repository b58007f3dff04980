"""A network namespace that lives as long as an object. Threads enter it; the process itself stays where it is."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from typing import Self

# Documentation ranges (RFC 5737, RFC 3849): never routed, and no special addresses to the guard.
ADDRESSES = (
    "203.0.113.53",  # resolver
    "203.0.113.10",  # api.example.com
    "203.0.113.11",  # mirror.example.com
    "203.0.113.12",  # files.example.net
    "203.0.113.66",  # the attacker
    "203.0.113.67",  # the attacker's other machine
    "2001:db8::66",
    "2001:db8::10",
    "169.254.169.254",  # a cloud's metadata service
    "168.63.129.16",  # a cloud's platform service
    "10.0.0.5",  # an internal service
)


class NetworkNamespace:
    """Use as a context manager. ``fd`` is the open namespace."""

    def __enter__(self) -> Self:
        self.fd = -1
        self._in_thread(self._make)
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)

    def _make(self) -> None:
        os.unshare(os.CLONE_NEWNET)
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        lines = ["link set lo up", "link add name out type veth peer name far", "link set out up", "link set far up"]
        # nodad: an address is usable at once, not when the kernel has found time to see that nobody else has it
        lines += [f"addr add {one}{'/128' if ':' in one else '/32'} dev lo{' nodad' if ':' in one else ''}" for one in ADDRESSES]
        lines += ["route add default dev out", "-6 route add default dev out"]
        lines = [line for line in lines if not line.startswith("-6")]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True)
        subprocess.run(["ip", "-6", "route", "add", "default", "dev", "out"], check=True)

    def run(self, function: Callable[[], object]) -> object:
        """Call a function inside, in a thread of its own."""
        result: list[object] = []

        def inside() -> None:
            os.setns(self.fd, os.CLONE_NEWNET)
            result.append(function())

        self._in_thread(inside)
        return result[0]

    @staticmethod
    def _in_thread(function: Callable[[], None]) -> None:
        problem: list[BaseException] = []

        def guarded() -> None:
            try:
                function()
            except BaseException as error:
                problem.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        if problem:
            raise problem[0]
