"""A clock that jumps stops whatever acts before it does anything, and nothing that reads (I12)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from embeddings.errors import CorruptionError, NotReadyError
from pipelines.cases.approval import enrol_subject
from pipelines.cases.ending import withdraw
from pipelines.cases.requests import accept_request, open_request
from pipelines.cli import main
from pipelines.corpus.retention import let_go
from pipelines.database import set_state
from pipelines.database.tables import audit, subjects
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.clock import accept, doubt, last_seen
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.orchestration.resources import LikenessHome
from pipelines.registry.subjects import Identity, expire_subjects
from pipelines.runs.backfill import backfill
from pipelines.runs.compaction import compact
from pipelines.runs.delivery import deliver, intervene
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.conftest import KEY, Clock, environment_for
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, references, source_of, upload

JUMPS = [timedelta(days=400), timedelta(days=-400), timedelta(days=31), timedelta(minutes=-11)]


@pytest.fixture
def swept(workspace: Workspace, uploads: Path) -> Workspace:
    """A platform with a person, a hit, and a time that was recorded."""
    enrol(workspace, person(1), days=100)
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def enrol_another(workspace: Workspace) -> object:
    identity = Identity(names=(NAME,), consent="consent-2", contact=None)
    read, until = references(workspace, person(2)), workspace.now() + timedelta(days=9)
    return enrol_subject(workspace, identity=identity, references=read, expires_at=until, actor="tester")


def ask(workspace: Workspace) -> object:
    read = references(workspace, person(2))
    return open_request(workspace, names=[NAME], references=read, contact="c", consent=None, actor="tester")


def decide_first(workspace: Workspace) -> object:
    with workspace.database.read() as connection:
        hit = list_hits(connection)[0]
    return decide(workspace, [hit.hit_id], decision="unsure", reason="low_quality", actor="tester")


ACTS: dict[str, Callable[[Workspace], object]] = {
    "sweep": lambda workspace: sweep(workspace, source_of(workspace.home.parent / "uploads"), day=None),
    "rescan": rescan,
    "backfill": lambda workspace: backfill(workspace, actor="tester"),
    "dispatch": deliver,
    "release": lambda workspace: intervene(workspace, release_ids=[], revive_ids=[], resume=True, actor="tester"),
    "expiry": expire_subjects,
    "age limit": let_go,
    "compaction": lambda workspace: compact(workspace, purge=True),
    "enrolment": enrol_another,
    "request": ask,
    "acceptance": lambda workspace: accept_request(workspace, "req_none", actor="tester"),
    "decision": decide_first,
}


def content(workspace: Workspace) -> dict[str, list[Any]]:
    """Everything in the database."""
    inspected = sa.MetaData()
    inspected.reflect(workspace.database.engine)
    with workspace.database.read() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(table)))) for name, table in inspected.tables.items()
        }


@pytest.mark.parametrize(
    ("act", "jump"), [*((act, JUMPS[0]) for act in ACTS), *(("expiry", jump) for jump in JUMPS[1:])]
)
def test_i12_a_jump_of_the_clock_stops_whatever_acts_before_it_does_anything(
    act: str, jump: timedelta, swept: Workspace, clock: Clock
) -> None:
    before = content(swept)
    clock.time += jump
    with pytest.raises(NotReadyError, match="clock accept") as error:
        ACTS[act](swept)
    assert f"{clock():%Y-%m-%d %H:%M}" in str(error.value)
    assert f"{clock() - jump:%Y-%m-%d %H:%M}" in str(error.value)
    assert content(swept) == before


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_what_only_reads_works_under_a_jumped_clock(jump: timedelta, swept: Workspace, clock: Clock) -> None:
    clock.time += jump
    assert read_status(swept).items == 1
    assert all(finding.ok for finding in verify(swept))
    assert "clock" in (doubt(swept) or "")


def test_a_person_may_always_withdraw(swept: Workspace, clock: Clock) -> None:
    with swept.database.read() as connection:
        subject_id = connection.execute(sa.select(subjects.c.subject_id)).scalar_one()
    clock.forward(days=400)
    withdraw(swept, subject_id, actor="tester")
    assert read_status(swept).subjects == {"withdrawn": 1}


def test_i12_there_and_back_leaves_everything_as_it_was(swept: Workspace, uploads: Path, clock: Clock) -> None:
    before = content(swept)
    for days in (400, -400):
        clock.forward(days=days)
        with pytest.raises(NotReadyError):
            expire_subjects(swept)
        clock.forward(days=-days)
    assert content(swept) == before
    assert sweep(swept, source_of(uploads), day=None).hits == 1


def test_hosts_whose_clocks_differ_by_seconds_work_side_by_side(
    swept: Workspace, open_again: Callable[[], Workspace], clock: Clock
) -> None:
    other = open_again()
    for seconds in (90, -90, 300, -300):
        clock.forward(seconds=seconds)
        rescan(other if seconds > 0 else swept)
    with swept.database.read() as connection:
        assert last_seen(connection) == clock() + timedelta(seconds=300), "the recorded time never goes back"


def test_small_steps_back_do_not_add_up(swept: Workspace, clock: Clock) -> None:
    clock.forward(minutes=-9)
    rescan(swept)
    clock.forward(minutes=-9)
    with pytest.raises(NotReadyError, match="behind"):
        rescan(swept)


@pytest.mark.parametrize("days", [60, -60])
def test_somebody_says_that_the_clock_is_right_and_the_chain_keeps_it(
    days: int, swept: Workspace, uploads: Path, clock: Clock
) -> None:
    recorded = clock()
    clock.forward(days=days)
    assert accept(swept, reason="machine_was_off", actor="tester").last_seen == recorded
    assert doubt(swept) is None
    assert sweep(swept, source_of(uploads), day=None).hits == 1
    with swept.database.read() as connection:
        facts = connection.execute(sa.select(audit.c.facts).where(audit.c.action == "clock.accept")).scalar_one()
    assert json.loads(facts) == {"reason": "machine_was_off", "recorded": recorded.isoformat()}


def test_a_pause_of_less_than_the_setting_needs_nobody(swept: Workspace, clock: Clock) -> None:
    clock.forward(days=29)
    rescan(swept)


def test_a_new_home_takes_the_time_it_finds(tmp_path: Path, clock: Clock) -> None:
    with create_workspace(environment_for(tmp_path / "home"), now=clock) as new:
        clock.forward(days=4000)
        assert doubt(new) is None
        assert expire_subjects(new) == 0
        clock.forward(days=-4000)
        with pytest.raises(NotReadyError):
            expire_subjects(new)


def test_a_home_that_never_recorded_a_time_takes_that_of_its_latest_run(swept: Workspace, clock: Clock) -> None:
    with swept.database.write() as tx:
        tx.execute(sa.text("DELETE FROM state WHERE name = 'last_seen_time'"))
    clock.forward(days=400)
    with pytest.raises(NotReadyError, match="400 days ahead"):
        expire_subjects(swept)


@pytest.mark.parametrize("altered", ["soon", "2026-03-01T12:00:00", ""])
def test_a_recorded_time_that_was_altered_is_a_typed_error_and_a_warning(altered: str, swept: Workspace) -> None:
    with swept.database.write() as tx:
        set_state(tx, "last_seen_time", altered)
    with pytest.raises(CorruptionError, match="recorded time"):
        expire_subjects(swept)
    assert "recorded time" in (doubt(swept) or "")


def test_an_older_backup_is_noticed_by_its_age(swept: Workspace, clock: Clock) -> None:
    with swept.database.write() as tx:
        set_state(tx, "last_seen_time", (clock() - timedelta(days=45)).isoformat())
    with pytest.raises(NotReadyError, match="45 days ahead"):
        rescan(swept)


@pytest.mark.parametrize("days", [400, -400])
def test_i12_a_jump_in_the_middle_of_a_run_ends_the_run(
    days: int, swept: Workspace, uploads: Path, clock: Clock
) -> None:
    for number in range(3):
        upload(uploads, f"{number}.png", picture(person(1)))

    def jump(stage: str, done: int, total: int, detail: str = "") -> None:
        if stage == "embed" and done == 0:
            clock.forward(days=days)

    with pytest.raises(NotReadyError, match="clock"):
        sweep(swept, source_of(uploads), day=None, progress=jump)
    assert read_status(swept).items == 4, "what reads in the same process works on"
    clock.forward(days=-days)
    assert sweep(swept, source_of(uploads), day=None).hits == 4
    assert read_status(swept).subjects_active == 1


def test_whatever_dagster_starts_is_stopped_as_well(
    swept: Workspace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.orchestration.resources.open_workspace", lambda environment: swept)
    monkeypatch.setenv("LIKENESS_HOME", str(swept.home))
    home = LikenessHome()
    assert home.workspace() is swept
    clock.forward(days=400)
    with pytest.raises(NotReadyError, match="clock"):
        home.workspace()


def test_the_commands_show_and_accept_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_KEY", KEY)
    environment = environment_for(tmp_path / "home")
    with create_workspace(environment) as new, new.database.write() as tx:
        set_state(tx, "last_seen_time", "2020-01-01T00:00:00+00:00")
    run = CliRunner()
    options = ["--home", str(environment.home)]
    shown = run.invoke(main, ["clock", "show", "--json", *options])
    assert (shown.exit_code, json.loads(shown.stdout)["last_seen"][:10]) == (1, "2020-01-01")
    status = run.invoke(main, ["status", *options])
    assert (status.exit_code, "warning: this machine's clock" in status.stderr) == (0, True)
    refused = run.invoke(main, ["rescan", *options])
    assert (refused.exit_code, "clock accept" in refused.stderr) == (1, True)
    assert run.invoke(main, ["clock", "accept", *options]).exit_code == 2
    assert run.invoke(main, ["clock", "accept", "--reason", "machine_was_off", *options]).exit_code == 0
    assert run.invoke(main, ["clock", "show", *options]).exit_code == 0
