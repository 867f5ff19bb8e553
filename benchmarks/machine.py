"""What a benchmark ran on, and how much memory a process took. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Collection, Iterator
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


def processor_seconds(*, without: Collection[int] = ()) -> float:
    """Processor time of this process and of those that it has started so far, the decoding ones for instance.

    ``without``: process ids of others, such as a server. Processes of theirs count once they have ended.
    """
    ended = os.times()
    seconds = time.process_time() + ended.children_user + ended.children_system
    return seconds + sum(_ticks(file) for pid, file in _children() if pid not in without) / os.sysconf("SC_CLK_TCK")


def resident_mb() -> float:
    """Resident memory of this process and of those that it has started and that live, added up, in MB."""
    files = [Path("/proc/self"), *(file for _, file in _children())]
    found = (_first(str(file / "status"), "VmRSS") for file in files)
    return round(sum(int(kibibytes.split()[0]) for kibibytes in found if kibibytes) * 1024 / 1e6, 1)


def peak_mb_of_children() -> float:
    """Highest resident memory so far of each process that this one has started and that lives, added up, in MB."""
    found = (_first(str(file / "status"), "VmHWM") for _, file in _children())
    return round(sum(int(kibibytes.split()[0]) for kibibytes in found if kibibytes) * 1024 / 1e6, 1)


def _children() -> Iterator[tuple[int, Path]]:
    """Process id and folder below /proc of each process that this one has started and that lives."""
    for file in Path("/proc").iterdir():
        if file.name.isdecimal() and _fields(file)[1:2] == [str(os.getpid())]:
            yield int(file.name), file


def _fields(file: Path) -> list[str]:
    """Fields of a process behind its name: state, parent and so on; none of one that is gone."""
    try:
        return (file / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _ticks(file: Path) -> int:
    return sum(int(ticks) for ticks in _fields(file)[11:13])


def _first(file: str, key: str) -> str | None:
    """The value of the first ``key: value`` line of a file under /proc, if there is one."""
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
