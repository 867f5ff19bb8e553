"""Judging models, circuit breakers, and what a person's decision does to verdicts and messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.cases.ending import withdraw
from pipelines.database.tables import contents, decisions, hits, items, model_verdicts, outbox, verdicts
from pipelines.hits.counting import live_hits
from pipelines.home.workspace import Workspace, new_id
from pipelines.judging import judge_pending, rejudge
from pipelines.judging.evidence import Group, items_of
from pipelines.policy import Evidence
from pipelines.policy.evidence import distinct_pictures
from pipelines.runs.sweep import sweep
from pipelines.takedown.outbox import release_held
from tests.conftest import Clock
from tests.fakes import WHITE, person, picture
from tests.platform_actions import NAME, enrol, show, source_of, upload
from tests.platform_facts import messages_of


def of_model(workspace: Workspace, model: str = "m") -> Any:
    """The only verdict on a model."""
    with workspace.database.read() as connection:
        return connection.execute(sa.select(model_verdicts).where(model_verdicts.c.model == model)).one()


def of_item(workspace: Workspace, item_id: str) -> tuple[str, str]:
    """Verdict and rule of the only subject of an item."""
    query = sa.select(verdicts.c.verdict, verdicts.c.rule).where(verdicts.c.item_id == item_id)
    with workspace.database.read() as connection:
        verdict, rule = connection.execute(query).one()
        return verdict, rule


def plant_name(workspace: Workspace, item_id: str, subject_id: str, *, place: str, match: str = "full_name") -> None:
    """A name found in an item's text, as the examining stage enters it."""
    with workspace.database.write() as tx:
        item = tx.execute(sa.select(items).where(items.c.item_id == item_id)).one()
        tx.execute(
            sa.insert(hits).values(
                hit_id=new_id("hit"),
                item_id=item_id,
                content_key=item.text_digest,
                subject_id=subject_id,
                tier="text",
                band="strong",
                score=1.0,
                threshold=1.0,
                threshold_source="names",
                found_by_id="names-1",
                policy_version=workspace.policy.version,
                place=place,
                match=match,
                found_by="sweep",
                found_at=workspace.now(),
            )
        )


def decide(workspace: Workspace, item_id: str, decision: str) -> None:
    """Enter a decision on the item's only hit, and judge again."""
    with workspace.database.write() as tx:
        hit = tx.execute(sa.select(hits).where(hits.c.item_id == item_id)).one()
        scope = {name: hit._mapping[name] for name in ("hit_id", "item_id", "subject_id", "content_key", "found_by_id")}
        replaced = decisions.c.hit_id == hit.hit_id
        tx.execute(sa.update(decisions).where(replaced).values(reversed_at=workspace.now()))
        tx.execute(
            sa.insert(decisions).values(
                decision_id=new_id("dec"),
                batch_id="batch",
                decision=decision,
                reason="other_person",
                actor="tester",
                decided_at=workspace.now(),
                **scope,
            )
        )
        rejudge(tx, workspace, pairs=[(item_id, hit.subject_id)])


def deliver_all(workspace: Workspace) -> None:
    """As if everything had been sent and acknowledged."""
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).where(outbox.c.state == "pending").values(state="done", attempts=1))


def with_breakers(workspace: Workspace, **limits: int) -> None:
    """Put limits in force."""
    breakers = replace(workspace.policy.settings.breakers, **limits)
    settings = replace(workspace.policy.settings, breakers=breakers)
    workspace.policy = replace(workspace.policy, settings=settings, version="limited")  # type: ignore[misc]


