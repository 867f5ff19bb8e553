"""Schedules and sensors: what they ask for, and that they ask once for each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    RunRequest,
    build_schedule_context,
    build_sensor_context,
)

from pipelines.cases.ending import withdraw
from pipelines.cases.requests import accept_request, get_request
from pipelines.database import set_state, tables
from pipelines.home import audit
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.matching import faces
from pipelines.orchestration.automation import rescan_key
from pipelines.orchestration.definitions import defs
from pipelines.runs.rescan import wanted_rescans
from pipelines.runs.run_log import begin_run
from pipelines.runs.sweep import sweep
from tests.conftest import Clock, environment_for, fresh_workspace, use_fakes
from tests.fakes import person, picture
from tests.pipelines.orchestration.test_dagster_nightly import OpenedHome
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload

# Dagster's own sensors pass an argument that Dagster calls beta.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning")
ROOT = Path(__file__).parents[3]
TODAY = date(2026, 3, 1)
TWO_AM = datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.fixture
def instance(instance_on_disk: DagsterInstance) -> Iterator[DagsterInstance]:
    """An instance on disk without runs."""
    yield instance_on_disk
    for run in instance_on_disk.get_runs():
        instance_on_disk.delete_run(run.run_id)


@pytest.fixture
def place(tmp_path: Path, uploads: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace on SQLite with fake models, one swept upload of person 1 and one of person 2, and one subject."""
    monkeypatch.setattr("pipelines.home.workspace.model_id", lambda *_: "fake-1")
    with fresh_workspace(tmp_path / "home", now=clock, LIKENESS_SOURCE=source_of(uploads)) as opened:
        enrol(use_fakes(opened), person(99))
        for number in (1, 2):
            upload(uploads, f"{number}.png", picture(person(number)))
        sweep(opened, source_of(uploads), day=None)
        yield opened


class Sensors:
    """Ticks the real sensors and runs what they ask for, as the daemon does: cursor kept, run key as a tag."""

    def __init__(self, place: Workspace, instance: DagsterInstance) -> None:
        self.home = OpenedHome(place)
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.skipped = ""

    def tick(self, name: str = "removal_requests") -> list[RunRequest]:
        with build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=defs.get_repository_def(),
            sensor_name=name,
            resources={"home": self.home},
        ) as context:
            result = defs.resolve_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = result.cursor
        self.skipped = result.skip_message or ""
        return list(result.run_requests or [])

    def execute(self, request: RunRequest) -> ExecuteInProcessResult:
        return defs.resolve_job_def("rescan").execute_in_process(
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": request.run_key or ""},
            instance=self.instance,
            resources={"home": self.home},
            raise_on_error=False,
        )


@pytest.fixture
def sensors(place: Workspace, instance: DagsterInstance) -> Sensors:
    return Sensors(place, instance)


def accepted(place: Workspace, number: int) -> str:
    """The id of an accepted removal request of this person."""
    return agree(place, ask_for_removal(place, person(number)).request_id, "tester").request_id


def state_of(place: Workspace, request_id: str) -> tuple[str, int]:
    with place.database.read() as connection:
        request = get_request(connection, request_id)
    return request.state, request.attempt


def asked(request: RunRequest) -> list[str]:
    return list(request.run_config["ops"]["rescan_corpus"]["config"]["asked"])


def audited(place: Workspace) -> list[str]:
    with place.database.read() as connection:
        audit.verify(connection, place.sealer)
        return list(connection.execute(sa.select(tables.audit.c.action).order_by(tables.audit.c.seq)).scalars())


def evaluate_schedule(
    name: str, place: Workspace, instance: DagsterInstance, at: datetime = TWO_AM
) -> tuple[list[RunRequest], str | None]:
    with build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=defs.get_repository_def(),
        resources={"home": OpenedHome(place)},
    ) as context:
        result = defs.resolve_schedule_def(name).evaluate_tick(context)
    return list(result.run_requests or []), result.skip_message


