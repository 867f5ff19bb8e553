"""Evidence that is no face: what each kind of it costs, beside a named peer in the same run.

    python -m benchmarks.evidence [--rows headers] [--quick] [--repeats 5] [--json]

Each kind is a module of its own, named in ``ROWS``, with ``measure(*, quick, repeats)`` that returns its rows: what was
measured, ``correct`` (checked in that run), seconds and ratios. ``ratio_*`` is the peer's time divided by ours, median
of interleaved repeats. ``--quick`` measures less, to see that it works.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import describe_machine

ROWS = {"headers": "benchmarks.evidence_headers"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.rows:
        for row in importlib.import_module(ROWS[name]).measure(quick=options.quick, repeats=options.repeats):
            rows.append({"row": name, **row})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), file=sys.stderr)
    if options.json:
        print(json.dumps({"machine": describe_machine(), "rows": rows}))
    return 0 if all(row["correct"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
