"""The sensor that answers a change of pack: one backfill, a failed one again, none twice; and the nights go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, ExecuteInProcessResult, RunRequest

from indexes.gallery import Gallery
from pipelines.database.tables import items
from pipelines.home.workspace import Workspace
from pipelines.orchestration.definitions import defs
from pipelines.runs.backfill import backfill
from pipelines.runs.backfill_progress import read_backfill
from pipelines.runs.run_log import begin_run
from pipelines.runs.sweep import sweep
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.fakes import fake_canary, fake_models, person, picture
from tests.pipelines.orchestration.test_dagster_automation import (
    Sensors,
    accepted,
    audited,
    instance,
    state_of,
)
from tests.pipelines.orchestration.test_dagster_nightly import nightly
from tests.platform_actions import DAY, agree, enrol, source_of, upload

__all__ = ["instance"]  # a fixture

# Dagster's own sensors pass an argument that Dagster calls beta.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning")


@pytest.fixture
def place(tmp_path: Path, uploads: Path, clock: Clock) -> Iterator[Workspace]:
    """One subject and two swept uploads, one of them a hit; all with the pack ``fake-1``."""
    with fresh_workspace(tmp_path / "home", now=clock, LIKENESS_SOURCE=source_of(uploads)) as opened:
        enrol(use_fakes(opened), person(1))
        for number in (1, 2):
            upload(uploads, f"{number}.png", picture(person(number)))
        sweep(opened, source_of(uploads), day=None)
        yield opened


class BackfillSensor(Sensors):
    """Ticks ``pack_changes`` and runs what it asks for."""

    def ask(self) -> list[str | None]:
        return [request.run_key for request in self.tick("pack_changes")]

    def run(self, request: RunRequest | None = None) -> ExecuteInProcessResult:
        return defs.resolve_job_def("backfill").execute_in_process(
            instance=self.instance,
            resources={"home": self.home},
            raise_on_error=False,
            tags={"dagster/run_key": request.run_key or ""} if request else {},
        )


@pytest.fixture
def sensor(place: Workspace, instance: DagsterInstance) -> BackfillSensor:
    return BackfillSensor(place, instance)


def use_pack(place: Workspace, model_id: str) -> None:
    place.models = fake_models(model_id)  # type: ignore[misc]
    place.canary = fake_canary(model_id)  # type: ignore[misc]


def left(place: Workspace) -> tuple[int, int]:
    with place.database.read() as connection:
        state = read_backfill(connection, model_id=place.model_id)
    return state.subjects_missing, state.items_outdated


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make every comparison fail until the returned function is called."""
    original = Gallery.match

    def fail(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Gallery, "match", fail)
    return lambda: monkeypatch.setattr(Gallery, "match", original)


def test_without_a_change_of_pack_nothing_is_asked_for(sensor: BackfillSensor) -> None:
    assert sensor.ask() == []
    assert "models in force" in sensor.skipped


def test_a_change_of_pack_is_answered_by_one_backfill(place: Workspace, sensor: BackfillSensor) -> None:
    use_pack(place, "fake-2")
    (request,) = sensor.tick("pack_changes")
    assert request.run_key == "fake-2:1"
    assert sensor.ask() == []
    result = sensor.run(request)
    assert result.success
    assert left(place) == (0, 0)
    assert sensor.ask() == []
    assert list((place.home / "reports").glob(f"report-{DAY.date()}.html"))


def test_while_a_backfill_is_under_way_none_is_asked_for(place: Workspace, sensor: BackfillSensor) -> None:
    use_pack(place, "fake-2")
    job = defs.resolve_job_def("backfill")
    run = sensor.instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    assert sensor.ask() == []
    assert "under way" in sensor.skipped
    sensor.instance.delete_run(run.run_id)
    assert sensor.ask() == ["fake-2:1"]


def test_a_failed_backfill_is_recorded_and_asked_for_again_after_a_pause(
    place: Workspace, sensor: BackfillSensor, clock: Clock, breaking: Callable[[], None]
) -> None:
    sensor.tick("failed_runs")
    use_pack(place, "fake-2")
    (request,) = sensor.tick("pack_changes")
    assert not sensor.run(request).success
    sensor.tick("failed_runs")
    assert audited(place)[-1] == "run.failed"
    assert sensor.ask() == []
    clock.forward(minutes=11)
    breaking()
    assert sensor.ask() == ["fake-2:2"]
    assert sensor.run().success
    assert sensor.ask() == []


