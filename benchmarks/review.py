"""How long do the analysts' pages take on a large home, and does any of them go through a whole table?

    python -m benchmarks.review [--hits 100000] [--people 1000] [--reviewers 20] [--rounds 5] [--json]

A home is filled with rows alone: people, models with pictures, hits on faces, copies and names, verdicts, decisions.
Nothing is decoded or embedded, so no page with a picture is among the rows; a look costs its decoding beside that.
Pages are asked for through the application itself, without a network. ``median_ms`` is wall time and ``cpu_ms``
processor time of this process: on a machine that does other work the second is the one to go by. The aims, on a quiet
machine: 300 ms for a page, 100 ms from a key to the next case. What pages remember for ``review.queue_seconds`` is
measured once more without that: ``order read whole``, ``groups of sheets``, ``missing coverage``, ``scores read anew``.
The order is read whole once, and then of the people whom something happened to: ``order of one person read anew``.

``next_case`` is what a key waits for where the next case was not fetched ahead: claiming it and reading its page.
``claim`` is the time of one claim where every reviewer makes :data:`CLAIMING` at once.

Correct means: every answer was 200 and said what it has to say (counts against those that were put in), no case was
ever claimed by two people, pages that follow one another hold every row once, and no statement of a list goes through a
table without an index, or sorts. The exit status is 1 when that fails; speed never fails a run.
"""

from __future__ import annotations

import argparse
import base64
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from starlette.testclient import TestClient

from benchmarks.finish import finish
from benchmarks.inputs.reviewed import Filled, fill
from pipelines.database.tables import subjects
from pipelines.exploring.listings import HITS, LISTINGS
from pipelines.exploring.paging import all_rows, read_asked, read_page
from pipelines.exploring.thresholds import read_stored_scores
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.queue import Queue, waiting_cases
from pipelines.reviewing.sheet import list_groups
from pipelines.runs.today import read_missing
from pipelines.settings.config_review import ReviewConfig
from pipelines.settings.environment import read_environment
from pipelines.web.app import create_app

CLAIMING = 3
"""Cases that every reviewer claims."""
ORIGIN = "http://localhost"


class Person:
    """Somebody whom a proxy vouches for, so that no login is part of a measurement."""

    def __init__(self, workspace: Workspace, name: str, role: str) -> None:
        self._client = TestClient(create_app(lambda: workspace), base_url=ORIGIN, follow_redirects=True)
        self._headers = {"x-user": name, "x-roles": role, "origin": ORIGIN}

    def get(self, address: str) -> tuple[int, str]:
        """Status and text of a page."""
        answer = self._client.get(address, headers=self._headers)
        return answer.status_code, answer.text

    def next_case(self) -> tuple[int, str]:
        """Claim the next case and read its page."""
        secret = re.search(r'name="csrf" value="(\w+)"', self.get("/you")[1])
        assert secret
        answer = self._client.post("/cases/next", data={"csrf": secret[1]}, headers=self._headers)
        return answer.status_code, answer.text


def open_home(folder: Path) -> Workspace:
    """An empty home whose pages are reached through a proxy: this program."""
    variables = {"LIKENESS_KEY": base64.b64encode(bytes(range(32))).decode()}
    workspace = create_workspace(read_environment(variables, home=folder / "home"))
    proxy = ReviewConfig(proxy_addresses=("testclient",), account_header="x-user", roles_header="x-roles")
    workspace.config = replace(workspace.config, review=proxy)
    return workspace


def timed(action: Callable[[], tuple[int, str]], rounds: int) -> tuple[float, float, list[tuple[int, str]]]:
    """Medians of wall and processor milliseconds, and the answers. The first round loads code and is not counted."""
    wall, processor, answers = [], [], []
    for number in range(rounds + 1):
        begun, busy = time.perf_counter(), time.process_time()
        answers.append(action())
        if number:
            wall.append(1000 * (time.perf_counter() - begun))
            processor.append(1000 * (time.process_time() - busy))
    return statistics.median(wall), statistics.median(processor), answers


