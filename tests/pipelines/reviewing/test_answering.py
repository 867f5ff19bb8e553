"""Answering a case: what is decided is what was shown, all of it and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from embeddings.errors import StateError
from pipelines.decisions.decide import Answer
from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace
from pipelines.reviewing import case
from pipelines.reviewing.answering import answer_case, foresee
from pipelines.reviewing.case import CaseFacts, read_case
from pipelines.reviewing.claims import CaseClaim, claim_case
from pipelines.reviewing.queue import waiting_cases
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, source_of, upload

pytestmark = pytest.mark.any_database

REJECT = Answer("reject", "other_person", "account:ann")


def model_of(workspace: Workspace, uploads: Path, faces: Sequence[Sequence[int]], *, names: int = 0) -> CaseClaim:
    """Ann's claim on the case of a model whose pictures have these faces; number 1 is the person's, whose name is in so
    many other texts. Three pictures with their face would be a takedown without anybody."""
    enrol(workspace, person(1))
    model = {"parent_model": "m-1", "uploader": "u-1"}
    for number, shown in enumerate(faces):
        upload(uploads, f"z-{number}.png", picture(*(person(one) for one in shown)), **model)
    for number in range(names):
        upload(uploads, f"a-{number}.png", picture(person(50 + number)), prompt=f"{NAME} at {number} o'clock", **model)
    sweep(workspace, source_of(uploads), day=None)
    return claim_again(workspace)


def claim_again(workspace: Workspace) -> CaseClaim:
    with workspace.database.read() as connection:
        (waiting,) = (one for one in waiting_cases(connection, workspace) if one.key.about == "m-1")
    return claim_case(workspace, waiting.key, actor="account:ann")


def facts_of(workspace: Workspace, claim: CaseClaim) -> CaseFacts:
    with workspace.database.read() as connection:
        return read_case(connection, claim.key, None)


def decided(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        return {one.hit_id for one in list_decisions(connection)}


def test_of_a_case_with_more_than_is_shown_just_what_is_shown_is_decided(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case, "MOST_HITS", 3)
    claim = model_of(workspace, uploads, [], names=8)
    seen = set[str]()
    for left in (5, 2, 0):
        facts = facts_of(workspace, claim)
        assert facts.left == left
        foreseen = foresee(workspace, claim.key, REJECT)
        assert foreseen.hits == len(facts.hits)
        answer_case(workspace, claim.case_id, REJECT, expect=foreseen.digest)
        seen |= {hit.hit_id for hit in facts.hits}
        assert decided(workspace) == seen
        if left:
            claim = claim_again(workspace)
    assert len(seen) == 8


def test_a_mark_on_one_of_two_faces_in_a_picture_is_refused_and_on_both_is_not(
    workspace: Workspace, uploads: Path
) -> None:
    claim = model_of(workspace, uploads, [(1, 1)])
    twins = [hit.hit_id for hit in facts_of(workspace, claim).hits]
    assert len(twins) == 2
    for only in ([twins[0]], [twins[1]]):
        with pytest.raises(StateError, match="the very content of a marked hit"):
            foresee(workspace, claim.key, REJECT, only=only)
    foreseen = foresee(workspace, claim.key, REJECT, only=twins)
    assert (foreseen.hits, foreseen.beyond, foreseen.items) == (2, 0, 1)
    with pytest.raises(StateError, match="the very content of a marked hit"):
        answer_case(workspace, claim.case_id, REJECT, expect=foreseen.digest, only=twins[:1])
    assert decided(workspace) == set()
    answer_case(workspace, claim.case_id, REJECT, expect=foreseen.digest, only=twins)
    assert facts_of(workspace, claim).hits == ()


def test_what_an_answer_does_is_said_of_every_hit_that_has_the_content(workspace: Workspace, uploads: Path) -> None:
    for name in ("elsewhere.png", "there.png"):
        upload(uploads, name, picture(person(1), person(100)), uploader="u-2")
    claim = model_of(workspace, uploads, [(1, 100)])
    foreseen = foresee(workspace, claim.key, REJECT)
    assert (foreseen.hits, foreseen.beyond, foreseen.items) == (3, 2, 3)
    assert foreseen.by_uploader == {"u-1": 1, "u-2": 2}
    upload(uploads, "later.png", picture(person(1), person(100)), uploader="u-3")
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match="not what it was"):
        answer_case(workspace, claim.case_id, REJECT, expect=foreseen.digest)
