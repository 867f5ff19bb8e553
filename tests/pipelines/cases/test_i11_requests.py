"""A removal request says no more than has happened: its states, its clock, and what keeps it from being completed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import InputError, StateError
from pipelines.cases.ending import withdraw
from pipelines.cases.requests import (
    RemovalRequest,
    list_requests,
    open_request,
    preview_request,
    reject_request,
    reveal_contacts,
    standing_of,
    unfinished_requests,
)
from pipelines.database.tables import audit as audit_rows
from pipelines.database.tables import hits, items, outbox, requests
from pipelines.decisions.decide import undo
from pipelines.decisions.messages import act_on
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.judging.request_progress import OpenWork
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import list_source, sweep
from pipelines.runs.verify import verify
from pipelines.takedown.client import Delivery
from tests.conftest import START, Clock
from tests.fakes import person, picture
from tests.pipelines.cases.requesting import (
    FAULT,
    GONE,
    REFUSED,
    WHO,
    audited,
    decide,
    deliver,
    fill,
    hold,
    messages,
    now_is,
    search_for,
)
from tests.platform_actions import NAME, agree, ask_for_removal, references, source_of, upload


def test_i11_a_request_goes_through_its_states_and_is_completed_by_the_last_acknowledgement(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads)
    request = ask_for_removal(workspace, person(WHO))
    assert (request.state, request.open) == ("received", None)
    preview_request(workspace, request.request_id, actor="tester")
    assert now_is(workspace, request).state == "previewed"
    accepted = agree(workspace, request.request_id, "tester")
    assert (accepted.state, accepted.searched_at, accepted.open) == ("accepted", None, None)
    clock.forward(seconds=4)
    summary = rescan(workspace)
    assert (summary.searched_requests, summary.completed_requests) == (1, 0)
    found = now_is(workspace, request)
    assert (found.state, found.completed_at, found.searched_at) == ("under_review", None, clock())
    assert found.open == OpenWork(undecided=1, unsent=3)
    deliver(workspace)
    assert now_is(workspace, request).open == OpenWork(undecided=1)
    decide(workspace, request, "alone-0.png", "confirm")
    assert (now_is(workspace, request).state, now_is(workspace, request).open) == ("acting", OpenWork(unsent=1))
    clock.forward(minutes=11)
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"
    clock.forward(minutes=1)
    rescan(workspace)
    assert now_is(workspace, request).completed_at == clock()
    assert [finding for finding in verify(workspace) if not finding.ok and finding.check != "model files"] == []


def test_i11_a_request_that_finds_nothing_is_completed_by_its_search(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, taken_down=0, for_review=0)
    request = search_for(workspace)
    assert (request.state, request.completed_at) == ("completed", workspace.now())
    assert request.completed_at == request.searched_at


def test_i11_hits_that_no_verdict_weighs_leave_a_request_searched(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    request = search_for(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(hits).values(judged_at=None))
    found = now_is(workspace, request)
    assert (found.state, found.open and found.open.unjudged) == ("searched", 3)


def test_i11_a_request_is_not_completed_before_every_item_that_was_listed_is_scanned(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, taken_down=0, for_review=0)
    for number in range(3):
        upload(uploads, f"unseen-{number}.png", picture(person(WHO if number else 9), person(80 + number)))
    list_source(workspace, source_of(uploads), day=None)
    request = search_for(workspace)
    assert (request.state, request.open) == ("searched", OpenWork(unscanned=3))
    clock.forward(hours=1)
    upload(uploads, "later.png", picture(person(8)))
    list_source(workspace, source_of(uploads), day=None)
    assert now_is(workspace, request).open == OpenWork(unscanned=3)
    sweep(workspace, source_of(uploads), day=None)
    found = now_is(workspace, request)
    assert (found.state, found.open) == ("under_review", OpenWork(undecided=2))


@pytest.mark.parametrize("answer", [REFUSED, FAULT, GONE], ids=["404", "500", "410"])
def test_i11_a_request_whose_message_was_refused_is_not_completed(
    workspace: Workspace, uploads: Path, answer: Delivery
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    assert request.state == "acting"
    deliver(workspace, answer)
    found = now_is(workspace, request)
    assert (found.state, found.completed_at) == ("acting", None)
    assert found.open is not None
    assert found.open.unacknowledged + found.open.unsent == 3


def test_i11_a_request_with_a_dead_letter_is_not_completed_until_that_is_delivered(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="dead", attempts=8))
    assert now_is(workspace, request).open == OpenWork(dead=3)
    assert now_is(workspace, request).state == "acting"
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="pending"))
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"


def test_i11_a_held_message_keeps_a_request_from_being_completed(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    held = hold(workspace, "breaker_subject", outbox.c.action == "generator.block")
    deliver(workspace)
    assert (now_is(workspace, request).state, now_is(workspace, request).open) == ("acting", OpenWork(held=1))
    act_on(workspace, held, "release", actor="tester")
    assert now_is(workspace, request).open == OpenWork(unsent=1)
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"


def test_i11_a_discarded_takedown_puts_its_hits_before_people_and_a_discarded_block_is_decided(
    workspace: Workspace, uploads: Path
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    held = hold(workspace)
    act_on(workspace, held, "discard", actor="tester", reason="wrong_person")
    found = now_is(workspace, request)
    assert (found.state, found.open) == ("under_review", OpenWork(undecided=2))
    for number in range(2):
        decide(workspace, request, f"model-{number}.png", "reject")
    assert now_is(workspace, request).state == "completed"
    assert deliver(workspace).sent == 0


def test_i11_what_is_deleted_meanwhile_is_not_waited_for(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    request = search_for(workspace)
    assert request.open == OpenWork(undecided=1, unsent=3)
    for name in ("alone-0.png", "model-0.png", "model-1.png"):
        upload(uploads, name, b"", deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    found = now_is(workspace, request)
    assert found.state == "completed", found.open
    assert {row.state for row in messages(workspace)} == {"withdrawn"}


def test_i11_a_withdrawal_has_to_be_acknowledged_as_well(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    fill(workspace, uploads, taken_down=0)
    request = search_for(workspace)
    batch = decide(workspace, request, "alone-0.png", "confirm")
    clock.forward(minutes=11)
    deliver(workspace, FAULT)
    undo(workspace, batch, actor="ann")
    decide(workspace, request, "alone-0.png", "reject")
    assert (now_is(workspace, request).state, now_is(workspace, request).open) == ("acting", OpenWork(unsent=1))
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"


def test_i11_unsure_decides_nothing_and_a_rejection_does(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, taken_down=0)
    request = search_for(workspace)
    decide(workspace, request, "alone-0.png", "unsure")
    assert now_is(workspace, request).state == "under_review"
    decide(workspace, request, "alone-0.png", "reject")
    found = now_is(workspace, request)
    assert (found.state, found.completed_at) == ("completed", workspace.now())


def test_i11_later_uploads_neither_delay_nor_reopen_a_request(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, taken_down=0)
    request = search_for(workspace)
    clock.forward(hours=1)
    upload(uploads, "later.png", picture(person(WHO), person(90)), uploader="w")
    sweep(workspace, source_of(uploads), day=None)
    assert now_is(workspace, request).open == OpenWork(undecided=1)
    decide(workspace, request, "alone-0.png", "reject")
    done = now_is(workspace, request)
    assert done.state == "completed"
    clock.forward(hours=1)
    upload(uploads, "alone-0.png", picture(person(WHO), person(91)), uploader="v-0")  # changed, so looked at again
    sweep(workspace, source_of(uploads), day=None)
    assert now_is(workspace, request) == done


def test_i11_copies_of_what_is_confirmed_belong_to_the_request(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, taken_down=0)
    upload(uploads, "copy.png", picture(person(WHO), person(70)), uploader="w")
    sweep(workspace, source_of(uploads), day=None)
    request = search_for(workspace)
    assert request.open == OpenWork(undecided=2)
    decide(workspace, request, "alone-0.png", "confirm")
    clock.forward(minutes=11)
    rescan(workspace)
    assert now_is(workspace, request).state in ("acting", "under_review")
    clock.forward(minutes=11)
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"


def test_i11_whoever_withdraws_before_the_end_has_no_completed_request_and_after_it_keeps_it(
    workspace: Workspace, uploads: Path
) -> None:
    fill(workspace, uploads)
    request = search_for(workspace)
    withdraw(workspace, request.subject_id, actor="tester")
    ended = now_is(workspace, request)
    assert (ended.state, ended.completed_at, ended.ended_at) == ("withdrawn", None, workspace.now())
    nobody = ask_for_removal(workspace, person(9))
    agree(workspace, nobody.request_id, "tester")
    rescan(workspace)
    assert now_is(workspace, nobody).state == "completed"
    withdraw(workspace, nobody.subject_id, actor="tester")
    assert now_is(workspace, nobody).state == "completed"


def test_i11_a_request_that_was_served_is_completed_though_no_run_has_recorded_it(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    """The last acknowledgement came and the process ended; then an old item shows the person, or the person goes."""
    fill(workspace, uploads, for_review=0)
    served = search_for(workspace)
    deliver(workspace)
    clock.forward(hours=1)
    upload(uploads, "nobody.png", picture(person(WHO), person(95)))
    sweep(workspace, source_of(uploads), day=None)
    assert now_is(workspace, served).state == "completed"
    other = ask_for_removal(workspace, person(51))
    agree(workspace, other.request_id, "tester")
    rescan(workspace)
    decide(workspace, other, "model-1.png", "confirm")
    clock.forward(minutes=11)
    deliver(workspace)
    withdraw(workspace, other.subject_id, actor="tester")
    assert now_is(workspace, other).state == "completed"


def test_i11_a_rejected_request_was_not_completed(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    request = ask_for_removal(workspace, person(WHO))
    rejected = reject_request(workspace, request.request_id, reason="no proof", actor="tester")
    assert (rejected.state, rejected.completed_at, rejected.ended_at) == ("rejected", None, workspace.now())
    with pytest.raises(StateError, match="rejected"):
        agree(workspace, request.request_id, "tester")


def received(workspace: Workspace, moment: datetime) -> RemovalRequest:
    return open_request(
        workspace,
        names=[NAME],
        references=references(workspace, person(WHO)),
        contact="case-1",
        consent=None,
        actor="tester",
        received_at=moment,
    )


def test_i11_the_deadline_counts_from_the_receipt_and_ends_with_the_last_acknowledgement(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, for_review=0)
    request = received(workspace, START - timedelta(hours=30))
    assert (request.received_at, request.due_at) == (START - timedelta(hours=30), START + timedelta(hours=18))
    agree(workspace, request.request_id, "tester")
    rescan(workspace)
    assert {row.due_at for row in messages(workspace)} == {request.due_at}
    clock.forward(hours=17)
    assert not now_is(workspace, request).is_overdue(clock())
    clock.forward(hours=2)
    standing = standing_of(now_is(workspace, request), now=clock())
    assert (standing.state, standing.overdue, standing.hours_left, standing.late) == ("acting", True, -1.0, False)
    assert [(one.state, one.overdue) for one in read_status(workspace).requests] == [("acting", True)]
    deliver(workspace)
    sweep(workspace, source_of(uploads), day=None)
    standing = standing_of(now_is(workspace, request), now=clock())
    assert (standing.state, standing.overdue, standing.hours_left, standing.late) == ("completed", False, None, True)
    assert read_status(workspace).requests == ()


def test_a_receipt_is_no_time_to_come_nor_before_there_were_computers(workspace: Workspace) -> None:
    for moment in (START + timedelta(seconds=1), datetime(1969, 12, 31, tzinfo=UTC)):
        with pytest.raises(InputError, match="receipt"):
            received(workspace, moment)
    with workspace.database.read() as connection:
        assert list_requests(connection) == []
    received(workspace, START - timedelta(days=2))
    with workspace.database.read() as connection:
        facts = [json.loads(row) for row in connection.execute(sa.select(audit_rows.c.facts)).scalars()]
        audit.verify(connection, workspace.sealer)
    assert [fact["received_at"] for fact in facts if "received_at" in fact] == ["2026-02-27T12:00:00+00:00"]


def test_i11_what_follows_from_an_overdue_request_is_overdue_itself(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, taken_down=0)
    request = search_for(workspace)
    clock.forward(hours=50)
    decide(workspace, request, "alone-0.png", "confirm")
    assert [row.due_at for row in messages(workspace)] == [request.due_at]


def test_i11_once_a_request_is_completed_the_policys_own_deadline_counts(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads, taken_down=0, for_review=0)
    assert search_for(workspace).state == "completed"
    clock.forward(hours=1)
    for number in range(2):
        upload(uploads, f"new-{number}.png", picture(person(WHO), person(60 + number)), parent_model="n")
    sweep(workspace, source_of(uploads), day=None)
    hours = workspace.policy.settings.takedown.hours
    assert {row.due_at for row in messages(workspace)} == {clock() + timedelta(hours=hours)}


def test_unfinished_requests_are_those_whose_clock_runs(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, taken_down=0)
    search_for(workspace)
    done = ask_for_removal(workspace, person(9))
    agree(workspace, done.request_id, "tester")
    rescan(workspace)
    refused = ask_for_removal(workspace, person(8))
    reject_request(workspace, refused.request_id, reason="no proof", actor="tester")
    waiting = ask_for_removal(workspace, person(7))
    with workspace.database.read() as connection:
        assert sorted(one.state for one in unfinished_requests(connection)) == ["received", "under_review"]
        assert [one.request_id for one in list_requests(connection, state="received")] == [waiting.request_id]
        assert [one.request_id for one in list_requests(connection, state="completed")] == [done.request_id]


def test_contacts_are_revealed_with_a_row_of_the_chain_and_gone_with_the_person(workspace: Workspace) -> None:
    kept, gone = ask_for_removal(workspace, person(WHO)), ask_for_removal(workspace, person(8))
    reject_request(workspace, gone.request_id, reason="no proof", actor="tester")
    found = reveal_contacts(workspace, [kept.request_id, gone.request_id], actor="tester")
    assert {key: one.contact for key, one in found.items()} == {kept.request_id: "case-1"}
    assert "case-1" not in repr(found)
    assert audited(workspace)[-1] == "request.view"
    with pytest.raises(StateError, match="no such request"):
        reveal_contacts(workspace, ["req_none"], actor="tester")


def test_i11_items_of_a_request_are_those_listed_before_its_search_ended(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    """A deleted upload that comes back after the search is a new one: the nightly sweep's."""
    fill(workspace, uploads, taken_down=0)
    request = search_for(workspace)
    clock.forward(hours=1)
    data = (uploads / "alone-0.png").read_bytes()
    upload(uploads, "alone-0.png", data, uploader="v-0", deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    assert now_is(workspace, request).state == "completed"
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(requests.c.completed_at)).scalar() == clock()
    clock.forward(hours=1)
    upload(uploads, "alone-0.png", data, uploader="v-0", deleted=False)
    sweep(workspace, source_of(uploads), day=None)
    assert now_is(workspace, request).state == "completed"
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(items.c.live).where(items.c.item_id == "alone-0.png")).scalar()
