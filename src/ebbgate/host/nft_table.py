"""One nftables table that belongs to the socket which made it, through libnftables in our own process.

``nft`` as a program closes its socket when it ends, and an owned table ends with its owner's socket. So the library is called
directly, and the table lives as long as this object: no other socket can change it, root's included, and ``nft flush ruleset``
passes it over. With ``persist`` (Linux 6.9) it outlives the owner and goes on refusing; on older kernels a second, plain
table is laid beside it (``nftables.closed_ruleset``), which refuses what the owned one has not let go.

libnftables knows ``persist`` only from version 1.1 on, and must not declare the table anew when it adds to it. So the table
itself is made by a message of our own, sent on the library's socket, which makes that socket the owner.
Formats: include/uapi/linux/netfilter/nf_tables.h, libnftables(3).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import socket
import struct
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host.netlink import attribute
from ebbgate.host.network_namespace import inside
from ebbgate.host.nftables import CLOSED, TABLE

_OWNER, _PERSIST = 0x2, 0x4  # enum nft_table_flags
_FAMILIES = {"inet": 1, "netdev": 5}  # enum nfproto
_NEWTABLE = (10 << 8) | 0  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWTABLE
_BATCH_BEGIN, _BATCH_END = 16, 17
_REQUEST, _ACK, _CREATE, _EXCL = 0x1, 0x4, 0x400, 0x200
_TABLE_NAME, _TABLE_FLAGS = 1, 2


class OwnedTable:
    """The table ``ebbgate`` of one family in one network namespace. PlatformError where the kernel or library cannot do it.

    family: "inet" or "netdev". persistent: whether it stays when its owner ends.
    """

    def __init__(self, netns: Path | None = None, family: str = "inet") -> None:
        self._family = family
        self._library = _library()
        self._context, descriptor = inside(netns, self._open)
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._beside = False
        self.persistent = self._create()

    def _open(self) -> tuple[int, int]:
        before = _sockets()
        context = self._library.nft_ctx_new(0)
        made = _sockets() - before
        if not context or len(made) != 1:
            raise PlatformError("libnftables could not be started", "", "apt-get install nftables")
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)
        return int(context), made.pop()

    def _create(self) -> bool:
        for flags, persistent in ((_OWNER | _PERSIST, True), (_OWNER, False)):
            code = self._new_table(flags)
            if code == 0:
                return persistent
            if code == errno.EEXIST:
                raise PlatformError(
                    "a table of Ebbgate is there already",
                    "another guard runs on this machine, or one ended without taking its rules away",
                    "ebbgate stop, or as root: nft delete table inet ebbgate",
                )
        raise PlatformError(
            "this kernel knows no owned nftables tables", os.strerror(code), "Linux 5.12 or newer is needed for a whole job"
        )

    def _new_table(self, flags: int) -> int:
        """Errno of the kernel's answer, 0 when the table was made."""
        body = attribute(_TABLE_NAME, TABLE.encode() + b"\0") + attribute(_TABLE_FLAGS, struct.pack(">I", flags))
        self._socket.send(
            _message(_BATCH_BEGIN, _REQUEST, 1, 0, b"", 10)
            + _message(_NEWTABLE, _REQUEST | _ACK | _CREATE | _EXCL, 2, _FAMILIES[self._family], body, 0)
            + _message(_BATCH_END, _REQUEST, 3, 0, b"", 10)
        )
        answer = self._socket.recv(1 << 16)
        return -int(struct.unpack_from("=i", answer, 16)[0])

    def run(self, commands: str) -> str:
        """Apply commands, all or none; what they print. PlatformError with the kernel's words when they are refused."""
        if not self._context:
            raise IntegrityError("the enclosure's table is closed")
        code = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output = (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode(errors="replace")
        problem = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
        if code:
            raise PlatformError("the kernel refused the enclosure's rules", problem.strip()[:500], "")
        return output

    def listing(self) -> str:
        """The table, and the plain one beside it, as the kernel holds them."""
        beside = self.run(f"list table {self._family} {CLOSED}\n") if self._beside else ""
        return self.run(f"list table {self._family} {TABLE}\n") + beside

    def lay_beside(self, commands: str) -> None:
        """Make the plain table; ``listing`` and ``delete`` are of both from here on."""
        self.run(commands)
        self._beside = True

    def delete(self) -> None:
        """Take the table away: everything is open again. The plain one may be gone."""
        if self._beside:
            self._beside = False
            try:
                self.run(f"delete table {self._family} {CLOSED}\n")
            except PlatformError:
                pass
        self.run(f"delete table {self._family} {TABLE}\n")

    def close(self) -> None:
        """End the ownership; a table that is not persistent ends with it."""
        if self._context:
            self._socket.close()
            self._library.nft_ctx_free(self._context)
            self._context = 0


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise PlatformError("libnftables is not installed", "", "apt-get install nftables") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in (
        "nft_ctx_buffer_output",
        "nft_ctx_buffer_error",
        "nft_ctx_get_output_buffer",
        "nft_ctx_get_error_buffer",
        "nft_ctx_free",
    ):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_output_buffer.restype = library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _sockets() -> set[int]:
    """Descriptors of this process that are sockets."""
    found: set[int] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.add(int(name))
        except OSError:
            continue
    return found


def _message(kind: int, flags: int, number: int, family: int, attributes: bytes, resource: int) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body
