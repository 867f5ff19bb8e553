"""The statement of reasons: every point of Article 17(3), in words and as data, and nothing about whom it protects."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import StateError
from pipelines.cases.requests import accept_request
from pipelines.database import tables
from pipelines.decisions.decide import decide, undo
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.report.statements import Statement, as_text, statements_of
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.takedown.delivering import ScriptedClient, dispatch_once
from tests.platform_actions import DAY, NAME, ask_for_removal, enrol, source_of, upload

pytestmark = pytest.mark.any_database

POINTS = {
    *("Reference", "Restriction", "Where", "How long", "Facts"),
    *("Brought up by", "Automated means", "Ground", "Redress"),
}


@pytest.fixture
def subject(workspace: Workspace, uploads: Path) -> str:
    """Somebody in two pictures of one model, which are taken down without a person, and in one of another."""
    subject_id = enrol(workspace, person(1))
    for number in range(2):
        upload(uploads, f"{number}.png", picture(person(1), person(50 + number)), parent_model="m", uploader="u")
    upload(uploads, "m", b"PK\x03\x04 a pickled model", kind="model", uploader="u")
    upload(uploads, "single.png", picture(person(1)), uploader="u")
    sweep(workspace, source_of(uploads), day=None)
    return subject_id


def confirm(workspace: Workspace, item_id: str) -> str:
    with workspace.database.read() as connection:
        hit_ids = [hit.hit_id for hit in list_hits(connection, item_id=item_id)]
    return str(decide(workspace, hit_ids, decision="confirm", reason="same_person", actor="ann").batch_id)


def statement_on(workspace: Workspace, about: str) -> Statement:
    with workspace.database.read() as connection:
        return statements_of(connection, workspace, about)[0]


def test_an_automatic_takedown_says_so_and_names_rule_score_and_threshold(workspace: Workspace, subject: str) -> None:
    statement = statement_on(workspace, "0.png")
    assert statement.decision_visibility == ("DECISION_VISIBILITY_CONTENT_REMOVED",)
    assert statement.decision_ground == "DECISION_GROUND_INCOMPATIBLE_CONTENT"
    assert (statement.automated_detection, statement.automated_decision) == ("Yes", "AUTOMATED_DECISION_FULLY")
    assert (statement.source_type, statement.content_type) == ("SOURCE_VOLUNTARY", ("CONTENT_TYPE_IMAGE",))
    assert (statement.content_date, statement.application_date) == (DAY.date(), None)
    assert statement.end_date_visibility_restriction is None
    assert statement.facts["rule"] == "strong_face_in_distinct_images"
    assert f"{statement.facts['score']:.3f}" in statement.decision_facts
    assert "2 different pictures" in statement.decision_facts
    words = workspace.policy.settings.statement
    assert statement.incompatible_content_ground == words.ground
    assert (statement.redress, statement.territorial_scope) == (words.redress, words.territorial_scope)


def test_what_a_person_decided_is_not_called_automatic(workspace: Workspace, subject: str) -> None:
    confirm(workspace, "single.png")
    statement = statement_on(workspace, "single.png")
    assert statement.automated_decision == "AUTOMATED_DECISION_NOT_AUTOMATED"
    assert "A person has looked at it" in statement.decision_facts


def test_what_a_person_confirmed_afterwards_is_partly_automatic(workspace: Workspace, subject: str) -> None:
    confirm(workspace, "0.png")
    assert statement_on(workspace, "0.png").automated_decision == "AUTOMATED_DECISION_PARTIALLY"


def test_a_removal_request_is_a_notice(workspace: Workspace, uploads: Path, subject: str) -> None:
    for number in range(2):
        upload(uploads, f"other-{number}.png", picture(person(3), person(70 + number)), parent_model="n")
    sweep(workspace, source_of(uploads), day=None)
    accept_request(workspace, ask_for_removal(workspace, person(3)).request_id, actor="tester")
    rescan(workspace)
    assert statement_on(workspace, "other-0.png").source_type == "SOURCE_ARTICLE_16"
    assert statement_on(workspace, "0.png").source_type == "SOURCE_VOLUNTARY"


@pytest.mark.parametrize("delivered", [False, True])
def test_a_takedown_that_was_taken_back_has_an_end(workspace: Workspace, subject: str, clock, delivered: bool) -> None:
    batch = confirm(workspace, "single.png")
    if delivered:
        clock.forward(minutes=11)
        dispatch_once(workspace.database, ScriptedClient(), workspace.now)
    clock.forward(days=2)
    undo(workspace, batch, actor="ann")
    statement = statement_on(workspace, "single.png")
    assert (statement.state, statement.end_date_visibility_restriction) == ("withdrawn", date(2026, 3, 3))
    assert "(withdrawn)" in as_text(statement)


def test_a_message_and_its_item_have_the_same_statement(workspace: Workspace, subject: str) -> None:
    statement = statement_on(workspace, "0.png")
    assert statement_on(workspace, statement.puid) == statement
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,500}", statement.puid)


def test_blocking_a_model_is_another_restriction(workspace: Workspace, subject: str) -> None:
    with workspace.database.read() as connection:
        blocked = tables.outbox.c.action == "generator.block"
        message_id = connection.execute(sa.select(tables.outbox.c.message_id).where(blocked)).scalar_one()
    statement = statement_on(workspace, message_id)
    assert statement.decision_visibility == ("DECISION_VISIBILITY_OTHER",)
    assert "generator" in str(statement.decision_visibility_other)
    assert "Rule" in as_text(statement)


def test_the_letter_goes_through_every_point(workspace: Workspace, subject: str) -> None:
    text = as_text(statement_on(workspace, "0.png"))
    assert {line.partition(":")[0] for line in text.splitlines()} == POINTS


def test_i8_a_statement_says_nothing_of_whom_it_protects(workspace: Workspace, subject: str) -> None:
    with workspace.database.read() as connection:
        references = connection.execute(sa.select(tables.templates.c.template_id)).scalars().all()
        found = [one for item in ("0.png", "m") for one in statements_of(connection, workspace, item)]
    for statement in found:
        told = as_text(statement) + json.dumps(asdict(statement), default=str)
        assert all(word not in told for word in (NAME, subject, *references))


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ({"tier": "exact", "place": "payload"}, "a model with the same weights as content that a person confirmed"),
        ({"tier": "exact", "place": "pdq"}, "a picture that looks the same as"),
        ({"tier": "text", "place": "trigger_words"}, "stands in its trigger words"),
        ({"tier": "header", "place": "header:ss_output_name"}, "stands in the model file (ss output name)"),
    ],
)
def test_each_tier_has_words_of_its_own(
    workspace: Workspace, subject: str, reasons: dict[str, str], words: str
) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.verdicts).values(reasons=json.dumps(reasons)))
    assert words in statement_on(workspace, "0.png").decision_facts


def test_there_is_no_statement_without_a_takedown(workspace: Workspace, subject: str) -> None:
    with pytest.raises(StateError, match="no takedown"):
        statement_on(workspace, "single.png")
