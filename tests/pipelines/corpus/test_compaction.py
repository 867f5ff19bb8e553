"""Compaction: what is searched stays the same, what is gone leaves the disk, and no moment of dying loses anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError
from pipelines.cases.requests import accept_request, get_request
from pipelines.database import tables
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.matching.faces import match_pending
from pipelines.policy import BandSettings
from pipelines.runs.backfill import backfill, backfill_templates
from pipelines.runs.compaction import compact, hold
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.conftest import KEY, START, Clock, environment_for, fresh_workspace, use_fakes
from tests.fakes import fake_canary, fake_models, person, picture, vectors_of_colours
from tests.pipelines.runs.durability_process import run_compaction
from tests.pipelines.runs.test_privacy import forms_of_vector
from tests.platform_actions import ask_for_removal, enrol, source_of, upload
from tests.platform_facts import failing
from tests.searching import in_clear


def cut(workspace: Workspace, *, shard_items: int = 2, **corpus: Any) -> Workspace:
    """Small shards, and other settings of the corpus."""
    config = workspace.config
    workspace.config = replace(
        config,
        sweep=replace(config.sweep, shard_items=shard_items),
        corpus=replace(config.corpus, **corpus),
    )
    return workspace


def fill(workspace: Workspace, uploads: Path, *, items: int = 6, first: int = 0) -> None:
    """Sweep uploads of which each shows one of three people and a stranger."""
    for number in range(first, first + items):
        upload(uploads, f"{number:02}.png", picture(person(number % 3), person(50 + number)))
    sweep(workspace, source_of(uploads), day=None)


def found(workspace: Workspace) -> set[tuple[Any, ...]]:
    """Every hit with all that explains it, but for where and when it was found."""
    columns = [column for column in tables.hits.c if column.name not in ("found_at", "found_by")]
    with workspace.database.read() as connection:
        return {tuple(row) for row in connection.execute(sa.select(*columns))}


def files(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.corpus.folder.iterdir())


def test_i3_a_rescan_finds_the_same_in_many_small_shards_and_in_the_one_they_become(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    second = enrol(workspace, person(1))
    rescan(workspace)
    before = found(workspace)
    assert len(files(workspace)) == 3
    summary = compact(workspace)
    assert (summary.shards_before, summary.shards_after, summary.written, summary.dead_rows) == (3, 1, 1, 0)
    assert [Path(name).suffix for name in files(workspace)] == [".parquet", ".vectors"]
    with workspace.database.write() as tx:
        tx.execute(sa.delete(tables.hits).where(tables.hits.c.subject_id == second))
        tx.execute(sa.update(tables.subjects).where(tables.subjects.c.subject_id == second).values(version=3))
        tx.execute(sa.update(tables.state).where(tables.state.c.name == "registry_version").values(value="3"))
    assert found(workspace) != before
    rescan(workspace)
    assert found(workspace) == before
    assert failing(workspace) == set()


def test_a_second_compaction_has_nothing_to_do(workspace: Workspace, uploads: Path) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    compact(workspace)
    before = files(workspace)
    assert compact(workspace).written == 0
    assert files(workspace) == before


def test_shards_grow_to_the_configured_size_and_those_that_have_it_are_left_alone(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace, shard_items=1)
    enrol(workspace, person(0))
    fill(workspace, uploads, items=8)
    one = max(held.shard.entry.stored_bytes for held in hold(workspace))
    cut(workspace, shard_items=1, shard_bytes=4 * one)
    assert compact(workspace).shards_after == 2
    assert sorted(held.live for held in hold(workspace)) == [8, 8]
    large = files(workspace)
    cut(workspace, shard_items=1, shard_bytes=2 * hold(workspace)[0].shard.entry.stored_bytes - 1)
    fill(workspace, uploads, items=2, first=8)
    compact(workspace)
    assert set(large) < set(files(workspace))


def test_i4_shards_of_two_models_are_never_merged(workspace: Workspace, uploads: Path) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    workspace.models = fake_models("fake-2")  # type: ignore[misc]
    workspace.canary = fake_canary("fake-2")  # type: ignore[misc]
    (uploads / "00.png").rename(uploads.parent / "away.png")
    backfill(workspace, actor="tester")
    compact(workspace)
    assert sorted((held.shard.entry.model_id, held.live) for held in hold(workspace)) == [("fake-1", 2), ("fake-2", 10)]
    assert failing(workspace) == set()


def test_i4_vectors_of_two_models_are_each_searched_with_their_own_gallery(workspace: Workspace, uploads: Path) -> None:
    cut(workspace)
    workspace.models = fake_models("opencv-zoo-0")  # type: ignore[misc]
    workspace.canary = fake_canary("opencv-zoo-0")  # type: ignore[misc]
    enrol(workspace, person(0))
    fill(workspace, uploads)
    compact(workspace)
    known_to_both = ask_for_removal(workspace, person(1))
    accept_request(workspace, known_to_both.request_id, actor="tester")
    workspace.models = fake_models("opencv-zoo-1")  # type: ignore[misc]
    workspace.canary = fake_canary("opencv-zoo-1")  # type: ignore[misc]
    backfill_templates(workspace, actor="tester")
    new = enrol(workspace, person(2))
    upload(uploads, "new.png", picture(person(1), person(2)))
    sweep(workspace, source_of(uploads), day=None)
    rescan(workspace)
    with workspace.database.read() as connection:
        by_model = {(hit.subject_id, hit.item_id, hit.model_id) for hit in list_hits(connection)}
        assert get_request(connection, known_to_both.request_id).state == "under_review"
    subject_id = known_to_both.subject_id
    assert {row for row in by_model if row[0] in (subject_id, new)} == {
        (subject_id, "01.png", "opencv-zoo-0"),
        (subject_id, "04.png", "opencv-zoo-0"),
        (subject_id, "new.png", "opencv-zoo-1"),
        (new, "new.png", "opencv-zoo-1"),  # and by the old models not at all: they have no template of this person
    }
    backfill(workspace, actor="tester")
    compact(workspace)
    with workspace.database.read() as connection:
        found_now = {(hit.subject_id, hit.item_id) for hit in list_hits(connection) if hit.model_id == "opencv-zoo-1"}
    assert {row for row in found_now if row[0] == new} == {(new, name) for name in ("02.png", "05.png", "new.png")}
    assert [held.shard.entry.model_id for held in hold(workspace)] == ["opencv-zoo-1"]


def test_i2_what_only_some_shards_were_compared_with_is_compared_again_after_they_were_merged(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads, items=4)
    late = enrol(workspace, person(1))
    fill(workspace, uploads, items=2, first=4)  # compared with both; the first four only with the first
    compact(workspace)
    assert read_status(workspace).pairs_missing == 6
    rescan(workspace)
    assert {row[1] for row in found(workspace) if late in row} == {"01.png", "04.png"}
    assert read_status(workspace).coverage == 1.0


def test_i2_a_merged_shard_counts_as_compared_at_the_highest_threshold_of_its_sources(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads, items=2)
    settings = replace(workspace.policy.settings, bands={"opencv-zoo": BandSettings(review=0.2, strong=0.5)})
    workspace.policy = replace(workspace.policy, settings=settings, version="lower")  # type: ignore[misc]
    fill(workspace, uploads, items=2, first=2)
    assert read_status(workspace).pairs_missing == 2
    compact(workspace)
    assert read_status(workspace).pairs_missing == 4


def test_a_shard_that_was_never_compared_is_not_merged_with_those_that_were(
    workspace: Workspace, uploads: Path
) -> None:
    from pipelines.intake.ledger import Scope
    from pipelines.runs.sweep import list_source
    from pipelines.scan.faces import scan_pending

    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads, items=4)
    upload(uploads, "new.png", picture(person(0)))
    list_source(workspace, source_of(uploads), day=None)
    scan_pending(workspace, Scope(None, None))
    compact(workspace)
    assert sorted(held.live for held in hold(workspace)) == [1, 8]
    assert match_pending(workspace, found_by="sweep").hits == 1


def delete(uploads: Path, workspace: Workspace, name: str) -> None:
    upload(uploads, name, (uploads / name).read_bytes(), deleted=True)
    sweep(workspace, source_of(uploads), day=None)


def test_a_deleted_face_is_never_found_and_goes_after_the_days_of_grace(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    cut(workspace, dead_ratio=1.0, grace_days=3)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    compact(workspace)
    delete(uploads, workspace, "01.png")
    late = enrol(workspace, person(1))
    rescan(workspace)
    assert {row[1] for row in found(workspace) if late in row} == {"04.png"}
    status = read_status(workspace).corpus
    assert (status.faces, status.dead_rows, status.dead_since) == (10, 2, None)
    assert compact(workspace).dead_rows == 0
    assert read_status(workspace).corpus.dead_since == clock()
    clock.forward(days=2)
    assert compact(workspace).dead_rows == 0
    clock.forward(days=1)
    assert compact(workspace).dead_rows == 2
    status = read_status(workspace).corpus
    assert (status.faces, status.dead_rows, status.dead_since) == (10, 0, None)
    assert failing(workspace) == set()


def test_a_shard_is_rewritten_at_once_when_much_of_it_is_dead_or_when_it_is_asked_for(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace, dead_ratio=0.3)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    compact(workspace)
    delete(uploads, workspace, "00.png")
    assert compact(workspace).dead_rows == 0
    delete(uploads, workspace, "01.png")
    assert compact(workspace).dead_rows == 4
    delete(uploads, workspace, "02.png")
    assert compact(workspace, purge=True).dead_rows == 2


def test_a_shard_without_a_live_face_goes_at_once(workspace: Workspace, uploads: Path) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads, items=2)
    for name in ("00.png", "01.png"):
        delete(uploads, workspace, name)
    summary = compact(workspace)
    assert (summary.shards_after, summary.dead_rows, files(workspace)) == (0, 4, [])
    assert failing(workspace) == set()


class NoCipher:
    """Seals nothing, so that a byte search sees what is there."""

    def __init__(self, key: bytes) -> None:
        pass

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return data + bytes(16)

    def decrypt_into(self, nonce: bytes, data: memoryview, aad: bytes, plain: memoryview) -> None:
        plain[:] = data[: len(plain)]


def pieces_on_disk(workspace: Workspace, who: int) -> set[str]:
    """In which forms pieces of the person's vector lie in any file below the home."""
    everybody = vectors_of_colours([*map(person, range(3)), *map(person, range(50, 56))])
    needles = forms_of_vector("", vectors_of_colours([person(who)])[0], beside=everybody)
    everything = b"".join(path.read_bytes() for path in workspace.home.rglob("*") if path.is_file())
    return {label.split()[0] for label, needle in needles.items() if in_clear(needle, everything)}


