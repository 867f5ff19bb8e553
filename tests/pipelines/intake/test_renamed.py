"""A name in what a file was called counts while the file is called so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.database.tables import hits
from pipelines.decisions.decide import decide
from pipelines.hits.verdicts import list_verdicts
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.fakes import WHITE, picture
from tests.pipelines.matching.test_examine import found, join
from tests.platform_facts import statuses

pytestmark = pytest.mark.any_database
DATA = picture(WHITE)


def list_as(workspace: Workspace, folder: Path, path: str, title: str | None = "a street") -> None:
    (folder / path).write_bytes(DATA)
    row = {"id": "a", "path": path, "received_at": "2026-02-27T10:00:00Z"} | ({"title": title} if title else {})
    (folder / "m.jsonl").write_text(json.dumps(row), encoding="utf-8")
    sweep(workspace, f"manifest:{folder / 'm.jsonl'}", day=None)


def test_a_hit_in_the_name_of_a_file_falls_when_the_file_is_called_otherwise(
    workspace: Workspace, tmp_path: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    hit = {("a", jane, "file_name", "full_name")}
    list_as(workspace, tmp_path, "jane doe.png")
    assert found(workspace) == hit
    list_as(workspace, tmp_path, "a street.png")
    assert found(workspace) == set()
    assert statuses(workspace, live=True) == {"a": "no_face"}
    with workspace.database.read() as connection:
        assert list_verdicts(connection) == []
    list_as(workspace, tmp_path, "Jane Doe 2.png")
    assert found(workspace) == hit
    assert statuses(workspace, live=True) == {"a": "hit"}


def test_a_change_that_leaves_the_name_leaves_the_hit(workspace: Workspace, tmp_path: Path) -> None:
    jane = join(workspace, "Jane Doe")
    list_as(workspace, tmp_path, "jane doe.png")
    (tmp_path / "moved").mkdir()
    list_as(workspace, tmp_path, "moved/jane doe.png")
    assert found(workspace) == {("a", jane, "file_name", "full_name")}


def test_what_a_person_confirmed_stands(workspace: Workspace, tmp_path: Path) -> None:
    jane = join(workspace, "Jane Doe")
    list_as(workspace, tmp_path, "jane doe.png")
    with workspace.database.read() as connection:
        ids = connection.execute(sa.select(hits.c.hit_id)).scalars().all()
    decide(workspace, ids, decision="confirm", reason="same_person", actor="ann")
    list_as(workspace, tmp_path, "a street.png")
    assert {hit[:3] for hit in found(workspace, "text")} == {("a", jane, "file_name")}
