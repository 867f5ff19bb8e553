"""Days that a check stopped: they are red and have their report, a person may let them go on, and nothing says more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from dagster import AssetCheckSeverity, AssetKey, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_spec import AssetCheckKey

from embeddings.errors import InputError, StateError
from pipelines.cli import main
from pipelines.database import tables
from pipelines.database.tables import day_approvals
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.matching import galleries
from pipelines.orchestration.definitions import defs
from pipelines.runs.day_checks import HIT_RATE, READ, DayCheck
from pipelines.runs.days import Approval, approve_day, list_days, open_reason, read_day, undo_approval
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from pipelines.scan.faces import ScanCounts
from pipelines.takedown.outbox import counts_by_state
from tests.conftest import KEY, START, Clock
from tests.fakes import WHITE, BlindGallery, person, picture
from tests.pipelines.orchestration.test_dagster_automation import evaluate_schedule
from tests.pipelines.orchestration.test_dagster_automation import instance as clean_instance
from tests.pipelines.orchestration.test_dagster_nightly import (
    MONDAY,
    TUESDAY,
    OpenedHome,
    checks,
    ended,
    instance,
    nightly,
    place,
    watermark,
)
from tests.platform_actions import enrol, source_of, upload
from tests.searching import in_clear

__all__ = ["clean_instance", "instance", "place"]  # fixtures

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning")
WHY = "Somebody Particular has looked at every one"


@pytest.fixture
def blocked(place: Workspace, instance: DagsterInstance, uploads: Path) -> Workspace:
    """Twenty pictures of Monday, fifteen of them of one person, stopped by the hit rate."""
    enrol(place, person(1))
    for number in range(20):
        who = person(1) if number < 15 else WHITE
        upload(uploads, f"{number}.png", picture(who, person(100 + number)), received=MONDAY, parent_model="m")
    assert not nightly(place, instance).success
    return place


def state(place: Workspace, day: datetime = MONDAY) -> str:
    with place.database.read() as connection:
        return read_day(connection, place, day.date()).state


def held(place: Workspace) -> dict[str, int]:
    with place.database.read() as connection:
        return {name: count for name, count in counts_by_state(connection).items() if count}


def page(place: Workspace) -> str:
    return (place.home / "reports" / f"report-{MONDAY.date()}.html").read_text(encoding="utf-8")


def command(place: Workspace, *arguments: str, **more: str) -> Result:
    variables = {"LIKENESS_HOME": str(place.home), "LIKENESS_KEY": KEY, "LIKENESS_SOURCE": place.config.source}
    return CliRunner().invoke(main, ["day", *arguments], env=variables | more)


def test_i11_a_blocked_day_is_red_and_has_a_report_that_says_what_stopped_it(
    blocked: Workspace, instance: DagsterInstance
) -> None:
    assert "Blocked." in page(blocked)
    assert "15 of 20 scannable items are hits" in page(blocked)
    result = nightly(blocked, instance)
    assert (result.success, ended(result)) == (False, ["uploads", "scanned_items", "matches"])
    check = checks(result)["hit_rate_is_plausible"]
    assert (check.passed, check.severity, check.partition) == (False, AssetCheckSeverity.ERROR, str(MONDAY.date()))
    with blocked.database.read() as connection:
        assert check.metadata["digest"].value == read_day(connection, blocked, MONDAY.date()).digest
    assert str(check.metadata["report"].value).endswith(f"report-{MONDAY.date()}.html")
    assert (state(blocked), watermark(blocked)) == ("blocked", MONDAY.date())
    assert read_status(blocked).days_blocked == (str(MONDAY.date()),)


def test_i11_each_result_of_a_check_is_kept_with_its_day(place: Workspace, instance: DagsterInstance) -> None:
    enrol(place, person(1))
    for day in (MONDAY, TUESDAY):
        assert nightly(place, instance, day).success
    key = AssetCheckKey(AssetKey("verdicts"), "coverage_is_total")
    kept = instance.event_log_storage.get_asset_check_execution_history(key, limit=2)
    assert [record.partition for record in kept] == [str(day.date()) for day in (TUESDAY, MONDAY)]
    for one in defs.get_repository_def().asset_graph.asset_check_keys:
        assert defs.get_repository_def().asset_graph.get(one).partitions_def is not None, one


def test_i11_an_approved_day_goes_on_once_and_sends_nothing_by_itself(
    blocked: Workspace, instance: DagsterInstance
) -> None:
    approval = approve_day(blocked, MONDAY.date(), reason=WHY, actor="uid:0:root")
    assert approval.checks == {"hit_rate_is_plausible": {"failing": 15, "total": 20}}
    assert (state(blocked), watermark(blocked), held(blocked)) == ("approved", MONDAY.date(), {})
    assert read_status(blocked).days_blocked == ()
    result = nightly(blocked, instance)
    assert result.success
    check = checks(result)["hit_rate_is_plausible"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.WARN)
    assert "approved by uid:0:root" in (check.description or "")
    assert (state(blocked), watermark(blocked)) == ("complete", TUESDAY.date())
    assert set(held(blocked)) == {"held"}
    assert "Approved." in page(blocked)
    assert "Blocked." not in page(blocked)


def test_i11_the_schedule_starts_an_approved_day_once_and_then_no_more(
    blocked: Workspace, clean_instance: DagsterInstance, instance: DagsterInstance, clock: Clock
) -> None:
    def asked(night: int) -> list[str | None]:
        requests, _ = evaluate_schedule(
            "nightly_schedule", blocked, clean_instance, datetime(2026, 3, night, 2, tzinfo=UTC)
        )
        return [request.partition_key for request in requests]

    for night in (2, 3):
        assert asked(night)[0] == str(MONDAY.date()), "until somebody approves it"
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    for key in asked(4):
        assert nightly(blocked, instance, datetime.fromisoformat(f"{key}T10:00:00+00:00")).success or key is None
    assert str(MONDAY.date()) not in asked(5)


def test_i11_a_day_that_got_worse_is_stopped_again(
    blocked: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    upload(uploads, "late.png", picture(person(1), person(200)), received=MONDAY)
    result = nightly(blocked, instance)
    assert not result.success
    assert checks(result)["hit_rate_is_plausible"].severity == AssetCheckSeverity.ERROR
    assert (state(blocked), watermark(blocked)) == ("blocked", MONDAY.date())
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    assert nightly(blocked, instance).success


@pytest.mark.parametrize(
    ("failing", "total", "covered"),
    [(15, 20, True), (10, 20, True), (14, 19, True), (16, 40, False), (14, 15, False), (16, 20, False)],
)
def test_i11_an_approval_covers_neither_more_items_nor_a_larger_share(failing: int, total: int, covered: bool) -> None:
    approval = Approval("day_1", "source", "2026-02-23", {HIT_RATE: {"failing": 15, "total": 20}}, "", "tester", START)
    check = DayCheck(HIT_RATE, False, True, failing, total, 0.5, "")
    assert approval.covers(check) is covered
    assert not approval.covers(replace(check, name=READ))


def test_i11_an_approval_of_one_check_is_none_of_another(
    blocked: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    for number in range(20):
        upload(uploads, f"page-{number}.png", b"<html>" + bytes([number]), received=MONDAY)
    result = nightly(blocked, instance)
    assert ended(result) == ["uploads", "scanned_items"]
    assert checks(result)["content_could_be_read"].severity == AssetCheckSeverity.ERROR


def test_i11_an_outage_can_be_approved_and_the_day_is_then_completed(
    place: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    enrol(place, person(1))
    for number in range(20):
        data = picture(WHITE) if number else picture(person(1))
        upload(uploads, f"{number}.png", data if number < 12 else b"<html>%d" % number, received=MONDAY)
    assert ended(nightly(place, instance)) == ["uploads", "scanned_items"]
    assert "8 of 20 items could not be read" in page(place)
    approve_day(place, MONDAY.date(), reason=WHY, actor="tester")
    assert nightly(place, instance).success
    assert watermark(place) == TUESDAY.date()


def test_i12_nobody_approves_a_missed_canary(
    place: Workspace, instance: DagsterInstance, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind_load(*args: object, **options: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr("indexes.clustered.Gallery", BlindGallery)
            return galleries.load_gallery(*args, **options)  # type: ignore[arg-type]

    enrol(place, person(1))
    for number in range(20):
        upload(uploads, f"{number}.png", picture(person(1), person(100 + number)), received=MONDAY)
    monkeypatch.setattr("pipelines.orchestration.checks.load_gallery", blind_load)
    nightly(place, instance)
    assert "canary" in page(place)
    with pytest.raises(StateError, match="cannot be approved: canary_is_found"):
        approve_day(place, MONDAY.date(), reason=WHY, actor="tester")
    assert (state(place), watermark(place)) == ("blocked", MONDAY.date())


def test_i12_nobody_approves_a_day_with_items_that_nobody_has_looked_at(
    blocked: Workspace, instance: DagsterInstance, uploads: Path
) -> None:
    with blocked.database.write() as tx:
        chosen = sa.update(tables.items).where(tables.items.c.item_id == "19.png")
        tx.execute(chosen.values(status="pending", shard_id=None, content_sha256=None))
    upload(uploads, "20.png", picture(person(1), person(220)), received=MONDAY)
    with pytest.raises(StateError, match="1 items of the day are pending"):
        approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    assert watermark(blocked) == MONDAY.date()


def test_i12_the_watermark_passes_no_approved_day_with_pending_items(
    blocked: Workspace, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    with blocked.database.write() as tx:
        chosen = sa.update(tables.items).where(tables.items.c.item_id == "19.png")
        tx.execute(chosen.values(status="pending", shard_id=None, content_sha256=None))
    monkeypatch.setattr(
        "pipelines.orchestration.assets.scan_pending",
        lambda *_, **__: ScanCounts(),
    )
    result = nightly(blocked, instance)
    assert not checks(result)["coverage_is_total"].passed
    assert (state(blocked), watermark(blocked)) == ("blocked", MONDAY.date())
    with pytest.raises(StateError, match="coverage_is_total"):
        approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")


def test_i11_an_approval_is_of_what_was_shown(blocked: Workspace, instance: DagsterInstance, uploads: Path) -> None:
    with blocked.database.read() as connection:
        (shown,) = list_days(connection, blocked)
    upload(uploads, "late.png", picture(person(1), person(200)), received=MONDAY)
    nightly(blocked, instance)
    with pytest.raises(StateError, match="not those that were shown"):
        approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester", expect=shown.digest)
    with blocked.database.read() as connection:
        (now,) = list_days(connection, blocked)
    assert approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester", expect=now.digest).digest == now.digest


def test_i11_an_approval_withdrawn_is_none(blocked: Workspace, instance: DagsterInstance) -> None:
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    with pytest.raises(StateError, match="approved already"):
        approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    undo_approval(blocked, MONDAY.date(), actor="tester")
    assert state(blocked) == "blocked"
    assert not nightly(blocked, instance).success
    with pytest.raises(StateError, match="no approval stands"):
        undo_approval(blocked, MONDAY.date(), actor="tester")
    with blocked.database.read() as connection:
        audit.verify(connection, blocked.sealer)
        done = list(connection.execute(sa.select(tables.audit.c.action).order_by(tables.audit.c.seq)).scalars())
    assert done[-2:] == ["day.approve", "day.unapprove"]
    wrong = [one.detail for one in verify(blocked) if not one.ok]
    assert ["not judged" in detail or "verdict" in detail for detail in wrong] == [True], "the rest is in order"


def test_i11_a_day_that_nothing_stops_cannot_be_approved(place: Workspace, instance: DagsterInstance) -> None:
    enrol(place, person(1))
    assert nightly(place, instance).success
    with pytest.raises(StateError, match="no check that may be approved"):
        approve_day(place, MONDAY.date(), reason=WHY, actor="tester")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_reason_is_needed_and_not_endless(blocked: Workspace, reason: str) -> None:
    with pytest.raises(InputError, match="reason"):
        approve_day(blocked, MONDAY.date(), reason=reason, actor="tester")


def test_i8_the_reason_is_sealed_and_a_look_at_it_recorded(blocked: Workspace) -> None:
    approve_day(blocked, MONDAY.date(), reason=WHY, actor="tester")
    blocked.database.scrub()
    kept = [path for path in blocked.home.rglob("*") if path.is_file()]
    assert not [path.name for path in kept if in_clear(WHY.encode(), path.read_bytes())]
    assert open_reason(blocked, MONDAY.date(), actor="tester") == WHY
    with blocked.database.read() as connection:
        last = sa.select(tables.audit.c.action).order_by(tables.audit.c.seq.desc()).limit(1)
        assert connection.execute(last).scalar_one() == "day.reason"


def test_i11_the_commands_list_approve_and_undo(blocked: Workspace) -> None:
    listed = json.loads(command(blocked, "list", "--json").stdout)
    assert [(row["day"], row["state"], list(row["blocked_by"])) for row in listed] == [
        (str(MONDAY.date()), "blocked", ["hit_rate_is_plausible"])
    ]
    day = str(MONDAY.date())
    assert command(blocked, "approve", day).exit_code == 2
    assert command(blocked, "approve", day, "--reason", WHY, "--expect", "0" * 32).exit_code == 1
    done = command(blocked, "approve", day, "--reason", WHY, "--expect", listed[0]["digest"])
    assert (done.exit_code, "stays held" in done.stderr) == (0, True), done.stderr
    listed = json.loads(command(blocked, "list", "--state", "approved", "--json").stdout)
    assert listed[0]["approved_by"].startswith("uid:")
    assert WHY in command(blocked, "reason", day).stdout
    assert WHY not in command(blocked, "list").stdout
    assert command(blocked, "approve", day, "--undo").exit_code == 0
    assert command(blocked, "approve", day, "--undo").exit_code == 1
    assert "blocked" in command(blocked, "list").stdout


def test_i11_a_job_approves_a_day_as_the_command_does(blocked: Workspace, instance: DagsterInstance) -> None:
    job = defs.resolve_job_def("approve_day")
    config = {"day": str(MONDAY.date()), "reason": "CASE-7"}

    def launch(**more: str) -> bool:
        return job.execute_in_process(
            run_config={"ops": {"approve_blocked_day": {"config": {**config, **more}}}},
            instance=instance,
            resources={"home": OpenedHome(blocked)},
            raise_on_error=False,
        ).success

    assert not launch(expect="0" * 32)
    assert not launch(day="yesterday")
    assert launch()
    with blocked.database.read() as connection:
        (row,) = connection.execute(sa.select(day_approvals))
    assert row.actor.split(":")[::2] == ["uid", "dagster"]
    assert nightly(blocked, instance).success


def test_i11_a_day_swept_by_hand_stands_in_the_list_with_what_would_stop_it(place: Workspace, uploads: Path) -> None:
    enrol(place, person(1))
    for number in range(20):
        upload(uploads, f"{number}.png", picture(person(1), person(100 + number)), received=MONDAY)
    upload(uploads, "next.png", picture(WHITE), received=MONDAY + timedelta(days=1))
    sweep(place, source_of(uploads), day=None)
    with place.database.read() as connection:
        found = {row.day: (row.state, sorted(row.blocked_by)) for row in list_days(connection, place)}
    assert found == {
        "2026-02-23": ("blocked", ["hit_rate_is_plausible"]),
        "2026-02-24": ("open", []),
    }
    assert date.fromisoformat("2026-02-23") == MONDAY.date()
