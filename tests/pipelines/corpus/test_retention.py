"""What must not be kept is not searched from the store, leaves the disk, and changes no hit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embeddings.errors import NotReadyError
from pipelines.cases.requests import get_request
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.runs.compaction import compact, hold
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from tests.conftest import Clock, believe_the_clock
from tests.fakes import person, picture
from tests.pipelines.corpus.test_compaction import NoCipher, cut, fill, found, pieces_on_disk
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload
from tests.platform_facts import failing, statuses


def items_with(workspace: Workspace, subject_id: str) -> set[str]:
    with workspace.database.read() as connection:
        return {hit.item_id for hit in list_hits(connection, subject_id=subject_id)}


def corpus_files(workspace: Workspace) -> list[Path]:
    return sorted(workspace.corpus.folder.iterdir())


@pytest.fixture(params=[{"mode": "none"}, {"max_age_days": 30}], ids=["none", "aged"])
def without(request: pytest.FixtureRequest, workspace: Workspace, uploads: Path, clock: Clock) -> Workspace:
    """Six swept items, of which nothing is kept any more, by either rule."""
    cut(workspace, **request.param)
    enrol(workspace, person(0), days=400)
    fill(workspace, uploads)
    clock.forward(days=31)
    believe_the_clock(workspace)
    return workspace


def test_i3_a_rescan_embeds_again_what_is_not_kept_and_finds_the_same(
    without: Workspace, uploads: Path, clock: Clock
) -> None:
    late = enrol(without, person(1))
    summary = rescan(without)
    assert (summary.new_hits, summary.coverage, summary.faces) == (2, 1.0, 12)
    assert items_with(without, late) == {"01.png", "04.png"}
    assert corpus_files(without) == []
    status = read_status(without).corpus
    assert (status.shards, status.faces, status.faces_without_vectors) == (0, 0, 12)
    assert rescan(without).shards == 0
    assert failing(without) == set()


def test_i8_what_is_too_old_or_not_to_be_kept_lies_on_disk_in_no_form(
    workspace: Workspace, uploads: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexes.sealed.AESGCM", NoCipher)
    for kind in ("encryption", "decryption"):
        monkeypatch.setattr(f"pyarrow.parquet.encryption.create_{kind}_properties", lambda *_, **__: None)
    cut(workspace)
    enrol(workspace, person(0), days=400)
    fill(workspace, uploads, items=2)
    clock.forward(days=20)
    fill(workspace, uploads, items=2, first=2)
    compact(workspace)
    assert pieces_on_disk(workspace, 51) == pieces_on_disk(workspace, 52) == {"float32", "int8"}
    clock.forward(days=20)
    cut(workspace, max_age_days=30)
    compact(workspace)
    assert pieces_on_disk(workspace, 51) == set()
    assert pieces_on_disk(workspace, 52) == {"float32", "int8"}
    cut(workspace, mode="none")
    compact(workspace)
    assert pieces_on_disk(workspace, 52) == set()
    fill(workspace, uploads, items=1, first=4)
    assert pieces_on_disk(workspace, 54) == set()


def test_only_the_faces_that_are_too_old_are_embedded_again(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    cut(workspace, max_age_days=30)
    enrol(workspace, person(0), days=400)
    fill(workspace, uploads, items=3)
    clock.forward(days=20)
    fill(workspace, uploads, items=3, first=3)
    compact(workspace)
    clock.forward(days=20)
    for number in range(6):
        (uploads / f"{number:02}.png").unlink()  # what is embedded again shows by what cannot be had
    late = enrol(workspace, person(1))
    rescan(workspace)
    assert items_with(workspace, late) == {"04.png"}
    assert {name for name, status in statuses(workspace).items() if status.startswith("fetch_failed")} == {
        *("00.png", "01.png", "02.png")
    }
    assert failing(workspace) == set()


def test_i1_what_cannot_be_had_says_so_keeps_its_hits_and_holds_up_nobody(
    without: Workspace, uploads: Path, clock: Clock
) -> None:
    (uploads / "00.png").rename(uploads.parent / "away-0.png")
    (uploads / "01.png").rename(uploads.parent / "away-1.png")
    request = ask_for_removal(without, person(1))
    for actor in ("tester", "second"):  # what is not kept cannot be previewed
        agree(without, request.request_id, actor)
    before = found(without)
    rescan(without)
    assert statuses(without) == {
        **dict.fromkeys(("00.png", "01.png"), "fetch_failed:missing"),
        **dict.fromkeys(("03.png", "04.png"), "hit"),
        **dict.fromkeys(("02.png", "05.png"), "clean"),
    }
    assert items_with(without, request.subject_id) == {"04.png"}
    assert before <= found(without)
    with without.database.read() as connection:
        assert "00.png" in {hit.item_id for hit in list_hits(connection)}
        assert get_request(connection, request.request_id).state == "under_review"
    assert failing(without) == set()
    for number in range(2):
        (uploads.parent / f"away-{number}.png").rename(uploads / f"0{number}.png")
    clock.forward(hours=1)  # until the next try is due
    sweep(without, source_of(uploads), day=None)
    assert statuses(without)["00.png"] == statuses(without)["01.png"] == "hit"
    assert items_with(without, request.subject_id) == {"01.png", "04.png"}


def test_content_that_an_unreachable_item_has_too_is_embedded_for_a_new_item(without: Workspace, uploads: Path) -> None:
    (uploads / "00.png").rename(uploads.parent / "away.png")
    enrol(without, person(1))
    rescan(without)
    upload(uploads, "again.png", (uploads.parent / "away.png").read_bytes())
    sweep(without, source_of(uploads), day=None)
    assert statuses(without)["again.png"] == "hit"


def test_content_that_changed_without_a_listing_waits_for_the_scan(without: Workspace, uploads: Path) -> None:
    (uploads / "02.png").write_bytes(picture(person(1)))
    late = enrol(without, person(1))
    rescan(without)
    assert statuses(without)["02.png"] == "pending"
    assert items_with(without, late) == {"01.png", "04.png"}
    sweep(without, source_of(uploads), day=None)
    assert items_with(without, late) == {"01.png", "02.png", "04.png"}


def test_i7_a_source_that_is_down_stops_the_rescan_and_says_nothing_of_the_items(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace, shard_items=32, mode="none")
    enrol(workspace, person(0))
    fill(workspace, uploads, items=20)
    uploads.rename(uploads.parent / "down")
    uploads.mkdir()
    enrol(workspace, person(1))
    before = statuses(workspace)
    with pytest.raises(NotReadyError, match="is the source down"):
        rescan(workspace)
    assert statuses(workspace) == before
    uploads.rmdir()
    (uploads.parent / "down").rename(uploads)
    assert rescan(workspace).coverage == 1.0


def test_shards_without_vectors_stay_as_small_as_one_batch(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    cut(workspace)
    enrol(workspace, person(0), days=400)
    fill(workspace, uploads)
    compact(workspace)
    clock.forward(days=31)
    believe_the_clock(workspace)
    cut(workspace, max_age_days=30)
    compact(workspace)
    assert sorted(held.live for held in hold(workspace)) == [4, 4, 4]
    assert rescan(workspace).shards == 0


def test_small_shards_without_vectors_become_one_that_was_compared_with_the_same_people(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace, mode="none", shard_items=5)
    enrol(workspace, person(0))
    for number in range(3):
        fill(workspace, uploads, items=1, first=number)
    before = found(workspace)
    compact(workspace)
    assert sorted(held.live for held in hold(workspace)) == [2, 4]  # a fifth face would be the first of a next batch
    assert compact(workspace).rewritten == 0
    assert (rescan(workspace).shards, found(workspace)) == (0, before)
    late = enrol(workspace, person(1))
    assert (rescan(workspace).coverage, items_with(workspace, late)) == (1.0, {"01.png"})
    assert corpus_files(workspace) == []
    assert failing(workspace) == set()


def explained(workspace: Workspace) -> set[tuple[Any, ...]]:
    return {row[1:4] for row in found(workspace)}


def test_i6_a_night_that_keeps_nothing_can_be_cut_off_between_embedding_and_comparing(
    workspace: Workspace, uploads: Path
) -> None:
    cut(workspace, mode="none")
    enrol(workspace, person(0))

    def die(name: str) -> None:
        if name == "before_match_commit":
            raise KeyboardInterrupt

    before = workspace.failpoints.pass_by
    workspace.failpoints.pass_by = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        fill(workspace, uploads)
    assert len(corpus_files(workspace)) == 3
    workspace.failpoints.pass_by = before  # type: ignore[method-assign]
    sweep(workspace, source_of(uploads), day=None)
    assert corpus_files(workspace) == []
    assert {row[0] for row in explained(workspace)} == {"00.png", "03.png"}