@pytest.mark.parametrize("compacted", [False, True])
def test_i8_a_deleted_face_lies_on_disk_before_the_compaction_and_in_no_form_after_it(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch, compacted: bool
) -> None:
    monkeypatch.setattr("indexes.sealed.AESGCM", NoCipher)
    for kind in ("encryption", "decryption"):
        monkeypatch.setattr(f"pyarrow.parquet.encryption.create_{kind}_properties", lambda *_, **__: None)
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    if compacted:
        compact(workspace)
    delete(uploads, workspace, "01.png")
    assert pieces_on_disk(workspace, 51) == ({"float32", "int8"} if compacted else {"float32"})
    compact(workspace, purge=True)
    assert pieces_on_disk(workspace, 51) == set()
    assert pieces_on_disk(workspace, 52) == {"float32", "int8"}


@pytest.mark.parametrize("suffix", [".parquet", ".vectors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "older"])
def test_i7_a_damaged_file_of_a_compacted_shard_stops_the_rescan_and_is_found_by_verify(
    tmp_path: Path, uploads: Path, clock: Clock, suffix: str, damage: str
) -> None:
    with use_fakes(fresh_workspace(tmp_path / "home", now=clock)) as workspace:
        cut(workspace)
        enrol(workspace, person(0))
        fill(workspace, uploads)
        compact(workspace)
        (file,) = workspace.corpus.folder.glob(f"*{suffix}")
        data = bytearray(file.read_bytes())
        if damage == "flip":
            data[200] ^= 1  # of the vectors' file: in the codes, which every search reads
        if damage == "older":  # another sealing of other faces under the very same name
            (held,) = hold(workspace)
            entry = held.shard.entry
            table = workspace.corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id))
            workspace.corpus.write(
                table.take(np.arange(len(table))[::-1]),
                shard_id=entry.shard_id,
                model_id=entry.model_id,
                dimension=entry.dimension,
                key=workspace.sealer.shard_key(entry.shard_id),
                before_rename=lambda: None,
                apart=True,
            )
        elif damage == "remove":
            file.unlink()
        else:
            file.write_bytes(data[: -1 if damage == "cut" else None])
        assert {finding.check for finding in verify(workspace) if not finding.ok} - {"model files"} == {
            "manifest and shards"
        }
        enrol(workspace, person(1))
        with pytest.raises(CorruptionError, match="shard"):
            rescan(workspace)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("limited", [False, True], ids=["everybody", "one-of-two"])
