"""The sweep and the rescan, end to end on colours, on both databases."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import NotReadyError, StateError
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.requests import accept_request, get_request, reject_request
from pipelines.database import tables
from pipelines.hits.counting import key_of_item
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import ahead
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import nightly_days, sweep
from tests import fakes
from tests.fakes import WHITE, BlindGallery, person, picture
from tests.platform_actions import DAY, ask_for_removal, enrol, source_of, upload
from tests.platform_facts import failing, statuses


def pairs(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.database.read() as connection:
        return {(hit.item_id, hit.subject_id) for hit in list_hits(connection)}


def test_i1_every_item_ends_with_exactly_one_status(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "hit.png", picture(person(1)))
    upload(uploads, "clean.png", picture(person(2)))
    upload(uploads, "nobody.png", picture(WHITE))
    upload(uploads, "cut.png", picture(person(3))[:60])
    upload(uploads, "text.jpg", b"not a picture")
    upload(uploads, "weights.safetensors", b"\x00" * 64)
    (uploads / "link.png").symlink_to("/etc/hostname")
    summary = sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace) == {
        "hit.png": "hit",
        "clean.png": "clean",
        "nobody.png": "no_face",
        "cut.png": "unscannable:truncated",
        "text.jpg": "unscannable:format",
        "weights.safetensors": "unscannable:format",
        "link.png": "fetch_failed:outside_source",
    }
    assert (summary.items, summary.hit, summary.clean, summary.no_face) == (7, 1, 1, 1)
    assert (summary.unscannable, summary.fetch_failed, summary.pending, summary.coverage) == (3, 1, 0, 1.0)
    assert failing(workspace) == set()


def test_a_second_sweep_does_nothing_and_says_the_same(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(2), person(1)))
    first = sweep(workspace, source_of(uploads), day=None)
    second = sweep(workspace, source_of(uploads), day=None)
    assert (first.embedded, second.embedded) == (2, 0)
    changing = ("run_id", "seconds", "images_per_second", "embedded")
    same = dict.fromkeys(changing)
    assert replace(first, **same) == replace(second, **same)  # type: ignore[arg-type]


def test_the_same_content_is_embedded_once_and_every_item_with_it_is_hit(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(1)))
    first = sweep(workspace, source_of(uploads), day=None)
    upload(uploads, "c.png", picture(person(1)), received=DAY + timedelta(hours=1))
    second = sweep(workspace, source_of(uploads), day=None)
    assert (first.embedded, first.reused, second.embedded, second.reused) == (1, 1, 0, 1)
    assert pairs(workspace) == {("a.png", subject), ("b.png", subject), ("c.png", subject)}


def test_a_day_is_swept_without_touching_the_others(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(1)), received=DAY + timedelta(days=1))
    summary = sweep(workspace, source_of(uploads), day=date(2026, 2, 27))
    assert (summary.items, statuses(workspace)) == (1, {"a.png": "hit"})


def test_i7_an_empty_registry_stops_the_sweep(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)))
    with pytest.raises(NotReadyError, match="no active subject"):
        sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace) == {}


def test_i7_an_expired_consent_counts_as_no_subject(workspace: Workspace, uploads: Path, clock) -> None:
    enrol(workspace, person(1), days=1)
    clock.forward(days=2)
    with pytest.raises(NotReadyError, match="no active subject"):
        sweep(workspace, source_of(uploads), day=None)


def test_i7_a_gallery_that_misses_the_canary_stops_the_sweep(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    monkeypatch.setattr("indexes.clustered.Gallery", BlindGallery)
    with pytest.raises(NotReadyError, match="canary was missed"):
        sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace) == {"a.png": "pending"}


def test_i4_a_template_of_another_model_stops_the_sweep_instead_of_going_unseen(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    workspace.models = fakes.fake_models("fake-2")  # type: ignore[misc]
    workspace.canary = fakes.fake_canary("fake-2")  # type: ignore[misc]
    with pytest.raises(NotReadyError, match="no template for fake-2"):
        sweep(workspace, source_of(uploads), day=None)


def test_a_removal_request_finds_what_was_uploaded_before_it(workspace: Workspace, uploads: Path, clock) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(2), person(1)))
    sweep(workspace, source_of(uploads), day=None)
    request = ask_for_removal(workspace, person(2))
    assert request.due_at == clock() + timedelta(hours=48)
    with pytest.raises(StateError):
        rescan(workspace, request_id=request.request_id)
    accept_request(workspace, request.request_id, actor="tester")
    assert read_status(workspace).pairs_missing == 2
    summary = rescan(workspace)
    assert (summary.subjects, summary.new_hits, summary.searched_requests, summary.coverage) == (1, 1, 1, 1.0)
    assert summary.completed_requests == 0
    assert ("b.png", request.subject_id) in pairs(workspace)
    with workspace.database.read() as connection:
        assert get_request(connection, request.request_id).state == "under_review"
    assert rescan(workspace).shards == 0
    assert failing(workspace) == set()


def test_a_rescan_of_one_request_leaves_the_other_one_pending(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(2), person(3)))
    sweep(workspace, source_of(uploads), day=None)
    first, second = ask_for_removal(workspace, person(2)), ask_for_removal(workspace, person(3))
    for request in (first, second):
        accept_request(workspace, request.request_id, actor="tester")
    summary = rescan(workspace, request_id=second.request_id)
    assert (summary.subjects, summary.searched_requests) == (1, 1)
    assert pairs(workspace) == {("a.png", second.subject_id)}
    assert read_status(workspace).pairs_missing == 1
    assert rescan(workspace).searched_requests == 1
    assert pairs(workspace) == {("a.png", first.subject_id), ("a.png", second.subject_id)}


def test_i2_a_shard_that_a_sweep_never_compared_is_not_clean_after_a_partial_rescan(
    workspace: Workspace, uploads: Path
) -> None:
    from pipelines.intake.ledger import Scope
    from pipelines.runs.sweep import list_source
    from pipelines.scan.faces import scan_pending

    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(2)))
    list_source(workspace, source_of(uploads), day=None)
    scan_pending(workspace, Scope(None, None))  # then the sweep died, and a request came in
    request = ask_for_removal(workspace, person(2))
    accept_request(workspace, request.request_id, actor="tester")
    rescan(workspace, request_id=request.request_id)
    assert statuses(workspace) == {"a.png": "pending", "b.png": "hit"}
    sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace) == {"a.png": "hit", "b.png": "hit"}


def test_a_lower_threshold_makes_everything_due_again(workspace: Workspace, uploads: Path) -> None:
    from pipelines.policy import BandSettings

    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    settings = replace(workspace.policy.settings, bands={"opencv-zoo": BandSettings(review=0.2, strong=0.5)})
    workspace.policy = replace(workspace.policy, settings=settings, version="lower")  # type: ignore[misc]
    assert read_status(workspace).pairs_missing == 1
    assert rescan(workspace).coverage == 1.0


def test_two_distinct_pictures_of_one_model_make_a_takedown_and_one_alone_a_review(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "alone.png", picture(person(1)))
    upload(uploads, "one.png", picture(person(1), person(5)), parent_model="m")
    first = sweep(workspace, source_of(uploads), day=None)
    assert (first.takedowns, first.review) == (0, 2)
    upload(uploads, "two.png", picture(person(9), person(1), person(7)), parent_model="m")
    second = sweep(workspace, source_of(uploads), day=None)
    assert (second.takedowns, second.review) == (2, 1)
    with workspace.database.read() as connection:
        found = {hit.item_id: (hit.verdict, hit.rule) for hit in list_hits(connection)}
    assert found["one.png"] == found["two.png"] == ("takedown", "strong_face_in_distinct_images")
    assert found["alone.png"] == ("review", "strong_face_uncorroborated")


def test_i10_a_hit_says_reference_box_score_threshold_models_and_policy(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(2), person(1)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, subject_id=subject, verdict="review", day=DAY.date(), item_id="a.png")
        (verdict,) = connection.execute(sa.select(tables.verdicts)).all()
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert (hit.threshold, hit.model_id, hit.policy_version) == (0.363, "fake-1", workspace.policy.version)
    assert hit.reference_id.startswith("ref_")
    assert "LFW" in hit.threshold_source
    assert hit.face_box == (64.0, 0.0, 128.0, 64.0)
    assert hit.view == "fast"
    for fact in (hit.hit_id, hit.reference_id, "0.363", hit.model_id, hit.policy_version, "automated means"):
        assert fact in verdict.reasons


def test_withdrawing_a_subject_takes_back_hits_and_messages(workspace: Workspace, uploads: Path) -> None:
    keep, leave = enrol(workspace, person(1)), enrol(workspace, person(2))
    upload(uploads, "a.png", picture(person(1), person(2)), parent_model="m")
    upload(uploads, "b.png", picture(person(2), person(8)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"pending": 2}
    withdraw(workspace, leave, actor="tester")
    assert statuses(workspace) == {"a.png": "hit", "b.png": "clean"}
    assert pairs(workspace) == {("a.png", keep)}
    assert outbox_states(workspace) == {"withdrawn": 2}
    with pytest.raises(StateError):
        withdraw(workspace, leave, actor="tester")
    erase(workspace, leave, actor="tester")
    sweep(workspace, source_of(uploads), day=None)
    assert pairs(workspace) == {("a.png", keep)}
    assert failing(workspace) == set()


def test_a_rejected_request_leaves_nothing_to_match(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    request = ask_for_removal(workspace, person(2))
    reject_request(workspace, request.request_id, reason="not the person", actor="tester")
    upload(uploads, "a.png", picture(person(2)))
    sweep(workspace, source_of(uploads), day=None)
    assert pairs(workspace) == set()
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.subject_keys)).scalar_one() == 1


def test_a_deleted_item_is_compared_no_more(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(2)))
    sweep(workspace, source_of(uploads), day=None)
    upload(uploads, "a.png", picture(person(1), person(2)), deleted=True)
    assert sweep(workspace, source_of(uploads), day=None).items == 0
    enrol(workspace, person(2))
    rescan(workspace)
    assert pairs(workspace) == set()


def test_replaced_content_is_scanned_again_and_the_old_hits_no_longer_count(
    workspace: Workspace, uploads: Path
) -> None:
    first, second = enrol(workspace, person(1)), enrol(workspace, person(2))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    assert pairs(workspace) == {("a.png", first)}
    upload(uploads, "a.png", picture(person(2), WHITE))
    sweep(workspace, source_of(uploads), day=None)
    assert pairs(workspace) == {("a.png", second)}


def test_two_sweeps_at_once_have_each_effect_once(
    workspace: Workspace, open_again: Callable[[], Workspace], uploads: Path
) -> None:
    subject = enrol(workspace, person(1))
    for number in range(40):
        upload(uploads, f"{number}.png", picture(person(1), person(10 + number)), parent_model="m")
    small = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=7))
    workers = [open_again() for _ in range(3)]
    for worker in workers:
        worker.config = small
    with ThreadPoolExecutor(3) as pool:
        summaries = list(pool.map(lambda worker: sweep(worker, source_of(uploads), day=None), workers))
    assert sum(summary.embedded for summary in summaries) == 40
    assert pairs(workspace) == {(f"{number}.png", subject) for number in range(40)}
    with workspace.database.read() as connection:
        takedowns = sa.select(tables.outbox.c.key).where(tables.outbox.c.action == "takedown")
        keys = connection.execute(takedowns).scalars().all()
    assert len(keys) == len(set(keys)) == 40
    assert failing(workspace) == set()


def test_shard_size_and_order_of_arrival_change_no_hit(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    enrol(workspace, person(2))
    for number in range(12):
        upload(uploads, f"{number}.png", picture(person(number % 4), person(number % 3)))
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=5))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        subjects_of = {hit.item_id: set() for hit in list_hits(connection)}
        for hit in list_hits(connection):
            subjects_of[hit.item_id].add(hit.subject_id)
    expected = {f"{n}.png": len({n % 4, n % 3} & {1, 2}) for n in range(12)}
    assert {item: len(found) for item, found in subjects_of.items()} == {k: v for k, v in expected.items() if v}


def test_the_nightly_days_start_at_the_watermark_or_two_days_back() -> None:
    today = date(2026, 3, 10)
    assert nightly_days(None, today) == [date(2026, 3, 8), date(2026, 3, 9)]
    assert nightly_days(date(2026, 3, 9), today) == [date(2026, 3, 8), date(2026, 3, 9)]
    assert nightly_days(date(2026, 3, 6), today)[0] == date(2026, 3, 6)


def outbox_states(workspace: Workspace) -> dict[str, int]:
    """Takedowns and their withdrawals by state; what is said of their model is tested elsewhere."""
    of_items = sa.select(tables.outbox.c.state).where(tables.outbox.c.item_id != "m")
    with workspace.database.read() as connection:
        return dict(Counter(connection.execute(of_items).scalars()))


def verdicts_of(workspace: Workspace, item_id: str) -> set[str]:
    """The verdicts on an item with the content that it has now."""
    query = sa.select(tables.verdicts.c.verdict).join(tables.items, key_of_item() == tables.verdicts.c.content_key)
    own = (tables.items.c.item_id == item_id, tables.verdicts.c.item_id == item_id)
    with workspace.database.read() as connection:
        return set(connection.execute(query.where(*own)).scalars())


def mark_sent(workspace: Workspace, *item_ids: str) -> None:
    """As if the service had acknowledged everything, or what is about these items."""
    about = [tables.outbox.c.item_id.in_(item_ids)] if item_ids else []
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.outbox).where(*about).values(state="done", attempts=1))


def test_i1_files_of_one_name_in_two_folders_are_two_items(workspace: Workspace, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, number in ((first, 1), (second, 2)):
        folder.mkdir()
        upload(folder, "x.png", picture(person(number)))
    one, two = enrol(workspace, person(1)), enrol(workspace, person(2))
    for folder in (first, second, first):
        assert sweep(workspace, source_of(folder), day=None).items == 1
    found = pairs(workspace)
    assert ("x.png", one) in found
    assert [item for item, subject in found if subject == two] == [
        item for item in statuses(workspace) if item.startswith("x.png@")
    ]


def test_a_source_is_the_same_from_whichever_folder_it_is_named(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    monkeypatch.chdir(uploads.parent)
    first = sweep(workspace, f"directory:{uploads.name}", day=None)
    monkeypatch.chdir("/")
    second = sweep(workspace, f"{source_of(uploads)}/", day=None)
    assert (first.items, first.embedded, second.items, second.embedded) == (1, 1, 1, 0)


def test_i1_calling_a_picture_a_model_or_a_side_car_does_not_hide_it(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)), kind="model")
    upload(uploads, "b.bin", picture(person(1), WHITE))
    (uploads / "c.png").write_bytes(picture(person(2)))
    (uploads / "c.png.json").write_bytes(picture(person(3), person(1)))
    sweep(workspace, source_of(uploads), day=None)
    assert pairs(workspace) == {("a.png", subject), ("b.bin", subject), ("c.png.json", subject)}


def test_a_change_of_title_costs_no_new_scan_and_a_change_of_parent_a_new_judgement(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for number in (1, 2):
        upload(uploads, f"{number}.png", picture(person(1), person(4 + number)))
    assert sweep(workspace, source_of(uploads), day=None).takedowns == 0
    for number in (1, 2):
        data = (uploads / f"{number}.png").read_bytes()
        stamp = (uploads / f"{number}.png").stat()
        upload(uploads, f"{number}.png", data, parent_model="m", title="new")

        os.utime(uploads / f"{number}.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = sweep(workspace, source_of(uploads), day=None)
    assert (again.embedded, again.reused, again.takedowns) == (0, 0, 2)


def test_takedowns_for_content_that_is_gone_are_cancelled_if_they_were_never_sent(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for number in (1, 2, 3):
        upload(uploads, f"{number}.png", picture(person(1), person(4 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"pending": 3}
    upload(uploads, "1.png", picture(person(8), WHITE), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"pending": 2, "withdrawn": 1}, "two pictures still corroborate each other"
    upload(uploads, "2.png", picture(person(9), WHITE), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"withdrawn": 3}, "the last one alone calls for no automatic takedown"
    assert verdicts_of(workspace, "3.png") == {"review"}
    assert failing(workspace) == set()


def test_i5_what_was_taken_down_and_uploaded_again_is_taken_down_again(
    workspace: Workspace, uploads: Path, clock
) -> None:
    enrol(workspace, person(1))
    names = {f"{number}.png": picture(person(1), person(4 + number)) for number in (1, 2)}
    for deleted in (False, True, False):
        clock.forward(hours=1)
        for name, data in names.items():
            upload(uploads, name, data, parent_model="m", deleted=deleted)
        sweep(workspace, source_of(uploads), day=None)
        mark_sent(workspace)
    with workspace.database.read() as connection:
        takedowns = sa.select(tables.outbox.c.key).where(tables.outbox.c.action == "takedown")
        keys = connection.execute(takedowns).scalars().all()
    assert len(set(keys)) == len(keys) == 4
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"done": 4}
    assert failing(workspace) == set()


def test_a_new_policy_weighs_the_hits_there_are_and_undoes_no_takedown_that_was_sent(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for number in (1, 2):
        upload(uploads, f"{number}.png", picture(person(1), person(4 + number)), parent_model="m")

    def sweep_under(distinct: int, version: str) -> tuple[int, int]:
        rules = replace(workspace.policy.settings.takedown, distinct_images=distinct)
        settings = replace(workspace.policy.settings, takedown=rules)
        workspace.policy = replace(workspace.policy, settings=settings, version=version)  # type: ignore[misc]
        summary = sweep(workspace, source_of(uploads), day=None)
        return summary.takedowns, summary.review

    assert sweep_under(3, "strict") == (0, 2)
    assert sweep_under(2, "usual") == (2, 0)
    mark_sent(workspace, "1.png")
    assert sweep_under(3, "strict again") == (1, 1)
    assert outbox_states(workspace) == {"done": 1, "withdrawn": 1}, "what was not sent falls with the policy"
    assert sweep_under(2, "usual again") == (2, 0)
    assert outbox_states(workspace) == {"done": 1, "pending": 1, "withdrawn": 1}
    assert failing(workspace) == set()


def test_the_takedowns_of_a_day_with_too_many_hits_are_held(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for number in range(20):
        upload(uploads, f"{number}.png", picture(person(1), person(4 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert outbox_states(workspace) == {"held": 20}


def test_i12_an_opt_out_ends_by_itself_while_its_messages_rest_and_what_was_delivered_stands(
    workspace: Workspace, uploads: Path, clock
) -> None:
    subject = enrol(workspace, person(1), days=1)
    enrol(workspace, person(2))
    for number in (1, 2):
        upload(uploads, f"{number}.png", picture(person(1), person(4 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.outbox).where(tables.outbox.c.item_id == "1.png").values(state="done", attempts=1))
    clock.forward(days=2)
    rescan(workspace)
    assert (pairs(workspace), statuses(workspace)) == (set(), {"1.png": "clean", "2.png": "clean"})
    assert outbox_states(workspace) == {"done": 1, "pending": 1}
    assert read_status(workspace).subjects == {"active": 1, "expired": 1}
    erase(workspace, subject, actor="tester")
    assert failing(workspace) == set()


def test_an_item_whose_host_is_not_allowed_waits_for_the_setting(workspace: Workspace, tmp_path: Path) -> None:
    enrol(workspace, person(1))
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "a", "url": "https://cdn.example/a.png", "received_at": "2026-02-27T10:00:00Z"}\n')
    for _ in range(7):
        assert sweep(workspace, f"manifest:{manifest}", day=None).statuses == {"fetch_failed:host_not_allowed": 1}
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(tables.items.c.attempts)).scalar_one() == 0


def test_a_later_row_of_a_manifest_deletes_what_an_earlier_one_listed(workspace: Workspace, tmp_path: Path) -> None:
    enrol(workspace, person(1))
    (tmp_path / "a.png").write_bytes(picture(person(1)))
    manifest = tmp_path / "m.jsonl"
    row = '{"id": "a", "path": "a.png", "received_at": "2026-02-27T10:00:00Z"}\n'
    manifest.write_text(row)
    assert sweep(workspace, f"manifest:{manifest}", day=None).hits == 1
    manifest.write_text(row + '{"id": "a", "received_at": "2026-02-27T10:00:00Z", "deleted": true}\n')
    assert sweep(workspace, f"manifest:{manifest}", day=None).items == 0


def test_the_next_batch_is_fetched_while_one_is_worked_on() -> None:
    asked: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(4):
            asked.append(number)
            yield number

    taken = []
    for batch in ahead(batches()):
        while len(asked) < min(batch + 2, 4):
            time.sleep(0.001)
        assert len(asked) == min(batch + 2, 4), "one ahead, and no more"
        taken.append(batch)
    assert taken == [0, 1, 2, 3]


def test_an_error_while_fetching_ahead_is_not_swallowed() -> None:
    def batches() -> Iterator[int]:
        yield 0
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        list(ahead(batches()))
