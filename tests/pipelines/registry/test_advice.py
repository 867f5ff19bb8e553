"""What is said of references before they are enrolled, and which of them is set aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from skimage import data

from embeddings.errors import EnrolmentError, StateError
from embeddings.faces.alignment import template
from embeddings.types import Detections, UInt8
from pipelines.database.tables import items
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.matching.margins import GONE, measure_margin
from pipelines.registry.advice import LARGEST_TURN, LEAST_DETAIL, advise, detail_of, standing_apart, turn_of
from pipelines.registry.references import ReadReferences, examine_references
from pipelines.runs.sweep import sweep
from pipelines.settings.config import RegistryConfig
from tests.fakes import fake_models, person, picture
from tests.platform_actions import enrol, references, register, source_of, upload

pytestmark = pytest.mark.any_database

SMALL = RegistryConfig(min_reference_pixels=16, min_reference_score=0.5)


def examined(workspace: Workspace, *people: int, keep_all: bool = False) -> ReadReferences:
    return examine_references(
        [picture(person(one)) for one in people],
        workspace.models,
        limits=workspace.limits,
        config=SMALL,
        agreement=workspace.thresholds.review,
        keep_all=keep_all,
    )


def portrait(*, blur: float = 0) -> UInt8:
    """Her face, about as large as a crop."""
    face = Image.fromarray(data.astronaut()).crop((165, 60, 285, 180)).resize((112, 112))
    return np.asarray(face.filter(ImageFilter.GaussianBlur(blur)) if blur else face)


class Posed:
    """Finds one face, whose nose is so far beside its middle, in distances of the eyes."""

    def __init__(self, beside: float | None) -> None:
        self.beside = beside

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """The template with another nose; nothing for None."""
        marks = template()
        marks[2] = (marks[0] + marks[1]) / 2 + (self.beside or 0) * (marks[1] - marks[0]) + [0, 20]
        count = 0 if self.beside is None else 1
        box = np.array([[0, 0, 112, 112]], dtype=np.float32)
        return Detections(box[:count], marks[None][:count], np.ones(count, dtype=np.float32))


def test_a_reference_that_stands_apart_is_set_aside_and_said(workspace: Workspace) -> None:
    read = examined(workspace, 1, 1, 2, 1)
    assert read.set_aside == (3,)
    assert len(read.references) == 3
    assert [one.position for one in read.advice] == [1, 2, 3, 4]
    assert read.advice[2].agreement is not None
    assert read.advice[2].agreement < workspace.thresholds.review


def test_the_operator_may_keep_all(workspace: Workspace) -> None:
    read = examined(workspace, 1, 1, 2, keep_all=True)
    assert read.set_aside == ()
    assert len(read.references) == 3
    assert len(examined(workspace, 1, 2, keep_all=True).references) == 2


@pytest.mark.parametrize("people", [(1, 2), (1, 1, 2, 2), (1, 2, 3)])
def test_where_nobody_knows_who_is_right_nothing_is_set_aside(workspace: Workspace, people: tuple[int, ...]) -> None:
    with pytest.raises(EnrolmentError, match="disagree"):
        examined(workspace, *people)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=9))
def test_who_is_set_aside_is_a_minority_that_agrees_with_nobody(owners: list[int]) -> None:
    vectors = np.eye(6, dtype=np.float32)[owners]
    apart = standing_apart(vectors, agreement=0.5)
    assert 2 * len(apart) < len(owners)
    for at in apart:
        assert owners.count(owners[at]) == 1
    rest = {owner for at, owner in enumerate(owners) if at not in apart}
    assert not apart or len(rest) == 1


def test_blur_and_small_faces_and_repeats_are_said(workspace: Workspace) -> None:
    crops = [portrait(), portrait(blur=3), portrait()]
    vectors = np.eye(3, dtype=np.float32)
    vectors[2] = vectors[0]
    advice = advise(vectors, crops, [200.0, 60.0, None], detector=Posed(0.0))
    assert [one.remarks for one in advice] == [(), ("small", "blurred"), ("same_as:1",)]


@pytest.mark.parametrize("blur", [2.0, 3.0])
def test_a_blurred_face_has_less_detail_than_a_sharp_one(blur: float) -> None:
    assert detail_of(portrait(blur=blur)) < LEAST_DETAIL < detail_of(portrait())
    assert detail_of(np.full((112, 112, 3), 80, dtype=np.uint8)) == 0


@pytest.mark.parametrize(("beside", "turned"), [(0.0, False), (-0.1, False), (0.5, True), (-0.5, True)])
def test_a_face_that_is_turned_away_is_known_by_its_nose(beside: float, turned: bool) -> None:
    turn = turn_of(portrait(), Posed(beside))
    assert turn == pytest.approx(abs(beside), abs=0.01)
    assert (turn > LARGEST_TURN) is turned
    assert turn_of(portrait(), Posed(None)) is None


def test_a_hit_says_what_rests_on_its_reference_and_who_comes_second(workspace: Workspace, uploads: Path) -> None:
    subject = register(workspace, references(workspace, person(1), person(1)))
    other = enrol(workspace, person(2), name="Other Person")
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection)
    margin = measure_margin(workspace, hit.hit_id)
    assert margin is not None
    assert hit.subject_id == subject
    assert margin.score == pytest.approx(hit.score)
    assert margin.score_without == pytest.approx(1.0, abs=1e-5)
    expected = fake_models().recognizer.embed(np.full((1, 112, 112, 3), person(2), dtype=np.uint8))
    own = fake_models().recognizer.embed(np.full((1, 112, 112, 3), person(1), dtype=np.uint8))
    assert margin.second_subject == other
    assert margin.second_score == pytest.approx(float(own[0] @ expected[0]), abs=1e-5)
    assert margin.margin == pytest.approx(margin.score - margin.second_score)


def test_a_person_with_one_reference_has_no_score_without_it(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection)
    margin = measure_margin(workspace, hit.hit_id)
    assert margin is not None
    assert (margin.score_without, margin.second_subject, margin.margin) == (None, None, None)


def test_where_the_vector_is_gone_the_margin_says_so(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection)
    with workspace.database.write() as tx:
        tx.execute(sa.update(items).values(shard_id=None))
    margin = measure_margin(workspace, hit.hit_id)
    assert margin is not None
    assert margin.problem == GONE
    with pytest.raises(StateError):
        measure_margin(workspace, "hit_none")
