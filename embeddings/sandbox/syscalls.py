"""Which system calls a decoder makes, by number, and the filter that lets no others through (seccomp(2)).

Owns the list and the program; :mod:`embeddings.sandbox.confinement` loads it. What a decoder calls is allowed; what no
decoder has any business with (programs, sockets, other processes) ends the process; everything else, a file that is to
be opened for instance, fails with ``EPERM``, which libraries that look for optional things put up with.

Numbers: Linux' ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LOAD: Final = 0x20
"""``BPF_LD | BPF_W | BPF_ABS``: a word of the call."""
_AND: Final = 0x54
_EQUAL: Final = 0x15
"""Skip so many instructions if the word is equal, so many if not."""
_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
"""End the whole process with SIGSYS."""
_FAIL: Final = 0x00050000
REFUSE: Final = _FAIL | errno.EPERM
_UNKNOWN: Final = _FAIL | errno.ENOSYS

_PROT_EXEC: Final = 4
_CLONE_THREAD: Final = 0x10000
_RLIMIT_CPU: Final = 0


@dataclass(frozen=True, slots=True)
class Processor:
    """The numbers of one kind of processor."""

    audit: int
    """``AUDIT_ARCH_*``: what the kernel calls it."""
    allowed: Mapping[str, int]
    guarded: Mapping[str, int]
    """Allowed with some arguments."""
    killed: Mapping[str, int]


_X86_64: Final = Processor(
    audit=0xC000003E,
    allowed={
        **{"read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "munmap": 11, "brk": 12, "rt_sigaction": 13},
        **{"rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35},
        **{"getpid": 39, "exit": 60, "uname": 63, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "getppid": 110},
        **{"sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204},
        **{"restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230},
        **{"exit_group": 231, "set_robust_list": 273, "getrandom": 318, "membarrier": 324, "rseq": 334},
    },
    guarded={"mmap": 9, "mprotect": 10, "clone": 56, "tgkill": 234, "prlimit64": 302, "clone3": 435},
    killed={
        **{"socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "socketpair": 53, "accept4": 288},
        **{"fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "kill": 62, "tkill": 200, "ptrace": 101},
        **{"process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434, "pidfd_getfd": 438},
        **{"mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "add_key": 248, "request_key": 249},
        **{"keyctl": 250, "perf_event_open": 298, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425},
    },
)
_AARCH64: Final = Processor(
    audit=0xC00000B7,
    allowed={
        **{"read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "munmap": 215, "brk": 214},
        **{"rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "sched_yield": 124, "mremap": 216},
        **{"madvise": 233, "nanosleep": 101, "getpid": 172, "exit": 93, "uname": 160, "gettimeofday": 169},
        **{"getrusage": 165, "sysinfo": 179, "getppid": 173, "sigaltstack": 132, "gettid": 178, "futex": 98},
        **{"sched_getaffinity": 123, "restart_syscall": 128, "clock_gettime": 113, "clock_getres": 114},
        **{"clock_nanosleep": 115, "exit_group": 94, "set_robust_list": 99, "getrandom": 278, "membarrier": 283},
        **{"rseq": 293},
    },
    guarded={"mmap": 222, "mprotect": 226, "clone": 220, "tgkill": 131, "prlimit64": 261, "clone3": 435},
    killed={
        **{"socket": 198, "connect": 203, "accept": 202, "bind": 200, "listen": 201, "socketpair": 199, "accept4": 242},
        **{"execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "ptrace": 117, "process_vm_readv": 270},
        **{"process_vm_writev": 271, "pidfd_open": 434, "pidfd_getfd": 438, "mount": 40, "umount2": 39},
        **{"unshare": 97, "setns": 268, "add_key": 217, "request_key": 218, "keyctl": 219, "perf_event_open": 241},
        **{"bpf": 280, "userfaultfd": 282, "io_uring_setup": 425},
    },
)
MACHINES: Final[Mapping[str, Processor]] = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By ``os.uname().machine``: little-endian processors whose numbers are known."""
_X32: Final = 0x40000000
"""From here on the numbers of x86-64's other calling convention begin."""


def filter_program(machine: Processor, *, pid: int) -> bytes:
    """Return the filter as an array of ``struct sock_filter``, for the process ``pid``."""
    lines = [
        _line(_LOAD, _MACHINE_AT),
        _line(_EQUAL, machine.audit, yes=1),
        _line(_RETURN, KILL),
        _line(_LOAD, _NUMBER_AT),
        _line(_AT_LEAST, _X32, no=1),
        _line(_RETURN, KILL),
    ]
    for number in machine.allowed.values():
        lines += _on(number, [_line(_RETURN, ALLOW)])
    for number in machine.killed.values():
        lines += _on(number, [_line(_RETURN, KILL)])
    guarded = machine.guarded
    for name in ("mmap", "mprotect"):  # memory that is run as a program
        lines += _on(guarded[name], _if_equal(2, _PROT_EXEC, 0, otherwise=REFUSE))
    lines += _on(guarded["clone"], _if_equal(0, _CLONE_THREAD, _CLONE_THREAD, otherwise=KILL))
    lines += _on(guarded["clone3"], [_line(_RETURN, _UNKNOWN)])  # its flags lie in memory: the C library falls back
    lines += _on(guarded["tgkill"], _if_equal(0, 0xFFFFFFFF, pid, otherwise=KILL))
    own = _if_equal(1, 0xFFFFFFFF, _RLIMIT_CPU, otherwise=REFUSE)
    lines += _on(guarded["prlimit64"], _unless_equal(0, 0, otherwise=REFUSE) + own)
    return b"".join([*lines, _line(_RETURN, REFUSE)])


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _on(number: int, then: list[bytes]) -> list[bytes]:
    """Run ``then``, which returns, for the call of this number; for any other it stays loaded."""
    return [_line(_EQUAL, number, no=len(then)), *then]


def _argument(index: int) -> bytes:
    """Load the lower half of an argument: of flags and ids the upper one says nothing."""
    return _line(_LOAD, _ARGUMENTS_AT + 8 * index)


def _if_equal(index: int, mask: int, value: int, *, otherwise: int) -> list[bytes]:
    """Allow a call of which the argument has ``value`` under ``mask``."""
    return [
        _argument(index),
        _line(_AND, mask),
        _line(_EQUAL, value, no=1),
        _line(_RETURN, ALLOW),
        _line(_RETURN, otherwise),
    ]


def _unless_equal(index: int, value: int, *, otherwise: int) -> list[bytes]:
    """Return ``otherwise`` for a call of which the argument is not ``value``; for others what follows decides."""
    return [_argument(index), _line(_EQUAL, value, yes=1), _line(_RETURN, otherwise)]
