"""What was found can be looked at whatever becomes of the source, as long as somebody may ask, and no longer (I12)."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from embeddings.errors import CorruptionError, FetchError, StateError
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.requests import accept_request
from pipelines.database import tables
from pipelines.database.tables import kept_evidence
from pipelines.decisions.decide import decide
from pipelines.decisions.looks import look_at, reveal
from pipelines.evidence.kept import KeptFacts, open_picture, read_kept
from pipelines.hits.counting import live_hits
from pipelines.hits.listing import Hit
from pipelines.home.recent import RecentContents
from pipelines.home.workspace import Workspace
from pipelines.registry.renewal import renew
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.conftest import Clock, believe_the_clock
from tests.fakes import SIDE, content_of, person, picture
from tests.pipelines.takedown.delivering import ScriptedClient, dispatch_once
from tests.platform_actions import DAY, NAME, ask_for_removal, enrol, night, source_of, upload
from tests.platform_facts import hits_in_force
from tests.searching import everything_under, in_clear


def configure(workspace: Workspace, **values: Any) -> None:
    workspace.config = replace(workspace.config, evidence=replace(workspace.config.evidence, **values))


def kept(workspace: Workspace, hit_id: str) -> KeptFacts | None:
    with workspace.database.read() as connection:
        return read_kept(connection, hit_id)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def near(found: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(found.astype(int) - np.array(colour)) < 12).all())


def evict(uploads: Path) -> None:
    for file in uploads.iterdir():
        file.unlink()


@pytest.fixture
def hit(workspace: Workspace, uploads: Path) -> Hit:
    """The second of two people in a picture."""
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(150), person(1)), uploader="u-1")
    night(workspace, uploads)
    (found,) = hits_in_force(workspace)
    return found


def test_i12_a_look_needs_no_source_once_a_hit_was_found(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    fresh = look_at(workspace, hit.hit_id, actor="ann")
    assert (fresh.kept_at, fresh.problem) == (None, None)
    evict(uploads)
    shown = look_at(workspace, hit.hit_id, actor="ann", reference=True)
    assert shown.kept_at == workspace.now()
    assert "missing" in (shown.problem or "")
    found = pixels(shown.png)
    assert found.shape[0] == 112
    assert near(pixels(look_at(workspace, hit.hit_id, actor="ann").png)[SIDE // 2, -1], person(1))


def test_i12_a_rotated_manifest_loses_no_evidence_and_stops_nothing(workspace: Workspace, tmp_path: Path) -> None:
    enrol(workspace, person(1))
    (tmp_path / "files").mkdir()
    for number in (0, 1):
        (tmp_path / f"files/{number}.png").write_bytes(picture(person(1), person(60 + number)))
        row = {"id": f"i-{number}", "path": f"files/{number}.png", "received_at": DAY.isoformat(), "kind": "image"}
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    configure(workspace, keep_crops=False)
    sweep(workspace, f"manifest:{tmp_path}/0.jsonl", day=None)
    (tmp_path / "0.jsonl").unlink()
    configure(workspace, keep_crops=True)
    sweep(workspace, f"manifest:{tmp_path}/1.jsonl", day=None)
    (tmp_path / "1.jsonl").unlink()
    (tmp_path / "files/0.png").unlink()
    (tmp_path / "files/1.png").unlink()
    for hit in hits_in_force(workspace):
        assert look_at(workspace, hit.hit_id, actor="ann").kept_at is not None
    assert len(hits_in_force(workspace)) == 2


def test_i12_what_a_rescan_finds_is_kept_as_well(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(9))
    upload(uploads, "a.png", picture(person(2)))
    night(workspace, uploads)
    accept_request(workspace, ask_for_removal(workspace, person(2)).request_id, actor="tester")
    rescan(workspace)
    (hit,) = hits_in_force(workspace)
    evict(uploads)
    assert near(pixels(look_at(workspace, hit.hit_id, actor="ann").png)[SIDE // 2, SIDE // 2], person(2))


def test_i12_without_a_corpus_the_crops_of_hits_are_kept_all_the_same(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, corpus=replace(workspace.config.corpus, mode="none"))
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    night(workspace, uploads)
    (hit,) = hits_in_force(workspace)
    evict(uploads)
    assert look_at(workspace, hit.hit_id, actor="ann").kept_at is not None


def test_a_setting_keeps_none_and_turning_it_off_loses_none(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    configure(workspace, keep_crops=False)
    upload(uploads, "b.png", picture(person(1), person(61)))
    night(workspace, uploads)
    assert kept(workspace, hit.hit_id) is not None
    (new,) = [one for one in hits_in_force(workspace) if one.item_id == "b.png"]
    assert kept(workspace, new.hit_id) is None
    (uploads / "b.png").unlink()
    with pytest.raises(FetchError):
        look_at(workspace, new.hit_id, actor="ann")


def test_what_could_not_be_had_is_said_and_tried_by_the_next_run(workspace: Workspace, uploads: Path) -> None:
    configure(workspace, recent_bytes=0)
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))

    def lose(stage: str, done: int, _total: int, _detail: str = "") -> None:
        if stage == "match" and done == 0 and (uploads / "a.png").exists():
            (uploads / "a.png").rename(uploads.parent / "aside.png")

    sweep(workspace, source_of(uploads), day=None, progress=lose)
    (hit,) = hits_in_force(workspace)
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert (facts.picture, facts.problem) == (False, "fetch_failed:missing")
    (uploads.parent / "aside.png").rename(uploads / "a.png")
    rescan(workspace)
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert (facts.picture, facts.problem) == (True, None)


def test_i12_what_is_gone_before_it_was_compared_is_kept_from_what_the_scan_read(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))

    def lose(stage: str, done: int, _total: int, _detail: str = "") -> None:
        if stage == "match" and done == 0:
            (uploads / "a.png").unlink(missing_ok=True)

    sweep(workspace, source_of(uploads), day=None, progress=lose)
    (hit,) = hits_in_force(workspace)
    assert look_at(workspace, hit.hit_id, actor="ann").kept_at is not None


def test_what_was_read_a_moment_ago_is_bounded_and_the_oldest_goes_first() -> None:
    recent = RecentContents()
    contents = [content_of(bytes([number]) * 10) for number in range(4)]
    for content in contents[:3]:
        recent.remember(content, most_bytes=25)
    recent.remember(content_of(b"x" * 26), most_bytes=25)
    there = [recent.get(content.sha256.hex()) is not None for content in contents]
    assert there == [False, True, True, False]


def test_a_picture_is_as_small_as_the_settings_say(workspace: Workspace, uploads: Path) -> None:
    configure(workspace, long_side=40, quality=50, picture_bytes=8192)
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    night(workspace, uploads)
    (hit,) = hits_in_force(workspace)
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert (facts.width, facts.height) == (40, 40)
    assert facts.bytes <= 8192 + 28


def test_beyond_the_ceiling_nothing_more_is_kept(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    configure(workspace, total_bytes=facts.bytes)
    upload(uploads, "b.png", picture(person(1), person(61)))
    night(workspace, uploads)
    (new,) = [one for one in hits_in_force(workspace) if one.item_id == "b.png"]
    assert kept(workspace, new.hit_id) is None
    configure(workspace, total_bytes=2**30)
    night(workspace, uploads)
    assert kept(workspace, new.hit_id) is not None


def test_the_sentence_of_a_name_is_kept_when_the_text_is_changed(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "t.png", picture(person(2)), title=f"A fine day. Portrait of {NAME}, by night! More follows")
    night(workspace, uploads)
    (hit,) = hits_in_force(workspace)
    upload(uploads, "t.png", picture(person(2)), title="nothing")
    night(workspace, uploads)
    revealed = reveal(workspace, hit.hit_id, actor="ann")
    assert revealed.term == NAME
    assert revealed.passage is not None
    assert revealed.passage.marked == f"Portrait of [[{NAME}]], by night!"
    assert NAME not in repr(revealed)


# How long


def forward(workspace: Workspace, clock: Clock, **parts: float) -> None:
    clock.forward(**parts)
    believe_the_clock(workspace)


def test_a_rejected_hit_is_kept_until_the_decision_cannot_be_undone(
    workspace: Workspace, uploads: Path, hit: Hit, clock: Clock
) -> None:
    decide(workspace, [hit.hit_id], decision="reject", reason="other_person", actor="ann")
    night(workspace, uploads)
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert facts.lapsed_at == workspace.now()
    clock.forward(minutes=workspace.policy.settings.decisions.undo_minutes)
    night(workspace, uploads)
    assert kept(workspace, hit.hit_id) is None


def test_i12_evidence_of_what_was_taken_down_outlives_the_item_as_long_as_people_may_complain(
    workspace: Workspace, uploads: Path, hit: Hit, clock: Clock
) -> None:
    decide(workspace, [hit.hit_id], decision="confirm", reason="same_person", actor="ann")
    clock.forward(hours=1)
    client = ScriptedClient()
    dispatch_once(workspace.database, client, workspace.now)
    assert len(client.sent) == 1
    upload(uploads, "a.png", b"", deleted=True)
    night(workspace, uploads)
    assert hits_in_force(workspace) == []
    evidence = workspace.config.evidence
    for days in (29, 29, 29, 29, 29, 29):
        clock.forward(days=days)
        sweep_without_people(workspace, uploads)
    assert look_at(workspace, hit.hit_id, actor="ann").kept_at is not None
    clock.forward(days=evidence.message_days - 6 * 29 + 1)
    sweep_without_people(workspace, uploads)
    assert kept(workspace, hit.hit_id) is None
    with pytest.raises(StateError):
        look_at(workspace, hit.hit_id, actor="ann")


def sweep_without_people(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, allow_empty_registry=True))
    night(workspace, uploads)


def test_what_nothing_was_sent_about_goes_some_time_after_its_item(
    workspace: Workspace, uploads: Path, hit: Hit, clock: Clock
) -> None:
    upload(uploads, "a.png", b"", deleted=True)
    night(workspace, uploads)
    clock.forward(days=15)
    night(workspace, uploads)
    assert kept(workspace, hit.hit_id) is not None
    upload(uploads, "a.png", picture(person(150), person(1)), uploader="u-1", deleted=False)
    night(workspace, uploads)
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert facts.lapsed_at is None, "it is in force again"
    upload(uploads, "a.png", b"", deleted=True)
    night(workspace, uploads)
    clock.forward(days=20)
    sweep_without_people(workspace, uploads)
    assert kept(workspace, hit.hit_id) is not None
    clock.forward(days=11)
    sweep_without_people(workspace, uploads)
    assert kept(workspace, hit.hit_id) is None


def test_i12_no_clock_loses_the_evidence_of_an_opt_out_that_is_over_until_it_is_renewed(
    workspace: Workspace, uploads: Path, hit: Hit, clock: Clock
) -> None:
    enrol(workspace, person(9), days=3000)
    for _ in range(3):
        forward(workspace, clock, days=400)
        night(workspace, uploads)
    evict(uploads)
    renew(workspace, hit.subject_id, expires_at=clock() + timedelta(days=100), actor="ann")
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert facts.lapsed_at is None
    assert look_at(workspace, hit.hit_id, actor="ann").kept_at is not None


# Sealed, and erased


def test_i8_no_byte_of_a_crop_is_in_clear_and_none_is_left_of_whoever_is_erased(
    workspace: Workspace, uploads: Path
) -> None:
    subject = enrol(workspace, person(1))
    noise = np.random.default_rng(7).integers(0, 256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    noise[SIDE // 4 : 3 * SIDE // 4, SIDE // 4 : 3 * SIDE // 4] = person(1)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    upload(uploads, "a.png", buffer.getvalue())
    night(workspace, uploads)
    (hit,) = hits_in_force(workspace)
    with workspace.database.read() as connection:
        jpeg = open_picture(connection, workspace.sealer, hit.hit_id)
        sealed = connection.execute(sa.select(kept_evidence.c.sealed_picture)).scalar_one()
    assert jpeg is not None
    assert len(jpeg) > 1000
    clear = [jpeg[at : at + 24] for at in range(len(jpeg) // 4, len(jpeg) - 24, 97)]
    pieces = [sealed[at : at + 24] for at in range(0, len(sealed) - 24, 97)]
    assert not any(in_clear(piece, everything_under(workspace.home)) for piece in clear)
    if workspace.database.is_sqlite:
        assert any(in_clear(piece, everything_under(workspace.home)) for piece in pieces)
    erase(workspace, subject, actor="tester")
    assert kept(workspace, hit.hit_id) is None
    assert not any(in_clear(piece, everything_under(workspace.home)) for piece in clear + pieces)
    assert [finding for finding in verify(workspace) if finding.check == "leftovers" and not finding.ok] == []


def test_i7_a_crop_of_another_hit_put_in_its_place_is_not_shown(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    upload(uploads, "b.png", picture(person(1), person(61)))
    night(workspace, uploads)
    (other,) = [one for one in hits_in_force(workspace) if one.item_id == "b.png"]
    evict(uploads)
    with workspace.database.write() as tx:
        theirs = sa.select(kept_evidence.c.sealed_picture).where(kept_evidence.c.hit_id == other.hit_id)
        forged = tx.execute(theirs).scalar_one()
        own = sa.update(kept_evidence).where(kept_evidence.c.hit_id == hit.hit_id)
        tx.execute(own.values(sealed_picture=forged))
    with pytest.raises(CorruptionError):
        look_at(workspace, hit.hit_id, actor="ann")


def test_whoever_withdraws_is_not_erased_by_it(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    withdraw(workspace, hit.subject_id, actor="tester")
    with workspace.database.read() as connection:
        assert connection.execute(live_hits().with_only_columns(tables.hits.c.hit_id)).all() == []
    assert kept(workspace, hit.hit_id) is not None


def test_a_picture_that_ends_every_process_is_said_to_be_missing(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    from pipelines.evidence.keeping import refuse_item

    with workspace.database.write() as tx:
        tx.execute(sa.delete(kept_evidence))
    refuse_item(workspace, hit.item_id, "scanner_killed")
    facts = kept(workspace, hit.hit_id)
    assert facts is not None
    assert facts.problem == "unscannable:scanner_killed"
    assert timedelta(0) == workspace.now() - facts.kept_at
