"""What the kernel is asked to keep a decoding process from, and how much of it the kernel offers.

Each measure stands for itself: a kernel without Landlock still has the limits and the filter, and whoever asks is told
what is missing (:func:`offered`, :class:`Confinement`). Nothing here can be undone by the process that asked for it.
Linux only, through ``prctl(2)`` and plain system calls: of the libraries that wrap them one has never left its
pre-releases and the other needs a shared library that wheels do not bring.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embeddings.sandbox.syscalls import MACHINES, filter_program

LIMITS: Final = "limits"
"""Memory, processor time, files and core dumps (``setrlimit``)."""
NO_NEW_PRIVILEGES: Final = "no_new_privileges"
CAPABILITIES: Final = "capabilities"
"""None are left, root's neither."""
LANDLOCK: Final = "landlock"
"""No path can be opened, no TCP port reached, no other process signalled."""
SECCOMP: Final = "seccomp"
"""The kernel answers the calls that decoding takes and no others."""
MEASURES: Final = (LIMITS, NO_NEW_PRIVILEGES, CAPABILITIES, LANDLOCK, SECCOMP)

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 4, 22, 38, 39
_PR_GET_SECCOMP: Final = 21
_SECCOMP_MODE_FILTER: Final = 2
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_CAPABILITY_VERSION: Final = 0x20080522
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights over files Landlock knows, by the version from which on it does."""
_NET_FROM, _SCOPES_FROM = 4, 6


@dataclass(frozen=True, slots=True)
class Confinement:
    """Which measures hold a process, and which its kernel does not offer."""

    active: tuple[str, ...]
    missing: tuple[str, ...]


def offered() -> Confinement:
    """Ask this machine's kernel which measures it offers, and take none."""
    if sys.platform != "linux":
        return Confinement((), MEASURES)
    asked = {
        LIMITS: True,
        NO_NEW_PRIVILEGES: _prctl(_PR_GET_NO_NEW_PRIVS) >= 0,
        CAPABILITIES: True,
        LANDLOCK: _landlock_version() > 0,
        SECCOMP: _prctl(_PR_GET_SECCOMP) >= 0 and os.uname().machine in MACHINES,
    }
    return _sorted(asked)


def confine(*, memory_bytes: int) -> Confinement:
    """Take every measure that there is on this process, which has one thread. Raises ``OSError`` without the limits.

    ``memory_bytes``: of addresses beyond what it has. From here on it opens nothing; what is open stays.
    """
    tasks = len(list(Path("/proc/self/task").iterdir()))
    if tasks != 1:  # the kernel would confine this one alone
        raise OSError(f"{tasks} threads are running")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _prctl(_PR_SET_DUMPABLE, 0)
    measures: dict[str, Callable[[], bool]] = {
        NO_NEW_PRIVILEGES: lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1) == 0,
        LANDLOCK: _landlock,
        LIMITS: lambda: _limit(addresses=pages * resource.getpagesize() + memory_bytes),
        CAPABILITIES: _drop_capabilities,
        SECCOMP: _seccomp,
    }  # in this order: Landlock takes a descriptor for a moment, and the filter lets none of the others through
    return _sorted({name: take() for name, take in measures.items()})


def allow_seconds(seconds: float) -> None:
    """Let this process use so many seconds of processor time from now on; after that SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _sorted(asked: Mapping[str, bool]) -> Confinement:
    return Confinement(
        tuple(name for name in MEASURES if asked[name]), tuple(name for name in MEASURES if not asked[name])
    )


def _limit(*, addresses: int) -> bool:
    for kind, most in (
        (resource.RLIMIT_AS, addresses),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        held = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (held, held))
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int = 0, third: int = 0) -> int:
    return int(
        _libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))
    )


def _landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 or less: none."""
    return int(_libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def _landlock() -> bool:
    version = _landlock_version()
    if version <= 0:
        return False
    rights = max(count for since, count in _FILE_RIGHTS.items() if since <= version)
    rules = struct.pack("<Q", (1 << rights) - 1)
    if version >= _NET_FROM:
        rules += struct.pack("<Q", 0b11)  # bind and connect
    if version >= _SCOPES_FROM:
        rules += struct.pack("<Q", 0b11)  # sockets by name, signals
    libc = _libc()
    rule_set = int(libc.syscall(_LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint(0)))
    if rule_set < 0:
        return False
    try:
        return int(libc.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(rule_set), ctypes.c_uint(0))) == 0
    finally:
        os.close(rule_set)


def _drop_capabilities() -> bool:
    header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    return int(_libc().capset(header, bytes(24))) == 0


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def _seccomp() -> bool:
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    lines = filter_program(machine, pid=os.getpid())
    program = _Program(len(lines) // 8, lines)
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program)) == 0