@pytest.mark.parametrize(
    ("watermark", "days_back"),
    [(None, 2), (TODAY, 2), (TODAY - timedelta(days=1), 2), (TODAY - timedelta(days=5), 5)],
)
def test_the_nightly_schedule_asks_for_each_day_from_the_watermark_to_yesterday(
    place: Workspace, instance: DagsterInstance, watermark: date | None, days_back: int
) -> None:
    if watermark:
        with place.database.write() as tx:
            set_state(tx, "watermark", watermark.isoformat())
    requests, _ = evaluate_schedule("nightly_schedule", place, instance)
    expected = [str(TODAY - timedelta(days=n)) for n in range(days_back, 0, -1)]
    assert [request.partition_key for request in requests] == expected
    assert [request.run_key for request in requests] == [f"{TODAY}:{day}" for day in expected]


def test_a_day_that_was_begun_and_never_completed_is_asked_for_again(
    place: Workspace, instance: DagsterInstance
) -> None:
    begin_run(place, kind="nightly", day=TODAY - timedelta(days=4))
    requests, _ = evaluate_schedule("nightly_schedule", place, instance)
    assert requests[0].partition_key == str(TODAY - timedelta(days=4))
    assert len(requests) == 4


def test_a_day_whose_run_still_waits_is_not_asked_for_again(place: Workspace, instance: DagsterInstance) -> None:
    days = [TODAY - timedelta(days=n) for n in (2, 1)]
    job = defs.resolve_job_def("nightly")
    instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags={"dagster/partition": str(days[0])})
    requests, _ = evaluate_schedule("nightly_schedule", place, instance)
    assert [request.partition_key for request in requests] == [str(days[1])]


def test_the_dispatch_schedule_starts_nothing_when_nothing_is_due(place: Workspace, instance: DagsterInstance) -> None:
    assert evaluate_schedule("dispatch_schedule", place, instance) == ([], "nothing is due")


def test_the_dispatch_schedule_starts_one_delivery_when_messages_are_due(
    tmp_path: Path, place: Workspace, uploads: Path, instance: DagsterInstance, clock: Clock
) -> None:
    upload(uploads, "a.png", picture(person(99)), parent_model="m1")
    upload(uploads, "b.png", picture(person(99), person(3)), parent_model="m1")
    assert sweep(place, source_of(uploads), day=None).takedowns == 2
    assert "LIKENESS_TAKEDOWN_URL" in (evaluate_schedule("dispatch_schedule", place, instance)[1] or "")
    environment = environment_for(tmp_path / "home", LIKENESS_TAKEDOWN_URL="http://127.0.0.1:9/takedowns")
    with open_workspace(environment, now=clock) as addressed:
        assert len(evaluate_schedule("dispatch_schedule", addressed, instance)[0]) == 1
        job = defs.resolve_job_def("dispatch")
        instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
        assert evaluate_schedule("dispatch_schedule", addressed, instance)[0] == []


def test_pending_requests_are_merged_into_one_run_and_asked_for_once(place: Workspace, sensors: Sensors) -> None:
    ids = sorted(accepted(place, number) for number in (1, 2))
    (request,) = sensors.tick()
    assert asked(request) == [f"{request_id}:1" for request_id in ids]
    assert request.run_key == rescan_key(asked(request))
    assert sensors.tick() == []
    assert "2 rescans are asked for already" in sensors.skipped
    assert sensors.execute(request).success
    assert [state_of(place, request_id) for request_id in ids] == [("under_review", 1)] * 2
    assert sensors.tick() == []


def test_the_run_key_of_a_single_request_names_it_and_its_attempt(place: Workspace, sensors: Sensors) -> None:
    request_id = accepted(place, 1)
    (request,) = sensors.tick()
    assert request.run_key == f"{request_id}:1"


def test_a_request_accepted_later_is_asked_for_alone(place: Workspace, sensors: Sensors) -> None:
    accepted(place, 1)
    sensors.tick()
    later = accepted(place, 2)
    (request,) = sensors.tick()
    assert request.run_key == f"{later}:1"


def test_a_sensor_that_lost_its_cursor_asks_under_the_same_key(place: Workspace, sensors: Sensors) -> None:
    accepted(place, 1)
    first = sensors.tick()
    sensors.cursors.clear()
    assert [request.run_key for request in sensors.tick()] == [request.run_key for request in first]