def test_i6_a_compaction_while_somebody_searches_costs_no_pair(
    workspace: Workspace, uploads: Path, open_again: Callable[[], Workspace], moment: str, limited: bool
) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    late, other = enrol(workspace, person(1)), enrol(workspace, person(2))
    read = workspace.corpus.read

    def slow(*arguments: Any, **options: Any) -> Any:
        workspace.corpus.read = read  # type: ignore[method-assign]
        table = read(*arguments, **options) if moment == "after" else None
        compact(cut(open_again()))
        return table if moment == "after" else read(*arguments, **options)

    workspace.corpus.read = slow  # type: ignore[method-assign]
    match_pending(workspace, found_by="rescan", subject_ids=[late] if limited else None)
    assert {row[1] for row in found(workspace) if late in row} == {"01.png", "04.png"}
    assert {row[1] for row in found(workspace) if other in row} == (set() if limited else {"02.png", "05.png"})
    assert rescan(workspace).coverage == 1.0
    assert {row[1] for row in found(workspace) if other in row} == {"02.png", "05.png"}


KILLS = [
    *(("before_shard_rename", passage) for passage in (1, 2)),
    *(("after_shard_rename", 1), ("before_compaction_commit", 1), ("after_compaction_commit", 1)),
    *(("before_compaction_commit", 2), ("after_compaction_commit", 2)),
]
FOUND = ["00.png", "03.png", "04.png", "06.png", "07.png"]
"""Items with a hit after a rescan of what is prepared: the first was found before it was deleted."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with shards to merge, dead rows, and one shard that nobody names."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "uploads").mkdir()
    with use_fakes(fresh_workspace(folder / "home", now=lambda: START)) as workspace:
        cut(workspace)
        enrol(workspace, person(0))
        fill(workspace, folder / "uploads", items=8)
        for name in ("00.png", "01.png", "02.png"):
            delete(folder / "uploads", workspace, name)
        enrol(workspace, person(1))
    return folder


@pytest.mark.parametrize(("failpoint", "passage"), KILLS)
def test_i6_a_compaction_that_is_killed_loses_nothing_and_the_next_leaves_nothing_behind(
    prepared: Path, tmp_path: Path, failpoint: str, passage: int
) -> None:
    shutil.copytree(prepared / "home", tmp_path / "home")
    killed = run_compaction(tmp_path / "home", {"LIKENESS_KEY": KEY, "LIKENESS_FAILPOINT": f"{failpoint}:{passage}"})
    assert killed.returncode == -9, killed.stderr[-2000:]
    shutil.copytree(tmp_path / "home", tmp_path / "searched-at-once")
    for home in ("home", "searched-at-once"):
        with use_fakes(open_workspace(environment_for(tmp_path / home), now=lambda: START)) as workspace:
            assert failing(workspace) == set()
            if home == "home":
                compact(workspace, purge=True)
                (held,) = hold(workspace)
                assert (held.live, held.dead) == (10, 0)
                assert files(workspace) == sorted(held.shard.entry.files)
            rescan(workspace)
            assert sorted(row[1] for row in found(workspace)) == FOUND
            assert failing(workspace) == set()


def test_i6_a_full_disk_costs_a_compaction_nothing(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "home", tmp_path / "home")
    failed = run_compaction(tmp_path / "home", {"LIKENESS_KEY": KEY}, "--most-bytes", "100")
    assert (failed.returncode, failed.stderr.partition(":")[0]) == (1, "error")
    with use_fakes(open_workspace(environment_for(tmp_path / "home"), now=lambda: START)) as workspace:
        assert failing(workspace) == set()
        compact(workspace, purge=True)
        rescan(workspace)
        assert sorted(row[1] for row in found(workspace)) == FOUND


def test_leavings_of_both_kinds_are_removed(workspace: Workspace, uploads: Path) -> None:
    cut(workspace)
    enrol(workspace, person(0))
    fill(workspace, uploads)
    left = [workspace.corpus.folder / name for name in ("a.vectors", "b.parquet", ".c.vectors.1.tmp")]
    for path in left:
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    assert compact(workspace).leavings == 3
    assert not any(path.exists() for path in left)