def test_a_backfill_that_died_between_embedding_and_comparing_is_asked_for_again(
    place: Workspace, sensor: BackfillSensor, clock: Clock, breaking: Callable[[], None]
) -> None:
    use_pack(place, "fake-2")
    assert not sensor.run().success
    assert left(place) == (0, 0), "all is embedded, nothing compared"
    clock.forward(minutes=11)
    assert sensor.ask() == ["fake-2:2"]


def test_attempts_end_and_the_sensor_says_so(
    place: Workspace, sensor: BackfillSensor, clock: Clock, breaking: Callable[[], None]
) -> None:
    use_pack(place, "fake-2")
    most = place.config.sweep.max_backfill_attempts
    for attempt in range(1, most + 1):
        assert sensor.ask() == [f"fake-2:{attempt}"]
        sensor.run()
        clock.forward(days=2)
    assert sensor.ask() == []
    assert f"{most} backfills left" in sensor.skipped


def test_a_pack_that_comes_back_is_another_change(place: Workspace, sensor: BackfillSensor, clock: Clock) -> None:
    keys = []
    for model_id in ("fake-2", "fake-1", "fake-2"):
        clock.forward(hours=1)
        use_pack(place, model_id)
        keys += sensor.ask()
        assert sensor.run().success
    assert keys == ["fake-2:1", "fake-1:1", "fake-2:2"]


def test_a_run_that_was_gone_before_it_began_is_asked_for_under_a_new_name(
    place: Workspace, sensor: BackfillSensor, clock: Clock
) -> None:
    use_pack(place, "fake-2")
    assert sensor.ask() == ["fake-2:1"]
    clock.forward(minutes=9)
    assert sensor.ask() == []
    clock.forward(minutes=2)
    assert sensor.ask() == ["fake-2:1:lost-1"]
    clock.forward(minutes=11)
    assert sensor.ask() == ["fake-2:1:lost-2"]


def test_content_that_could_not_be_fetched_is_tried_again_a_day_later(
    place: Workspace, uploads: Path, sensor: BackfillSensor, clock: Clock
) -> None:
    use_pack(place, "fake-2")
    (uploads / "2.png").rename(uploads.parent / "away")
    assert sensor.run().success
    assert left(place) == (0, 1)
    clock.forward(hours=23)
    assert sensor.ask() == []
    clock.forward(hours=2)
    (uploads.parent / "away").rename(uploads / "2.png")
    assert sensor.ask() == ["fake-2:2"]
    assert sensor.run().success
    assert left(place) == (0, 0)


def test_a_backfill_by_hand_that_died_is_taken_up(place: Workspace, sensor: BackfillSensor, clock: Clock) -> None:
    use_pack(place, "fake-2")
    begin_run(place, kind="backfill", day=None)
    assert sensor.ask() == []
    clock.forward(minutes=11)
    assert sensor.ask() == ["fake-2:2"]


def test_a_request_accepted_meanwhile_fails_no_rescan_and_is_searched_for(
    place: Workspace, sensor: BackfillSensor
) -> None:
    use_pack(place, "fake-2")
    request_id = accepted(place, 2)
    agree(place, request_id, "another")  # earlier models' vectors cannot be previewed, so it takes two
    assert sensor.tick("removal_requests") == []
    assert sensor.run().success
    assert state_of(place, request_id) == ("under_review", 1)


def test_a_night_after_a_change_of_pack_does_not_wait_for_the_backfill(
    place: Workspace, uploads: Path, instance: DagsterInstance
) -> None:
    use_pack(place, "fake-2")
    new = DAY + timedelta(days=1)
    upload(uploads, "new.png", picture(person(1)), received=new)
    assert nightly(place, instance, new).success
    with place.database.read() as connection:
        found = {row.item_id: (row.model_id, row.status) for row in connection.execute(sa.select(items))}
    assert found["new.png"] == ("fake-2", "hit")
    assert {model_id for name, (model_id, _) in found.items() if name != "new.png"} == {"fake-1"}
    backfill(place, actor="tester")
    assert left(place) == (0, 0)
