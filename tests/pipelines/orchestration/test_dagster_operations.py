"""What a person on call sees of Dagster: failures that say what to do, owners and kinds, what is observed, and days."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DataVersion,
    ExecuteInProcessResult,
    Failure,
    TextMetadataValue,
)

from embeddings.errors import ConfigError, CorruptionError, LikenessError, NotReadyError, WeightsError
from pipelines.cases.ending import withdraw
from pipelines.cases.requests import accept_request
from pipelines.database.tables import items
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.orchestration import assets, load_time
from pipelines.orchestration.assets import night_scope
from pipelines.orchestration.definitions import defs
from pipelines.orchestration.load_time import read_load_time
from pipelines.orchestration.observed import observe_home
from pipelines.orchestration.resources import explained, failure_of
from pipelines.orchestration.run_tags import FIRST_DAY_TAG
from pipelines.runs.run_log import begin_run
from pipelines.runs.sweep import list_source
from pipelines.settings.config import load_config
from pipelines.settings.environment import Environment
from tests.conftest import KEY, environment_for
from tests.fakes import person, picture
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.orchestration.test_dagster_automation import evaluate_schedule
from tests.pipelines.orchestration.test_dagster_nightly import MONDAY, OpenedHome, ended, instance, nightly, place
from tests.platform_actions import NAME, ask_for_removal, enrol, source_of, upload

__all__ = ["instance", "place"]  # fixtures

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning"),
]
STAGES = ("uploads", "scanned_items", "matches", "verdicts", "takedowns", "match_report")
OBSERVED = ("registry", "requests", "corpus", "calibration")


def failures(result: ExecuteInProcessResult) -> list[Failure | None]:
    found = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return [one.user_failure_data for one in found]  # type: ignore[misc]


def breaking(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "words", "again"),
    [
        (NotReadyError("the registry is empty"), "the registry is empty. Remove what this names", False),
        (CorruptionError("a digest differs"), "a digest differs. Let nothing else write, run `likeness verify`", False),
        (ConfigError("no source."), "no source. Correct this setting", False),
        (WeightsError("no file"), "`likeness models list`", False),
        (LikenessError("odd"), "odd. Look at `likeness status`", False),
        (OSError(errno.ENOSPC, "No space left"), "the system refused: No space left on device. See to disk", False),
        (OSError(errno.ETIMEDOUT, "late"), "the system refused: Connection timed out", True),
        (sa.exc.OperationalError("SELECT 1", {}, Exception("locked")), "the database refused", True),
        (MemoryError(), "memory ran out. Lower embedding.workers", False),
        (KeyError(NAME), "an unforeseen KeyError. Please report it", False),
    ],
)
def test_i11_a_failure_says_in_one_sentence_what_happened_and_what_to_do(
    error: Exception, words: str, again: bool
) -> None:
    found = failure_of(error)
    assert words in (found.description or "")
    assert (found.allow_retries, NAME in str(found.metadata)) == (again, False)
    assert isinstance(found.metadata["what_to_do"], TextMetadataValue)


def test_i8_nothing_of_an_unforeseen_error_is_passed_on_but_its_kind_and_place() -> None:
    with pytest.raises(Failure) as found:
        explained(breaking(RuntimeError(f"while working on {NAME}")))()
    assert (found.value.__cause__, found.value.__suppress_context__) == (None, True)
    assert NAME not in f"{found.value.description} {found.value.metadata}"
    assert "test_dagster_operations.py" in str(found.value.metadata["where"].value)


def test_i8_dagster_keeps_nothing_of_an_unforeseen_error_s_message(
    place: Workspace, instance_on_disk: DagsterInstance, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(place, person(1))
    monkeypatch.setattr("pipelines.orchestration.assets.match_pending", breaking(RuntimeError("a Conspicuous Person")))
    result = nightly(place, instance_on_disk)
    (failure,) = failures(result)
    assert failure is not None
    assert (failure.description or "").startswith("an unforeseen RuntimeError.")
    assert ended(result) == ["uploads", "scanned_items"]
    kept = [path for path in Path(instance_on_disk.root_directory).rglob("*") if path.is_file()]
    assert not [path.name for path in kept if b"Conspicuous" in path.read_bytes()]


def test_what_another_try_may_mend_is_tried_again_and_nothing_else_is(
    place: Workspace, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(place, person(1))
    tries: list[str] = []
    real = assets.match_pending

    def once_refused(*given: object, **options: object) -> object:
        tries.append("match")
        if len(tries) == 1:
            raise sa.exc.OperationalError("SELECT 1", {}, Exception("locked"))
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("pipelines.orchestration.assets.match_pending", once_refused)
    assert nightly(place, instance).success
    assert len(tries) == 2
    monkeypatch.setattr(
        "pipelines.orchestration.assets.match_pending",
        lambda *_, **__: tries.append("x") or breaking(NotReadyError("no"))(),
    )
    assert not nightly(place, instance).success
    assert len(tries) == 3


def test_a_failed_check_of_corrupt_state_is_explained_as_well(
    place: Workspace, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(place, person(1))
    monkeypatch.setattr(
        "pipelines.orchestration.checks.load_gallery", breaking(CorruptionError("a template was altered"))
    )
    result = nightly(place, instance)
    (failure,) = failures(result)
    assert failure is not None
    assert "likeness verify" in (failure.description or "")
    assert "verdicts" not in ended(result)


def test_every_asset_says_who_answers_for_it_what_it_is_of_and_what_to_do() -> None:
    graph = defs.resolve_asset_graph()
    for name in (*STAGES, *OBSERVED):
        node = graph.get(AssetKey(name))
        assert list(node.owners) == ["team:trust-and-safety"], name
        assert node.kinds, name
        assert len(node.description or "") > 40, name
    for name in ("verdicts", "match_report"):
        assert graph.get(AssetKey(name)).freshness_policy is not None, name


def test_the_graph_shows_what_the_nights_depend_on() -> None:
    graph = defs.resolve_asset_graph()
    upstream = {name: {key.to_user_string() for key in graph.get(AssetKey(name)).parent_keys} for name in STAGES}
    assert set().union(*upstream.values()) >= set(OBSERVED)
    assert all(graph.get(AssetKey(name)).is_observable for name in OBSERVED)


def test_a_night_observes_registry_requests_corpus_and_calibration(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    result = nightly(place, instance)
    seen = {
        event.asset_observation_data.asset_observation.asset_key.to_user_string()
        for event in result.all_events
        if event.event_type == DagsterEventType.ASSET_OBSERVATION
    }
    assert seen == set(OBSERVED)
    assert all(isinstance(DataVersion(one), DataVersion) for one in versions(place).values())


def versions(place: Workspace) -> dict[str, str]:
    with place.database.read() as connection:
        return {one.name: one.version for one in observe_home(connection, place)}


def test_i8_a_version_changes_with_what_it_is_of_and_names_nobody(place: Workspace, uploads: Path) -> None:
    def changed(before: dict[str, str]) -> set[str]:
        return {name for name, version in versions(place).items() if version != before[name]}

    known = versions(place)
    subject = enrol(place, person(1))
    assert changed(known) == {"registry"}
    known = versions(place)
    request = ask_for_removal(place, person(2))
    assert changed(known) == {"requests"}
    known = versions(place)
    accept_request(place, request.request_id, actor="tester")
    assert changed(known) == {"registry", "requests"}
    known = versions(place)
    in_force(place, templates=5)
    assert changed(known) == {"calibration"}
    known = versions(place)
    withdraw(place, subject, actor="tester")
    assert changed(known) == {"registry"}
    with place.database.read() as connection:
        said = str(observe_home(connection, place))
    assert not [one for one in (NAME, subject, request.request_id) if one in said]


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A home that the environment of this process names."""
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIKENESS_KEY", KEY)
    return environment_for(tmp_path / "home")


