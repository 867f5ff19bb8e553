"""Which tests run on PostgreSQL each day: as many as it takes to run every statement there that any of them runs.

A test on PostgreSQL takes more than twice the time of the same on SQLite, and most run the statements of others. So a
recording says which statements each test runs on SQLite, and of these tests the cheapest few that run all of them are
chosen, with every test in which two transactions meet, or whose subject is what a database keeps of a transaction that
was cut off, or that somebody altered. The others are listed in :data:`LEFT_OUT` and run on PostgreSQL
in a thorough run (``make prove``). A new test is not listed, and runs on both each day until somebody records again:

    pytest -k sqlite --record-statements /tmp/recorded && python -m tests.both_databases /tmp/recorded
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

LEFT_OUT = Path(__file__).with_name("postgresql_when_thorough.txt")
"""One test a line, by its id on SQLite."""
_MEETING = re.compile(
    r"thread|process|meanwhile|at_once|race|exclusive|alone|shared|pg_|is_sqlite|isolation"
    r"|(?<!re)leased|leases\.|while_sending|failpoint|interrupt|died",
    re.IGNORECASE,
)
"""Words in the source of tests in which transactions meet or are cut off, or databases differ by more than their
SQL."""
_SUBJECT = re.compile(
    r"(?<!re)lease|claim|transaction|during|middle|while_it_|between"  # two that act at one time
    r"|cut_off|crash|died|killed|backup|restor|_i6_"  # one that does not end
    r"|kind_of_database|statement|never_fall|writes_nothing"  # what databases do in ways of their own
    r"|seal(?!ed)|witness|attack|accounted|tampered|altered|untouched|chain|fact_|verify",  # what a database says
    re.IGNORECASE,
)
"""The same in the names of tests. Their sources name a lease, the seal or a transaction for other reasons too."""
_MEETING_FIXTURES = frozenset({"open_again", "empty_url"})
_LIST = re.compile(r"\?(?:, \?)+")
_LEAST_SECONDS = 0.05
"""What any test takes on PostgreSQL: a database of its own."""


@dataclass(frozen=True)
class Recorded:
    """A test on SQLite: its id, how long it took, the digests of its statements, and whether it is always to be run."""

    test: str
    seconds: float
    statements: frozenset[str]
    always: bool


class Recorder:
    """A plugin that writes down what each test runs. Several processes may write to one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._run: set[str] = set()
        event.listen(sa.engine.Engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, many: bool) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN")):
            told = statement if statement.startswith("INSERT") else _LIST.sub("?", statement)
            self._run.add(hashlib.sha256(f"{many} {told}".encode()).hexdigest()[:12])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Write one line for each test on SQLite."""
        self._run.clear()
        begun = time.process_time()
        result = yield
        on_both = "database_kind" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("any_database")
        if on_both and not is_value_beyond(item):
            told = [item.nodeid, time.process_time() - begun, sorted(self._run), meets_others(item)]
            with self._file.open("a", encoding="utf-8") as out:
                out.write(f"{json.dumps(told)}\n")
        return result


def is_value_beyond(item: pytest.Item) -> bool:
    """Whether a test has a value beyond the first ones, to which ``fewer_on_postgresql`` keeps PostgreSQL."""
    marker, call = item.get_closest_marker("fewer_on_postgresql"), getattr(item, "callspec", None)
    if marker is None or call is None:
        return False
    return any(call.indices[name] >= count for name, count in marker.kwargs.items() if name in call.indices)


def meets_others(item: pytest.Item) -> bool:
    """Whether two transactions meet in a test, or databases are its subject, which no list of statements shows."""
    if _MEETING_FIXTURES & set(getattr(item, "fixturenames", ())) or item.path.parent.name == "database":
        return True
    return tells_of_meeting(item.name, inspect.getsource(getattr(item, "function", item.__class__)))


def tells_of_meeting(name: str, source: str) -> bool:
    """Whether the name of a test, with its values, or its source has a word of those in which transactions meet."""
    return bool(_SUBJECT.search(name) or _MEETING.search(source))


def choose(recorded: list[Recorded]) -> list[Recorded]:
    """Return the tests to run each day: the ones that always are, and the cheapest others for what these do not run."""
    chosen = [one for one in recorded if one.always]
    missing = frozenset().union(*(one.statements for one in recorded)).difference(*(one.statements for one in chosen))
    left = [one for one in recorded if not one.always]
    while missing:
        best = max(left, key=lambda one: (len(one.statements & missing) / max(one.seconds, _LEAST_SECONDS), one.test))
        left.remove(best)
        chosen.append(best)
        missing -= best.statements
    return chosen


@cache
def left_out() -> frozenset[str]:
    """The tests that run on PostgreSQL in thorough runs only, by their ids on SQLite."""
    return frozenset(LEFT_OUT.read_text(encoding="utf-8").splitlines())


def read_recorded(file: Path) -> list[Recorded]:
    """What a :class:`Recorder` wrote."""
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return [Recorded(test, seconds, frozenset(run), always) for test, seconds, run, always in rows]


def main(file: Path) -> None:
    """Write the list anew."""
    recorded = read_recorded(file)
    chosen = choose(recorded)
    names = sorted({one.test for one in recorded} - {one.test for one in chosen})
    LEFT_OUT.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    print(f"{len(chosen)} of {len(recorded)} tests run on PostgreSQL each day")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
