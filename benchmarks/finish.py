"""What every benchmark does at its end: rows for people, one JSON object for scripts, whether all of it was right."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine

Row = Mapping[str, Any]


def print_rows(
    rows: Sequence[Row], columns: Sequence[str] = (), *, title: str | None = None, err: bool = False
) -> None:
    """Print rows as a table of ``columns``; without any, each as a line of all its values."""
    console = Console(stderr=err, width=None if (sys.stderr if err else sys.stdout).isatty() else 200, highlight=False)
    if not columns:
        for row in rows:
            console.print(", ".join(f"{name} {value}" for name, value in row.items()), markup=False, soft_wrap=True)
        return
    table = Table(*(name.replace("_", " ") for name in columns), title=title or None)
    for row in rows:
        table.add_row(*("-" if row.get(name) is None else str(row[name]) for name in columns))
    console.print(table)


def finish(rows: Sequence[Row], *, as_json: bool, columns: Sequence[str] = (), **facts: object) -> int:
    """Print rows, and with ``as_json`` rows, ``facts`` and machine as one JSON object, alone on standard output.

    Returns the exit status: 1 where a row is not ``correct`` or not ``identical``, which is said of each, else 0.
    """
    print_rows(rows, columns, err=as_json)
    if as_json:
        print(json.dumps({"machine": describe_machine(), **facts, "rows": rows}))
    wrong = [row for row in rows if row.get("correct") is False or row.get("identical") is False]
    for row in wrong:
        print(f"not correct: {next(iter(row.values()))}", file=sys.stderr)
    return 1 if wrong else 0