def listed(environment: Environment, uploads: Path, *days: datetime) -> None:
    with create_workspace(environment) as workspace:
        for number, day in enumerate(days):
            upload(uploads, f"{number}.png", picture(person(1)), received=day)
        list_source(workspace, source_of(uploads), day=None)


def test_i12_partitions_begin_with_the_first_item(at_home: Environment, uploads: Path) -> None:
    assert read_load_time().first_day == date(2022, 1, 1), "without a home"
    listed(at_home, uploads)
    assert read_load_time().first_day == date(2022, 1, 1), "without an item"
    (at_home.home / "likeness.toml").write_text("[dagster]\nfirst_day = 2024-05-01\n", encoding="utf-8")
    assert read_load_time().first_day == date(2024, 5, 1)
    listed(at_home, uploads, datetime(2021, 3, 4, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    assert read_load_time().first_day == date(2021, 3, 4)


def test_i12_a_broken_date_makes_no_ten_thousand_partitions(at_home: Environment, uploads: Path) -> None:
    listed(at_home, uploads, datetime(1970, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    assert read_load_time().first_day == date(2025, 1, 1)


def test_i12_the_days_that_the_schedule_asks_for_are_partitions(
    at_home: Environment, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(load_time, "utc_now", lambda: now)
    listed(at_home, uploads, datetime(2026, 3, 1, tzinfo=UTC))
    assert read_load_time().first_day == date(2026, 2, 27)
    with create_workspace(at_home) as workspace:
        begin_run(workspace, kind="nightly", day=date(2026, 2, 20))
    assert read_load_time().first_day == date(2026, 2, 20)


def test_i1_what_no_partition_has_is_what_is_before_the_first_one(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = night_scope(place, "2026-02-23")
    assert scope.outside == (date.fromisoformat(assets.FIRST_DAY), place.now().date())
    assert assets.DAYS.get_first_partition_key() == assets.FIRST_DAY


def test_i12_a_night_takes_what_the_schedule_s_own_partitions_lack(
    place: Workspace, instance_on_disk: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    between = datetime(2023, 5, 1, tzinfo=UTC)  # after this process's first partition, before the schedule's
    upload(uploads, "late.png", picture(person(1)), received=between)
    requests, _ = evaluate_schedule("nightly_schedule", place, instance_on_disk)
    assert {request.tags[FIRST_DAY_TAG] for request in requests} == {assets.FIRST_DAY}
    for first, status in ((assets.FIRST_DAY, "pending"), ("2026-01-01", "hit")):
        done = defs.resolve_job_def("nightly").execute_in_process(
            instance=instance_on_disk,
            partition_key=str(MONDAY.date()),
            resources={"home": OpenedHome(place)},
            tags={FIRST_DAY_TAG: first},
            raise_on_error=False,
        )
        assert done.success
        with place.database.read() as connection:
            assert connection.execute(sa.select(items.c.status)).scalars().all() == [status]


@pytest.mark.parametrize("broken", ["settings", "database"])
def test_the_code_loads_with_a_broken_home(tmp_path: Path, broken: str) -> None:
    home = tmp_path / "home"
    create_workspace(environment_for(home)).close()
    if broken == "settings":
        (home / "likeness.toml").write_text("[dagster]\nowners = ['nobody']\n", encoding="utf-8")
    else:
        (home / "likeness.db").write_bytes(b"no database" * 1000)
    owners = "d.defs.resolve_asset_graph().get(d.ASSETS[1].key).owners"
    code = f"import pipelines.orchestration.definitions as d; print({owners})"
    variables = {"LIKENESS_HOME": str(home), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], env=variables, check=True, capture_output=True
    )
    assert b"trust-and-safety" in done.stdout
    assert b"home could not be read" in done.stderr


@pytest.mark.parametrize("owner", ["somebody", "team:", "team: x", "a@b", "x" * 300 + "@example.org"])
def test_an_owner_that_dagster_would_refuse_is_refused_with_the_settings(tmp_path: Path, owner: str) -> None:
    (tmp_path / "likeness.toml").write_text(f'[dagster]\nowners = ["{owner}"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dagster\.owners"):
        load_config(Environment(home=tmp_path))
    (tmp_path / "likeness.toml").write_text(
        '[dagster]\nowners = ["team:safety", "on.call@example.org"]\n', encoding="utf-8"
    )
    assert load_config(Environment(home=tmp_path)).dagster.owners == ("team:safety", "on.call@example.org")
