"""Subjects are found by name and by case, with the end of their consent told ahead; whoever looks is on record."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from embeddings.errors import EndingError, InputError, StateError
from pipelines.cases.ending import withdraw
from pipelines.cases.leaving import foresee_end
from pipelines.cli import main
from pipelines.database import tables
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.registry.endings import accept_endings, read_endings, tell_endings
from pipelines.registry.finding import find_subjects, reveal_cases
from pipelines.registry.renewal import renew
from pipelines.registry.subjects import Identity, expire_subjects, insert_subject
from pipelines.report import write_report
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from tests.conftest import KEY, Clock, believe_the_clock, use_fakes
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, references, source_of, upload

pytestmark = pytest.mark.any_database
LONG = 5000


def add(workspace: Workspace, *names: str, case: str | None = None, who: int = 1, days: float = LONG) -> str:
    identity = Identity(names, consent="consent-1", contact=None, case_reference=case)
    with workspace.database.write() as tx:
        subject_id, _ = insert_subject(
            tx,
            workspace,
            identity=identity,
            references=references(workspace, person(who)),
            expires_at=workspace.now() + timedelta(days=days),
            active=True,
            actor="tester",
        )
    return subject_id


def rows_of(workspace: Workspace, action: str) -> list[dict[str, Any]]:
    query = sa.select(tables.audit.c.facts).where(tables.audit.c.action == action).order_by(tables.audit.c.seq)
    with workspace.database.read() as connection:
        return [json.loads(facts) for facts in connection.execute(query).scalars()]


# By name and by case


@pytest.mark.parametrize(
    "asked",
    ["José Núñez", "jose nunez", "NUNEZ, JOSÉ", "josenunez", "Pepe", "pepe grillo", "Grillo", "Mr Jose Nunez of Lima"],
)
def test_a_person_is_found_by_name_as_texts_are_searched_for_it(workspace: Workspace, asked: str) -> None:
    wanted = add(workspace, "José Núñez", "Pepe Grillo", case="C-1")
    add(workspace, "Joséphine Nuñezoid", who=2)
    assert find_subjects(workspace, name=asked, actor="ann") == [wanted]


def test_a_search_is_on_record_without_what_was_searched_for(workspace: Workspace) -> None:
    wanted = add(workspace, NAME, case="C-1")
    assert find_subjects(workspace, name=NAME, actor="ann") == [wanted]
    assert find_subjects(workspace, name="Nobody Atall", actor="ann") == []
    assert find_subjects(workspace, case_reference=" c-1 ", actor="ann") == [wanted]
    assert find_subjects(workspace, name=NAME, case_reference="C-2", actor="ann") == []
    assert reveal_cases(workspace, [wanted, "sub_none"], actor="ann") == {wanted: "C-1"}
    facts = rows_of(workspace, "subject.search")
    assert [(one["by"], one["found"]) for one in facts] == [
        ("name", 1),
        ("name", 0),
        ("case_reference", 1),
        ("name and case_reference", 0),
        ("reveal", 1),
    ]
    assert facts[0]["subject_ids"] == wanted
    assert "Testina" not in json.dumps(facts)


def test_who_was_erased_is_found_by_nothing(workspace: Workspace) -> None:
    from pipelines.cases.ending import erase

    gone = add(workspace, NAME, case="C-1")
    erase(workspace, gone, actor="ann")
    assert find_subjects(workspace, name=NAME, actor="ann") == []
    assert reveal_cases(workspace, [gone], actor="ann") == {}


@pytest.mark.parametrize("name", ["", "J", "--", "12"])
def test_what_is_too_short_to_be_a_name_is_not_searched_for(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError):
        find_subjects(workspace, name=name, actor="ann")
    with pytest.raises(InputError, match="needs a name or a case"):
        find_subjects(workspace, actor="ann")
    assert rows_of(workspace, "subject.search") == []


# Told ahead


def test_i12_each_end_is_told_once_at_each_threshold(
    workspace: Workspace, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    subject_id = enrol(workspace, person(1), days=40)
    enrol(workspace, person(2), days=LONG)
    caplog.set_level(logging.WARNING)
    told: list[int] = []
    for _ in range(45):
        rescan(workspace)
        told.append(len(rows_of(workspace, "subject.ending")))
        clock.forward(days=1)
    assert [told.index(count) for count in (0, 1, 2)] == [0, 10, 33]
    facts = rows_of(workspace, "subject.ending")
    assert [(one["subject_id"], one["days"]) for one in facts] == [(subject_id, 30), (subject_id, 7)]
    assert [record.getMessage().split(": ")[0] for record in caplog.records if "opt-out" in record.getMessage()] == [
        f"opt-out {subject_id} ends in 30 days",
        f"opt-out {subject_id} ends in 7 days",
    ]
    renew(workspace, subject_id, expires_at=clock() + timedelta(days=20), actor="ann")
    rescan(workspace)
    assert len(rows_of(workspace, "subject.ending")) == 3, "a renewal begins anew"


def test_a_clock_that_was_ahead_has_what_is_so_told_again(workspace: Workspace, clock: Clock) -> None:
    enrol(workspace, person(1), days=40)
    clock.forward(days=29)
    assert [one.days_left for one in tell_endings(workspace)] == [11]
    clock.forward(days=-29)
    assert tell_endings(workspace) == []
    clock.forward(days=29)
    assert [one.days_left for one in tell_endings(workspace)] == [11]


def test_status_and_report_say_who_ends_soon_and_what_rests(
    workspace: Workspace, uploads: Path, clock: Clock, tmp_path: Path
) -> None:
    soon, later, gone = (enrol(workspace, person(number), days=days) for number, days in ((1, 29), (2, LONG), (3, 5)))
    upload(uploads, "a.png", picture(person(3)), parent_model="m")
    upload(uploads, "b.png", picture(person(3), person(41)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(days=23)
    status = read_status(workspace)
    assert [(one.subject_id, one.days_left) for one in status.endings] == [(soon, 6)]
    assert status.subjects == {"active": 2, "expired": 1}
    assert status.messages_resting == sum(status.outbox.values()) > 0
    page = write_report(workspace, day=None, folder=tmp_path / "reports").html.read_text(encoding="utf-8")
    assert "1 opt-out ends within 7 days" in page
    assert "1 opt-out is over" in page
    assert f"{status.messages_resting} messages rest until an opt-out" in page
    assert soon in page
    assert gone not in page
    assert later not in page


def test_no_warning_at_all_may_be_set(workspace: Workspace) -> None:
    enrol(workspace, person(1), days=3)
    registry = replace(workspace.config.registry, warn_days=())
    workspace.config = replace(workspace.config, registry=registry)
    assert tell_endings(workspace) == []
    assert read_status(workspace).endings == ()


# Too many at once


@pytest.fixture
def crowd(workspace: Workspace, uploads: Path) -> Workspace:
    """Twenty people, six of whom end in twenty days."""
    for number in range(20):
        enrol(workspace, person(number), days=20 if number < 6 else LONG)
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    return workspace


RUNS: dict[str, Callable[[Workspace, Path], object]] = {
    "sweep": lambda workspace, uploads: sweep(workspace, source_of(uploads), day=None),
    "rescan": lambda workspace, _: rescan(workspace),
    "notice": lambda workspace, _: expire_subjects(workspace),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("days", [19.5, 21])
def test_i12_more_ends_at_once_than_can_be_meant_stop_every_run(
    run: str, days: float, crowd: Workspace, uploads: Path, clock: Clock
) -> None:
    clock.forward(days=days)
    upload(uploads, "late.png", picture(person(1)))
    with pytest.raises(EndingError, match=r"6 of 20 .*likeness clock.*subject renew.*subject endings"):
        RUNS[run](crowd, uploads)
    assert read_status(crowd).items == 1
    assert rows_of(crowd, "subject.lapsed") == []
    clock.forward(days=-days)
    believe_the_clock(crowd)
    RUNS[run](crowd, uploads)


def test_i12_runs_go_on_once_the_ends_were_called_meant_and_only_those(
    crowd: Workspace, uploads: Path, clock: Clock
) -> None:
    clock.forward(days=21)
    with crowd.database.read() as connection:
        found = read_endings(connection, now=clock())
    assert (found.registered, len(found.ending)) == (20, 6)
    with pytest.raises(StateError, match="look again"):
        accept_endings(crowd, expect="0" * 32, actor="ann")
    accept_endings(crowd, expect=found.digest, actor="ann")
    sweep(crowd, source_of(uploads), day=None)
    rescan(crowd)
    assert len(rows_of(crowd, "subject.lapsed")) == 6
    assert rows_of(crowd, "registry.endings") == [{"digest": found.digest, "registered": 20, "subjects": 6}]
    with pytest.raises(StateError, match="nothing to accept"):
        accept_endings(crowd, expect=found.digest, actor="ann")


def test_i12_runs_go_on_once_those_who_end_are_renewed(crowd: Workspace, clock: Clock) -> None:
    clock.forward(days=21)
    with crowd.database.read() as connection:
        found = read_endings(connection, now=clock())
    for one in found.ending[:2]:
        renew(crowd, one.subject_id, expires_at=clock() + timedelta(days=30), actor="ann")
    rescan(crowd)


def test_a_few_may_end_whatever_share_they_are(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    for number in range(5):
        enrol(workspace, person(number), days=20 if number < 4 else LONG)
    clock.forward(days=21)
    sweep(workspace, source_of(uploads), day=None)


def test_i12_a_clock_that_is_far_ahead_ends_nobody_though_somebody_called_it_right(
    crowd: Workspace, uploads: Path, clock: Clock
) -> None:
    before = read_status(crowd)
    clock.forward(days=400)
    believe_the_clock(crowd)
    with pytest.raises(EndingError):
        sweep(crowd, source_of(uploads), day=None)
    clock.forward(days=-400)
    believe_the_clock(crowd)
    after = read_status(crowd)
    assert (after.subjects, after.statuses, after.outbox) == (before.subjects, before.statuses, before.outbox)
    assert sweep(crowd, source_of(uploads), day=None).hits == 1


# On the command line


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[..., Result]:
    from pipelines.home.workspace import open_workspace

    monkeypatch.setattr(
        "pipelines.cli.console.open_workspace", lambda environment: use_fakes(open_workspace(environment, now=clock))
    )
    variables = {"LIKENESS_HOME": str(workspace.home), "LIKENESS_KEY": KEY}
    if url := workspace.environment.database_url:
        variables["LIKENESS_DATABASE_URL"] = url

    def one(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), env=variables, input=input)

    return one


def test_the_list_has_state_end_and_case_only_when_asked(
    workspace: Workspace, run: Callable[..., Result], clock: Clock
) -> None:
    first, second = add(workspace, NAME, case="C-1", days=20), add(workspace, "Wholly Otherwise", case="C-2", who=2)

    def listed(*options: str, input: str | None = None) -> list[dict[str, Any]]:
        result = run("subject", "list", "--json", *options, input=input)
        assert result.exit_code == 0, result.stderr
        found: list[dict[str, Any]] = json.loads(result.stdout)
        return found

    assert {row["subject_id"]: row["state"] for row in listed()} == {first: "active", second: "active"}
    assert "C-1" not in json.dumps(listed())
    assert [row["subject_id"] for row in listed("--ending", "30")] == [first]
    assert [row["case_reference"] for row in listed("--name", "-", "--reveal", input="otherwise wholly\n")] == ["C-2"]
    assert [row["subject_id"] for row in listed("--case-reference", "c-1")] == [first]
    clock.forward(days=21)
    assert [row["subject_id"] for row in listed("--state", "expired")] == [first]
    assert listed("--ending", "30") == []
    assert run("subject", "list", "--name", "x").exit_code == 2


@pytest.mark.parametrize("command", ["withdraw", "erase"])
def test_an_end_says_what_it_does_and_needs_a_yes(
    command: str, workspace: Workspace, uploads: Path, run: Callable[..., Result]
) -> None:
    subject_id = enrol(workspace, person(1))
    for number in range(2):
        upload(uploads, f"{number}.png", picture(person(1), person(40 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        counts = foresee_end(connection, subject_id)
    assert (counts.hits, counts.templates, counts.messages_sent) == (2, 1, 0)
    assert counts.messages_unsent > 0
    refused = run("subject", command, subject_id)
    assert refused.exit_code == 2
    assert f"2 hits stop counting, {counts.messages_unsent} messages will never be sent" in refused.stderr
    assert ("1 templates" in refused.stderr) == (command == "erase")
    assert read_status(workspace).subjects == {"active": 1}
    done = run("subject", command, subject_id, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["hits"], told["messages_unsent"]) == (2, counts.messages_unsent)
    assert run("subject", command, "sub_none", "--yes").exit_code == 1


def test_a_withdrawal_announces_the_events_it_sends(workspace: Workspace, uploads: Path) -> None:
    subject_id = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)), parent_model="m")
    upload(uploads, "b.png", picture(person(1), person(41)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.outbox).values(state="done", attempts=1))
        sent = foresee_end(tx, subject_id).messages_sent
    withdraw(workspace, subject_id, actor="ann")
    with workspace.database.read() as connection:
        events = sa.select(sa.func.count()).where(tables.outbox.c.action == "withdrawal")
        assert connection.execute(events).scalar_one() == sent > 0
        after = foresee_end(connection, subject_id)
    assert (after.hits, after.messages_sent) == (0, 0)


def test_the_commands_renew_update_and_accept(
    workspace: Workspace, run: Callable[..., Result], clock: Clock, tmp_path: Path
) -> None:
    subject_id = enrol(workspace, person(1), days=20)
    renewed = run("subject", "renew", subject_id, "--days", "60", "--json")
    assert json.loads(renewed.stdout) == {
        "subject_id": subject_id,
        "expires_at": (clock() + timedelta(days=60)).isoformat(),
        "rescan": False,
    }
    assert run("subject", "renew", subject_id, "--days", "60", "--until", "2027-01-01").exit_code == 2
    assert run("subject", "renew", subject_id, "--until", "2026-03-02").exit_code == 2
    assert json.loads(run("subject", "renew", subject_id, "--until", "2026-12-31", "--json").stdout)["expires_at"][
        :10
    ] == ("2026-12-31")
    (tmp_path / "aliases.txt").write_text("Zelda Quagmire\nTina E.\n", encoding="utf-8")
    update = ("subject", "update", subject_id, "--add-alias-file", str(tmp_path / "aliases.txt"))
    shown = run(*update, "--preview", "--json")
    assert json.loads(shown.stdout)["approvals"] == "one"
    done = run(*update, "--case-reference", "C-9", "--expect", json.loads(shown.stdout)["digest"], "--json")
    assert done.exit_code == 1, "another change"
    assert json.loads(run(*update, "--json").stdout)["in_force"]
    assert run("subject", "update", subject_id).exit_code == 2
    told = json.loads(run("subject", "show", subject_id, "--json").stdout)
    assert told["names"] == [NAME, "Zelda Quagmire", "Tina E."]
    assert len(told["references"]) == 1


def test_the_ends_at_once_are_shown_with_the_command_that_accepts_them(
    crowd: Workspace, run: Callable[..., Result], clock: Clock
) -> None:
    clock.forward(days=21)
    stopped = run("rescan")
    assert (stopped.exit_code, "6 of 20 opt-outs" in stopped.stderr) == (1, True)
    shown = run("subject", "endings", "--json")
    digest = json.loads(shown.stdout)["digest"]
    assert f"--yes --expect {digest}" in shown.stderr
    assert run("subject", "endings", "--yes").exit_code == 2
    assert run("subject", "endings", "--yes", "--expect", "0" * 32).exit_code == 1
    assert run("subject", "endings", "--yes", "--expect", digest).exit_code == 0
    assert run("rescan").exit_code == 0
    assert run("subject", "endings").exit_code == 0


def test_an_enrolment_error_names_file_and_score_to_the_operator(
    workspace: Workspace, run: Callable[..., Result], tmp_path: Path
) -> None:
    subject_id = enrol(workspace, person(1))
    small, other = tmp_path / "small.png", tmp_path / "other.png"
    small.write_bytes(picture(person(1)))
    other.write_bytes(picture(person(2)))
    add_one = ("subject", "add", "--name", "Wholly Otherwise", "--consent", "c", "--reference")
    (workspace.home / "likeness.toml").write_text("[registry]\nmin_reference_pixels = 500\n", encoding="utf-8")
    unclear = run(*add_one, str(small))
    assert unclear.exit_code == 1
    assert unclear.stderr.startswith("error: unclear_face: reference 1 has no face of at least 500 pixels")
    assert "the best has score 0.9" in unclear.stderr
    assert f"(reference 1 is {small})" in unclear.stderr
    (workspace.home / "likeness.toml").write_text(
        "[registry]\nmin_reference_pixels = 16\nmin_reference_score = 0.5\n", encoding="utf-8"
    )
    two = run(*add_one, str(small), str(other))
    assert f"reference 1 is {small}; reference 2 is {other}" in two.stderr
    alike = run(*add_one, str(small), "--json")
    assert f"a reference matches {subject_id} (score 1.00)" in alike.stderr
    told = json.loads(alike.stdout)
    assert (told["resembles"], told["resemblance"]) == ([subject_id], {subject_id: 1.0})


def test_statuses_need_no_run_to_say_who_is_a_hit(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    from pipelines.hits.statuses import statuses_now

    enrol(workspace, person(1), days=20)
    enrol(workspace, person(1), days=40)
    enrol(workspace, person(2), days=20)
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(2)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        assert statuses_now(connection, Scope(None, None)) == {"hit": 2}
        clock.forward(days=21)
        assert statuses_now(connection, Scope(None, None)) == {"clean": 1, "hit": 1}
        clock.forward(days=-21)
        assert statuses_now(connection, Scope(None, None)) == {"hit": 2}
