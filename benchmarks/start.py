"""How long do commands take to start, and how much memory, beside the libraries that they cannot do without?

    python -m benchmarks.start [--rounds 7] [--json]

Each command runs in a process of its own on a home without items, in turns with its peer: a bare interpreter that
imports click (for ``--help``), or click, SQLAlchemy, pydantic and cryptography's AES-GCM (for what reads the database).
``ratio`` is the median of the command's seconds by the median of the peer's, ``mb`` the highest resident memory. The
aims, on a quiet machine: 0.4 s for ``--help``, 1 s for the others. Which libraries may be loaded is not for this
benchmark to say: ``tests/pipelines/cli/test_start.py`` asserts it.

Correct means: every command ended as it has to (0; 1 for a hit that there is not) and said something. The exit status
is 1 when that fails; speed never fails a run.
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.finish import finish

ROOT = Path(__file__).parent.parent
CLICK = "import click"
READING = f"{CLICK}, sqlalchemy, pydantic, cryptography.hazmat.primitives.ciphers.aead"
COMMANDS: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("--help",), CLICK, 0),
    (("status",), READING, 0),
    (("hits",), READING, 0),
    (("decide", "hit_none", "confirm", "--reason", "same_person"), READING, 1),
    (("look", "hit_none", "--to", "face.png"), READING, 1),
)


def measure(code: str, arguments: Sequence[str], environment: dict[str, str]) -> tuple[float, float, int, bool]:
    """Seconds, peak MB, exit status, and whether anything was said, of one interpreter that runs ``code``."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = bool(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - begun, usage.ru_maxrss * 1024 / 1e6, process.returncode, said


def run(rounds: int) -> list[dict[str, Any]]:
    """All rows."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        key = base64.b64encode(bytes(range(32))).decode()
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "LIKENESS_KEY": key}
        environment["LIKENESS_HOME"] = str(Path(folder) / "home")
        command = "from pipelines.cli import main; main()"
        subprocess.run([sys.executable, "-c", command, "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
        for arguments, peer, expected in COMMANDS:
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(measure(command, arguments, environment))
                theirs.append(measure(peer, (), environment))
            seconds, bare = (statistics.median(one[0] for one in each) for each in (ours, theirs))
            rows.append(
                {
                    "command": arguments[0],
                    "seconds": round(seconds, 3),
                    "peer_seconds": round(bare, 3),
                    "ratio": round(seconds / bare, 2),
                    "mb": round(max(one[1] for one in ours), 1),
                    "peer_mb": round(max(one[1] for one in theirs), 1),
                    "correct": all(status == expected and said for _, _, status, said in ours),
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = run(options.rounds)
    sys.exit(finish(rows, as_json=options.json, columns=tuple(rows[0]), rounds=options.rounds))


if __name__ == "__main__":
    main()
