"""The transparency summary: counts and durations that add up by hand, and nothing personal."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import StateError
from pipelines.cases.requests import accept_request, reject_request
from pipelines.database.tables import outbox
from pipelines.decisions.decide import decide, undo
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.report.transparency import Durations, Transparency, _p95, summarise_period
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.takedown.effects import EFFECT_WORDS, effect_of
from tests.fakes import person, picture
from tests.pipelines.cases.requesting import messages
from tests.pipelines.takedown.delivering import ScriptedClient, dispatch_once
from tests.platform_actions import NAME, ask_for_removal, enrol, source_of, upload

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 3)


def summary(workspace: Workspace, first: date = FIRST, last: date = LAST) -> Transparency:
    with workspace.database.read() as connection:
        return summarise_period(connection, first_day=first, last_day=last)


@pytest.fixture
def three_days(workspace: Workspace, uploads: Path, clock) -> str:
    """Noon of 1 March: a sweep. Two hours later a request, two more and its rescan; then a person decides."""
    subject = enrol(workspace, person(1))
    upload(uploads, "one.png", picture(person(1)), received=clock() - timedelta(hours=3))
    for number in range(2):
        crowd = picture(person(2), person(50 + number))
        upload(uploads, f"{number}.png", crowd, parent_model="m", received=clock() - timedelta(hours=10))
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=2)
    request = ask_for_removal(workspace, person(2))
    refused = ask_for_removal(workspace, person(3))
    accept_request(workspace, request.request_id, actor="tester")
    reject_request(workspace, refused.request_id, reason="no proof", actor="tester")
    clock.forward(hours=2)
    rescan(workspace)
    client = ScriptedClient()
    dispatch_once(workspace.database, client, workspace.now)
    clock.forward(days=1)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, subject_id=subject)
    decide(workspace, [hit.hit_id], decision="unsure", reason="low_quality", actor="ann")
    made = decide(workspace, [hit.hit_id], decision="confirm", reason="same_person", actor="ann")
    clock.forward(minutes=15)
    dispatch_once(workspace.database, client, workspace.now)
    undo(workspace, str(made.batch_id), actor="ann")
    return subject


def test_what_happened_is_counted(workspace: Workspace, three_days: str) -> None:
    found = summary(workspace)
    assert found.requests == {
        **{"opened": 2, "accepted": 1, "searched": 1, "completed": 1, "completed_late": 0},
        **{"rejected": 1, "withdrawn": 0},
    }
    assert found.hits == {"face": 3}
    assert found.decisions == {"confirmed": 1, "rejected": 0, "unsure": 1, "reversed": 1}
    assert found.takedowns == {"automated": 2, "human": 1}
    assert found.withdrawals == {"events": 1, "acknowledged": 0, "unsent": 0}
    assert found.removals == 3


def test_i11_what_is_planned_held_sent_and_acknowledged_is_counted_apart(workspace: Workspace, three_days: str) -> None:
    found = summary(workspace)
    nothing = dict.fromkeys(EFFECT_WORDS, 0)
    assert found.delivery["takedown"] == nothing | {"acknowledged": 2, "withdrawn": 1}
    assert found.acknowledged == {"takedown": 3, "generator.block": 1}
    with workspace.database.write() as tx:
        about = sa.update(outbox).where(outbox.c.action == "generator.block")
        tx.execute(about.values(state="held", attempts=0, finished_at=None, last_result="held:hit_rate"))
    found = summary(workspace)
    assert found.delivery["generator.block"] == nothing | {"held": 1}
    assert found.acknowledged == {"takedown": 3, "generator.block": 0}
    for state, attempts, answer, word in (
        ("pending", 0, None, "planned"),
        ("leased", 1, None, "sent"),
        ("pending", 2, "503", "sent"),
        ("pending", 2, "429", "sent"),
        ("pending", 2, "404", "refused"),
        ("dead", 9, "404", "dead"),
    ):
        with workspace.database.write() as tx:
            tx.execute(about.values(state=state, attempts=attempts, last_result=answer))
        (row,) = messages(workspace, outbox.c.action == "generator.block")
        assert summary(workspace).delivery["generator.block"] == nothing | {word: 1}
        assert effect_of(row, withdrawn=False) == word


def test_durations_run_from_the_request_and_from_the_upload(workspace: Workspace, three_days: str) -> None:
    found = summary(workspace)
    asked = Durations(removals=2, median_hours=2.0, p95_hours=2.0)
    assert found.from_request == {"all": asked, "face": asked}
    # 14 hours for the two pictures of the request; 3 hours, a night and a day, and the window for the third.
    assert found.from_upload["all"] == Durations(3, 14.0, 3 + 4 + 24 + 0.25)


def test_the_days_before_and_after_are_left_out(workspace: Workspace, three_days: str) -> None:
    first = summary(workspace, FIRST, FIRST)
    assert (first.takedowns, first.removals) == ({"automated": 2, "human": 0}, 2)
    second = summary(workspace, FIRST + timedelta(days=1), FIRST + timedelta(days=1))
    assert (second.requests["opened"], second.takedowns["human"], second.removals) == (0, 1, 1)
    nothing = summary(workspace, date(2026, 2, 1), date(2026, 2, 27))
    assert (nothing.hits, nothing.from_upload, nothing.removals) == ({}, {}, 0)


def test_i8_the_summary_holds_no_id(workspace: Workspace, three_days: str) -> None:
    told = json.dumps(asdict(summary(workspace)), default=str)
    assert all(word not in told for word in (NAME, "sub_", "hit_", "req_", "msg_", ".png"))


def test_a_period_that_ends_before_it_begins_is_refused(workspace: Workspace) -> None:
    with pytest.raises(StateError, match="before it begins"):
        summary(workspace, LAST, FIRST)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (20, 19), (100, 95), (101, 96)])
def test_the_95th_percentile_is_a_value_that_occurred(count: int, rank: int) -> None:
    assert _p95([float(value) for value in range(count, 0, -1)]) == rank
