"""The few system calls that Python does not wrap, through ctypes. Each raises OSError with the kernel's errno."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

_KCMP = {"x86_64": 312, "aarch64": 272}  # glibc has no function for it

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source: str, target: str | Path, fstype: str, flags: int, data: str = "") -> None:
    """mount(2) in the calling thread's mount namespace."""
    _checked(
        _libc.mount(source.encode(), os.fsencode(target), fstype.encode() or None, ctypes.c_ulong(flags), data.encode() or None),
        f"mount on {target}",
    )


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def make_read_only(target: str | Path) -> None:
    """mount_setattr(2), Linux 5.12: the mount at a path and all mounts below it become read-only."""
    syscall_number, at_fdcwd, at_recursive, rdonly = 442, -100, 0x8000, 1  # the number is the same on all architectures
    wanted = _MountAttr(rdonly, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    arguments = (ctypes.c_int(at_fdcwd), os.fsencode(target), ctypes.c_uint(at_recursive), ctypes.byref(wanted), size)
    _checked(_libc.syscall(ctypes.c_long(syscall_number), *arguments), f"read-only {target}")


def prctl(option: int, *values: int) -> int:
    """prctl(2) with up to four integer arguments."""
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *padded), f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def forbid_inspection() -> None:
    """No core dump, no ptrace, no /proc/PID/mem for processes of the same user."""
    prctl(_PR_SET_DUMPABLE, 0)


def no_new_privileges() -> None:
    """Set-user-ID programs and file capabilities give nothing from here on, in children too."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def keep_capabilities_over_exec(*capabilities: int) -> None:
    """Let programs that this process starts keep these capabilities (ambient set), although it is not root."""
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    _checked(_libc.capget(ctypes.byref(header), data), "capget")
    for half in data:
        half.inheritable = half.permitted
    _checked(_libc.capset(ctypes.byref(header), data), "capset")
    for capability in capabilities:
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def effective_capabilities() -> int:
    """The calling thread's effective set as a bit mask."""
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    _checked(_libc.capget(ctypes.byref(header), data), "capget")
    return int(data[0].effective) | int(data[1].effective) << 32


def bounding_capabilities() -> int:
    """The calling thread's bounding set as a bit mask: what no exec can exceed."""
    mask = 0
    for capability in range(64):
        try:
            mask |= prctl(_PR_CAPBSET_READ, capability) << capability
        except OSError:
            break  # beyond the last capability this kernel knows
    return mask


def limit_capabilities(mask: int, bounding: int) -> None:
    """Keep only the capabilities in the mask now, and those in ``bounding`` for every later exec; none is inheritable."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        if not bounding >> capability & 1:
            try:
                prctl(_PR_CAPBSET_DROP, capability)
            except OSError:
                break
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    for index, half in enumerate(data):
        half.effective = half.permitted = mask >> (32 * index) & 0xFFFFFFFF
    _checked(_libc.capset(ctypes.byref(header), data), "capset")


class _SockFilter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_SockFilter)))


def install_seccomp(program: list[tuple[int, int, int, int]]) -> None:
    """Install a classic BPF program as this thread's seccomp filter; children inherit it and cannot take it off.

    :param program: instructions (code, jt, jf, k). Needs CAP_SYS_ADMIN in the user namespace or no_new_privileges().
    """
    instructions = (_SockFilter * len(program))(*(_SockFilter(*one) for one in program))
    wrapped = _SockFprog(len(program), instructions)
    pr_set_seccomp, seccomp_mode_filter = 22, 2
    _checked(_libc.prctl(pr_set_seccomp, seccomp_mode_filter, ctypes.byref(wrapped), 0, 0), "seccomp")


def signal_descriptor(signals: Iterable[int]) -> int:
    """signalfd(2) for signals that the caller has blocked; non-blocking, closed over exec."""
    mask = (ctypes.c_ulong * 16)()  # glibc's and musl's sigset_t hold 1024 bits
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    for number in signals:
        mask[(number - 1) // bits] |= 1 << ((number - 1) % bits)
    sfd_nonblock, sfd_cloexec = 0o4000, 0o2000000
    return _checked(_libc.signalfd(-1, ctypes.byref(mask), sfd_nonblock | sfd_cloexec), "signalfd")


def read_signal(descriptor: int) -> tuple[int, int, int] | None:
    """(signal number, si_code, sender's pid) of the next pending signal; None when there is none."""
    try:
        raw = os.read(descriptor, 128)  # struct signalfd_siginfo
    except BlockingIOError:
        return None
    number, _errno, code, sender = struct.unpack_from("=IiiI", raw)
    return number, code, sender


def shares_descriptors(first: int, second: int) -> bool:
    """Whether two threads have one table of descriptors (kcmp(2), KCMP_FILES). False where the kernel cannot say."""
    number, kcmp_files = _KCMP.get(os.uname().machine), 2
    return number is not None and _libc.syscall(number, first, second, kcmp_files, 0, 0) == 0


def timer_descriptor(seconds: float) -> int:
    """timerfd_create(2), repeating; non-blocking, closed over exec. Python has it from 3.13 on."""
    clock_monotonic, tfd_nonblock, tfd_cloexec = 1, 0o4000, 0o2000000
    descriptor = _checked(_libc.timerfd_create(clock_monotonic, tfd_nonblock | tfd_cloexec), "timerfd_create")
    whole, fraction = int(seconds), int(seconds % 1 * 1e9)
    setting = (ctypes.c_long * 4)(whole, fraction, whole, fraction)  # struct itimerspec: interval, first
    _checked(_libc.timerfd_settime(descriptor, 0, ctypes.byref(setting), None), "timerfd_settime")
    return descriptor
