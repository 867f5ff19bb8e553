"""The benchmark of the analysts' pages measures pages that are right, and notices what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import review
from benchmarks.inputs.reviewed import fill


def test_pages_are_measured_and_right(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--hits", "200", "--people", "10", "--reviewers", "3", "--rounds", "1", "--json"]
    assert review.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all(row["correct"] for row in rows)
    assert {"cases", "hits", "next case", "every page of hits"} <= {row["page"] for row in rows}


def test_a_list_without_its_index_is_not_right(tmp_path: Path) -> None:
    with review.open_home(tmp_path) as workspace:
        filled = fill(workspace, count=50, people=5, reviewers=2)
        assert review.check_lists(workspace, filled)["correct"]
        with workspace.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX ix_hits_found")
        workspace.database.engine.dispose()  # an EXPLAIN that sqlite3 has cached is not prepared again
        assert not review.check_lists(workspace, filled)["correct"]
