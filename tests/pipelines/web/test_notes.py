"""Notes and second opinions on the pages: who sees what of them when, and where a case goes that was passed on."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from pipelines.database.tables import audit
from pipelines.home.workspace import Workspace
from tests.pipelines.web.judging import begin, case_about
from tests.pipelines.web.visiting import Visitor, visitor

pytestmark = pytest.mark.any_database

TEXT = "the second face may be somebody else"


@pytest.fixture
def lea(platform: Workspace) -> Visitor:
    """A lead."""
    return visitor(platform, "lea", ["lead"])


def test_an_opinion_is_read_after_ones_own_and_each_look_is_on_record(
    platform: Workspace, ann: Visitor, bob: Visitor
) -> None:
    address = case_about(ann, platform, "m-1")
    assert ann.post(f"{address}/comment", {"text": TEXT}).status_code == 303
    ann.post(f"{address}/skip")
    case_about(bob, platform, "m-1")
    page = bob.get(address).text
    assert "ann wrote" in page
    assert TEXT not in page
    assert _looks(platform) == []
    page = bob.get(str(bob.post(f"{address}/answer", {"word": "reject"}).headers["location"])).text
    assert TEXT in page
    assert _looks(platform) == ["account:bob"]


def test_what_a_lead_is_asked_is_in_their_list_and_in_nobody_elses_way(
    platform: Workspace, ann: Visitor, bob: Visitor, lea: Visitor
) -> None:
    address = case_about(ann, platform, "m-1")
    assert ann.post(f"{address}/escalate", {"text": TEXT}).headers["location"] == "/cases"
    assert ann.get(address).status_code == 404
    assert "for a lead, asked by you" in ann.get("/cases").text
    assert "for a lead, asked by ann" in bob.get("/cases?show=passed").text
    assert bob.post(f"{address}/claim").status_code == 409
    for somebody, act in ((bob, ">open</a>"), (lea, ">take</button>")):
        today = somebody.get("/").text
        section = today[today.index("Second opinions") :].partition("</section>")[0]
        assert act in section
        assert TEXT not in today
    assert lea.post(f"{address}/claim").status_code == 303
    assert TEXT in lea.get(address).text, "a question has to be read"


def test_what_somebody_has_taken_is_not_offered_on_the_first_page(
    platform: Workspace, ann: Visitor, lea: Visitor
) -> None:
    address = case_about(ann, platform, "m-1")
    ann.post(f"{address}/escalate", {"text": TEXT})
    lou = visitor(platform, "lou", ["lead"])
    offered = f'action="{address}/claim"'
    assert offered in _second_opinions(lou)
    lea.post(f"{address}/claim")
    assert offered not in _second_opinions(lou)
    assert "taken until" in _second_opinions(lou)
    assert f'href="{address}"' in _second_opinions(lea)


def _second_opinions(somebody: Visitor) -> str:
    page = str(somebody.get("/").text)
    return page[page.index('aria-labelledby="need-passed"') :].partition("</section>")[0]


def test_a_lead_gives_a_case_to_one_person_and_back(
    platform: Workspace, ann: Visitor, bob: Visitor, lea: Visitor
) -> None:
    address = case_about(lea, platform, "named.png")
    page = lea.get(address).text
    assert "<option>ann</option>" in page
    assert lea.post(f"{address}/assign", {"account": "nobody"}).status_code == 400
    assert lea.post(f"{address}/assign", {"account": "bob"}).status_code == 303
    assert begin(bob) == address, "although others are more pressing"
    assert ann.post(f"{address}/claim").status_code == 409
    bob.post(f"{address}/skip")
    lea.post(f"{address}/claim")
    assert lea.post(f"{address}/hand-back").status_code == 303
    assert ann.post(f"{address}/claim").status_code == 303


def test_a_lead_who_asked_takes_that_back_although_nobody_may_take_the_case(
    platform: Workspace, bob: Visitor, lea: Visitor
) -> None:
    address = case_about(lea, platform, "named.png")
    assert bob.post(f"{address}/hand-back").status_code == 403
    lea.post(f"{address}/escalate", {"text": TEXT})
    assert lea.post(f"{address}/claim").status_code == 409
    assert f'action="{address}/hand-back"' in lea.get("/cases?show=passed").text
    assert "back to everybody" not in bob.get("/cases").text
    assert lea.post(f"{address}/hand-back").status_code == 303
    assert bob.post(f"{address}/claim").status_code == 303
    assert lea.post(f"{address}/hand-back").status_code == 409, "somebody else works on it"
    assert lea.post("/cases/case_0/hand-back").status_code == 404


def test_nothing_is_written_on_a_case_of_somebody_else(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    for act in ("comment", "escalate"):
        assert bob.post(f"{address}/{act}", {"text": TEXT}).status_code == 404
        assert ann.post(f"{address}/{act}", {"text": " "}).status_code == 400
        assert ann.post(f"{address}/{act}", {"text": "x" * 1001}).status_code == 400


def _looks(workspace: Workspace) -> list[str]:
    with workspace.database.read() as connection:
        query = sa.select(audit.c.actor).where(audit.c.action == "case.notes").order_by(audit.c.seq)
        return list(connection.execute(query).scalars())