PAGES: tuple[tuple[str, str, str], ...] = (
    ("today", "lead", "/"),
    ("cases", "reviewer", "/cases"),
    ("sheets", "reviewer", "/sheets"),
    ("people", "reviewer", "/people"),
    ("person", "lead", "/people/{subject}"),
    ("requests", "lead", "/requests"),
    ("messages", "lead", "/messages"),
    ("an uploader", "lead", "/uploaders?id={uploader}"),
    ("a model", "lead", "/models?id={model}"),
    ("fairness", "lead", "/fairness"),
    ("hits", "lead", "/explore/hits"),
    ("hits of a person", "lead", "/explore/hits?subject={subject}"),
    ("hits of an uploader", "lead", "/explore/hits?uploader={uploader}"),
    ("hits by score", "lead", "/explore/hits?sort=score&tier=face&score_to=0.5"),
    ("hits confirmed", "lead", "/explore/hits?decision=confirm"),
    ("hits of a rare word", "lead", "/explore/hits?rule=nothing"),
    ("items", "lead", "/explore/items"),
    ("models", "lead", "/explore/models"),
    ("uploaders", "lead", "/explore/uploaders"),
    ("decisions", "lead", "/explore/decisions?actor=account:reviewer-1"),
    ("thresholds", "lead", "/explore/thresholds?review=0.45"),
    ("audit", "auditor", "/audit"),
    ("preferences", "reviewer", "/you"),
)
"""Name, role and address of each page that is measured."""


