"""FAISS as the engine of a home, and the night's check of one engine by the other (I3, I7)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError
from indexes.flat import FlatGallery
from indexes.gallery import Gallery
from indexes.join import Pairs
from pipelines.database import tables
from pipelines.home.workspace import Workspace
from pipelines.matching import second_engine
from pipelines.matching.galleries import load_gallery
from pipelines.matching.second_engine import check_by_other_engine
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload


def use(workspace: Workspace, index: Any) -> None:
    workspace.config = replace(workspace.config, matching=replace(workspace.config.matching, index=index))


def fill(workspace: Workspace, uploads: Path, *, items: int, first: int = 0) -> None:
    for number in range(first, first + items):
        upload(uploads, f"{number:02}.png", picture(person(number % 3), person(50 + number)))
    sweep(workspace, source_of(uploads), day=None)


def found(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(tables.hits.c.item_id, tables.hits.c.subject_id))
        return {(row.item_id, row.subject_id) for row in rows}


def test_i3_a_home_that_faiss_searches_finds_who_is_there(workspace: Workspace, uploads: Path) -> None:
    use(workspace, "faiss")
    early = enrol(workspace, person(0))
    fill(workspace, uploads, items=7)
    late = enrol(workspace, person(1))
    compact(workspace)
    rescan(workspace)
    assert found(workspace) == {
        ("00.png", early),
        ("03.png", early),
        ("06.png", early),
        ("01.png", late),
        ("04.png", late),
    }
    with workspace.database.read() as connection:
        assert isinstance(load_gallery(workspace, connection, subject_ids=[late]), FlatGallery)


@pytest.mark.parametrize("index", ["join", "faiss"])
def test_over_the_nights_every_shard_is_compared_again_by_the_other_engine(
    workspace: Workspace, uploads: Path, index: str
) -> None:
    use(workspace, index)
    assert check_by_other_engine(workspace).shard_id is None
    enrol(workspace, person(0))
    assert check_by_other_engine(workspace).faces == 0
    for first in (0, 2, 4):
        fill(workspace, uploads, items=2, first=first)
    seen = [check_by_other_engine(workspace) for _ in range(6)]
    assert len({one.shard_id for one in seen[:3]}) == 3
    assert [one.shard_id for one in seen[3:]] == [one.shard_id for one in seen[:3]], "then from the beginning"
    assert [one.faces for one in seen] == [4] * 6
    assert sum(one.pairs for one in seen[:3]) == 2


def test_a_large_shard_is_compared_again_part_by_part(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_engine, "MOST_COMPARISONS", 1)
    monkeypatch.setattr("indexes.stored.FreshVectors.__init__.__kwdefaults__", {"block_rows": 3})
    enrol(workspace, person(0))
    fill(workspace, uploads, items=4)
    with workspace.database.read() as connection:
        parts = {row.shard_id: -(-row.faces // 3) for row in connection.execute(sa.select(tables.shards))}
    turns = [shard_id for shard_id in sorted(parts) for _ in range(parts[shard_id])]
    seen = [check_by_other_engine(workspace) for _ in [*turns, "and once more"]]
    assert [one.shard_id for one in seen] == [*turns, turns[0]]
    assert max(one.faces for one in seen) == 3


def test_i7_a_part_in_which_the_engines_differ_has_its_turn_until_they_agree(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(workspace, person(0))
    for first in (0, 2):
        fill(workspace, uploads, items=2, first=first)
    with monkeypatch.context() as broken:
        broken.setattr(Gallery, "pairs_stored", lambda gallery, *_a, **_k: gallery.pairs(gallery.vectors, **_k))
        for _ in range(2):
            with pytest.raises(CorruptionError, match="two engines"):
                check_by_other_engine(workspace)
    there = check_by_other_engine(workspace).shard_id
    assert there != check_by_other_engine(workspace).shard_id


def test_i7_a_night_whose_engines_differ_stops_before_anything_counts_as_compared(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(workspace, person(0))
    fill(workspace, uploads, items=3)
    upload(uploads, "new.png", picture(person(0)))

    def blind(gallery: Gallery, *_: Any, **__: Any) -> Pairs:
        return gallery.pairs(gallery.vectors[:0], model_id=gallery.model_id, threshold=0.5)

    monkeypatch.setattr(Gallery, "pairs_stored", blind)
    with pytest.raises(CorruptionError, match="two engines"):
        sweep(workspace, source_of(uploads), day=None)
    assert read_status(workspace).statuses.get("pending") == 1
