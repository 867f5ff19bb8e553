"""A calibration in force: what is found and judged by it, what is compared again, and what has to be noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError, StateError
from indexes.join import pair_scores
from pipelines.calibration.fit import read_fit
from pipelines.calibration.measure import use
from pipelines.database import get_state, set_state, tables
from pipelines.database.tables import calibrations
from pipelines.hits.listing import list_hits
from pipelines.home.calibrations import insert_calibration, stop
from pipelines.home.workspace import Workspace
from pipelines.matching.faces import match_pending
from pipelines.policy import BandSettings
from pipelines.report import write_report
from pipelines.runs.rescan import rescan, retry_rescan, wanted_rescans
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.fakes import WHITE, person, picture, vectors_of_colours
from tests.pipelines.calibration.stored import calibration, in_force
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import coverage

SUBJECT, LOOKALIKE = 1, 5


@pytest.fixture
def likeness() -> float:
    """How much the two people resemble each other: below the published review threshold."""
    vectors = vectors_of_colours([person(SUBJECT), person(LOOKALIKE)])
    score = float(pair_scores(vectors[:1], vectors[1:])[0])
    assert 0.2 < score < 0.363
    return score


@pytest.fixture
def swept(workspace: Workspace, uploads: Path) -> Workspace:
    """The subject, and one who is not, found by the published thresholds."""
    enrol(workspace, person(SUBJECT))
    upload(uploads, "subject.png", picture(person(SUBJECT)))
    upload(uploads, "lookalike.png", picture(person(LOOKALIKE)))
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def found(workspace: Workspace) -> dict[str, str | None]:
    """Items with a hit, and by which calibration it was found."""
    with workspace.database.read() as connection:
        return {hit.item_id: hit.calibration_id for hit in list_hits(connection)}


def judged_by(workspace: Workspace) -> dict[str, str | None]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(tables.verdicts)).all()
    assert all(json.loads(row.reasons)["calibration_id"] == row.calibration_id for row in rows)
    return {row.item_id: row.calibration_id for row in rows}


def test_policy_bands_go_before_a_calibration_and_that_before_what_is_published(workspace: Workspace) -> None:
    assert workspace.thresholds.source.startswith("published")
    made = in_force(workspace, review=0.41, strong=0.62)
    assert workspace.thresholds == made.thresholds()
    assert made.calibration_id in workspace.thresholds.source
    bands = {"opencv-zoo": BandSettings(review=0.3, strong=0.5)}
    settings = replace(workspace.policy.settings, bands=bands)
    workspace.policy = replace(workspace.policy, settings=settings)  # type: ignore[misc]
    assert (workspace.thresholds.review, workspace.thresholds.calibration_id) == (0.3, None)


def test_a_process_that_is_open_already_sees_what_another_puts_in_force(workspace: Workspace, open_again) -> None:  # type: ignore[no-untyped-def]
    other = open_again()
    assert workspace.thresholds.review == 0.363
    in_force(other, review=0.41)
    assert workspace.thresholds.review == 0.41


def test_i2_a_lowered_threshold_has_everything_compared_again(swept: Workspace, likeness: float) -> None:
    assert found(swept) == {"subject.png": None}
    assert coverage(swept) == 1
    made = in_force(swept, review=likeness - 0.01)
    assert coverage(swept) < 1
    assert rescan(swept).new_hits == 1
    assert found(swept) == {"subject.png": None, "lookalike.png": made.calibration_id}
    assert coverage(swept) == 1
    with swept.database.read() as connection:
        (hit,) = list_hits(connection, item_id="lookalike.png")
    assert (hit.threshold, hit.threshold_source) == (made.review.point.threshold, made.thresholds().source)


def test_i2_a_threshold_lowered_during_a_comparison_counts_as_not_compared(
    workspace: Workspace, uploads: Path, likeness: float
) -> None:
    enrol(workspace, person(SUBJECT))
    upload(uploads, "lookalike.png", picture(person(LOOKALIKE)))
    lowered: list[int] = []

    def lower(stage: str, done: int, _total: int, _detail: str = "") -> None:
        if stage == "match" and done == 0 and not lowered:
            lowered.append(done)
            in_force(workspace, review=likeness - 0.01)

    sweep(workspace, source_of(uploads), day=None, progress=lower)
    assert lowered
    assert coverage(workspace) < 1
    match_pending(workspace, found_by="rescan")
    assert set(found(workspace)) == {"lookalike.png"}
    assert coverage(workspace) == 1


def test_a_raised_threshold_loses_no_hit_and_compares_nothing_again(swept: Workspace) -> None:
    before = found(swept)
    in_force(swept, review=0.7, strong=0.8)
    assert coverage(swept) == 1
    assert rescan(swept).shards == 0
    assert found(swept) == before


def test_hits_are_judged_again_by_a_new_calibration_and_say_so(swept: Workspace, uploads: Path) -> None:
    assert judged_by(swept) == {"subject.png": None}
    made = in_force(swept, review=0.3, strong=0.6)
    sweep(swept, source_of(uploads), day=None)
    assert judged_by(swept) == {"subject.png": made.calibration_id}
    with swept.database.write() as tx:
        stop(tx, swept.sealer, model_id=swept.model_id, actor="tester", now=swept.now())
    sweep(swept, source_of(uploads), day=None)
    assert judged_by(swept) == {"subject.png": None}


def test_the_sensor_asks_for_one_rescan_for_each_calibration(swept: Workspace, likeness: float) -> None:
    assert wanted_rescans(swept).keys == ()
    first = in_force(swept, review=likeness - 0.01)
    (key,) = wanted_rescans(swept).keys
    assert first.calibration_id in key
    assert retry_rescan(swept, key, actor="tester")
    assert wanted_rescans(swept).keys == (key.removesuffix("1") + "2",)
    rescan(swept)
    assert wanted_rescans(swept).keys == ()
    second = in_force(swept, review=likeness - 0.02)
    (key,) = wanted_rescans(swept).keys
    assert second.calibration_id in key


def test_a_gallery_that_grows_past_its_calibration_is_noticed(workspace: Workspace) -> None:
    in_force(workspace, templates=2)
    for number in (1, 2):
        enrol(workspace, person(number))
    status = read_status(workspace)
    assert (status.calibration.templates, status.calibration.most_templates) == (2, 2)
    assert not status.gallery_outgrown
    enrol(workspace, person(3))
    status = read_status(workspace)
    assert status.gallery_outgrown
    assert status.calibration.fpir_upper is not None
    assert status.calibration.fpir_upper > 0.01


def test_the_fit_is_that_of_the_threshold_in_force_even_if_it_is_the_policys(workspace: Workspace) -> None:
    in_force(workspace, review=0.45, templates=2)
    enrol(workspace, person(1))
    bands = {"opencv-zoo": BandSettings(review=0.2, strong=0.5)}
    workspace.policy = replace(  # type: ignore[misc]
        workspace.policy, settings=replace(workspace.policy.settings, bands=bands)
    )
    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    assert fit.outgrown  # at 0.2 half of all strangers may match
    assert fit.most_templates == 0


def test_an_expired_subject_does_not_count_as_gallery(workspace: Workspace, clock) -> None:  # type: ignore[no-untyped-def]
    enrol(workspace, person(1), days=1)
    enrol(workspace, person(2), days=30)
    clock.forward(days=2)
    assert read_status(workspace).calibration.templates == 1


def test_a_calibration_of_other_models_cannot_be_used(workspace: Workspace) -> None:
    made = calibration(workspace)
    with workspace.database.write() as tx:
        insert_calibration(tx, workspace.sealer, made, actor="tester")
    workspace.models = replace(workspace.models, model_id="fake-2")  # type: ignore[misc]
    with pytest.raises(StateError, match="fake-1"):
        use(workspace, made.calibration_id, actor="tester")


def test_thresholds_with_which_the_canary_would_be_missed_are_refused(workspace: Workspace) -> None:
    blind = calibration(workspace, review=0.9, strong=1.5)
    with workspace.database.write() as tx:
        insert_calibration(tx, workspace.sealer, blind, actor="tester")
    with pytest.raises(StateError, match="every run would stop"):
        use(workspace, blind.calibration_id, actor="tester")
    assert workspace.thresholds.calibration_id is None


def test_the_report_shows_the_curve_and_the_thresholds(swept: Workspace, tmp_path: Path) -> None:
    plain = write_report(swept, day=None, folder=tmp_path / "before").html.read_text(encoding="utf-8")
    assert "data:image/png" not in plain
    assert "img-src" not in plain
    made = in_force(swept, templates=1)
    enrol(swept, person(9))
    page = write_report(swept, day=None, folder=tmp_path / "after").html.read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,' in page
    assert "img-src data:" in page
    assert made.calibration_id in page
    assert "outgrown its calibration" in page


# Tampering


ALTERED = {
    "review": "review + 0.2",
    "strong": "strong - 0.1",
    "document": "replace(document, '0.4', '0.7')",
    "model_id": "'another-model'",
    "templates": "templates + 1",
    "seal": "'00'",
}


def refused(workspace: Workspace) -> bool:
    """Whether ``verify`` notices something about calibrations, and nowhere else but in the digests of rows."""
    broken = {finding.check for finding in verify(workspace) if not finding.ok and finding.check != "model files"}
    return {"calibrations"} <= broken <= {"calibrations", "sealed rows"}


@pytest.mark.parametrize("column", ALTERED)
def test_i7_an_altered_calibration_stops_every_run(swept: Workspace, uploads: Path, column: str) -> None:
    in_force(swept)
    assert not refused(swept)
    with swept.database.write() as tx:
        tx.execute(sa.text(f"UPDATE calibrations SET {column} = {ALTERED[column]}"))
    assert refused(swept)
    upload(uploads, "new.png", picture(person(SUBJECT), WHITE))
    with pytest.raises(CorruptionError, match="calibration"):
        sweep(swept, source_of(uploads), day=None)
    assert "new.png" not in found(swept)


def test_i7_a_deleted_calibration_stops_every_run(swept: Workspace) -> None:
    in_force(swept)
    with swept.database.write() as tx:
        tx.execute(sa.delete(calibrations))
    assert refused(swept)
    with pytest.raises(CorruptionError, match="missing"):
        rescan(swept)


def test_i7_a_forged_fact_of_what_is_in_force_is_noticed(swept: Workspace) -> None:
    in_force(swept)
    fact = f"calibration:{swept.model_id}"
    other = calibration(swept, review=0.9, strong=0.95)
    with swept.database.write() as tx:
        insert_calibration(tx, swept.sealer, other, actor="tester")
        value = get_state(tx, fact) or ""
        set_state(tx, fact, f"{other.calibration_id}:{value.partition(':')[2]}")
    assert refused(swept)
    with pytest.raises(CorruptionError):
        rescan(swept)


@pytest.mark.parametrize("put_back", [True, False])
def test_an_earlier_fact_put_back_or_removed_is_noticed_by_verify(swept: Workspace, put_back: bool) -> None:
    fact = f"calibration:{swept.model_id}"
    in_force(swept, review=0.8, strong=0.9)
    with swept.database.read() as connection:
        earlier = get_state(connection, fact) or ""
    in_force(swept, review=0.4, strong=0.6)
    assert not refused(swept)
    with swept.database.write() as tx:
        if put_back:
            set_state(tx, fact, earlier)
        else:
            tx.execute(sa.delete(tables.state).where(tables.state.c.name == fact))
    assert refused(swept)