def measure_pages(workspace: Workspace, filled: Filled, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each page."""
    for name, role, address in PAGES:
        somebody = Person(workspace, f"{role}-one", role)
        there = address.format(subject=filled.subject_id, uploader=filled.uploader, model=filled.model)
        wall, processor, answers = timed(partial(somebody.get, there), rounds)
        right = all(status == 200 and "</main>" in text for status, text in answers)
        yield {"page": name, "median_ms": round(wall, 1), "cpu_ms": round(processor, 1), "correct": right}


def measure_anew(workspace: Workspace, rounds: int) -> Iterator[dict[str, Any]]:
    """The rows of what is remembered for some seconds."""
    anew: dict[str, Callable[[], int]] = {
        "order read whole": lambda: len(Queue().cases(workspace)),
        "groups of sheets": lambda: len(_groups(workspace)),
        "missing coverage": lambda: 1 + len(_missing(workspace)),
        "scores read anew": lambda: sum(map(len, read_stored_scores(workspace).scores.values())),
    }
    for name, read in anew.items():
        wall, processor, answers = timed(lambda read=read: (read(), ""), rounds)  # type: ignore[misc]
        right = len(set(answers)) == 1 and answers[0][0] > 0
        yield {"page": name, "median_ms": round(wall, 1), "cpu_ms": round(processor, 1), "correct": right}


def _groups(workspace: Workspace) -> Sequence[Any]:
    with workspace.database.read() as connection:
        return list_groups(connection, most=200)


def _missing(workspace: Workspace) -> Sequence[Any]:
    with workspace.database.read() as connection:
        return read_missing(connection, workspace)


def measure_order(workspace: Workspace, filled: Filled, rounds: int) -> dict[str, Any]:
    """The row of bringing the order up to date after a transaction about one person."""
    queue, wall, processor = Queue(), list[float](), list[float]()
    own = sa.update(subjects).where(subjects.c.subject_id == filled.subject_id)
    queue.cases(workspace)
    for _ in range(rounds):
        with workspace.database.write() as tx:
            tx.execute(own.values(created_at=subjects.c.created_at))
        begun, busy = time.perf_counter(), time.process_time()
        found = queue.cases(workspace, fresh=True)
        wall.append(1000 * (time.perf_counter() - begun))
        processor.append(1000 * (time.process_time() - busy))
    with workspace.database.read() as connection:
        right = list(found) == waiting_cases(connection, workspace)
    return {
        "page": "order of one person read anew",
        "median_ms": round(statistics.median(wall), 1),
        "cpu_ms": round(statistics.median(processor), 1),
        "correct": right,
    }


def measure_next(workspace: Workspace, rounds: int) -> dict[str, Any]:
    """The row of going on to the next case."""
    somebody = [Person(workspace, f"reviewer-{number}", "reviewer") for number in range(rounds + 1)]
    for one in somebody:
        one.get("/cases")
    seen = iter(somebody)
    wall, processor, answers = timed(lambda: next(seen).next_case(), rounds)
    right = all(status == 200 and "data-case" in text for status, text in answers)
    return {"page": "next case", "median_ms": round(wall, 1), "cpu_ms": round(processor, 1), "correct": right}


def measure_claims(workspace: Workspace, reviewers: int) -> dict[str, Any]:
    """The row of many people who claim cases at once."""
    queue, claimed = Queue(), list[str]()
    begun, busy = time.perf_counter(), time.process_time()

    def claim(number: int) -> list[str]:
        made: list[str] = []
        for _ in range(CLAIMING):
            besides = made[-1] if made else None
            found = claim_next(workspace, queue, actor=f"account:many-{number}", besides=besides)
            made += [found.case_id] if found is not None else []
        return made

    with ThreadPoolExecutor(reviewers) as pool:
        for made in pool.map(claim, range(reviewers)):
            claimed += sorted(set(made))
    each = max(1, reviewers * CLAIMING)
    return {
        "page": f"claim, {reviewers} people at once",
        "median_ms": round(1000 * (time.perf_counter() - begun) / each, 1),
        "cpu_ms": round(1000 * (time.process_time() - busy) / each, 1),
        "correct": len(claimed) == len(set(claimed)) and len(claimed) >= reviewers,
    }


def check_lists(workspace: Workspace, filled: Filled) -> dict[str, Any]:
    """Whether the list of hits has every one once, and no list is read without an index."""
    begun, busy = time.perf_counter(), time.process_time()
    sent: list[tuple[str, Any]] = []

    def listen(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        sent.append((statement, values))

    with workspace.database.read() as connection:
        found = [row["hit_id"] for row in all_rows(connection, read_asked(HITS, {}, told=True), most=10**9)]
        sa.event.listen(workspace.database.engine, "before_cursor_execute", listen)
        for listing in LISTINGS.values():
            for order in listing.orders:
                read_page(connection, read_asked(listing, {"sort": order.name}, told=True))
        sa.event.remove(workspace.database.engine, "before_cursor_execute", listen)
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values) for text, values in sent]
        lines = [str(row[3]) for plan in plans for row in plan]
    scans = [line for line in lines if re.match(r"SCAN (?!CONSTANT|anon_|\()", line) and "INDEX" not in line]
    scans += [line for line in lines if line == "USE TEMP B-TREE FOR ORDER BY"]
    return {
        "page": "every page of hits",
        "median_ms": round(1000 * (time.perf_counter() - begun), 1),
        "cpu_ms": round(1000 * (time.process_time() - busy), 1),
        "correct": len(found) == len(set(found)) == filled.counted and not scans,
    }


def run(count: int, people: int, reviewers: int, rounds: int) -> list[dict[str, Any]]:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder, open_home(Path(folder)) as workspace:
        filled = fill(workspace, count=count, people=people, reviewers=reviewers)
        rows = list(measure_pages(workspace, filled, rounds))
        return [
            *rows,
            *measure_anew(workspace, rounds),
            measure_order(workspace, filled, rounds),
            measure_next(workspace, rounds),
            measure_claims(workspace, reviewers),
            check_lists(workspace, filled),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = run(options.hits, options.people, options.reviewers, options.rounds)
    facts = {"hits": options.hits, "people": options.people, "reviewers": options.reviewers, "rounds": options.rounds}
    return finish(rows, as_json=options.json, columns=tuple(rows[0]), **facts)


if __name__ == "__main__":
    sys.exit(main())
