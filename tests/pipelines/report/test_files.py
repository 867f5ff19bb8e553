"""CSV and Parquet carry the same rows, and files appear whole or not at all."""

from __future__ import annotations

import csv
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.home.private_files import publish
from pipelines.home.workspace import Workspace
from pipelines.report import write_report
from pipelines.report.export import HIT_SCHEMA
from pipelines.report.facts import ReportHit
from tests.pipelines.report.rows import (
    DAY,
    NOW,
    add_hit,
    add_item,
    add_shard,
    add_subject,
    add_takedown,
    content_of,
)


def fill(workspace: Workspace) -> list[str]:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a")
        add_shard(tx, workspace, covered_version=1)
        for name in ("one", "two", "three"):
            add_item(tx, name, status="hit", parent_model="model-1" if name == "one" else None)
        ids = [
            add_hit(tx, workspace, "one", "sub_a", score=0.8, verdict="takedown", x1=-3.25),
            add_hit(tx, workspace, "one", "sub_a", score=0.6, face=1, verdict="takedown"),
            add_hit(tx, workspace, "two", "sub_a", score=0.1 + 0.3),
            add_hit(tx, workspace, "three", "sub_a", verdict=None),
        ]
        add_takedown(tx, "one", "sub_a")
    return ids


def parsed(cell: str, kind: pa.DataType) -> Any:
    if cell == "":
        return None
    if pa.types.is_floating(kind):
        return float(cell)
    if pa.types.is_integer(kind):
        return int(cell)
    return datetime.fromisoformat(cell) if pa.types.is_timestamp(kind) else cell


def test_columns_are_the_fields_of_a_hit() -> None:
    assert HIT_SCHEMA.names == [field.name for field in fields(ReportHit)]


def test_csv_and_parquet_agree_cell_by_cell(workspace: Workspace, folder: Path) -> None:
    ids = fill(workspace)
    files = write_report(workspace, day=DAY, folder=folder)
    table = pq.read_table(files.parquet)
    assert table.schema.equals(HIT_SCHEMA)
    assert table["hit_id"].to_pylist() == sorted(ids)
    with files.csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    typed = [{field.name: parsed(row[field.name], field.type) for field in HIT_SCHEMA} for row in rows]
    assert typed == table.to_pylist()


def test_a_row_says_what_became_of_the_hit(workspace: Workspace, folder: Path) -> None:
    ids = fill(workspace)
    rows = {
        row["hit_id"]: row
        for row in pq.read_table(write_report(workspace, day=None, folder=folder).parquet).to_pylist()
    }
    taken, second, _, fresh = (rows[hit_id] for hit_id in ids)
    assert taken["takedown_id"] == second["takedown_id"] == f"msg_{content_of('one|sub_a|policy-1')[:32]}"
    assert (taken["takedown_state"], taken["verdict"]) == ("pending", "takedown")
    assert taken["rule"] == "strong_face_in_distinct_images"
    assert (fresh["verdict"], fresh["judged_at"], fresh["takedown_id"]) == (None, None, None)
    assert taken["found_at"] == NOW


def test_a_withdrawn_takedown_is_named_only_when_none_stands(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        standing = add_takedown(tx, "two", "sub_a", state="done")
        later = NOW + timedelta(hours=1)
        add_takedown(tx, "two", "sub_a", policy="policy-2", state="withdrawn", created_at=later)
        withdrawn = add_takedown(tx, "three", "sub_a", state="withdrawn")
    rows = pq.read_table(write_report(workspace, day=DAY, folder=folder).parquet).to_pylist()
    named = {row["item_id"]: (row["takedown_id"], row["takedown_state"]) for row in rows if row["item_id"] != "one"}
    assert named == {"two": (standing, "done"), "three": (withdrawn, "withdrawn")}


def test_an_empty_day_still_writes_typed_files(workspace: Workspace, folder: Path) -> None:
    files = write_report(workspace, day=DAY, folder=folder)
    assert pq.read_table(files.parquet).schema.equals(HIT_SCHEMA)
    assert files.csv.read_text(encoding="utf-8").strip() == ",".join(HIT_SCHEMA.names)
    assert len(files.unscanned_csv.read_text(encoding="utf-8").splitlines()) == 1


def test_writing_again_replaces_and_leaves_nothing_else(workspace: Workspace, folder: Path) -> None:
    first = write_report(workspace, day=DAY, folder=folder)
    before = first.html.read_bytes()
    fill(workspace)
    write_report(workspace, day=DAY, folder=folder)
    assert first.html.read_bytes() != before
    stem = f"report-{DAY}"
    names = {f"{stem}{end}" for end in (".html", ".csv", ".parquet", "-unscanned.csv")}
    names |= {f"{stem}-models.csv", f"{stem}-models.parquet", "blocked-days.html"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_reader_who_has_the_page_open_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    publish(path, lambda file: file.write(b"old"), overwrite=True)
    with path.open("rb") as reader:
        publish(path, lambda file: file.write(b"newer"), overwrite=True)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"newer"


def test_a_write_that_fails_leaves_the_old_page_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    publish(path, lambda file: file.write(b"old"), overwrite=True)

    def fail(file: BinaryIO) -> None:
        file.write(b"half a pa")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(path, fail, overwrite=True)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
