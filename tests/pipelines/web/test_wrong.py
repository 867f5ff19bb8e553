"""A reference that is wrong and an alias that is noise are taken away on the pages, by whoever may, after a preview."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.cases.subject_update import Change, update_subject
from pipelines.database.tables import audit, hits
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import show_identity
from pipelines.registry.templates import list_references
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.web.judging import case_about, decide
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import NAME, references, source_of, upload

pytestmark = pytest.mark.any_database

ALIAS = "Zelda Quagmire"


@pytest.fixture
def subject(platform: Workspace, uploads: Path) -> str:
    """The person of the platform, who is also found by an alias and has a second reference."""
    with platform.database.read() as connection:
        subject_id = list_hits(connection)[0].subject_id
    change = Change(add_aliases=(ALIAS,), add_references=tuple(references(platform, person(2))), keep_all=True)
    update_subject(platform, subject_id, change, actor="tester")
    upload(uploads, "alias.png", picture(person(51)), title=f"by {ALIAS}")
    sweep(platform, source_of(uploads), day=None)
    return subject_id


@pytest.fixture
def lea(platform: Workspace) -> Visitor:
    """A lead, who judges cases and answers for people."""
    return visitor(platform, "lea", ["lead"])


def expect_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(expect|alias|reference)" value="(\w+)">', page))


def hit_in(workspace: Workspace, item_id: str) -> str:
    with workspace.database.read() as connection:
        return next(hit.hit_id for hit in list_hits(connection, item_id=item_id))


def test_an_alias_is_taken_away_by_a_hit_that_it_made(platform: Workspace, subject: str, lea: Visitor) -> None:
    page = lea.get(case_about(lea, platform, "alias.png")).text
    assert "This alias is noise" in page
    shown = lea.post(f"/people/{subject}/wrong", {"hit": hit_in(platform, "alias.png")})
    assert shown.status_code == 200
    assert "1 hit in 1 item" in shown.text
    assert ALIAS in shown.text
    assert ALIAS not in str(shown.url)
    done = lea.post(f"/people/{subject}/wrong/remove", expect_of(shown.text))
    assert done.headers["location"] == f"/people/{subject}?done=removed"
    with platform.database.read() as connection:
        assert list_hits(connection, item_id="alias.png") == []
        rows = connection.execute(sa.select(audit.c.actor).where(audit.c.action == "subject.update")).scalars()
        assert "account:lea" in list(rows)
    assert ALIAS not in show_identity(platform, subject, actor="tester").names


def test_a_reference_is_taken_away_and_the_last_one_stays(platform: Workspace, subject: str) -> None:
    officer = visitor(platform, "rob", ["registry_officer"])
    with platform.database.read() as connection:
        first, second = (one.reference_id for one in list_references(connection, subject))
    assert f'value="{first}"' in officer.get(f"/people/{subject}").text
    shown = officer.post(f"/people/{subject}/wrong", {"reference": second})
    assert officer.post(f"/people/{subject}/wrong/remove", expect_of(shown.text)).status_code == 303
    with platform.database.read() as connection:
        assert [one.reference_id for one in list_references(connection, subject)] == [first]
    last = officer.post(f"/people/{subject}/wrong", {"reference": first})
    assert last.status_code == 400
    assert "at least one reference has to stay" in last.text


def test_what_changed_since_the_preview_is_not_done(
    platform: Workspace, subject: str, uploads: Path, lea: Visitor
) -> None:
    shown = lea.post(f"/people/{subject}/wrong", {"alias": "1"})
    upload(uploads, "more.png", picture(person(52)), title=f"by {ALIAS}")
    sweep(platform, source_of(uploads), day=None)
    assert lea.post(f"/people/{subject}/wrong/remove", expect_of(shown.text)).status_code == 409
    assert ALIAS in show_identity(platform, subject, actor="tester").names


def test_who_may_have_yet_to_judge_learns_no_answers_from_the_preview(
    platform: Workspace, subject: str, lea: Visitor, ann: Visitor
) -> None:
    decide(ann, case_about(ann, platform, "alias.png"), "confirm")
    pages = {
        roles: visitor(platform, name, roles).post(f"/people/{subject}/wrong", {"alias": "1"}).text
        for name, roles in (("rob", ("registry_officer",)), ("tim", ("registry_officer", "reviewer")))
    }
    pages["lead",] = lea.post(f"/people/{subject}/wrong", {"alias": "1"}).text
    for roles, page in pages.items():
        told = "people have confirmed" in page, "<dt>takedowns</dt>" in page, "<dt>review</dt>" in page
        assert told == ((False,) * 3 if "reviewer" in roles else (True,) * 3), roles
        assert "1 hit in 1 item" in page


@pytest.mark.parametrize(
    "fields",
    [
        {"alias": "0"},
        {"alias": "7"},
        {"alias": "1" * 5000},
        {"alias": "\u0661"},
        {"alias": "-1"},
        {},
        {"reference": "ref_none"},
        {"hit": "hit_0"},
        {"hit": "full"},
    ],
)
def test_what_cannot_be_taken_away_is_refused(
    platform: Workspace, subject: str, lea: Visitor, fields: dict[str, str]
) -> None:
    if fields.get("hit") == "full":
        fields = {"hit": hit_in(platform, "named.png")}
    answer = lea.post(f"/people/{subject}/wrong", fields)
    assert answer.status_code == 400
    assert NAME not in answer.text


@pytest.mark.parametrize(("tier", "why"), [("exact", "copy of what was confirmed"), ("made_by", "a confirmed model")])
def test_what_rests_on_no_reference_and_no_name_offers_neither_as_wrong(
    platform: Workspace, subject: str, lea: Visitor, tier: str, why: str
) -> None:
    address = case_about(lea, platform, "m-1")
    with platform.database.write() as tx:
        own = sa.update(hits).where(hits.c.item_id == "m-b.png")
        tx.execute(own.values(tier=tier, template_id=None))
    face, other = (hit_in(platform, item_id) for item_id in ("m-a.png", "m-b.png"))
    for hit_id, rests_on in ((face, "reference"), (other, "")):
        page = lea.get(f"{address}?hit={hit_id}").text
        (form,) = re.findall(rf'<form method="post" action="/people/{subject}/wrong"[^>]*>', page)
        assert ("hidden" in form) is (not rests_on)
        assert re.search(rf'data-hit="{hit_id}"[^>]*data-rests-on="{rests_on}"', page)
    answer = lea.post(f"/people/{subject}/wrong", {"hit": other})
    assert answer.status_code == 400
    assert why in answer.text


def test_a_reviewer_has_no_such_button(platform: Workspace, subject: str, ann: Visitor) -> None:
    assert subject
    assert "is wrong" not in ann.get(case_about(ann, platform, "m-1")).text
