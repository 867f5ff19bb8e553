"""The first page says what waits, how much, how old and until when, and each act on it does just what it showed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.database.tables import audit, outbox, runs
from pipelines.decisions.messages import MessageQuery, list_messages
from pipelines.home.workspace import Workspace
from pipelines.runs.day_blocks import record_check
from pipelines.runs.nights import list_nights
from pipelines.runs.run_log import begin_run, finish_run
from pipelines.runs.sweep import NIGHTLY, sweep
from pipelines.runs.today import read_today
from pipelines.web.nights_chart import HEIGHT, draw_nights
from tests.conftest import Clock
from tests.fakes import person
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import ask_for_removal, enrol, say, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def lead(platform: Workspace) -> Visitor:
    """A lead who has decided nothing."""
    return visitor(platform, "lea", ["lead"])


def hold(workspace: Workspace, item_id: str, *, state: str = "held", answer: str = "held:breaker_subject") -> str:
    """Confirm an item, so that there is a message, and put it where a limit or the service would; its id."""
    say(workspace, item_id)
    with workspace.database.write() as tx:
        chosen = sa.and_(outbox.c.item_id == item_id, outbox.c.action == "takedown")
        tries = 0 if state == "held" else 8
        tx.execute(sa.update(outbox).where(chosen).values(state=state, attempts=tries, last_result=answer))
        return str(tx.execute(sa.select(outbox.c.message_id).where(chosen)).scalar_one())


def by_machine(workspace: Workspace, message_id: str) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).where(outbox.c.message_id == message_id).values(decided_by="automated"))


def state_of(workspace: Workspace, message_id: str) -> str:
    with workspace.database.read() as connection:
        return str(connection.execute(sa.select(outbox.c.state).where(outbox.c.message_id == message_id)).scalar_one())


def form(page: str, action: str) -> dict[str, str | list[str]]:
    """The hidden fields of the form that posts there."""
    found = re.search(rf'<form method="post" action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    assert found, f"no form to {action}"
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found[0])
    return {name: value for name, value in fields if name != "csrf"}


def test_what_waits_is_there_with_count_age_and_the_way_to_it(platform: Workspace, clock: Clock) -> None:
    request = ask_for_removal(platform, person(40), name="Somebody Else")
    clock.forward(hours=5)
    lead = visitor(platform, "lea", ["lead"])
    page = lead.get("/").text
    assert "4 cases, " in page
    assert f'href="/requests/{request.request_id}"' in page
    assert "43 h" in page
    assert "oldest 5 h" in page
    assert "nobody has accepted it yet" in page
    claim = re.search(r'action="(/cases/case_\w+/claim)"', page)
    assert claim
    assert lead.post(claim[1]).status_code == 303
    assert "no dead letters" in page


def test_nothing_that_waits_is_said_to_be_nothing(workspace: Workspace) -> None:
    assert "Nothing needs you" in visitor(workspace, "lea", ["lead"]).get("/").text


@pytest.mark.parametrize("role", ["viewer", "auditor", "registry_officer", "reviewer"])
def test_others_see_it_without_what_only_leads_do(platform: Workspace, role: str) -> None:
    hold(platform, "single.png")
    somebody = visitor(platform, "somebody", [role])
    page = somebody.get("/").text
    assert "Held messages" in page
    assert ("/claim" in page) is (role == "reviewer")
    there = somebody.get("/messages?state=held").text
    assert "single.png" in there
    assert "/messages/release" not in there
    assert somebody.post("/messages/release", {"state": "held", "expect": "0" * 12}).status_code == 403


def test_what_a_machine_asked_for_is_released_by_a_lead_as_the_page_showed_it(
    platform: Workspace, lead: Visitor
) -> None:
    message_id = hold(platform, "single.png")
    by_machine(platform, message_id)
    assert "too many for one person" in lead.get("/").text
    fields = form(lead.get("/messages?state=held&held_by=breaker_subject").text, "/messages/release")
    assert lead.post("/messages/release", {**fields, "expect": "0" * len(str(fields["expect"]))}).status_code == 409
    assert state_of(platform, message_id) == "held"
    answer = lead.post("/messages/release", fields)
    assert answer.headers["location"] == "/?done=released"
    assert state_of(platform, message_id) == "pending"
    with platform.database.read() as connection:
        row = connection.execute(sa.select(audit).where(audit.c.action == "message.release")).one()
    assert row.actor == "account:lea"
    assert "Released." in lead.get("/?done=released").text


def test_who_decided_does_not_release_what_follows_and_another_lead_does(platform: Workspace, lead: Visitor) -> None:
    from pipelines.decisions.decide import decide
    from pipelines.hits.listing import list_hits

    with platform.database.read() as connection:
        (hit,) = list_hits(connection, item_id="single.png")
    decide(platform, [hit.hit_id], decision="confirm", reason="same_person", actor="account:lea")
    with platform.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="held", last_result="held:breaker_day"))
        message_id = str(tx.execute(sa.select(outbox.c.message_id)).scalar_one())
    fields = form(lead.get("/messages?state=held").text, "/messages/release")
    refused = lead.post("/messages/release", fields)
    assert refused.status_code == 403
    assert "somebody else releases it" in refused.text
    assert state_of(platform, message_id) == "held"
    max_ = visitor(platform, "max", ["lead"])
    assert max_.post("/messages/release", fields).status_code == 303
    assert state_of(platform, message_id) == "pending"


def test_an_account_of_the_machine_may_be_the_same_person(platform: Workspace, lead: Visitor) -> None:
    from pipelines.decisions.decide import decide
    from pipelines.hits.listing import list_hits
    from pipelines.home.actors import account

    with platform.database.read() as connection:
        (hit,) = list_hits(connection, item_id="single.png")
    decide(platform, [hit.hit_id], decision="confirm", reason="same_person", actor=account())
    with platform.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="held", last_result="held:breaker_day"))
    fields = form(lead.get("/messages?state=held").text, "/messages/release")
    assert lead.post("/messages/release", fields).status_code == 403


def test_what_is_discarded_goes_back_to_people(platform: Workspace, lead: Visitor) -> None:
    message_id = hold(platform, "single.png")
    by_machine(platform, message_id)
    page = lead.get("/messages?state=held").text
    fields = form(page, "/messages/discard")
    assert lead.post("/messages/discard", fields).status_code == 400, "a reason is needed"
    assert lead.post("/messages/discard", {**fields, "reason": "wrong_person"}).status_code == 303
    assert state_of(platform, message_id) == "withdrawn"


def test_a_dead_letter_is_sent_again(platform: Workspace, lead: Visitor) -> None:
    message_id = hold(platform, "single.png", state="dead", answer="404")
    assert "Dead letters" in lead.get("/").text
    page = lead.get("/messages?state=dead").text
    fields = form(page, "/messages/revive")
    assert fields["message"] == message_id
    assert lead.post("/messages/revive", fields).status_code == 303
    assert state_of(platform, message_id) == "pending"
    assert lead.post("/messages/revive", fields).status_code == 409, "once"
    assert lead.post("/messages/revive").status_code == 400


def blocked_day(workspace: Workspace, uploads: Path) -> str:
    """A day that a check of its figures stops."""
    enrol(workspace, person(1))
    for number in range(6):
        upload(uploads, f"{number}.png", b"no picture", uploader="u-1")
    sweep(workspace, source_of(uploads), day=None)
    config = replace(workspace.config.sweep, min_items_for_rates=2)
    workspace.config = replace(workspace.config, sweep=config)
    day = date(2026, 2, 27)
    run_id = begin_run(workspace, kind=NIGHTLY, day=day, run_id="night-1")
    record_check(workspace, day, "content_could_be_read", run_id=run_id, words="6 of 6 items could not be read")
    return day.isoformat()


def test_a_blocked_day_is_approved_by_a_lead_with_a_reason(workspace: Workspace, uploads: Path) -> None:
    day = blocked_day(workspace, uploads)
    lead = visitor(workspace, "lea", ["lead"])
    page = lead.get("/").text
    assert "could not be read" in page
    fields = form(page, f"/days/{day}/approve")
    assert lead.post(f"/days/{day}/approve", {**fields, "reason": " "}).status_code == 400
    wrong = {**fields, "expect": "0" * len(str(fields["expect"])), "reason": "case 12"}
    assert lead.post(f"/days/{day}/approve", wrong).status_code == 409
    assert lead.post("/days/someday/approve", {**fields, "reason": "case 12"}).status_code == 400
    answer = lead.post(f"/days/{day}/approve", {**fields, "reason": "login pages, case 12"})
    assert answer.headers["location"] == "/?done=approved"
    assert "Blocked days" not in lead.get("/").text
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(audit.c.actor).where(audit.c.action == "day.approve")).scalar_one() == (
            "account:lea"
        )


def test_an_end_that_is_near_leads_to_the_renewal(workspace: Workspace) -> None:
    subject_id = enrol(workspace, person(1), days=3)
    page = visitor(workspace, "otto", ["registry_officer"]).get("/").text
    assert "in 3 days" in page
    assert f'href="/people/{subject_id}#renew"' in page


def test_missing_coverage_is_counted_with_what_makes_up_for_it(platform: Workspace, lead: Visitor) -> None:
    enrol(platform, person(60), name="Nobody Compared")
    page = lead.get("/").text
    assert "pairs of an item and a person not compared" in page
    assert "likeness rescan --pending" in page


def test_nights_are_drawn_and_each_run_is_linked_where_dagster_is_reached(workspace: Workspace, clock: Clock) -> None:
    for number, (items, hits) in enumerate(((10, 1), (30, 4))):
        run_id = begin_run(workspace, kind=NIGHTLY, day=date(2026, 2, 20 + number), run_id=f"run-{number}")
        clock.forward(minutes=10 * (number + 1))
        finish_run(workspace, run_id, {"items": items, "hits": hits})
    begin_run(workspace, kind=NIGHTLY, day=date(2026, 2, 22), run_id="run-2")
    with workspace.database.read() as connection:
        nights = list_nights(connection, limit=30)
    assert [(night.state, night.items, night.seconds) for night in nights] == [
        ("done", 10, 600.0),
        ("done", 30, 1200.0),
        ("unfinished", None, None),
    ]
    items, hits, duration = draw_nights(nights)
    assert [round(bar.height / HEIGHT, 2) for bar in items.bars] == [0.33, 1.0, 0.0]
    assert (hits.most, duration.most) == ("4", "20 min")
    lead = visitor(workspace, "lea", ["lead"])
    page = lead.get("/").text
    assert page.count('<svg class="bars"') == 3
    assert "/runs/" not in page
    workspace.config = replace(
        workspace.config, dagster=replace(workspace.config.dagster, url="https://dagster.example.com/")
    )
    assert 'href="https://dagster.example.com/runs/run-0"' in lead.get("/").text


def test_of_a_day_that_was_run_again_the_last_night_is_shown(workspace: Workspace, clock: Clock) -> None:
    for number in range(2):
        run_id = begin_run(workspace, kind=NIGHTLY, day=date(2026, 2, 20), run_id=f"run-{number}")
        clock.forward(minutes=1)
        finish_run(workspace, run_id, {"items": number, "hits": 0} | ({"blocked_by": {"x": "y"}} if number else {}))
    with workspace.database.read() as connection:
        (night,) = list_nights(connection, limit=30)
        assert connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar_one() == 2
    assert (night.run_id, night.state) == ("run-1", "blocked")


def test_the_first_page_shows_what_commands_show(platform: Workspace) -> None:
    message_id = hold(platform, "single.png")
    found = read_today(platform, [])
    with platform.database.read() as connection:
        listed = list_messages(connection, MessageQuery(state="held"), now=platform.now())
    assert [one.message_id for one in listed] == [message_id]
    assert [(group.held_by, group.messages) for group in found.held] == [("breaker_subject", 1)]
    assert found.held[0].due_at == listed[0].due_at
