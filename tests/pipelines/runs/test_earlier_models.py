"""Hits that earlier models made: taken over where the new models say the same, kept and counted where they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from embeddings.types import Float32, UInt8
from pipelines.cases.ending import withdraw
from pipelines.database.tables import verdicts
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.policy import BandSettings, Policy
from pipelines.report.collect import collect_facts
from pipelines.report.words import alerts
from pipelines.runs.backfill import backfill, backfill_templates
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.fakes import ColourRecognizer, fake_canary, fake_models, person, picture
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import hits_in_force, messages_of

NEW = "fake-2"


class DullRecognizer(ColourRecognizer):
    """Sees colours like the other, until it is made dull: then its vectors have this cosine to those from before."""

    cosine = 1.0

    def embed(self, crops: UInt8) -> Float32:
        vectors = super().embed(crops)
        aside = np.roll(vectors, 1, axis=1)
        aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        return np.asarray(self.cosine * vectors + np.sqrt(1 - self.cosine**2) * aside, dtype=np.float32)


@pytest.fixture
def taken_down(workspace: Workspace, uploads: Path) -> Workspace:
    """A model with two distinct pictures of one person, both asked to be taken down."""
    enrol(workspace, person(1))
    upload(uploads, "a", picture(person(1)), parent_model="m")
    upload(uploads, "b", picture(person(1), person(3)), parent_model="m")
    assert sweep(workspace, source_of(uploads), day=None).takedowns == 2
    return workspace


def backfill_with(workspace: Workspace, *, cosine: float) -> None:
    """Change to a pack that sees references as before, and finds this cosine in the items."""
    recognizer = DullRecognizer()
    workspace.models = replace(fake_models(NEW), recognizer=recognizer)  # type: ignore[misc]
    workspace.canary = fake_canary(NEW)  # type: ignore[misc]
    backfill_templates(workspace, actor="tester")
    recognizer.cosine = cosine
    backfill(workspace, actor="tester")
    recognizer.cosine = 1.0


def judged(workspace: Workspace) -> list[tuple[str, str]]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(verdicts.c.item_id, verdicts.c.verdict).order_by(verdicts.c.item_id))
        return [(row.item_id, row.verdict) for row in rows]


def test_i5_a_hit_of_the_new_models_takes_over_and_asks_for_no_second_takedown(taken_down: Workspace) -> None:
    before = messages_of(taken_down, "takedown")
    backfill_with(taken_down, cosine=1.0)
    assert [(hit.model_id, hit.verdict) for hit in hits_in_force(taken_down)] == [(NEW, "takedown")] * 2
    assert read_status(taken_down).hits_by_earlier_models == 0
    assert messages_of(taken_down, "takedown") == before == [("a", "pending"), ("b", "pending")]


def test_i5_nor_under_a_policy_that_came_with_the_new_models(taken_down: Workspace) -> None:
    old = taken_down.policy
    bands = replace(old.settings, bands={"opencv-zoo": BandSettings(review=0.3, strong=0.4)})
    taken_down.policy = Policy(version="another-1", settings=bands)  # type: ignore[misc]
    backfill_with(taken_down, cosine=1.0)
    assert len(messages_of(taken_down, "takedown")) == 2


def test_what_the_new_models_do_not_find_stays_in_force_and_is_counted(taken_down: Workspace) -> None:
    backfill_with(taken_down, cosine=0.1)
    assert [(hit.model_id, hit.verdict) for hit in hits_in_force(taken_down)] == [("fake-1", "takedown")] * 2
    status = read_status(taken_down)
    assert (status.hits_by_earlier_models, status.statuses, status.coverage) == (2, {"hit": 2}, 1.0)
    assert messages_of(taken_down, "takedown") == [("a", "pending"), ("b", "pending")]
    assert [finding for finding in verify(taken_down) if not finding.ok and finding.check != "model files"] == []
    with taken_down.database.read() as connection:
        facts = collect_facts(connection, taken_down, Scope(None, None), max_runs=1)
    assert facts.counts.hits_by_earlier_models == 2
    assert any("2 hits" in alert.text and "earlier models" in alert.text for alert in alerts(facts))


def test_a_weaker_hit_of_the_new_models_undoes_neither_the_stronger_one_nor_its_verdict(taken_down: Workspace) -> None:
    backfill_with(taken_down, cosine=0.45)
    assert sorted((hit.model_id, hit.band) for hit in hits_in_force(taken_down)) == [
        *[("fake-1", "strong")] * 2,
        *[(NEW, "review")] * 2,
    ]
    assert judged(taken_down) == [("a", "takedown"), ("b", "takedown")]
    assert len(messages_of(taken_down, "takedown")) == 2


def test_a_stronger_hit_of_the_new_models_takes_over_and_may_ask_for_the_first_takedown(
    workspace: Workspace, uploads: Path
) -> None:
    recognizer = DullRecognizer()
    workspace.models = replace(fake_models(), recognizer=recognizer)  # type: ignore[misc]
    enrol(workspace, person(1))
    recognizer.cosine = 0.45
    upload(uploads, "a", picture(person(1)), parent_model="m")
    upload(uploads, "b", picture(person(1), person(3)), parent_model="m")
    assert sweep(workspace, source_of(uploads), day=None).review == 2
    backfill_with(workspace, cosine=1.0)
    assert {(hit.model_id, hit.band) for hit in hits_in_force(workspace)} == {(NEW, "strong")}
    assert len(messages_of(workspace, "takedown")) == 2


def test_todays_thresholds_are_not_applied_to_scores_of_earlier_models(workspace: Workspace, uploads: Path) -> None:
    recognizer = DullRecognizer()
    workspace.models = replace(fake_models(), recognizer=recognizer)  # type: ignore[misc]
    enrol(workspace, person(1))
    recognizer.cosine = 0.6
    upload(uploads, "a", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    bands = replace(workspace.policy.settings, bands={"opencv-zoo": BandSettings(review=0.7, strong=0.8)})
    workspace.policy = Policy(version="for-the-new-models-1", settings=bands)  # type: ignore[misc]
    backfill_with(workspace, cosine=0.1)
    assert [(hit.model_id, hit.band, hit.rule) for hit in hits_in_force(workspace)] == [
        ("fake-1", "strong", "strong_face_uncorroborated")
    ]
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(verdicts.c.policy_version)).scalar_one() == "for-the-new-models-1"


def test_changing_back_gives_the_first_models_hits_their_place_again(taken_down: Workspace) -> None:
    backfill_with(taken_down, cosine=1.0)
    taken_down.models = fake_models()  # type: ignore[misc]
    taken_down.canary = fake_canary()  # type: ignore[misc]
    backfill(taken_down, actor="tester")
    assert {hit.model_id for hit in hits_in_force(taken_down)} == {"fake-1"}
    assert len(messages_of(taken_down, "takedown")) == 2


def test_a_subject_that_leaves_ends_the_hits_of_all_models(taken_down: Workspace) -> None:
    backfill_with(taken_down, cosine=0.45)
    withdraw(taken_down, hits_in_force(taken_down)[0].subject_id, actor="tester")
    assert hits_in_force(taken_down) == []
    status = read_status(taken_down)
    assert (status.hits_by_earlier_models, status.statuses) == (0, {"clean": 2})
