"""Texts against names, fingerprints against seeds: every pair once, whatever happens in between (I2, I5, I6)."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError, EnrolmentError, NotReadyError
from embeddings.headers.evidence import HeaderText
from embeddings.images.pdq import PDQ_MODEL_ID
from indexes.names import matcher_id
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.requests import accept_request, get_request, open_request
from pipelines.database import set_state
from pipelines.database.tables import audit, decisions, examined, hits, items, model_files, seeds
from pipelines.evidence.terms import open_term
from pipelines.hits.counting import live_hits
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.intake import texts
from pipelines.intake.ledger import Scope
from pipelines.matching import names
from pipelines.matching.coverage import unexamined_count
from pipelines.matching.names import examine_pending
from pipelines.registry.identities import open_names
from pipelines.registry.subjects import Identity, insert_subject, show_identity
from pipelines.runs.rescan import FinishedRequests, finish_searches, rescan
from pipelines.runs.sweep import list_source, require_complete
from tests.conftest import KEY, Clock, environment_for, fresh_workspace, use_fakes
from tests.fakes import WHITE, person, picture
from tests.pipelines.runs.durability_process import run_night
from tests.pipelines.runs.test_interleavings import CutAt, CutOffError
from tests.platform_actions import night, references, source_of, upload
from tests.platform_facts import statuses
from tests.searching import in_clear

ALL = Scope(None, None)


def join(workspace: Workspace, name: str, *aliases: str, who: int = 1, exclusions: tuple[str, ...] = ()) -> str:
    """Register somebody by name; returns the subject id."""
    identity = Identity((name, *aliases), consent="consent-1", contact=None, exclusions=exclusions)
    expires = workspace.now().replace(year=2030)
    read = references(workspace, person(who))
    with workspace.database.write() as tx:
        subject_id, _ = insert_subject(
            tx, workspace, identity=identity, references=read, expires_at=expires, active=True, actor="tester"
        )
    return subject_id


def found(workspace: Workspace, *tiers: str) -> set[tuple[str, str, str, str | None]]:
    """(item, subject, place, match) of the hits that count and are no face."""
    with workspace.database.read() as connection:
        rows = connection.execute(live_hits().where(hits.c.tier.in_(tiers or ("text", "header", "exact"))))
        return {(row.item_id, row.subject_id, row.place, row.match) for row in rows}


def missing(workspace: Workspace, *subject_ids: str) -> int:
    with workspace.database.read() as connection:
        return unexamined_count(connection, workspace, subject_ids=subject_ids or None)


def seed(
    workspace: Workspace, subject_id: str, kind: str, digest: str, *, version: int, model_id: str = "sha256-1"
) -> None:
    """As a confirmation by a person leaves it."""
    row = {
        "seed_id": f"seed-{version}",
        "version": version,
        "subject_id": subject_id,
        "kind": kind,
        "digest": digest,
        "model_id": model_id,
        "decision_id": "dec",
        "created_at": workspace.now(),
        "revoked_at": None,
    }
    with workspace.database.write() as tx:
        tx.execute(sa.insert(seeds).values(row))
        set_state(tx, "seed_version", str(version))


def column(workspace: Workspace, item_id: str, name: str) -> Any:
    with workspace.database.read() as connection:
        return connection.execute(sa.select(items.c[name]).where(items.c.item_id == item_id)).scalar_one()


def test_names_in_every_text_of_an_item_are_hits_with_place_rule_and_sealed_words(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe", "Doeling")
    texts: dict[str, Any] = {
        "title": "JaneDoe_v2",
        "prompt": "(jane doe:1.3), smiling",
        "tags": ["lora", "doe, jane"],
        "trigger_words": ["doeling"],
    }
    upload(uploads, "a.png", picture(WHITE), **texts)
    upload(uploads, "b.png", picture(WHITE), tags=["jane", "doe"], title="roe deer")
    night(workspace, uploads)
    assert found(workspace) == {
        ("a.png", jane, "title", "joined"),
        ("a.png", jane, "prompt", "full_name"),
        ("a.png", jane, "tags", "reordered"),
        ("a.png", jane, "trigger_words", "token"),
        ("b.png", jane, "title_and_tags", "full_name"),
    }
    assert statuses(workspace, live=True) == {"a.png": "hit", "b.png": "hit"}
    with workspace.database.read() as connection:
        row = connection.execute(live_hits().where(hits.c.place == "prompt")).one()
        same = {"hit_id": row.hit_id, "subject_id": jane, "sealed_term": row.sealed_term}
        assert open_term(connection, workspace.sealer, **same) == "jane doe"
    assert (row.tier, row.score, row.threshold, row.threshold_source) == ("text", 1.0, 1.0, "names")
    assert row.content_key == column(workspace, "a.png", "text_digest")
    assert row.judged_at is not None
    assert missing(workspace) == 0
    require_complete(workspace, ALL)


def test_header_texts_are_searched_as_the_content_s(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE))
    texts = (HeaderText("header:ss_output_name", "janeDoe_v10"), HeaderText("header:modelspec.tags", "jane"))
    both = (*texts, HeaderText("header:modelspec.tags", "doe"))
    monkeypatch.setattr(names, "file_texts", lambda connection, sealer, contents: dict.fromkeys(contents, both))
    night(workspace, uploads)
    assert found(workspace, "header") == {("a.png", jane, "header:ss_output_name", "joined")}
    with workspace.database.read() as connection:
        row = connection.execute(live_hits()).one()
    assert row.content_key == column(workspace, "a.png", "content_sha256")


def test_a_header_that_could_only_be_read_later_is_examined_then(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE))
    night(workspace, uploads)
    clock.forward(hours=1)
    content = column(workspace, "a.png", "content_sha256")
    record = {"texts": [["header:modelspec.title", "Jane Doe"]]}
    sealed = workspace.sealer.seal_header(record, content)
    with workspace.database.write() as tx:
        values = {"content_sha256": content, "status": "read", "sealed_header": sealed, "read_at": workspace.now()}
        tx.execute(sa.insert(model_files).values(values))
    assert missing(workspace) == 1
    assert examine_pending(workspace, found_by="sweep").hits == 1
    assert found(workspace) == {("a.png", jane, "header:modelspec.title", "full_name")}
    assert examine_pending(workspace, found_by="sweep").items == 0


def test_i2_a_subject_that_joins_during_the_sweep_is_looked_for_in_everything(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=2, examined_items=2))
    jane = join(workspace, "Jane Doe")
    for number in range(5):
        upload(uploads, f"{number}.png", picture(WHITE), title="Ann Moe and Jane Doe")
    joined: list[str] = []
    search = names._names_in

    def joining(*args: Any) -> Any:
        if not joined and args[0] == "2.png":
            joined.append(join(workspace, "Ann Moe", who=2))
        return search(*args)

    monkeypatch.setattr(names, "_names_in", joining)
    night(workspace, uploads)
    assert found(workspace) == {
        (f"{number}.png", subject_id, "title", "full_name") for number in range(5) for subject_id in (jane, joined[0])
    }
    assert missing(workspace) == 0


def test_a_changed_text_is_searched_again_and_what_it_no_longer_says_no_longer_counts(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    upload(uploads, "b.png", picture(WHITE, person(9)), title="jane doe")
    night(workspace, uploads)
    assert statuses(workspace, live=True) == {"a.png": "hit", "b.png": "hit"}
    upload(uploads, "a.png", picture(WHITE), title="a tree")
    upload(uploads, "b.png", picture(WHITE, person(9)), title="a tree")
    list_source(workspace, source_of(uploads), day=None)
    assert missing(workspace) == 2
    night(workspace, uploads)
    assert found(workspace) == set()
    assert statuses(workspace, live=True) == {"a.png": "no_face", "b.png": "clean"}
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    night(workspace, uploads)
    assert found(workspace) == {("a.png", jane, "title", "full_name")}
    assert statuses(workspace, live=True) == {"a.png": "hit", "b.png": "clean"}


def test_a_deleted_item_is_not_examined_and_one_that_comes_back_is(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe", deleted=True)
    upload(uploads, "b.png", picture(WHITE), title="jane doe")
    night(workspace, uploads)
    assert found(workspace) == {("b.png", jane, "title", "full_name")}
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    upload(uploads, "b.png", picture(WHITE), title="jane doe", deleted=True)
    night(workspace, uploads)
    assert found(workspace) == {("a.png", jane, "title", "full_name")}


def test_an_item_that_changes_while_it_is_examined_is_examined_as_it_is_then(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    search, changed = names._names_in, list[str]()

    def changing(*args: Any) -> Any:
        if not changed:
            changed.append(upload(uploads, "a.png", picture(WHITE), title="nothing", prompt="doe jane"))
            list_source(workspace, source_of(uploads), day=None)
        return search(*args)

    monkeypatch.setattr(names, "_names_in", changing)
    night(workspace, uploads)
    assert found(workspace) == {("a.png", jane, "prompt", "reordered")}
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(hits)).scalar_one() == 1


def test_a_rejected_name_stays_away_until_the_text_changes(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    night(workspace, uploads)
    with workspace.database.write() as tx:
        hit = tx.execute(sa.select(hits)).one()
        values = {
            name: getattr(hit, name) for name in ("hit_id", "item_id", "subject_id", "content_key", "found_by_id")
        }
        said = {"decision_id": "d", "batch_id": "b", "decision": "reject", "reason": "other_person", "actor": "tester"}
        tx.execute(sa.insert(decisions).values(values | said | {"decided_at": workspace.now()}))
    join(workspace, "Ann Moe", who=2)
    night(workspace, uploads)
    rescan(workspace)
    assert found(workspace) == set()
    upload(uploads, "a.png", picture(WHITE), title="jane doe again")
    night(workspace, uploads)
    assert found(workspace) == {("a.png", jane, "title", "full_name")}


def test_a_seed_finds_equal_and_near_content_among_old_and_new_items(workspace: Workspace, uploads: Path) -> None:
    jane, ann = join(workspace, "Jane Doe"), join(workspace, "Ann Moe", who=2)
    upload(uploads, "old.png", picture(WHITE, WHITE))
    upload(uploads, "other.png", picture(WHITE))
    night(workspace, uploads)
    content = column(workspace, "old.png", "content_sha256")
    near = 31
    hashes = {"old.png": (1 << 255) - 1, "other.png": 0}
    with workspace.database.write() as tx:
        for name, value in hashes.items():
            tx.execute(sa.update(items).where(items.c.item_id == name).values(pdq=f"{value:064x}"))
    assert examine_pending(workspace, found_by="sweep").items == 0
    seed(workspace, jane, "sha256", content, version=1)
    seed(workspace, ann, "pdq", f"{((1 << 255) - 1) ^ ((1 << near) - 1):064x}", version=2, model_id=PDQ_MODEL_ID)
    seed(workspace, ann, "pdq", f"{(1 << (near + 1)) - 1:064x}", version=3, model_id=PDQ_MODEL_ID)
    seed(workspace, ann, "pdq", f"{0:064x}", version=4, model_id="pdq-of-old")
    assert missing(workspace) == 2
    assert examine_pending(workspace, found_by="sweep").hits == 2
    assert found(workspace) == {("old.png", jane, "sha256", None), ("old.png", ann, "pdq", None)}
    with workspace.database.read() as connection:
        rows = {row.place: row for row in connection.execute(live_hits())}
    assert (rows["sha256"].score, rows["sha256"].threshold, rows["sha256"].seed_id) == (1.0, 1.0, "seed-1")
    assert (rows["pdq"].score, rows["pdq"].threshold) == (1 - 31 / 256, 1 - 31 / 256)
    assert {row.threshold_source for row in rows.values()} == {"seed"}
    assert statuses(workspace, live=True)["old.png"] == "hit"
    upload(uploads, "new.png", picture(WHITE, WHITE))
    night(workspace, uploads)
    assert ("new.png", jane, "sha256", None) in found(workspace)


def test_a_payload_seed_finds_a_file_whose_header_was_edited(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE))
    night(workspace, uploads)
    with workspace.database.write() as tx:
        content = tx.execute(sa.select(items.c.content_sha256)).scalar_one()
        values = {"content_sha256": content, "status": "read", "payload_sha256": "a" * 64, "read_at": workspace.now()}
        tx.execute(sa.insert(model_files).values(values))
    seed(workspace, jane, "payload", "a" * 64, version=1, model_id="payload-1")
    examine_pending(workspace, found_by="rescan")
    assert found(workspace, "exact") == {("a.png", jane, "payload", None)}


def test_a_revoked_seed_and_one_of_somebody_inactive_find_nothing(workspace: Workspace, uploads: Path) -> None:
    jane, ann = join(workspace, "Jane Doe"), join(workspace, "Ann Moe", who=2)
    upload(uploads, "a.png", picture(WHITE))
    night(workspace, uploads)
    content = column(workspace, "a.png", "content_sha256")
    seed(workspace, jane, "sha256", content, version=1)
    seed(workspace, ann, "sha256", content, version=2)
    with workspace.database.write() as tx:
        tx.execute(sa.update(seeds).where(seeds.c.subject_id == jane).values(revoked_at=workspace.now()))
    withdraw(workspace, ann, actor="tester")
    night(workspace, uploads)
    assert found(workspace) == set()


def test_ending_a_subject_ends_its_hits_and_gives_items_back_what_they_were(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    ann = join(workspace, "Ann Moe", who=2)
    upload(uploads, "nobody.png", picture(WHITE), title="jane doe")
    upload(uploads, "faces.png", picture(person(9)), title="jane doe")
    upload(uploads, "both.png", picture(WHITE), title="jane doe, ann moe")
    night(workspace, uploads)
    assert set(statuses(workspace, live=True).values()) == {"hit"}
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(hits).where(hits.c.subject_id == jane)).first()
    assert row is not None
    seed(workspace, jane, "sha256", "b" * 64, version=1)
    erase(workspace, jane, actor="tester")
    assert statuses(workspace, live=True) == {"nobody.png": "no_face", "faces.png": "clean", "both.png": "hit"}
    assert found(workspace) == {("both.png", ann, "title", "full_name")}
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(seeds)).all() == []
        same = {"hit_id": row.hit_id, "subject_id": jane, "sealed_term": row.sealed_term}
        with pytest.raises(CorruptionError):
            open_term(connection, workspace.sealer, **same)
    night(workspace, uploads)
    assert found(workspace) == {("both.png", ann, "title", "full_name")}


def test_i2_a_removal_request_is_open_until_every_text_was_searched_for_its_subject(
    workspace: Workspace, uploads: Path
) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="a walk with ann moe")
    night(workspace, uploads)
    read = references(workspace, person(2))
    request = open_request(
        workspace,
        names=["Ann Moe"],
        references=read,
        contact="c",
        consent=None,
        actor="tester",
        exclusions=["ann moe st"],
    )
    accept_request(workspace, request.request_id, actor="tester")
    assert missing(workspace, request.subject_id) == 1
    assert finish_searches(workspace) == FinishedRequests(0, 0)
    with pytest.raises(NotReadyError, match="1 not examined"):
        require_complete(workspace, ALL)
    summary = rescan(workspace, request_id=request.request_id)
    assert (summary.new_hits, summary.searched_requests, summary.unexamined) == (1, 1, 0)
    with workspace.database.read() as connection:
        assert get_request(connection, request.request_id).state == "under_review"
    assert found(workspace) == {("a.png", request.subject_id, "title", "full_name")}


def test_texts_listed_before_there_were_digests_get_theirs_and_are_searched(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    list_source(workspace, source_of(uploads), day=None)
    digest = column(workspace, "a.png", "text_digest")
    with workspace.database.write() as tx:
        tx.execute(sa.update(items).values(text_digest=None))
    examine_pending(workspace, found_by="sweep")
    assert column(workspace, "a.png", "text_digest") == digest
    assert found(workspace) == {("a.png", jane, "title", "full_name")}
    assert missing(workspace) == 0


def test_an_item_examined_before_its_faces_were_compared_is_a_hit_in_the_end(
    workspace: Workspace, uploads: Path
) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "faces.png", picture(person(9)), title="jane doe")
    upload(uploads, "nobody.png", picture(WHITE), title="jane doe")
    upload(uploads, "broken.png", b"no picture", title="jane doe")
    list_source(workspace, source_of(uploads), day=None)
    examine_pending(workspace, found_by="rescan")
    assert set(statuses(workspace, live=True).values()) == {"pending"}
    night(workspace, uploads)
    assert statuses(workspace, live=True) == {
        "faces.png": "hit",
        "nobody.png": "hit",
        "broken.png": "unscannable:format",
    }
    assert len(found(workspace)) == 3


@pytest.mark.parametrize("passage", [1, 2, 3])
@pytest.mark.parametrize("name", ["before_examine_commit", "after_examine_commit"])
def test_i6_a_run_cut_off_anywhere_and_repeated_ends_like_an_undisturbed_one(
    workspace: Workspace, uploads: Path, name: str, passage: int
) -> None:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=2, examined_items=2))
    jane = join(workspace, "Jane Doe")
    for number in range(6):
        upload(uploads, f"{number}.png", picture(WHITE), title="jane doe", prompt="doe jane")
    list_source(workspace, source_of(uploads), day=None)
    before, workspace.failpoints = workspace.failpoints, CutAt(name, passage)  # type: ignore[assignment]
    with pytest.raises(CutOffError):
        examine_pending(workspace, found_by="sweep")
    workspace.failpoints = before
    done = passage - (name == "before_examine_commit")
    assert missing(workspace) == 6 - 2 * done
    assert examine_pending(workspace, found_by="sweep").hits == 2 * (6 - 2 * done)
    assert found(workspace) == {
        (f"{number}.png", jane, *rest)
        for number in range(6)
        for rest in (("title", "full_name"), ("prompt", "reordered"))
    }


def test_two_workers_share_the_work_and_write_every_hit_once(
    workspace: Workspace, open_again: Callable[[], Workspace], uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    for number in range(12):
        upload(uploads, f"{number:02}.png", picture(WHITE), title="jane doe")
    list_source(workspace, source_of(uploads), day=None)
    workers = [open_again(), open_again()]
    for worker in workers:
        worker.config = replace(worker.config, sweep=replace(worker.config.sweep, shard_items=2, examined_items=2))
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda worker: examine_pending(worker, found_by="sweep"), workers))
    assert sum(one.items for one in counts) == sum(one.hits for one in counts) == 12
    assert found(workspace) == {(f"{number:02}.png", jane, "title", "full_name") for number in range(12)}


@pytest.mark.parametrize("name", ["before_examine_commit:2", "after_examine_commit:1"])
def test_i6_a_killed_process_leaves_nothing_that_the_next_run_does_not_put_right(tmp_path: Path, name: str) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    for number in range(7):
        upload(uploads, f"{number}.png", picture(WHITE), title="jane doe", tags=["doe jane"])
    with fresh_workspace(tmp_path / "home", now=Clock()) as opened:
        jane = join(use_fakes(opened), "Jane Doe")
    killed = run_night(tmp_path / "home", uploads, {"LIKENESS_KEY": KEY, "LIKENESS_FAILPOINT": name})
    assert killed.returncode == -9, killed.stderr[-2000:]
    with use_fakes(open_workspace(environment_for(tmp_path / "home"), now=Clock())) as opened:
        assert missing(opened) > 0
        night(opened, uploads)
        assert found(opened) == {
            (f"{number}.png", jane, *rest)
            for number in range(7)
            for rest in (("title", "full_name"), ("tags", "reordered"))
        }
        assert set(statuses(opened).values()) == {"hit"}
        assert missing(opened) == 0
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert not in_clear(b"jane doe", stored.lower())


@pytest.mark.parametrize("size", [1, 3, 100])
def test_order_and_batch_size_change_nothing_and_more_subjects_take_nothing_away(
    workspace: Workspace, open_again: Callable[[], Workspace], uploads: Path, size: int
) -> None:
    workspace.config = replace(
        workspace.config, sweep=replace(workspace.config.sweep, shard_items=size, examined_items=size)
    )
    names = ["Jane Doe", "Ann Moe", "Rose May Lind", "Lindgard"]
    drawn = random.Random(size)
    texts = ["jane doe", "AnnMoe", "lind, rose may", "lindgard jane", "doe jane ann moe", "nothing", "rosemaylind"]
    for number, text in enumerate(drawn.sample(texts, len(texts))):
        upload(uploads, f"{number}.png", picture(WHITE), title=text)
    wanted: set[tuple[str, str]] = set()
    known: dict[str, str] = {}
    for name in drawn.sample(names, len(names)):
        known[join(workspace, name, who=len(known) + 1)] = name
        night(workspace if drawn.random() < 0.5 else open_again(), uploads)
        now = {(column(workspace, item_id, "text_digest"), known[key]) for item_id, key, *_ in found(workspace)}
        assert wanted <= now
        wanted = now
    by_text = {
        (text, known[subject_id])
        for item_id, subject_id, *_ in found(workspace)
        for text in [_title(workspace, item_id)]
    }
    assert by_text == {
        ("jane doe", "Jane Doe"),
        ("AnnMoe", "Ann Moe"),
        ("lind, rose may", "Rose May Lind"),
        ("lindgard jane", "Lindgard"),
        ("doe jane ann moe", "Jane Doe"),
        ("doe jane ann moe", "Ann Moe"),
        ("rosemaylind", "Rose May Lind"),
    }


def _title(workspace: Workspace, item_id: str) -> str:
    sealed = column(workspace, item_id, "sealed_record")
    return str(workspace.sealer.unseal_record(sealed, item_id)["item"]["title"])


def test_exclusions_are_kept_with_the_identity_and_hold(workspace: Workspace, uploads: Path) -> None:
    may = join(workspace, "May Greenholt", "May", exclusions=("may contain", "in may"))
    upload(uploads, "a.png", picture(WHITE), title="may contain traces, taken in May")
    upload(uploads, "b.png", picture(WHITE), title="may, portrait")
    night(workspace, uploads)
    assert found(workspace) == {("b.png", may, "title", "token")}
    assert show_identity(workspace, may, actor="tester").exclusions == ("may contain", "in may")


def test_names_too_short_to_be_looked_for_are_refused_when_somebody_is_registered(workspace: Workspace) -> None:
    with pytest.raises(EnrolmentError, match="short_name"):
        join(workspace, "Jane Doe", "Jo")


def test_opening_names_for_matching_is_no_look_by_a_person(workspace: Workspace) -> None:
    subject_ids = [join(workspace, "Jane Doe"), join(workspace, "Ann Moe", "Annie", who=2)]
    with workspace.database.read() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one()
        opened = open_names(connection, workspace.sealer, subject_ids)
        assert connection.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one() == before
    assert {one.subject_id: one.names for one in opened} == {
        subject_ids[0]: ("Jane Doe",),
        subject_ids[1]: ("Ann Moe", "Annie"),
    }
    assert "Jane" not in repr(opened)


def test_i7_a_record_that_cannot_be_opened_stops_the_stage(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    list_source(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(items).values(sealed_record=b"x" * 64))
    with pytest.raises(CorruptionError):
        examine_pending(workspace, found_by="sweep")


def test_another_matcher_searches_all_texts_again(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="xjanedoex")
    night(workspace, uploads)
    assert found(workspace) == set()
    workspace.config = replace(
        workspace.config, names=replace(workspace.config.names, inside_letters=7, most_letters=300)
    )
    assert missing(workspace) == 1
    night(workspace, uploads)
    assert found(workspace) == {("a.png", jane, "title", "joined")}


def item_of(**fields: Any) -> texts.Item:
    moment = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
    return texts.Item("i", "model", moment, **({"locator": ""} | fields))


@pytest.mark.parametrize(
    ("locator", "name"),
    [
        ("models/jane_doe_v1.safetensors", "jane_doe_v1"),
        ("https://cdn.example/a/Jane%20Doe.tar.gz?x=jane#y", "Jane Doe"),
        ("C:\\up\\山田太郎.pt", "山田太郎"),
        ("https://cdn.example/0a1b2c3d-4e5f-6a7b-8c9d-0e1f2a3b4c5d.png", ""),
        ("x/" + "ab12" * 16 + ".bin", ""),
        ("x/1234.jpeg", ""),
        ("", ""),
    ],
)
def test_the_name_of_a_file_is_a_text_unless_it_is_a_digest(locator: str, name: str) -> None:
    assert texts.texts_of(item_of(locator=locator)).get("file_name", "") == name


def test_a_listed_prompt_that_is_a_whole_text_of_parameters_is_searched_without_what_it_excludes() -> None:
    for between in ("\n", " ", "\r"):
        parts = ("a cat <lora:ann_lee:1>", "negative prompt: Jane Doe", "Steps: 2, Sampler: Mary Roe, Seed: 1")
        assert texts.texts_of(item_of(prompt=between.join(parts)))["prompt"] == "a cat <lora:ann_lee:1>"
    assert "prompt" not in texts.texts_of(item_of(prompt="Negative prompt: Jane Doe"))


def test_a_name_may_be_split_over_title_and_tags_of_one_word_and_over_nothing_else() -> None:
    def side_by_side(**fields: Any) -> str:
        return texts.texts_of(item_of(**fields)).get("title_and_tags", "")

    assert side_by_side(title="Portrait of Jane", tags=("doe", "lora")) == "Portrait of Jane doe lora"
    assert side_by_side(tags=("jane", "doe", "red hair", "a", "b")) == "jane doe\x1ea b"
    assert side_by_side(title="Jane", trigger_words=("doe",)) == "Jane doe"
    assert side_by_side(title="Jane", tags=("red hair",)) == ""
    assert side_by_side(title="x" * 201, tags=("doe",)) == ""


def test_a_name_may_be_split_over_a_title_and_a_trigger_of_a_few_words() -> None:
    def side_by_side(**fields: Any) -> str:
        return texts.texts_of(item_of(**fields)).get("title_and_tags", "")

    assert side_by_side(title="Jane", trigger_words=("doe woman",)) == "Jane doe woman"
    assert side_by_side(title="Jane", trigger_words=("lora", "doe woman")) == "Jane lora\x1eJane doe woman"
    assert side_by_side(trigger_words=("doe woman",)) == ""
    assert side_by_side(title="Jane", trigger_words=("doe in a red hat",)) == ""
    assert side_by_side(title="J", trigger_words=tuple("abcdefg"[at] + " x" for at in range(7))).count("J") == 5


def test_a_name_at_a_place_of_leftovers_counts_for_whoever_is_named_nowhere_else(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "jane doe.png", picture(WHITE), title="Jane", tags=["doe"])
    upload(uploads, "b.png", picture(WHITE), title="Jane Doe", tags=["doe", "jane"])
    night(workspace, uploads)
    assert found(workspace) == {
        ("jane doe.png", jane, "file_name", "full_name"),
        ("b.png", jane, "title", "full_name"),
    }


def test_what_an_earlier_matcher_found_stays_with_what_was_decided_of_it(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE), title="Jane Doe", tags=["doe, jane"])
    night(workspace, uploads)
    with workspace.database.write() as tx:
        before = tx.execute(sa.select(hits.c.hit_id).where(hits.c.place == "title")).scalar_one()
        tx.execute(sa.update(hits).values(found_by_id="names-0-3-6-8"))
        tx.execute(sa.delete(hits).where(hits.c.place == "tags"))
        tx.execute(sa.update(examined).values(rules_id="names-0-3-6-8/31"))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(hits.c.place, hits.c.hit_id, hits.c.found_by_id)).all()
    assert {row.place: row.found_by_id for row in rows}["tags"] == matcher_id(workspace.config.names)
    assert [row.hit_id for row in rows if row.place == "title"] == [before]
    assert len(rows) == 2


def test_places_are_those_that_the_digest_is_made_of() -> None:
    moment = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
    item = texts.Item("i", "image", moment, "", title="t", prompt="p", tags=("a", "b"), trigger_words=("w",))
    assert texts.texts_of(item) == {
        "title": "t",
        "prompt": "p",
        "tags": "a\x1eb",
        "trigger_words": "w",
        "title_and_tags": "t a b\x1et w",
    }


def test_nobody_to_look_for_leaves_nothing_to_examine(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, allow_empty_registry=True))
    upload(uploads, "a.png", picture(WHITE), title="jane doe")
    night(workspace, uploads)
    assert missing(workspace) == 0
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(examined)).all() == []
