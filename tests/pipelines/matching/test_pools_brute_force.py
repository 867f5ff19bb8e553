"""Whatever the order of uploads, deletions, nights, rescans, cuts and compactions, the hits are brute force's (I2, I3).

The oracle pools by its own few lines of Python and compares with every subject in force. It never asks the code under
test what should be true.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cases.ending import withdraw
from pipelines.database.tables import pools, subjects
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import require_complete, sweep
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import person, vectors_of_colours
from tests.pipelines.matching.pooling_scene import drawn, post, see_drawings, vectors_of
from tests.platform_actions import enrol, source_of

REVIEW, STRONG = 0.363, 0.5
PEOPLE = 2

Picture = tuple[int, int, str, str]
"""Who is drawn, in which picture, in which model, by which uploader."""

UPLOADS = st.tuples(st.sampled_from([1, 1, 2]), st.integers(0, 4), st.sampled_from("mmmn"), st.sampled_from("uuuv"))
STEPS = st.one_of(
    st.tuples(st.just("upload"), UPLOADS),
    st.tuples(st.just("upload"), UPLOADS),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("move"), st.integers(0, 20)),
    st.tuples(st.just("enrol"), st.integers(1, PEOPLE)),
    st.tuples(st.just("withdraw"), st.integers(0, 5)),
    st.tuples(st.just("night"), st.none()),
    st.tuples(st.just("rescan"), st.none()),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("cut"), st.sampled_from(["before_pool_commit", "after_pool_commit", "before_match_commit"])),
)


class CutOffError(Exception):
    """The process ends here."""


class CutAt:
    """Failpoints that raise at one name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def pass_by(self, name: str) -> None:
        if name == self._name:
            raise CutOffError(name)


def pools_by_hand(pictures: list[tuple[str, int, int]]) -> list[tuple[list[str], np.ndarray]]:  # type: ignore[type-arg]
    """Of (item, who, number) of one post, all faces of one quality: the items of each pool and its vector.

    Copies have one number and count once, by whichever item: all of a number are given.
    """
    vectors = {(who, number): vectors_of([drawn(who, number)])[0] for _, who, number in pictures}
    left = sorted(vectors, key=lambda key: vectors[key].tobytes())
    found = []
    while left:
        pivot = vectors[left[0]].astype(np.float64)
        near = [key for key in left if pivot @ vectors[key] >= REVIEW or key == left[0]]
        left = [key for key in left if key not in near]
        total = sum(vectors[key].astype(np.float64) for key in near)
        items = [item for item, *key in pictures if tuple(key) in near]
        if len(near) > 1:
            found.append((items, total / np.linalg.norm(total)))
    return found


def expected(uploads: dict[str, Picture], people: dict[str, int]) -> set[tuple[frozenset[str], str]]:
    """(items whose faces are pooled, copies too, and subject) for each pool that resembles somebody."""
    posts: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for item, (who, number, model, uploader) in uploads.items():
        posts.setdefault((model, uploader), []).append((item, who, number))
    found = set()
    for pictures in posts.values():
        for items, vector in pools_by_hand(pictures):
            for subject_id, who in people.items():
                score = float(vector @ vectors_of_colours([person(who)])[0].astype(np.float64))
                if score >= REVIEW:
                    assert score < STRONG, "no drawing is strong, so each picture of the pool has a hit"
                    found.add((frozenset(items), subject_id))
    return found


def run(workspace: Workspace, folder: Path, steps: list[tuple[str, object]]) -> None:
    uploads: dict[str, Picture] = {}
    people: dict[str, int] = {enrol(workspace, person(199)): 199, enrol(workspace, person(1)): 1}
    for number in range(3):
        act(workspace, folder, "upload", (1, number, "m", "u"), uploads, people)
    for step, what in steps:
        with contextlib.suppress(CutOffError):
            act(workspace, folder, step, what, uploads, people)
    for _ in range(2):
        sweep(workspace, source_of(folder), day=None)
        rescan(workspace)
    require_complete(workspace, Scope(None, None))
    check(workspace, uploads, people)


def act(
    workspace: Workspace, folder: Path, step: str, what: object, uploads: dict[str, Picture], people: dict[str, int]
) -> None:
    names = sorted(uploads)
    if step == "upload":
        assert isinstance(what, tuple)
        who, number, model, uploader = what
        name = f"{len(list(folder.glob('*.png'))):03}"
        post(folder, name, drawn(who, number), model=model, uploader=uploader)
        uploads[f"{name}.png"] = (who, number, model, uploader)
    elif step in ("delete", "move") and names:
        assert isinstance(what, int)
        name = names[what % len(names)]
        who, number, model, uploader = uploads.pop(name)
        if step == "delete":
            post(folder, name.removesuffix(".png"), drawn(who, number), model=model, uploader=uploader, deleted=True)
            return
        model = "n" if model == "m" else "m"
        post(folder, name.removesuffix(".png"), drawn(who, number), model=model, uploader=uploader)
        uploads[name] = (who, number, model, uploader)
    elif step == "enrol":
        assert isinstance(what, int)
        people[enrol(workspace, person(what))] = what
    elif step == "withdraw" and len(people) > 1:
        assert isinstance(what, int)
        subject_id = sorted(people, key=lambda key: (people[key] == 199, key))[what % (len(people) - 1)]
        withdraw(workspace, subject_id, actor="tester")
        del people[subject_id]
    elif step == "night":
        sweep(workspace, source_of(folder), day=None)
    elif step == "rescan":
        rescan(workspace)
    elif step == "compact":
        compact(workspace, purge=True)
    elif step == "cut":
        workspace.failpoints, before = CutAt(str(what)), workspace.failpoints  # type: ignore[assignment]
        try:
            sweep(workspace, source_of(folder), day=None)
            rescan(workspace)
        finally:
            workspace.failpoints = before


def check(workspace: Workspace, uploads: dict[str, Picture], people: dict[str, int]) -> None:
    wanted = expected(uploads, people)
    with workspace.database.read() as connection:
        found = list_hits(connection, tier="pooled_face")
        stored = connection.execute(sa.select(pools.c.sealed_vector)).scalars().all()
        assert set(connection.execute(sa.select(subjects.c.subject_id)).scalars()) >= people.keys()
    told: dict[tuple[str | None, ...], set[str]] = {}
    pictures: dict[tuple[str | None, ...], int | None] = {}
    for hit in found:
        key = (hit.subject_id, hit.pool, hit.place, hit.uploader)
        told.setdefault(key, set()).add(hit.item_id)
        pictures[key] = hit.pictures
    assert len(told) == len(wanted)
    for key, own in told.items():
        assert pictures[key] == len(own) == len({uploads[item][:2] for item in own}), "each picture has one hit"
    for items, subject_id in wanted:
        assert any(own <= items for (subject, *_), own in told.items() if subject == subject_id)
    assert None not in stored


@pytest.mark.slow
@given(st.lists(STEPS, min_size=4, max_size=14))
@settings(max_examples=examples(8))
def test_i3_pooled_hits_are_those_of_brute_force_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    home = tmp_path_factory.mktemp("pools")
    folder = home / "uploads"
    folder.mkdir()
    with fresh_workspace(home / "home", now=Clock()) as workspace:
        see_drawings(use_fakes(workspace))
        run(workspace, folder, steps)
