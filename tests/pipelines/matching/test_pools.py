"""A model's pictures are compared together, by whoever posted them, and say what none of them says alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.database.tables import audit, items, kept_evidence, pool_faces, pooled_items, pools, verdicts
from pipelines.decisions.decide import decide
from pipelines.decisions.looks import explain_hit, look_at, look_at_pool
from pipelines.hits.listing import Hit, list_hits
from pipelines.hits.verdicts import list_model_verdicts, list_verdicts
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.matching.dropping import drop_faces, settle_dropped
from pipelines.matching.pool_coverage import unpooled_count
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import require_complete, sweep
from tests.conftest import Clock, believe_the_clock
from tests.embeddings.model_files import model_file
from tests.fakes import WHITE, person
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.matching.pooling_scene import drawn, post, see_drawings
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload


@pytest.fixture
def scene(workspace: Workspace) -> Workspace:
    see_drawings(workspace)
    return workspace


def pooled(workspace: Workspace, **chosen: str) -> list[Hit]:
    with workspace.database.read() as connection:
        return sorted(list_hits(connection, tier="pooled_face", **chosen), key=lambda hit: hit.item_id)


def night(workspace: Workspace, folder: Path) -> list[Hit]:
    sweep(workspace, source_of(folder), day=None)
    require_complete(workspace, Scope(None, None))
    return pooled(workspace)


def test_three_pictures_show_together_what_none_of_them_shows_alone(scene: Workspace, uploads: Path) -> None:
    subject_id = enrol(scene, person(1))
    for number in range(2):
        post(uploads, f"a{number}", drawn(1, number))
    assert night(scene, uploads) == []
    post(uploads, "a2", drawn(1, 2))
    found = night(scene, uploads)
    assert [(hit.item_id, hit.subject_id, hit.band) for hit in found] == [
        (f"a{number}.png", subject_id, "review") for number in range(3)
    ]
    for hit in found:
        assert hit.score == pytest.approx(0.3735, abs=1e-3)
        assert hit.alone_score == pytest.approx(0.305, abs=1e-3)
        assert (hit.pictures, hit.place, hit.pool) == (3, "m", found[0].pool)
        assert None not in (hit.reference_id, hit.face_box)
        assert (hit.verdict, hit.rule) == ("review", "pooled_face_above_review_threshold")
    with scene.database.read() as connection:
        (model,) = list_model_verdicts(connection)
        assert (model.model, model.verdict, model.generator_block) == ("m", "suspected", False)
        assert {row.status for row in connection.execute(sa.select(items.c.status))} == {"hit"}


def test_a_picture_that_speaks_for_itself_has_no_second_hit_and_still_counts_in_the_pool(
    scene: Workspace, uploads: Path
) -> None:
    enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    see_drawings(scene, likeness=0.6)
    assert night(scene, uploads) == [], "each is in the strong band by itself"
    with scene.database.read() as connection:
        assert connection.execute(sa.select(pools.c.pictures)).scalars().all() == [3]
        assert {hit.tier for hit in list_hits(connection)} == {"face"}


def test_the_order_of_nights_changes_nothing(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in (3, 1, 0, 2):
        post(uploads, f"a{number}", drawn(1, number))
        found = night(scene, uploads)
    assert [hit.pictures for hit in found] == [4] * 4
    with scene.database.read() as connection:
        assert len(connection.execute(sa.select(pools.c.number)).all()) == 1, "earlier pools are gone"


def test_copies_of_one_picture_count_once(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in range(10):
        post(uploads, f"a{number}", drawn(1, 0))
    post(uploads, "b", drawn(1, 1))
    assert night(scene, uploads) == []
    post(uploads, "c", drawn(1, 2))
    found = night(scene, uploads)
    assert {hit.pictures for hit in found} == {3}
    assert len(found) == 3, "one of the ten stands for them"


def test_what_strangers_attach_is_pooled_by_itself(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    post(uploads, "a0", drawn(1, 0), uploader="owner")
    post(uploads, "a1", drawn(1, 1), uploader="owner")
    post(uploads, "b2", drawn(1, 2), uploader="stranger")
    assert night(scene, uploads) == [], "two by one and one by another"
    for number in (3, 4):
        post(uploads, f"b{number}", drawn(1, number), uploader="stranger")
    found = night(scene, uploads)
    assert [hit.item_id for hit in found] == ["b2.png", "b3.png", "b4.png"]
    with scene.database.read() as connection:
        (model,) = list_model_verdicts(connection)
        assert model.verdict == "suspected"


def test_pictures_without_a_model_and_of_two_models_are_not_pooled(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number), model=None)
        post(uploads, f"b{number}", drawn(1, number + 3), model=f"m{number}")
    assert night(scene, uploads) == []


def test_who_comes_later_is_compared_with_the_pools_there_are(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(2))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number), WHITE)
    assert night(scene, uploads) == []
    request = ask_for_removal(scene, person(1))
    agree(scene, request.request_id, "one")
    done = rescan(scene, request_id=request.request_id)
    found = pooled(scene)
    assert [(hit.pictures, hit.found_by) for hit in found] == [(3, "rescan")] * 3
    assert all(hit.alone_score == pytest.approx(0.305, abs=1e-3) for hit in found)
    assert (done.searched_requests, done.hits) == (1, 3)
    assert rescan(scene).new_hits == 0
    require_complete(scene, Scope(None, None))


def test_nothing_is_complete_while_a_pool_waits(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(2))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    night(scene, uploads)
    with scene.database.write() as tx:
        tx.execute(sa.delete(pooled_items).where(pooled_items.c.item_id == "a1.png"))
    with scene.database.read() as connection:
        assert unpooled_count(connection, scene) == 1
    with pytest.raises(Exception, match="1 models whose pictures"):
        require_complete(scene, Scope(None, None))


def test_a_picture_that_goes_takes_its_part_with_it_at_once(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in range(4):
        post(uploads, f"a{number}", drawn(1, number))
    before = night(scene, uploads)
    with scene.database.read() as connection:
        sealed = connection.execute(sa.select(pools.c.sealed_vector)).scalar_one()
    _delete(uploads, "a3")
    after = night(scene, uploads)
    assert [hit.pictures for hit in after] == [3] * 3
    assert {hit.hit_id for hit in after}.isdisjoint(hit.hit_id for hit in before)
    for name in ("a2", "a1"):
        _delete(uploads, name)
        assert night(scene, uploads) == []
    with scene.database.read() as connection:
        assert connection.execute(sa.select(pools.c.number)).all() == []
        assert connection.execute(sa.select(pool_faces.c.number)).all() == []
        assert list_verdicts(connection) == []
        left = sa.select(items.c.status).where(items.c.live).distinct()
        assert connection.execute(left).scalars().all() == ["clean"]
        assert [one.verdict for one in list_model_verdicts(connection)] == ["clear"]
    scene.database.scrub()
    assert not _is_on_disk(scene, sealed)


def _is_on_disk(workspace: Workspace, data: bytes) -> bool:
    return any(data in path.read_bytes() for path in workspace.home.rglob("*") if path.is_file())


def _delete(folder: Path, name: str) -> None:
    beside = folder / f"{name}.png.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"deleted": True}))


def test_a_rejected_pool_stays_rejected_until_its_pictures_change(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    found = night(scene, uploads)
    done = decide(scene, [found[1].hit_id], decision="reject", reason="other_person", actor="one")
    assert (done.decisions, done.items) == (1, 3), "one answer for all of its pictures"
    with scene.database.read() as connection:
        said = {(row.verdict, row.rule) for row in connection.execute(sa.select(verdicts))}
    assert said == {("clear", "rejected_by_person")}
    assert night(scene, uploads) == []
    post(uploads, "b", drawn(1, 4))
    assert len(night(scene, uploads)) == 4


def test_a_confirmed_pool_takes_down_its_pictures_and_blocks_the_model(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    upload(uploads, "m", model_file(), kind="model", uploader="u")
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    found = night(scene, uploads)
    decide(scene, [found[0].hit_id], decision="confirm", reason="same_person", actor="one")
    with scene.database.read() as connection:
        assert {(one.verdict, one.rule) for one in list_verdicts(connection)} == {("takedown", "confirmed_by_person")}
        (model,) = list_model_verdicts(connection)
        assert (model.verdict, model.generator_block) == ("likeness_model", True)


def test_where_nothing_is_kept_pools_are_made_again_from_their_pictures(scene: Workspace, uploads: Path) -> None:
    scene.config = replace(scene.config, corpus=replace(scene.config.corpus, mode="none"))
    enrol(scene, person(2))
    for number in range(2):
        post(uploads, f"a{number}", drawn(1, number))
    night(scene, uploads)
    post(uploads, "a2", drawn(1, 2))
    night(scene, uploads)
    with scene.database.read() as connection:
        assert connection.execute(sa.select(pools.c.pictures, pools.c.sealed_vector)).all() == [(3, None)]
    enrol(scene, person(1))
    rescan(scene)
    assert [hit.pictures for hit in pooled(scene)] == [3] * 3


def test_vectors_of_pools_are_let_go_of_with_those_of_their_faces(
    scene: Workspace, uploads: Path, clock: Clock
) -> None:
    scene.config = replace(scene.config, corpus=replace(scene.config.corpus, max_age_days=10))
    enrol(scene, person(2))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    night(scene, uploads)
    with scene.database.read() as connection:
        assert connection.execute(sa.select(pools.c.sealed_vector)).scalar_one() is not None
    clock.forward(days=11)
    believe_the_clock(scene)
    compact(scene)
    with scene.database.read() as connection:
        assert connection.execute(sa.select(pools.c.sealed_vector)).scalar_one() is None
    enrol(scene, person(1))
    rescan(scene)
    assert len(pooled(scene)) == 3


def test_a_dropped_reference_takes_its_pools_with_it(scene: Workspace, uploads: Path) -> None:
    subject_id = enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    (hit, *_) = night(scene, uploads)
    with scene.database.write() as tx:
        dropped = drop_faces(tx, scene, subject_id, [hit.reference_id or ""])
        settle_dropped(tx, scene, dropped.pairs)
    assert pooled(scene) == []
    assert len(dropped.hits) == 3


def test_the_thresholds_of_pools_are_those_of_faces_until_a_calibration_measured_pools(
    scene: Workspace, uploads: Path
) -> None:
    enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    (hit, *_) = night(scene, uploads)
    assert hit.threshold == pytest.approx(0.363)
    assert "as for one face" in hit.threshold_source
    in_force(scene, review=0.363, strong=0.5, pooled=(0.38, 0.5))
    assert night(scene, uploads) == [], "0.374 is below the threshold of pools now"
    post(uploads, "a3", drawn(1, 3))
    (hit, *_) = night(scene, uploads)
    assert (hit.threshold, hit.pictures) == (pytest.approx(0.38), 4)
    assert "of pools of 3" in hit.threshold_source


def test_a_pool_says_which_pictures_it_is_of_and_what_each_scores_alone(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    (hit, *_) = night(scene, uploads)
    look = look_at(scene, hit.hit_id, actor="one", reference=True)
    assert (look.kept_at, look.problem) == (None, None), "its own face, from the source"
    with scene.database.read() as connection:
        explained = explain_hit(connection, hit.hit_id)
    assert [picture.item_id for picture in explained.pool] == ["a0.png", "a1.png", "a2.png"]
    for picture in explained.pool:
        assert picture.alone_score == pytest.approx(0.305, abs=1e-3)
        assert picture.hit_id is not None
        assert picture.weight == pytest.approx(0.9 * 64 / 112)
    shown = list(look_at_pool(scene, hit.hit_id, actor="one", reference=True))
    assert [one.picture for one in shown] == list(explained.pool), "of equal weight by item"
    assert len({one.look.png for one in shown if one.look}) == 3
    away = (uploads / "a1.png").rename(uploads.parent / "a1.png")
    with scene.database.write() as tx:
        tx.execute(sa.delete(kept_evidence))
    shown = list(look_at_pool(scene, hit.hit_id, actor="one"))
    assert [one.look is None for one in shown] == [False, True, False], "one that is gone costs itself"
    assert shown[1].problem
    with scene.database.read() as connection:
        rows = connection.execute(sa.select(audit.c.facts).where(audit.c.action == "crop.view")).scalars()
        assert len(list(rows)) == 7, "each look is on record"
    away.rename(uploads / "a1.png")
    _delete(uploads, "a1")
    night(scene, uploads)
    with scene.database.read() as connection:
        later = explain_hit(connection, hit.hit_id)
    assert not later.in_force
    assert [picture.item_id for picture in later.pool] == ["a0.png", "a1.png", "a2.png"], "it still explains itself"
