"""What is read for the records of people, requests, uploaders and models agrees, on either kind of database."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import InputError
from pipelines.cases.contributions import names_bring, references_bring
from pipelines.cases.findings import About, count_findings, is_known, item_counts, list_findings, list_told
from pipelines.cases.history import read_history
from pipelines.database.tables import outbox
from pipelines.decisions.stuck import deciders_of, stuck_groups
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import waiting_cases
from pipelines.runs.rescan import rescan
from pipelines.runs.searched import searched_for
from pipelines.runs.today import read_today
from tests.fakes import person, picture
from tests.platform_actions import NAME, agree, ask_for_removal, enrol, night, say, upload


def test_found_decided_and_sent_are_the_same_whoever_asks(workspace: Workspace, uploads: Path) -> None:
    subject_id = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(150)), parent_model="m", uploader="u")
    upload(uploads, "b.png", picture(person(1), person(160)), parent_model="m", uploader="u")
    upload(uploads, "c.png", picture(person(40), person(170)), uploader="v", prompt=f"by {NAME}")
    night(workspace, uploads)
    request = ask_for_removal(workspace, person(40), name="Somebody Else")
    agree(workspace, request.request_id, "ann")
    rescan(workspace, request_id=request.request_id)
    say(workspace, "a.png")
    say(workspace, "b.png", "reject", reason="other_person")
    with workspace.database.read() as connection:
        whole, own = About(subject_id=subject_id), About(model="m")
        counts = count_findings(connection, whole)
        listed = list_hits(connection, subject_id=subject_id)
        assert {one.item_id for one in listed} == {"a.png", "c.png"}
        assert (counts.items, counts.hits, counts.confirmed, counts.rejected) == (2, len(listed), 1, 1)
        theirs = len(list_hits(connection, parent_model="m"))
        assert count_findings(connection, own).hits == count_findings(connection, About(uploader="u")).hits == theirs
        assert [one.item_id for one in list_findings(connection, own, limit=9)] == ["a.png"]
        of_request = About(subject_id=request.subject_id, request_id=request.request_id, listed_by=workspace.now())
        assert [one.item_id for one in list_findings(connection, of_request, limit=9)] == ["c.png"]
        told = [one for one in list_told(connection, whole, limit=9) if one.item_id == "a.png"]
        assert [(one.action, one.effect) for one in told] == [("takedown", "planned")]
        of_model, of_uploader = (list_told(connection, one, limit=9) for one in (own, About(uploader="u")))
        assert {(one.item_id, one.effect) for one in of_uploader} == {("a.png", "planned"), ("b.png", "withdrawn")}
        assert [one for one in of_model if one.item_id != "m"] == of_uploader
        assert count_findings(connection, About(uploader="u")).effects["planned"] == 1
        assert list_told(connection, of_request, limit=9) == []
        happened = {one.what for one in read_history(connection, whole, limit=99)}
        assert {"enrolled", "found_by_sweep", "decided_confirm", "decided_reject", "takedown_written"} <= happened
        assert {"request_accepted", "request_searched", "found_by_rescan"} <= {
            one.what for one in read_history(connection, of_request, limit=99)
        }
        uploads_of = [one for one in read_history(connection, own, limit=99) if one.what == "uploaded"]
        assert [one.count for one in uploads_of] == [2]
        assert item_counts(connection, About(uploader="v")) == {"hit": 1}
        assert is_known(connection, own)
        assert not is_known(connection, About(model="none"))
        (reference,) = references_bring(connection, workspace, subject_id)
        faces = sum(one.reference_id == reference.reference_id for one in listed)
        assert (reference.brought.hits, reference.brought.confirmed, reference.brought.rejected) == (faces, 1, 1)
        assert searched_for(connection, workspace, request.subject_id).items == 3
    assert names_bring(workspace, subject_id, actor="otto").names[0].brought.hits == 1


def test_a_message_is_decided_by_whoever_confirmed_what_it_rests_on(workspace: Workspace, uploads: Path) -> None:
    subject_id = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(150)), parent_model="m", uploader="u")
    night(workspace, uploads)
    say(workspace, "a.png")
    same = picture(person(1), person(150))
    upload(uploads, "copy.png", same, uploader="v")
    night(workspace, uploads)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="held", last_result="held:breaker_day"))
        rows = tx.execute(sa.select(outbox.c.message_id, outbox.c.item_id)).all()
    with workspace.database.read() as connection:
        assert {row.item_id for row in rows} >= {"a.png", "copy.png"}
        for row in rows:
            assert deciders_of(connection, [row.message_id]) == {"ann"}, row.item_id
        groups = stuck_groups(connection, "held")
        found = read_today(workspace, waiting_cases(connection, workspace))
    assert {(group.subject_id, group.held_by) for group in groups} == {(subject_id, "breaker_day")}
    assert sum(group.messages for group in groups) == len(rows)
    assert found.held == tuple(groups)


@pytest.mark.parametrize("wrong", [{}, {"uploader": "u", "model": "m"}, {"uploader": "u", "request_id": "r"}])
def test_facts_are_about_one_thing(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError):
        About(**wrong)
