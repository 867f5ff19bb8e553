"""Looks: an analyst sees what was found, each look is on record before it happens, and nothing else is shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from embeddings.errors import FetchError, StateError
from pipelines.cases.ending import erase
from pipelines.database import tables
from pipelines.database.tables import kept_evidence
from pipelines.decisions.decide import decide
from pipelines.decisions.looks import LONG_SIDE, explain_hit, look_at, reveal
from pipelines.hits.listing import Hit, list_hits
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.embeddings.model_files import data_url, model_file
from tests.fakes import SIDE, person, picture
from tests.platform_actions import NAME, enrol, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def hit(workspace: Workspace, uploads: Path) -> Hit:
    """The second of two people in a picture."""
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(150), person(1)), uploader="u-1")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (found,) = list_hits(connection)
    return found


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def looks(workspace: Workspace) -> list[tuple[str, str]]:
    with workspace.database.read() as connection:
        audit.verify(connection, workspace.sealer)
        viewed = tables.audit.c.action.in_(("crop.view", "term.view"))
        return [(row.action, row.actor) for row in connection.execute(sa.select(tables.audit).where(viewed))]


def keep_nothing(workspace: Workspace) -> None:
    """As if the settings had said so before the hit was found."""
    with workspace.database.write() as tx:
        tx.execute(sa.delete(kept_evidence))


def change(workspace: Workspace, hit: Hit, **values: Any) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.hits).where(tables.hits.c.hit_id == hit.hit_id).values(**values))


def test_a_look_shows_the_face_with_a_margin(workspace: Workspace, hit: Hit) -> None:
    shown = pixels(look_at(workspace, hit.hit_id, actor="ann").png)
    assert shown.shape == (SIDE, SIDE + SIDE // 2, 3), "half a face of the neighbour, and no more"
    assert tuple(shown[SIDE // 2, -1]) == person(1)
    assert tuple(shown[SIDE // 2, 0]) == person(150)
    assert looks(workspace) == [("crop.view", "ann")]


def test_the_reference_stands_on_the_right(workspace: Workspace, hit: Hit) -> None:
    shown = pixels(look_at(workspace, hit.hit_id, actor="ann", reference=True).png)
    assert tuple(shown[20, 90]) == person(1)
    assert tuple(shown[20, 100]) == (255, 255, 255)
    assert tuple(shown[shown.shape[0] // 2, -20]) == person(1)


def test_evidence_that_is_no_face_shows_the_whole_picture(workspace: Workspace, hit: Hit) -> None:
    change(workspace, hit, tier="exact", x1=None, y1=None, x2=None, y2=None, template_id=None, frame=None)
    assert pixels(look_at(workspace, hit.hit_id, actor="ann").png).shape == (SIDE, 2 * SIDE, 3)
    with pytest.raises(StateError, match="no reference"):
        look_at(workspace, hit.hit_id, actor="ann", reference=True)


def test_a_large_picture_is_shown_reduced(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    wide = Image.open(io.BytesIO(picture(person(1)))).resize((2000, 1500), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    wide.save(buffer, "JPEG", quality=95)
    upload(uploads, "large.jpg", buffer.getvalue())
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(tables.items)).one()
    values = {"item_id": "large.jpg", "content_key": row.content_sha256, "hit_id": "hit_1", "subject_id": "sub_1"}
    more = {"tier": "exact", "band": "strong", "score": 1.0, "threshold": 1.0, "threshold_source": "test"}
    made = {"found_by_id": "m", "policy_version": "p", "found_by": "sweep", "found_at": workspace.now()}
    with workspace.database.write() as tx:
        tx.execute(sa.insert(tables.hits).values(**values, **more, **made))
    assert pixels(look_at(workspace, "hit_1", actor="ann").png).shape == (LONG_SIDE * 3 // 4, LONG_SIDE, 3)


def test_a_look_is_on_record_even_if_it_then_fails(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    keep_nothing(workspace)
    (uploads / "a.png").unlink()
    with pytest.raises(FetchError):
        look_at(workspace, hit.hit_id, actor="ann")
    assert looks(workspace) == [("crop.view", "ann")]


def test_other_content_under_the_same_name_is_not_shown(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    keep_nothing(workspace)
    (uploads / "a.png").write_bytes(picture(person(1), person(5)))
    with pytest.raises(StateError, match="not the one"):
        look_at(workspace, hit.hit_id, actor="ann")


def test_a_deleted_item_is_not_shown(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    keep_nothing(workspace)
    upload(uploads, "a.png", picture(person(150), person(1)), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match="gone"):
        look_at(workspace, hit.hit_id, actor="ann")


def test_a_hit_that_does_not_exist_leaves_no_trace(workspace: Workspace, hit: Hit) -> None:
    for act in (look_at, reveal):
        with pytest.raises(StateError, match="no such hit"):
            act(workspace, "hit_0", actor="ann")
    assert looks(workspace) == []


def test_a_term_is_opened_by_name_of_who_opens_it(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "t.png", picture(person(2)), title=f"Portrait of {NAME}")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (text,) = list_hits(connection)
        explained = explain_hit(connection, text.hit_id)
    assert (explained.has_term, explained.facts["place"]) == (True, "title")
    assert NAME not in repr(explained)
    assert looks(workspace) == []
    assert reveal(workspace, text.hit_id, actor="bob").term == NAME
    assert looks(workspace) == [("term.view", "bob")]
    erase(workspace, subject, actor="tester")
    with pytest.raises(StateError, match="nothing personal is kept"):
        reveal(workspace, text.hit_id, actor="bob")


def test_a_face_has_no_term(workspace: Workspace, hit: Hit) -> None:
    with pytest.raises(StateError, match="no term"):
        reveal(workspace, hit.hit_id, actor="ann")


def test_i10_a_hit_explains_itself_before_and_after_a_decision(workspace: Workspace, hit: Hit) -> None:
    with workspace.database.read() as connection:
        before = explain_hit(connection, hit.hit_id)
    assert (before.in_force, before.verdict, before.uploader, before.decisions) == (True, "review", "u-1", ())
    assert {"template_id", "score", "threshold", "threshold_source", "model_id", "view", "x1"} <= before.facts.keys()
    assert before.reasons is not None
    assert before.reasons["hit_id"] == hit.hit_id
    decide(workspace, [hit.hit_id], decision="reject", reason="other_person", actor="ann")
    with workspace.database.read() as connection:
        after = explain_hit(connection, hit.hit_id)
    assert (after.in_force, after.verdict) == (False, "clear")
    assert [(said.decision, said.reason, said.actor) for said in after.decisions] == [("reject", "other_person", "ann")]
    assert replace(before, in_force=False).facts == after.facts


def test_a_look_at_a_model_file_shows_the_picture_in_its_header(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    file = model_file({"modelspec.thumbnail": data_url(picture(person(1)))})
    upload(uploads, "a.safetensors", file, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (found,) = list_hits(connection)
    shown = pixels(look_at(workspace, found.hit_id, actor="ann").png)
    assert tuple(shown[SIDE // 2, SIDE // 2]) == person(1)
