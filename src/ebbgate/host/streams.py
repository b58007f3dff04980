"""What a command inherits: standard input, output and error, and nothing else.

A descriptor keeps what it was opened for. A network socket made outside still sends outside, whatever namespace its holder
is in, and can be connected anew to any address; a datagram socket of the Unix family can be aimed at any abstract name
outside. So no such thing may be a standard stream, and every other descriptor is closed.
"""

from __future__ import annotations

import os
import socket
import stat
import sys

from ebbgate.errors import PolicyError

_NAMES = ("standard input", "standard output", "standard error")


def ensure_open() -> None:
    """Put /dev/null where a standard stream is closed: the next file to be opened would otherwise take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def refuse_ways_out() -> None:
    """PolicyError when a standard stream is something through which a command could reach past the enclosure."""
    for number, name in enumerate(_NAMES):
        why = _way_out(number)
        if why:
            raise PolicyError(
                f"{name} is {why}", "the command could use it to leave the enclosure", "put a pipe between: ... | cat"
            )


def _way_out(number: int) -> str:
    mode = os.fstat(number).st_mode
    if stat.S_ISDIR(mode):
        return "a directory"
    if not stat.S_ISSOCK(mode):
        return ""
    with socket.socket(fileno=os.dup(number)) as stream:
        if stream.family != socket.AF_UNIX:
            return "a network connection"
        if stream.type == socket.SOCK_DGRAM:
            return "a datagram socket"
        try:
            stream.getpeername()
        except OSError:
            return "a socket without a peer"
    return ""


def close_all_others() -> None:
    """Close every descriptor but the standard streams, also those above the present limit."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue  # the one through which the directory was listed