def test_an_open_or_withdrawn_request_asks_for_nothing(place: Workspace, sensors: Sensors) -> None:
    ask_for_removal(place, person(1))
    withdrawn = ask_for_removal(place, person(2))
    accept_request(place, withdrawn.request_id, actor="tester")
    withdraw(place, withdrawn.subject_id, actor="tester")
    assert sensors.tick() == []


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make every comparison of a shard fail until the returned function is called."""
    original = faces.compare_shard

    def fail(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(faces, "compare_shard", fail)
    return lambda: monkeypatch.setattr(faces, "compare_shard", original)


def test_a_failed_rescan_is_counted_recorded_and_asked_for_again(
    place: Workspace, sensors: Sensors, disk_full: Callable[[], None]
) -> None:
    sensors.tick("failed_runs")
    request_id = accepted(place, 1)
    (request,) = sensors.tick()
    assert not sensors.execute(request).success
    assert sensors.tick() == []
    sensors.tick("failed_runs")
    assert state_of(place, request_id) == ("accepted", 2)
    assert audited(place)[-2:] == ["run.failed", "request.retry"]
    disk_full()
    (again,) = sensors.tick()
    assert again.run_key == f"{request_id}:2"
    assert sensors.execute(again).success
    assert state_of(place, request_id) == ("under_review", 2)
    sensors.tick("failed_runs")
    assert sensors.tick() == []


def test_retries_end_after_the_configured_attempts_and_the_sensor_says_so(
    place: Workspace, sensors: Sensors, disk_full: Callable[[], None]
) -> None:
    sensors.tick("failed_runs")
    request_id = accepted(place, 1)
    most = place.config.registry.max_rescan_attempts
    for _ in range(most):
        (request,) = sensors.tick()
        sensors.execute(request)
        sensors.tick("failed_runs")
    assert state_of(place, request_id) == ("accepted", most + 1)
    assert sensors.tick() == []
    assert "1 given up" in sensors.skipped


def test_a_run_that_vanished_is_asked_for_again_after_a_while(place: Workspace, sensors: Sensors, clock: Clock) -> None:
    request_id = accepted(place, 1)
    sensors.tick()
    clock.forward(minutes=9)
    assert sensors.tick() == []
    clock.forward(minutes=2)
    (again,) = sensors.tick()
    assert again.run_key == f"{request_id}:2"
    run = sensors.instance.create_run_for_job(defs.resolve_job_def("rescan"), status=DagsterRunStatus.STARTED)
    clock.forward(hours=2)
    assert sensors.tick() == [], "it may take its time while a rescan runs"
    sensors.instance.delete_run(run.run_id)
    assert len(sensors.tick()) == 1


def test_a_subject_added_without_a_request_is_rescanned_for(place: Workspace, sensors: Sensors) -> None:
    enrol(place, person(1))
    (request,) = sensors.tick()
    assert asked(request) == ["registry:2:1"]
    assert sensors.tick() == []
    assert sensors.execute(request).success
    assert sensors.tick() == []
    assert wanted_rescans(place).keys == ()


def test_a_failed_rescan_for_a_subject_without_a_request_is_asked_for_again(
    place: Workspace, sensors: Sensors, disk_full: Callable[[], None]
) -> None:
    sensors.tick("failed_runs")
    enrol(place, person(1))
    (request,) = sensors.tick()
    sensors.execute(request)
    sensors.tick("failed_runs")
    disk_full()
    (again,) = sensors.tick()
    assert again.run_key == "registry:2:2"
    assert sensors.execute(again).success
    assert sensors.tick() == []


def test_a_failure_reported_twice_counts_once(
    place: Workspace, sensors: Sensors, disk_full: Callable[[], None]
) -> None:
    sensors.tick("failed_runs")
    cursor = sensors.cursors["failed_runs"]
    request_id = accepted(place, 1)
    (request,) = sensors.tick()
    sensors.execute(request)
    for _ in range(2):
        sensors.cursors["failed_runs"] = cursor
        sensors.tick("failed_runs")
    assert state_of(place, request_id) == ("accepted", 2)


def test_a_rescan_by_hand_can_be_limited_to_one_request(place: Workspace, instance: DagsterInstance) -> None:
    first, second = accepted(place, 1), accepted(place, 2)
    result = defs.resolve_job_def("rescan").execute_in_process(
        run_config={"ops": {"rescan_corpus": {"config": {"request_id": first}}}},
        instance=instance,
        resources={"home": OpenedHome(place)},
    )
    assert result.success
    assert (state_of(place, first)[0], state_of(place, second)[0]) == ("under_review", "accepted")
