"""The nightly job, run in process: stages, blocking checks, watermark, what Dagster keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import skimage
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, DagsterInstance, ExecuteInProcessResult

from embeddings.errors import NotReadyError
from pipelines.database import get_state, set_state, tables
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.intake.ledger import Scope, source_id
from pipelines.matching import galleries
from pipelines.orchestration.assets import day_scope
from pipelines.orchestration.definitions import defs, home
from pipelines.orchestration.resources import LikenessHome
from pipelines.registry import subjects
from pipelines.registry.references import read_references
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import SweepSummary, advance_watermark, list_source, read_watermark, summarise, sweep
from pipelines.takedown.outbox import counts_by_state
from pipelines.takedown.receiver import Receiver
from tests.conftest import KEY, Clock, environment_for, fresh_workspace, use_fakes
from tests.fakes import WHITE, BlindGallery, person, picture
from tests.pipelines.calibration.stored import in_force
from tests.platform_actions import NAME, enrol, source_of, upload
from tests.searching import in_clear

# Dagster's own sensors pass an argument that Dagster calls beta.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning")
ROOT = Path(__file__).parents[3]
MONDAY, TUESDAY = datetime(2026, 2, 23, 10, tzinfo=UTC), datetime(2026, 2, 24, 10, tzinfo=UTC)
SECRET = "whsec_" + "A" * 43 + "="


class OpenedHome(LikenessHome):
    """A home whose workspace a test has opened."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._given = workspace

    def workspace(self) -> Workspace:
        return self._given


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    """An instance in memory, for all tests of a module: on disk each of a night's hundred events opens a file."""
    with DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def place(tmp_path: Path, uploads: Path, clock: Clock) -> Iterator[Workspace]:
    """A workspace on SQLite with fake models and the upload folder as its source."""
    with fresh_workspace(tmp_path / "home", now=clock, LIKENESS_SOURCE=source_of(uploads)) as opened:
        yield use_fakes(opened)


def nightly(place: Workspace, instance: DagsterInstance, day: datetime = MONDAY) -> ExecuteInProcessResult:
    job = defs.resolve_job_def("nightly")
    resources = {"home": OpenedHome(place)}
    key = day.date().isoformat()
    return job.execute_in_process(instance=instance, partition_key=key, resources=resources, raise_on_error=False)


def ended(result: ExecuteInProcessResult) -> list[str]:
    """The assets that were materialised."""
    return [event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key]


