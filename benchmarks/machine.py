"""What a benchmark ran on, and how much memory a process took. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
from pathlib import Path

VERSIONS = (
    "onnxruntime",
    "opencv-python",
    "faiss-cpu",
    "numkong",
    "numpy",
    "pyarrow",
    "simplejpeg",
    "pillow",
    "sqlalchemy",
)


def describe_machine() -> dict[str, object]:
    """Processor, cores this process may use, memory, Python and the versions that decide the speed."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB (10**6 bytes).

    ``VmHWM`` where there is one: ``ru_maxrss`` also remembers what the parent had resident when it started this one.
    """
    kibibytes = _first("/proc/self/status", "VmHWM")
    own = int(kibibytes.split()[0]) if kibibytes else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(own * 1024 / 1e6, 1)


def _first(file: str, key: str) -> str | None:
    """The value of the first ``key: value`` line of a file under /proc, if there is one."""
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
