"""Decided cases on the pages: not told from those that wait, byte by byte; agreement for leads, and one's own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from pipelines.database.tables import outbox
from pipelines.home.workspace import Workspace
from tests.conftest import Clock
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.web.judging import begin, case_about, decide, hits_on, looks, pictures_on
from tests.pipelines.web.visiting import Visitor, visitor

pytestmark = pytest.mark.any_database


def shares(workspace: Workspace, *, golden: float = 0.0, second_look: float = 0.0) -> None:
    review = replace(workspace.config.review, golden_share=golden, second_look_share=second_look)
    workspace.config = replace(workspace.config, review=review)


def alike(page: str) -> str:
    """A page without what is of one person, one session, one moment: the queue beside it, clocks, secrets."""
    page = re.sub(r'<aside class="rail".*?</aside>', "", page, flags=re.DOTALL)
    page = re.sub(r'<div id="toast".*?</div>', "", page, flags=re.DOTALL)
    page = re.sub(r'(csrf" value=|data-csrf=)"\w+"', "", page)
    return re.sub(r'<a href="/you">\w+</a>', "", page)


def now_of(page: str) -> str:
    """What the queue beside a case says of it."""
    found = re.search(r'<li class="now".*?</li>', page, flags=re.DOTALL)
    assert found
    return found[0]


@pytest.mark.parametrize("word", ["confirm", "reject"])
@pytest.mark.parametrize("about", ["m-1", "mature.png", "named.png"])
def test_a_decided_case_is_byte_by_byte_the_page_it_was(
    platform: Workspace, ann: Visitor, clock: Clock, word: str, about: str
) -> None:
    shares(platform)
    address = case_about(ann, platform, about)
    asked = ("", f"?hit={hits_on(ann.get(address).text)[-1]}&shown=clear", "?view=whole")
    before = [alike(ann.get(address + one).text) for one in asked]
    shown = now_of(ann.get(address).text)
    pictures = {one: ann.get(one).content for one in pictures_on(ann.get(address).text)}
    weighed = {}
    for answer in ("unsure", "reject", "confirm"):
        ann.post(f"{address}/answer", {"word": answer})
        weighed[answer] = alike(ann.get(f"{address}?answer={answer}").text)
    decide(ann, address, word)
    with platform.database.write() as tx:  # what it caused has long been sent
        tx.execute(sa.update(outbox).values(state="done", attempts=1))
    clock.forward(days=8)
    shares(platform, golden=1.0)
    bob = visitor(platform, "bob", ["reviewer"])
    assert begin(bob) == address
    assert [alike(bob.get(address + one).text) for one in asked] == before
    assert {one: bob.get(one).content for one in pictures} == pictures
    assert re.sub(r'<span class="due.*?</span>', "", now_of(bob.get(address).text)) == re.sub(
        r'<span class="due.*?</span>', "", shown
    )
    for answer in ("unsure", "reject", "confirm"):
        bob.post(f"{address}/answer", {"word": answer})
        assert alike(bob.get(f"{address}?answer={answer}").text) == weighed[answer], answer


def test_in_the_list_it_is_a_case_like_any_and_hidden_from_who_decided_it(
    platform: Workspace, ann: Visitor, clock: Clock
) -> None:
    shares(platform)
    address = case_about(ann, platform, "single.png")
    decide(ann, address, "reject")
    clock.forward(days=8)
    ann = visitor(platform, "anna", ["reviewer"])
    shares(platform, golden=1.0)
    bob = visitor(platform, "bob", ["reviewer"])
    assert begin(bob) == address
    assert "4 cases of" in bob.get("/cases").text
    assert f'<a href="{address}">yours until' in bob.get("/cases").text
    assert "single.png" in ann.get("/cases").text, "to others it is taken"
    assert ann.post(f"{address}/claim").status_code == 409
    assert ann.get(address).status_code == 404
    assert bob.post(f"{address}/claim").headers["location"] == address


def test_it_ends_with_the_same_words_and_the_same_undoing_as_any(
    platform: Workspace, ann: Visitor, clock: Clock
) -> None:
    shares(platform)
    address = case_about(ann, platform, "single.png")
    decide(ann, address, "reject")
    clock.forward(days=8)
    shares(platform, golden=1.0)
    bob = visitor(platform, "bob", ["reviewer"])
    begin(bob)
    decide(bob, address, "confirm")
    page = bob.get("/cases").text
    assert "“same person”" in page
    undo = re.search(r'action="(/decisions/\w+/undo)"', page)
    assert undo
    assert bob.post(undo[1]).headers["location"] == address
    decide(bob, address, "confirm")
    assert [look["action"] for look in looks(platform, "check.answer")] == ["check.answer"] * 2


def test_a_lead_sees_what_people_disagree_on_and_who_decided_does_not_settle_it(
    platform: Workspace, ann: Visitor, clock: Clock
) -> None:
    shares(platform)
    address = case_about(ann, platform, "single.png")
    decide(ann, address, "reject")
    clock.forward(hours=1)
    shares(platform, second_look=1.0)
    bob = visitor(platform, "bob", ["reviewer"])
    assert begin(bob) == address
    decide(bob, address, "confirm")
    lea = visitor(platform, "lea", ["lead"])
    page = lea.get("/fairness").text
    assert "single.png" in page
    assert re.search(r"agreed on 0 of 1", page)
    undo = re.search(r'action="(/decisions/\w+/undo)"', page)
    assert undo
    assert lea.post(undo[1]).headers["location"] == address
    assert "None that is open" in lea.get("/fairness").text
    assert "1 of 1" in lea.get("/fairness").text, "overturned"
    own = visitor(platform, "ned", ["reviewer"]).get("/you").text
    assert "Your judging" in own
    assert "bob" not in own


def test_nobody_learns_from_their_own_figures_which_case_it_was(
    platform: Workspace, ann: Visitor, clock: Clock
) -> None:
    shares(platform)
    address = case_about(ann, platform, "single.png")
    decide(ann, address, "reject")
    clock.forward(days=8)
    shares(platform, golden=1.0)
    lea = visitor(platform, "lea", ["lead"])
    before = undone(lea.get("/you").text)
    assert begin(lea) == address
    decide(lea, address, "confirm")
    assert undone(lea.get("/you").text) == before
    page = undone(lea.get("/fairness").text)
    assert "single.png" not in page
    assert "agreed on" not in page
    clock.forward(days=8)
    lea = visitor(platform, "les", ["lead"])
    assert "single.png" in lea.get("/fairness").text


def undone(page: str) -> str:
    """A page without what can be undone."""
    return re.sub(r'<div id="toast".*?</div>', "", page, flags=re.DOTALL)


def test_after_the_first_answer_a_score_says_what_it_rests_on(platform: Workspace, ann: Visitor) -> None:
    in_force(platform, review=0.36, strong=0.6)
    address = case_about(ann, platform, "single.png")
    assert "best reference" not in ann.get(address).text
    assert 'class="curves"' not in ann.get(f"{address}?answer=reject").text
    ann.post(f"{address}/answer", {"word": "reject"})
    page = ann.get(f"{address}?answer=reject").text
    assert "1st of all 1 in force" in page
    assert "the person has one reference" in page
    assert 'class="curves"' in page
    assert "1 in 10,000 score so high" in page