def checks(result: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def watermark(place: Workspace) -> date | None:
    with place.database.read() as connection:
        return read_watermark(connection)


def waiting(place: Workspace) -> int:
    with place.database.read() as connection:
        return counts_by_state(connection)["pending"]


def scope_of(place: Workspace, day: datetime) -> Scope:
    return Scope(source_id(place.config.source), day.date())


def two_pictures_of(colour: tuple[int, int, int], uploads: Path, *, received: datetime = MONDAY) -> None:
    """A model with two distinct pictures: enough for a takedown."""
    upload(uploads, f"{colour[0]}-a.png", picture(colour), received=received, parent_model="m1")
    upload(uploads, f"{colour[0]}-b.png", picture(colour, WHITE), received=received, parent_model="m1")


@pytest.fixture(scope="module")
def real_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of uploads: a portrait and a cup of coffee, then a truncated portrait."""
    folder = tmp_path_factory.mktemp("platform")
    data = Path(skimage.__file__).parent / "data"
    upload(folder, "portrait.png", (data / "astronaut.png").read_bytes(), received=MONDAY)
    upload(folder, "coffee.png", (data / "coffee.png").read_bytes(), received=MONDAY)
    upload(folder, "cut.png", (data / "astronaut.png").read_bytes()[:40], received=TUESDAY)
    return folder


def register_portrait(workspace: Workspace) -> None:
    portrait = (Path(skimage.__file__).parent / "data/astronaut.png").read_bytes()
    references = read_references(
        [portrait],
        workspace.models,
        limits=workspace.limits,
        config=workspace.config.registry,
        agreement=workspace.thresholds.review,
    )
    with workspace.database.write() as tx:
        insert_subject(
            tx,
            workspace,
            identity=Identity((NAME,), "consent-1", None),
            references=references,
            expires_at=workspace.now() + timedelta(days=3),
            active=True,
            actor="tester",
        )


def facts(summary: SweepSummary) -> tuple[object, ...]:
    return (summary.statuses, summary.faces, summary.hits, summary.takedowns, summary.review, summary.coverage)


def test_two_nights_on_real_photographs_end_as_two_sweeps_by_hand(
    tmp_path: Path, real_source: Path, instance_on_disk: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = source_of(real_source)
    with create_workspace(environment_for(tmp_path / "by-hand")) as by_hand:
        register_portrait(by_hand)
        swept = [sweep(by_hand, uri, day=day.date()) for day in (MONDAY, TUESDAY)]
    for name, value in {"HOME": str(tmp_path / "home"), "KEY": KEY, "SOURCE": uri}.items():
        monkeypatch.setenv(f"LIKENESS_{name}", value)
    with create_workspace(environment_for(tmp_path / "home")) as workspace:
        register_portrait(workspace)
    job = defs.resolve_job_def("nightly")
    for day in (MONDAY, TUESDAY):
        result = job.execute_in_process(partition_key=day.date().isoformat(), instance=instance_on_disk)
        assert checks(result)["coverage_is_total"].passed
    opened = home.workspace()
    again = [summarise(opened, scope_of(opened, day), run_id="") for day in (MONDAY, TUESDAY)]
    with opened.database.read() as connection:
        kept = list(connection.execute(sa.select(tables.runs)))
    assert [facts(summary) for summary in again] == [facts(summary) for summary in swept]
    assert (swept[0].hit, swept[0].no_face, swept[1].unscannable) == (1, 1, 1)
    assert watermark(opened) == TUESDAY.date() + timedelta(days=1)
    assert len(kept) == 2
    assert all(run.finished_at for run in kept)
    assert (opened.home / "reports" / f"report-{MONDAY.date()}.html").exists()
    assert home.workspace() is opened
    home.close()


def test_a_night_is_recorded_once_and_with_what_it_did(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    two_pictures_of(person(1), uploads)
    result = nightly(place, instance)
    with place.database.read() as connection:
        (run,) = connection.execute(sa.select(tables.runs))
    assert (run.run_id, run.kind, run.day) == (result.run_id, "nightly", "2026-02-23")
    assert '"listed": 2' in run.summary
    assert '"embedded": 2' in run.summary


def test_without_a_source_the_night_fails_and_says_what_is_missing(
    tmp_path: Path, instance: DagsterInstance, clock: Clock
) -> None:
    with fresh_workspace(tmp_path / "home", now=clock) as place:
        result = nightly(use_fakes(place), instance)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_key == "uploads"
    assert "LIKENESS_SOURCE" in str(failure.step_failure_data.error)


def test_an_empty_registry_fails_the_night_before_anything_is_listed(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    assert ended(nightly(place, instance)) == []
    assert watermark(place) == MONDAY.date()


def test_without_an_address_takedowns_stay_pending_and_a_check_warns(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    two_pictures_of(person(1), uploads)
    result = nightly(place, instance)
    assert result.success
    (materialised,) = result.asset_materializations_for_node("takedowns")
    assert materialised.metadata["delivery"].value == "not configured"
    assert (materialised.metadata["pending"].value, waiting(place)) == (3, 3)  # and the model's
    check = checks(result)["delivery_is_in_order"]
    assert (check.passed, check.severity.value, check.blocking) == (False, "WARN", False)


def test_with_an_address_each_takedown_arrives_once(
    tmp_path: Path, instance: DagsterInstance, uploads: Path, clock: Clock
) -> None:
    with Receiver("127.0.0.1", 0, (SECRET,), log_path=None, now=clock) as receiver:
        variables = {"LIKENESS_TAKEDOWN_URL": receiver.url, "LIKENESS_TAKEDOWN_SECRET": SECRET}
        variables["LIKENESS_SOURCE"] = source_of(uploads)
        with fresh_workspace(tmp_path / "home", now=clock, **variables) as place:
            enrol(use_fakes(place), person(1))
            two_pictures_of(person(1), uploads)
            results = [nightly(place, instance), nightly(place, instance)]
            assert waiting(place) == 0
        assert sorted(case["action"] for case in receiver.cases()) == ["generator.block", "takedown", "takedown"]
    assert all(result.success for result in results)
    assert checks(results[1])["delivery_is_in_order"].passed


def test_a_subject_that_nobody_rescanned_for_blocks_delivery_and_leaves_the_watermark(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    assert nightly(place, instance).success
    enrol(place, person(2))
    with place.database.write() as tx:
        set_state(tx, "watermark", "2026-02-23")
    result = nightly(place, instance)
    assert not result.success
    assert ended(result) == ["uploads", "scanned_items", "matches", "verdicts"]
    assert not checks(result)["coverage_is_total"].passed
    assert watermark(place) == MONDAY.date()
    rescanned = defs.resolve_job_def("rescan").execute_in_process(
        instance=instance, resources={"home": OpenedHome(place)}
    )
    assert rescanned.success
    assert nightly(place, instance).success
    assert watermark(place) == TUESDAY.date()


def test_a_day_full_of_hits_stops_before_its_verdicts(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    for number in range(20):
        upload(uploads, f"{number}.png", picture(person(1)), received=MONDAY)
    result = nightly(place, instance)
    assert not result.success
    assert ended(result) == ["uploads", "scanned_items", "matches"]
    check = checks(result)["hit_rate_is_plausible"]
    assert (check.passed, check.severity.value) == (False, "ERROR")
    assert (waiting(place), watermark(place)) == (0, MONDAY.date())


def test_a_high_rate_among_few_items_is_a_warning(place: Workspace, instance: DagsterInstance, uploads: Path) -> None:
    enrol(place, person(1))
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    result = nightly(place, instance)
    assert result.success
    check = checks(result)["hit_rate_is_plausible"]
    assert (check.passed, check.severity.value) == (False, "WARN")


def test_a_gallery_that_outgrew_its_calibration_is_a_warning_and_the_night_goes_on(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    in_force(place, templates=1)
    enrol(place, person(1))
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    assert checks(nightly(place, instance))["gallery_fits_its_calibration"].passed
    enrol(place, person(2))
    rescan(place)
    upload(uploads, "b.png", picture(person(1), WHITE), received=MONDAY)
    result = nightly(place, instance)
    check = checks(result)["gallery_fits_its_calibration"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.WARN)
    assert "outgrown" in (check.description or "")
    assert result.success


def test_a_missed_canary_stops_the_night_before_its_verdicts(
    place: Workspace, instance: DagsterInstance, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind_load(*args: object, **options: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr("indexes.clustered.Gallery", BlindGallery)
            return galleries.load_gallery(*args, **options)  # type: ignore[arg-type]

    enrol(place, person(1))
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    monkeypatch.setattr("pipelines.orchestration.checks.load_gallery", blind_load)
    result = nightly(place, instance)
    assert ended(result) == ["uploads", "scanned_items", "matches"]
    check = checks(result)["canary_is_found"]
    assert not check.passed
    assert "canary was missed" in (check.description or "")


def test_the_watermark_moves_from_day_to_day_and_never_over_a_gap(place: Workspace, clock: Clock) -> None:
    enrol(place, person(1))
    days = [date(2026, 2, 23) + timedelta(days=n) for n in range(7)]
    seen = []
    for day in (days[0], days[2], days[0], days[1], days[2]):
        advance_watermark(place, Scope("source", day))
        seen.append(watermark(place))
    assert seen == [days[1], days[1], days[1], days[2], days[3]]
    with place.database.write() as tx:
        set_state(tx, "watermark", clock().date().isoformat())
    advance_watermark(place, Scope("source", clock().date()))
    assert watermark(place) == clock().date(), "today is not over"


def test_i12_a_night_says_what_of_its_listing_changed_nothing(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    upload(uploads, "a.png", picture(WHITE), received=MONDAY, tags={"no": "list"})
    for sidecar in ({}, {"deleted": 1}, {"deleted": None}):  # the last says nothing of it
        upload(uploads, "gone.png", picture(person(1)), received=MONDAY, **sidecar)
        result = nightly(place, instance)
        assert result.success
    (listed,) = (event.metadata for event in result.asset_materializations_for_node("uploads"))
    assert (listed["deletion_stands"].value, listed["older"].value, listed["bad_field: tags"].value) == (1, 0, 1)
    with place.database.read() as connection:
        newest = sa.select(tables.runs.c.summary).where(tables.runs.c.run_id == result.run_id)
        summary = json.loads(connection.execute(newest).scalar_one())
    assert (summary["passed_over"], summary["bad_fields"]) == ({"deletion_stands": 1}, {"tags": 1})


def test_a_first_night_that_failed_is_what_the_watermark_waits_for(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    nightly(place, instance, MONDAY)
    enrol(place, person(1))
    assert nightly(place, instance, TUESDAY).success
    with place.database.read() as connection:
        assert get_state(connection, "watermark") is None
    assert watermark(place) == MONDAY.date()


def test_i8_dagster_keeps_no_name_item_id_or_vector(
    place: Workspace, instance_on_disk: DagsterInstance, uploads: Path, tmp_path: Path
) -> None:
    enrol(place, person(1))
    two_pictures_of(person(1), uploads)
    upload(uploads, "conspicuous-item.png", picture(person(1)), received=MONDAY, title=NAME, uploader="loud-uploader")
    upload(uploads, "conspicuous-cut.png", picture(person(1))[:60], received=MONDAY, tags=[NAME])
    assert nightly(place, instance_on_disk).success
    with place.database.write() as tx:
        tx.execute(sa.text("UPDATE items SET sealed_record = x'00', status = 'pending', shard_id = NULL"))
    assert not nightly(place, instance_on_disk).success
    with place.database.read() as connection:
        subject = connection.execute(sa.select(tables.subjects.c.subject_id)).scalar_one()
        vectors, *_ = subjects.open_templates(connection, place.sealer, subject_ids=[subject], model_id="fake-1")
    secrets = [NAME.encode(), b"conspicuous", b"loud-uploader", vectors[0].tobytes(), KEY.encode()]
    kept = [path for path in Path(instance_on_disk.root_directory).rglob("*") if path.is_file()]
    assert any(b"scanned_items" in path.read_bytes() for path in kept)
    assert not [path.name for path in kept for secret in secrets if in_clear(secret, path.read_bytes())]


def test_the_home_is_opened_again_when_it_is_another_one(
    tmp_path: Path, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIKENESS_KEY", KEY)
    create_workspace(environment_for(tmp_path / "home")).close()
    resource = LikenessHome()
    first = resource.workspace()
    assert resource.workspace() is first
    (tmp_path / "home" / "likeness.toml").write_text("[sweep]\nmax_hit_rate = 0.25\n")
    second = resource.workspace()
    assert second.config.sweep.max_hit_rate == 0.25
    shutil.rmtree(tmp_path / "home")
    create_workspace(environment_for(tmp_path / "home")).close()
    assert resource.workspace() is not second
    resource.close()


@pytest.mark.parametrize("received", [datetime(2019, 5, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)], ids=str)
def test_i1_items_that_no_partition_has_are_in_every_night(
    place: Workspace, instance: DagsterInstance, uploads: Path, received: datetime
) -> None:
    enrol(place, person(1))
    upload(uploads, "stray.png", picture(person(1)), received=received)
    upload(uploads, "a.png", picture(WHITE), received=MONDAY)
    assert nightly(place, instance).success
    with place.database.read() as connection:
        columns = (tables.items.c.item_id, tables.items.c.status)
        statuses = {row.item_id: row.status for row in connection.execute(sa.select(*columns))}
    assert statuses == {"stray.png": "hit", "a.png": "no_face"}


def test_i12_the_watermark_passes_no_day_while_an_item_that_no_partition_has_is_pending(
    place: Workspace, instance: DagsterInstance, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(place, person(1))
    upload(uploads, "stray.png", picture(person(1)), received=datetime(2040, 1, 1, tzinfo=UTC))
    monkeypatch.setattr("pipelines.orchestration.assets.night_scope", day_scope)  # a night that does not look
    result = nightly(place, instance)
    check = checks(result)["coverage_is_total"]
    assert (check.passed, "1 items pending" in (check.description or "")) == (False, True)
    assert watermark(place) == MONDAY.date()


def test_an_item_of_a_day_with_nobody_to_compare_it_with_is_pending_all_the_same(
    place: Workspace, uploads: Path
) -> None:
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    list_source(place, source_of(uploads), day=None)
    with pytest.raises(NotReadyError, match="1 items pending"):
        advance_watermark(place, scope_of(place, MONDAY))


def test_a_day_full_of_login_pages_stops_before_its_verdicts_and_says_why(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    for number in range(20):
        good = number >= 5
        data = picture(WHITE) if good else f"<html><title>Sign in {number}</title></html>".encode()
        upload(uploads, f"{number}.png", data, received=MONDAY)
    result = nightly(place, instance)
    assert ended(result) == ["uploads", "scanned_items"]
    check = checks(result)["content_could_be_read"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.ERROR)
    assert check.description == "5 of 20 items could not be read: 5 format"
    assert watermark(place) == MONDAY.date()


def test_model_files_of_formats_that_are_never_read_alarm_nobody(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    for number in range(20):
        upload(uploads, f"{number}.ckpt", b"\x80\x02}q\x00." + bytes([number]), received=MONDAY, kind="model")
    assert checks(nightly(place, instance))["content_could_be_read"].passed
