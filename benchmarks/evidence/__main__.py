"""Evidence that is no face: every benchmark of it, one after the other, each in a process of its own.

    python -m benchmarks.evidence [--rows headers heads pdq text] [--json]

``ROWS`` names them; each can be run by itself, with the options that its module describes, and compares with a named
peer in the same run. With ``--json`` the last line is one object: row -> what that benchmark printed. Exits with 1 if
one of them failed or was not correct.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

ROWS = {
    "headers": "benchmarks.evidence.headers",
    "heads": "benchmarks.evidence.heads",
    "pdq": "benchmarks.evidence.pdq",
    "text": "benchmarks.evidence.text",
}


def run(module: str) -> tuple[Any, bool]:
    """Run a benchmark; return what it printed as JSON, or None, and whether it exited with 0."""
    done = subprocess.run([sys.executable, "-m", module, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return (json.loads(done.stdout) if done.stdout.strip() else None), done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    printed, correct = {}, True
    for name in options.rows:
        printed[name], good = run(ROWS[name])
        correct &= good
        print(f"{name}: {'done' if good else 'failed or not correct'}", file=sys.stderr)
    print(json.dumps(printed, indent=None if options.json else 2))
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
