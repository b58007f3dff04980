"""System calls that would walk around the enclosure, closed for the workload.

A network namespace confines the internet families. These go elsewhere:

``socket`` of other families   AF_VSOCK reaches the hypervisor whatever the namespace; Bluetooth, NFC, QIPCRTR alike.
``io_uring``                   opens sockets without the system calls that a filter sees. Docker's default closes it too.
``ioctl(TIOCSTI, TIOCLINUX)``  types into the terminal, that is into the shell outside, after the command has ended.
``keyctl`` and its kin          has the kernel start a helper outside that resolves names or mounts (``request-key``).
``socketcall`` (i386)          multiplexes socket() behind a pointer that a filter cannot read.

The filter answers with an error, as an old kernel would, so that programs fall back. System call numbers are those of
the kernel's syscall tables (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl).
"""

from __future__ import annotations

import errno
import platform
from dataclasses import dataclass

from ebbgate.errors import PlatformError

ALLOWED_FAMILIES = (
    1,
    2,
    10,
    16,
    17,
    38,
)  # UNIX, INET, INET6, NETLINK, PACKET, ALG: all bound to the namespace or local
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
_X32_BIT = 0x40000000
_IO_URING = (425, 426, 427)  # setup, enter, register: the same on every architecture

_LD_ABS, _JEQ, _JGE, _RET = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
_RET_ALLOW, _RET_ERRNO, _RET_KILL = 0x7FFF0000, 0x00050000, 0x80000000
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARG0, _OFFSET_ARG1 = 0, 4, 16, 24  # struct seccomp_data, little endian low words

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Abi:
    audit_arch: int
    socket: int
    ioctl: int
    keyrings: tuple[int, int, int]  # add_key, request_key, keyctl
    socketcall: int | None = None
    has_x32: bool = False


_ABIS = {
    "x86_64": (
        _Abi(0xC000003E, 41, 16, (248, 249, 250), has_x32=True),
        _Abi(0x40000003, 359, 54, (286, 287, 288), socketcall=102),
    ),
    "aarch64": (_Abi(0xC00000B7, 198, 29, (217, 218, 219)), _Abi(0x40000028, 281, 54, (309, 310, 311))),
}


def program(machine: str | None = None) -> list[Instruction]:
    """The filter for a machine (as ``platform.machine()`` names it), as classic BPF instructions."""
    name = machine or platform.machine()
    if name not in _ABIS:
        raise PlatformError(
            f"no system call filter for {name} machines",
            "sealing needs one, since io_uring and AF_VSOCK leave a network namespace",
            "run on x86_64 or aarch64",
        )
    code: list[Instruction] = [(_LD_ABS, 0, 0, _OFFSET_ARCH)]
    for abi in _ABIS[name]:
        body = _abi_program(abi)
        code += [(_JEQ, 0, len(body), abi.audit_arch), *body]
    return [*code, (_RET, 0, 0, _RET_KILL)]


def _abi_program(abi: _Abi) -> list[Instruction]:
    """Straight-line code for one ABI; ends in a return on every path."""
    code: list[Instruction] = [(_LD_ABS, 0, 0, _OFFSET_NR)]
    if abi.has_x32:
        code += [(_JGE, 0, 1, _X32_BIT), _fail(errno.ENOSYS)]
    for number in (*_IO_URING, *abi.keyrings, *([abi.socketcall] if abi.socketcall else [])):
        code += [(_JEQ, 0, 1, number), _fail(errno.ENOSYS)]
    families = _allow_only(ALLOWED_FAMILIES, errno.EAFNOSUPPORT)
    code += [(_JEQ, 0, len(families) + 1, abi.socket), (_LD_ABS, 0, 0, _OFFSET_ARG0), *families]
    terminal = _refuse((TIOCSTI, TIOCLINUX), errno.EPERM)
    code += [(_JEQ, 0, len(terminal) + 1, abi.ioctl), (_LD_ABS, 0, 0, _OFFSET_ARG1), *terminal]
    return [*code, (_RET, 0, 0, _RET_ALLOW)]


def _fail(code: int) -> Instruction:
    return (_RET, 0, 0, _RET_ERRNO | code)


def _allow_only(values: tuple[int, ...], code: int) -> list[Instruction]:
    checks: list[Instruction] = [
        instruction for value in values for instruction in ((_JEQ, 0, 1, value), (_RET, 0, 0, _RET_ALLOW))
    ]
    return [*checks, _fail(code)]


def _refuse(values: tuple[int, ...], code: int) -> list[Instruction]:
    checks: list[Instruction] = [instruction for value in values for instruction in ((_JEQ, 0, 1, value), _fail(code))]
    return [*checks, (_RET, 0, 0, _RET_ALLOW)]
