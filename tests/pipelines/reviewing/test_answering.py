"""Answering a case: what is decided is what was shown, all of it and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

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
        (waiting,) = waiting_cases(connection, workspace)
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