def test_a_model_whose_pictures_show_one_person_is_a_likeness_model_and_the_generator_is_told(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    upload(uploads, "c.png", picture(WHITE), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    verdict = of_model(workspace)
    assert (verdict.verdict, verdict.rule) == ("likeness_model", "strong_face_in_distinct_images")
    assert (verdict.images, verdict.images_with_face, verdict.distinct_images) == (3, 2, 2)
    assert messages_of(workspace, "generator.block") == [("m", "pending")]
    sweep(workspace, source_of(uploads), day=None)
    assert messages_of(workspace, "generator.block") == [("m", "pending")]


def test_a_model_with_one_picture_among_many_is_only_suspected(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for name, who in (("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 4)):
        show(uploads, name, who)
    sweep(workspace, source_of(uploads), day=None)
    assert (of_model(workspace).verdict, of_model(workspace).images) == ("suspected", 5)
    assert messages_of(workspace, "generator.block") == []
    assert messages_of(workspace, "takedown") == [("a.png", "pending"), ("b.png", "pending")]


def test_a_name_in_the_models_title_corroborates_a_strong_face(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    show(uploads, "a", 1)
    upload(uploads, "m", b"PK\x03\x04 a pickled model", kind="model", title="somebody")
    sweep(workspace, source_of(uploads), day=None)
    assert of_item(workspace, "a.png") == ("review", "strong_face_uncorroborated")
    plant_name(workspace, "m", subject, place="title")
    judge_pending(workspace)
    assert of_item(workspace, "a.png") == ("takedown", "strong_face_with_name")
    assert of_item(workspace, "m") == ("review", "name_in_text")
    assert (of_model(workspace).verdict, of_model(workspace).tiers) == ("likeness_model", "face text")
    assert messages_of(workspace, "generator.block") == [("m", "pending")]


def test_a_bounty_that_names_somebody_is_evidence_by_itself_but_blocks_nothing(
    workspace: Workspace, uploads: Path
) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "wanted", b"text", kind="bounty", title="somebody")
    sweep(workspace, source_of(uploads), day=None)
    plant_name(workspace, "wanted", subject, place="title")
    judge_pending(workspace)
    assert of_item(workspace, "wanted") == ("review", "bounty_names_person")
    assert (of_model(workspace, "wanted").verdict, of_model(workspace, "wanted").generator_block) == (
        "suspected",
        False,
    )


def test_the_platforms_mature_rating_brings_a_takedown_forward(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1, nsfw_level="X")
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        sent = {row.item_id: row for row in connection.execute(sa.select(outbox))}
    settings, now = workspace.policy.settings, workspace.now()
    assert sent["a.png"].due_at == now + timedelta(hours=settings.mature.hours)
    assert sent["b.png"].due_at == now + timedelta(hours=settings.takedown.hours)
    assert sent["a.png"].priority > sent["b.png"].priority
    assert sent["m"].priority >= sent["a.png"].priority
    assert of_model(workspace).rating == "explicit"


def test_withdrawn_consent_takes_takedowns_and_blocks_back(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).where(outbox.c.action == "generator.block").values(state="done", attempts=1))
    withdraw(workspace, subject, actor="tester")
    assert messages_of(workspace, "takedown") == [("a.png", "withdrawn"), ("b.png", "withdrawn")]
    assert messages_of(workspace, "withdrawal") == [("m", "pending")]


def test_a_person_who_hits_too_much_trips_the_breaker_and_everything_unsent_is_held(
    workspace: Workspace, uploads: Path
) -> None:
    with_breakers(workspace, subject=4)
    enrol(workspace, person(1))
    enrol(workspace, person(2))
    for name in "abc":
        show(uploads, name, 1)
    show(uploads, "x", 2, model="n")
    show(uploads, "y", 2, model="n")
    sweep(workspace, source_of(uploads), day=None)
    assert {state for _, state in messages_of(workspace, "takedown")} == {"pending"}
    show(uploads, "d", 1)
    sweep(workspace, source_of(uploads), day=None)
    held = [state for item, state in messages_of(workspace, "takedown") if item < "x"]
    assert len(held) == 4
    assert set(held) == {"held"}
    assert dict(messages_of(workspace, "takedown"))["x.png"] == "pending"


def test_what_somebody_released_is_not_held_again(workspace: Workspace, uploads: Path) -> None:
    with_breakers(workspace, run=1)
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    assert {state for _, state in messages_of(workspace, "takedown")} == {"held"}
    with workspace.database.write() as tx:
        for message_id in tx.execute(sa.select(outbox.c.message_id)).scalars().all():
            assert release_held(tx, message_id)
    with_breakers(workspace, run=1, day=1)
    show(uploads, "c", 1)
    sweep(workspace, source_of(uploads), day=None)
    assert messages_of(workspace, "takedown") == [("a.png", "pending"), ("b.png", "pending"), ("c.png", "held")]


def test_uploaders_and_days_have_limits_of_their_own(workspace: Workspace, uploads: Path) -> None:
    with_breakers(workspace, uploader=1)
    enrol(workspace, person(1))
    for name, uploader in (("a", "busy"), ("b", "busy"), ("c", "quiet")):
        show(uploads, name, 1, uploader=uploader, prompt=f"photo of {NAME}")
    sweep(workspace, source_of(uploads), day=None)
    assert messages_of(workspace, "takedown") == [("a.png", "held"), ("b.png", "held"), ("c.png", "pending")]


def test_a_confirmed_hit_is_taken_down_by_a_person_once_it_cannot_be_undone(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1, model=None)
    sweep(workspace, source_of(uploads), day=None)
    decide(workspace, "a.png", "confirm")
    assert of_item(workspace, "a.png") == ("takedown", "confirmed_by_person")
    with workspace.database.read() as connection:
        (message,) = connection.execute(sa.select(outbox)).all()
    undo = timedelta(minutes=workspace.policy.settings.decisions.undo_minutes)
    assert (message.decided_by, message.next_attempt_at) == ("human", workspace.now() + undo)


def test_undoing_a_confirmation_leaves_no_trace_outside_and_deciding_again_is_another_case(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1, model=None)
    sweep(workspace, source_of(uploads), day=None)
    decide(workspace, "a.png", "confirm")
    decide(workspace, "a.png", "unsure")
    assert of_item(workspace, "a.png") == ("review", "strong_face_uncorroborated")
    assert messages_of(workspace, "takedown") == [("a.png", "withdrawn")]
    assert messages_of(workspace, "withdrawal") == []
    decide(workspace, "a.png", "confirm")
    assert sorted(state for _, state in messages_of(workspace, "takedown")) == ["pending", "withdrawn"]


def test_a_rejection_clears_the_item_and_takes_back_what_it_corroborated(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="done", attempts=1))
    decide(workspace, "b.png", "reject")
    assert of_item(workspace, "b.png") == ("clear", "rejected_by_person")
    assert of_item(workspace, "a.png") == ("review", "strong_face_uncorroborated")
    assert of_model(workspace).verdict == "suspected"
    assert messages_of(workspace, "withdrawal") == [("a.png", "pending"), ("b.png", "pending"), ("m", "pending")]
    sweep(workspace, source_of(uploads), day=None)
    assert of_item(workspace, "b.png") == ("clear", "rejected_by_person")


def test_what_was_sent_of_a_model_stands_until_a_person_decides(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    deliver_all(workspace)
    show(uploads, "b", 1, deleted=True)
    show(uploads, "c", 1)
    show(uploads, "d", 2)
    show(uploads, "e", 3)
    show(uploads, "f", 4)
    sweep(workspace, source_of(uploads), day=None)
    assert of_model(workspace).verdict == "likeness_model"
    assert messages_of(workspace, "generator.block") == [("m", "done")]
    assert messages_of(workspace, "withdrawal") == []


def test_other_bounds_of_ratings_weigh_what_was_judged_again(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(contents).values(nsfw_score=0.5))
    judge_pending(workspace)
    before = of_model(workspace).rating
    bounds = {"suggestive_score": 0.3, "mature_score": 0.4}
    workspace.config = replace(workspace.config, content=replace(workspace.config.content, **bounds))
    judge_pending(workspace)
    assert (before, of_model(workspace).rating) == ("suggestive", "mature")
    judged_at = of_model(workspace).judged_at
    clock.forward(hours=1)
    judge_pending(workspace)
    assert of_model(workspace).judged_at == judged_at  # once


def test_what_is_judged_together_is_looked_up_by_item_however_many_hits_a_person_has(workspace: Workspace) -> None:
    if not workspace.database.is_sqlite:
        pytest.skip("PostgreSQL plans by its statistics")
    query = live_hits().where(items_of([Group("sub", f"m{number}", None) for number in range(100)]))
    with workspace.database.read() as connection:
        sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
    assert "SEARCH hits USING INDEX ix_hits_item_id (item_id=?)" in plan
    assert "SEARCH newer USING INDEX ix_hits_item_id (item_id=?)" in plan


def test_the_pictures_of_a_model_are_compared_with_each_other_once_not_once_for_each(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(evidence: Sequence[Evidence], **more: Any) -> dict[str, int | None]:
        counted.append(len(evidence))
        return distinct_pictures(evidence, **more)

    monkeypatch.setattr("pipelines.policy.evidence.distinct_pictures", count)
    enrol(workspace, person(1))
    for name in "abcde":
        show(uploads, name, 1)
    sweep(workspace, source_of(uploads), day=None)
    assert counted == [5]
    assert of_item(workspace, "a.png") == ("takedown", "strong_face_in_distinct_images")


def test_pictures_that_are_removed_hide_no_likeness_model(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    others = (("c", 2), ("d", 3), ("e", 4))
    for name, who in (("a", 1), ("b", 1), *others):
        show(uploads, name, who)
    sweep(workspace, source_of(uploads), day=None)
    assert of_model(workspace).verdict == "suspected"
    for name, who in others:
        show(uploads, name, who, deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    assert (of_model(workspace).verdict, of_model(workspace).images) == ("likeness_model", 2)
    assert messages_of(workspace, "generator.block") == [("m", "pending")]


def test_a_confirmation_lets_go_what_a_breaker_held_and_undoing_it_holds_it_again(
    workspace: Workspace, uploads: Path
) -> None:
    with_breakers(workspace, run=1)
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    assert dict(messages_of(workspace, "takedown")) == {"a.png": "held", "b.png": "held"}
    decide(workspace, "a.png", "confirm")
    assert messages_of(workspace, "takedown") == [("a.png", "pending"), ("a.png", "withdrawn"), ("b.png", "held")]
    with_breakers(workspace, day=1)
    decide(workspace, "a.png", "unsure")
    states = [state for item, state in messages_of(workspace, "takedown") if item == "a.png"]
    assert sorted(states) == ["held", "withdrawn", "withdrawn"]


def test_confirming_words_speaks_for_the_item_that_has_them_and_not_for_others(
    workspace: Workspace, uploads: Path
) -> None:
    subject = enrol(workspace, person(1))
    for name in ("one", "two"):
        upload(uploads, name, b"no picture", kind="model", title="somebody")
    sweep(workspace, source_of(uploads), day=None)
    plant_name(workspace, "one", subject, place="title")
    plant_name(workspace, "two", subject, place="title")
    judge_pending(workspace)
    decide(workspace, "one", "confirm")
    judge_pending(workspace)
    assert of_item(workspace, "one") == ("takedown", "confirmed_by_person")
    assert of_item(workspace, "two") == ("review", "name_in_text")


def test_what_stands_under_another_policy_is_weighed_once_and_not_in_every_run(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    deliver_all(workspace)
    rules = replace(workspace.policy.settings.takedown, distinct_images=3)
    stricter = replace(workspace.policy.settings, takedown=rules)
    workspace.policy = replace(workspace.policy, settings=stricter, version="stricter")  # type: ignore[misc]
    assert judge_pending(workspace).judged == 2
    assert of_item(workspace, "a.png") == ("takedown", "strong_face_in_distinct_images")
    assert judge_pending(workspace).judged == 0
