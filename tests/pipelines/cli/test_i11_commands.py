"""What commands say of requests and messages, and with which exit code: no more than has happened."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from click.testing import Result

from pipelines.cases.ending import withdraw
from pipelines.cases.requests import get_request, list_requests
from pipelines.database import Database, _alembic_config
from pipelines.database.tables import hits, outbox, requests, state, subjects
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_statuses
from pipelines.orchestration.assets import deliver_due
from pipelines.report.statements import as_text, statements_of
from pipelines.runs.alarms import read_alarms
from pipelines.runs.sweep import list_source
from pipelines.takedown.effects import count_refused
from pipelines.takedown.receiver import Receiver
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.cases.requesting import (
    Run,
    audited,
    commands_on,
    deliver,
    fill,
    hold,
    messages,
    now_is,
    search_for,
    told,
)
from tests.pipelines.takedown.delivering import SECRET
from tests.pipelines.takedown.scripted import answer, hang_up, scripted_service
from tests.platform_actions import agree, ask_for_removal, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands_on(workspace, monkeypatch)


@pytest.mark.parametrize("status", [301, 400, 404, 410, 429, 500, 503])
def test_i11_dispatch_fails_when_a_message_was_not_acknowledged_and_names_code_and_host(
    workspace: Workspace, uploads: Path, run: Run, status: int
) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    with scripted_service([answer(status)] * 3) as service:
        result = run("dispatch", "--json", url=service.url)
    assert result.exit_code == 1
    counted = told(result)["unacknowledged"]
    assert sum(count for answers in counted.values() for count in answers.values()) == (1 if status == 410 else 3)
    assert {word for answers in counted.values() for word in answers} == {str(status)}
    assert told(result)["host"] == "127.0.0.1"
    assert f"not acknowledged by 127.0.0.1: {status}" in result.stderr
    assert "/hook" not in result.output


def test_i11_dispatch_fails_without_an_answer_and_after_410(workspace: Workspace, uploads: Path, run: Run) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    with scripted_service([hang_up] * 3) as service:
        assert run("dispatch", url=service.url).exit_code == 1
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(next_attempt_at=workspace.now()))
    with scripted_service([answer(410)]) as service:
        assert run("dispatch", url=service.url).exit_code == 1
        again = run("dispatch", url=service.url)
    assert (again.exit_code, "410" in again.stderr) == (1, True)


def test_dispatch_is_done_when_all_was_acknowledged_or_nothing_was_due(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock
) -> None:
    assert run("dispatch").exit_code == 0
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    held = hold(workspace, "hit_rate", outbox.c.action == "generator.block")
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, now=clock) as receiver:
        result = run("dispatch", "--json", url=receiver.url)
    assert (result.exit_code, told(result)["sent"], told(result)["unacknowledged"]) == (0, 2, {})
    assert [row.message_id for row in messages(workspace, outbox.c.state == "held")] == held


@pytest.mark.parametrize(("status", "word"), [(404, "not acknowledged"), (500, "not acknowledged"), (200, "done")])
def test_i11_a_delivery_by_dagster_says_what_the_service_refused(
    workspace: Workspace, uploads: Path, caplog: pytest.LogCaptureFixture, status: int, word: str
) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    with scripted_service([answer(status)] * 3) as service:
        workspace.environment = replace(workspace.environment, takedown_url=service.url, takedown_secrets=(SECRET,))
        told_by_run = deliver_due(workspace, log=logging.getLogger("run"))
    assert (told_by_run["delivery"], told_by_run["host"]) == (word, "127.0.0.1")
    assert (f"not acknowledged by 127.0.0.1: {status}" in caplog.text) == (status != 200)
    with workspace.database.read() as connection:
        assert count_refused(connection) == (3 if status == 404 else 0)


def text_on(workspace: Workspace, about: str) -> str:
    with workspace.database.read() as connection:
        return as_text(statements_of(connection, workspace, about)[0])


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({"state": "pending", "attempts": 0}, "planned", "planned, not in force: "),
        ({"state": "held", "attempts": 0, "last_result": "held:hit_rate"}, "held", "held until somebody has looked"),
        ({"state": "leased", "attempts": 1}, "sent", "sent and not acknowledged"),
        ({"state": "pending", "attempts": 1, "last_result": "503"}, "sent", "sent and not acknowledged"),
        ({"state": "pending", "attempts": 1, "last_result": "429"}, "sent", "sent and not acknowledged"),
        ({"state": "pending", "attempts": 1, "last_result": "timeout"}, "sent", "sent and not acknowledged"),
        ({"state": "pending", "attempts": 2, "last_result": "404"}, "refused", "sent and refused so far"),
        ({"state": "dead", "attempts": 8, "last_result": "404"}, "dead", "not delivered, not in force"),
        ({"state": "withdrawn", "attempts": 0}, "withdrawn", "(withdrawn)"),
    ],
)
@pytest.mark.parametrize("action", ["takedown", "generator.block"])
def test_i11_a_statement_claims_no_restriction_that_the_service_has_not_acknowledged(
    workspace: Workspace, uploads: Path, run: Run, action: str, values: dict[str, Any], state: str, words: str
) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    (row, *_) = messages(workspace, outbox.c.action == action)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(**values))
    text = run("statement", row.message_id).stdout
    assert words in text
    assert "not in force" in text
    for claim in ("generator refuses the model", "content is removed", "generator refused the model", "was removed"):
        assert claim not in text
    (data,) = told(run("statement", row.message_id, "--json"))
    assert (data["state"], data["in_force"], data["application_date"]) == (state, False, None)


@pytest.mark.parametrize(
    ("action", "claim"),
    [("takedown", "the content is removed"), ("generator.block", "the on-site generator refuses the model")],
)
def test_i11_a_statement_dates_a_restriction_from_its_acknowledgement(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock, action: str, claim: str
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    clock.forward(days=2)
    deliver(workspace)
    (row, *_) = messages(workspace, outbox.c.action == action)
    assert f"Restriction: {claim}\n" in run("statement", row.message_id).stdout
    assert "How long: from 2026-03-03 until it is withdrawn" in text_on(workspace, row.message_id)
    clock.forward(days=1)

    withdraw(workspace, request.subject_id, actor="tester")
    lifting = statements_of_message(workspace, row.message_id)
    assert (lifting.state, lifting.in_force, lifting.withdrawal) == ("withdrawn", True, "planned")
    assert "to 2026-03-04, which the service has not acknowledged" in text_on(workspace, row.message_id)
    deliver(workspace)
    lifted = statements_of_message(workspace, row.message_id)
    assert (lifted.in_force, lifted.withdrawal) == (False, "acknowledged")
    assert "from 2026-03-03 to 2026-03-04" in text_on(workspace, row.message_id)


def statements_of_message(workspace: Workspace, message_id: str) -> Any:
    with workspace.database.read() as connection:
        return statements_of(connection, workspace, message_id)[0]


def test_the_list_of_requests_says_what_is_left_and_who_is_waiting_only_when_asked(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock
) -> None:
    fill(workspace, uploads)
    request = search_for(workspace)
    hold(workspace, "hit_rate", outbox.c.action == "generator.block")
    clock.forward(hours=50)
    (row,) = told(run("request", "list", "--json"))
    assert (row["state"], row["overdue"], row["hours_left"]) == ("under_review", True, -2.0)
    assert row["open"] == {
        "unscanned": 0,
        "unjudged": 0,
        "undecided": 1,
        "held": 1,
        "unsent": 2,
        "unacknowledged": 0,
        "dead": 0,
    }
    assert "contact" not in row
    plain = run("request", "list").stdout
    assert "under_review, overdue" in plain
    assert "undecided 1, held 1, unsent 2" in plain
    assert "case-1" not in plain
    before = len(audited(workspace))
    assert "case-1" in run("request", "list", "--reveal").stdout
    shown = told(run("request", "show", request.request_id, "--reveal", "--json"))
    assert (shown["contact"], shown["case_reference"], shown["state"]) == ("case-1", None, "under_review")
    assert audited(workspace)[before:] == ["request.view", "request.view"]
    assert "contact" not in told(run("request", "show", request.request_id, "--json"))
    assert told(run("request", "list", "--state", "completed", "--json")) == []
    assert len(told(run("request", "list", "--overdue", "--json"))) == 1
    assert "under review, overdue by 2.0 h, 1 undecided, 1 held, 2 unsent" in run("status").stdout
    assert run("request", "list", "--state", "open").exit_code == 2
    assert run("request", "show", "req_none").exit_code == 1


@pytest.mark.parametrize("text", ["2026-03-02", "tomorrow", "2026-02-30", "1969-01-01", "9999-12-31T23:59:59-23:00"])
def test_a_receipt_that_cannot_be_is_wrong_usage(workspace: Workspace, run: Run, tmp_path: Path, text: str) -> None:

    (tmp_path / "reference.png").write_bytes(picture(person(3)))
    (workspace.home / "likeness.toml").write_text(
        "[registry]\nmin_reference_pixels = 16\nmin_reference_score = 0.5\n", encoding="utf-8"
    )
    who = ("--name", "Nobody Inparticular", "--reference", str(tmp_path / "reference.png"), "--contact", "c")
    assert run("request", "open", *who, "--received", text).exit_code == 2
    opened = told(run("request", "open", *who, "--received", "2026-02-28", "--json"))
    assert (opened["received_at"], opened["due_at"]) == ("2026-02-28T00:00:00+00:00", "2026-03-02T00:00:00+00:00")
    zoned = told(run("request", "open", *who, "--received", "2026-02-28T12:00+02:00", "--json"))
    assert zoned["received_at"] == "2026-02-28T10:00:00+00:00"


def causes(result: Result) -> dict[str, int]:
    return {alarm["cause"]: alarm["count"] for alarm in told(result)["alarms"]}


def test_i11_status_check_is_silent_on_a_home_in_order_and_says_every_cause(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock
) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    calm = run("status", "--check")
    assert (calm.exit_code, calm.stdout) == (0, "nothing has to be seen to\n")
    assert told(run("status", "--check", "--json")) == {"ok": True, "alarms": []}
    hold(workspace, "hit_rate", outbox.c.action == "generator.block")
    clock.forward(hours=23)
    assert run("status", "--check").exit_code == 0
    clock.forward(hours=2)
    result = run("status", "--check")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    assert result.stdout.startswith("message_held: 1 messages held for more than 24 hours")
    clock.forward(hours=24)
    with workspace.database.write() as tx:
        (one, *_) = tx.execute(sa.select(outbox.c.message_id).where(outbox.c.state == "pending")).scalars()
        tx.execute(sa.update(outbox).where(outbox.c.message_id == one).values(state="dead"))
        tx.execute(sa.insert(state).values(name="endpoint_stopped", value="x"))
    found = run("status", "--check", "--json")
    assert found.exit_code == 1
    assert causes(found) == {
        "request_overdue": 1,
        "message_overdue": 3,
        "message_dead": 1,
        "message_held": 1,
        "endpoint_stopped": 1,
    }
    assert len(run("status", "--check").stdout.splitlines()) == 5
    assert run("status").exit_code == 0


def test_i11_status_check_fails_on_what_is_not_covered_judged_or_over(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock
) -> None:

    fill(workspace, uploads, for_review=0)
    request = ask_for_removal(workspace, person(2))
    agree(workspace, request.request_id, "tester")
    upload(uploads, "new.png", picture(person(2)))
    list_source(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        pending = count_statuses(connection, Scope(None, None))["pending"]
    found = causes(run("status", "--check", "--json"))
    assert found["item_pending"] == pending == 1
    assert found["not_covered"] > 0
    assert run("sweep", "--source", source_of(uploads)).exit_code == 0
    assert run("rescan", "--pending").exit_code == 0
    assert read_alarms(workspace) == []
    with workspace.database.write() as tx:
        tx.execute(sa.update(hits).values(judged_at=None))
        tx.execute(sa.update(subjects).where(subjects.c.subject_id != request.subject_id).values(state="expired"))
    assert set(causes(run("status", "--check", "--json"))) == {"not_judged", "opt_out_ended"}


def test_i11_an_old_home_says_that_what_it_called_completed_was_searched_for(
    workspace: Workspace, uploads: Path
) -> None:
    """As the migration leaves a request that a rescan of an earlier version completed."""
    fill(workspace, uploads)
    request = search_for(workspace)

    url = workspace.database.url.render_as_string(hide_password=False)
    moment = workspace.now() - timedelta(hours=1)
    with workspace.database.write() as tx:
        tx.execute(sa.update(requests).values(searched_at=moment))
    before = now_is(workspace, request)
    other = Database(url, busy_timeout_seconds=60)
    alembic.command.downgrade(_alembic_config(other), "0010")
    with other.engine.connect() as connection:
        old = connection.exec_driver_sql("SELECT state, completed_at FROM requests").one()
    assert (old.state, old.completed_at is not None) == ("completed", True)
    other.migrate()
    other.close()
    after = now_is(workspace, request)
    assert (after.state, after.completed_at, after.searched_at) == (before.state, None, moment)
    with workspace.database.read() as connection:
        assert get_request(connection, request.request_id).received_at == after.opened_at


def test_i11_the_requests_of_a_home_of_the_earlier_schema_come_to_this_one(tmp_path: Path) -> None:
    """With the rows that refer to each other, which a table that is made anew would lose."""
    database = Database(f"sqlite:///{tmp_path / 'likeness.db'}", busy_timeout_seconds=60)
    alembic.command.upgrade(_alembic_config(database), "0008")
    then = "2026-02-01 12:00:00.000000"
    with database.engine.begin() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO subjects (subject_id, state, version, expires_at, created_at) "
            f"VALUES ('sub_1', 'active', 1, '{then}', '{then}')"
        )
        run(f"INSERT INTO templates VALUES ('tpl_1', 'sub_1', 'fake-1', 2, 0.9, x'00', x'00', '{then}')")
        for name, state, accepted, completed in (
            ("open", "open", "NULL", "NULL"),
            ("accepted", "accepted", f"'{then}'", "NULL"),
            ("searched", "completed", f"'{then}'", f"'{then}'"),
            ("rejected", "rejected", "NULL", f"'{then}'"),
        ):
            run(
                "INSERT INTO requests (request_id, subject_id, state, attempt, opened_at, due_at, accepted_at, "
                f"completed_at) VALUES ('{name}', 'sub_1', '{state}', 1, '{then}', '{then}', {accepted}, {completed})"
            )
    database.migrate()
    with database.read() as connection:
        found = {one.request_id: one for one in list_requests(connection)}
    assert {name: one.state for name, one in found.items()} == {
        **{"open": "received", "accepted": "accepted", "searched": "completed", "rejected": "rejected"},
    }
    assert (found["searched"].completed_at, found["searched"].searched_at) == (None, found["searched"].accepted_at)
    assert found["rejected"].ended_at == found["rejected"].received_at
    database.close()
