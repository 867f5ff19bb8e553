"""Keeps the memory of a process that holds the sealing key to itself: no core dumps, no debuggers (I8).

A core dump, or a debugger that another process of the same account attaches, would write keys, names and templates in
clear. Called where the master key is loaded, hence in everything that opens a home: the command line, Dagster's code
locations and runs, Ray's workers, the sample.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import warnings
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_OTHERS: Final = 0o007
"""What other accounts get of new files and folders: nothing. What this project writes itself is the owner's alone."""


class DumpableWarning(UserWarning):
    """The system does not let this process keep its memory to itself."""


def harden_process() -> None:
    """Forbid core dumps, debuggers of the same account, and new files that others can read. Safe to repeat.

    Where the system refuses it (a sandbox may), this is a warning and not an error: what is sealed stays sealed.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(os.umask(_OTHERS) | _OTHERS)
    if sys.platform == "linux" and _prctl(_PR_SET_DUMPABLE, 0) != 0:
        warnings.warn(
            "this system does not let the process forbid memory dumps: keep others off the account that runs it",
            DumpableWarning,
            stacklevel=2,
        )


def _prctl(option: int, value: int) -> int:
    """prctl(2) of the C library that the interpreter runs on."""
    return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0))
