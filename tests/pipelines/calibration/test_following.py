"""Thresholds by strangers are for the registry as it is: they follow it, by the way that every calibration takes."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import CalibrationError
from pipelines.calibration import following
from pipelines.calibration.background import calibrate_background, calibrate_platform, strangers
from pipelines.calibration.fit import read_fit
from pipelines.calibration.following import follow_registry
from pipelines.calibration.labels import read_folder
from pipelines.calibration.measure import Aim, stop_using, use
from pipelines.calibration.platform import draw_strangers
from pipelines.cases.ending import withdraw
from pipelines.database.tables import audit, calibrations
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.calibrations import Calibration, calibration_in_force
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.policy.schema import BandSettings
from pipelines.report import write_report
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.fakes import person, picture
from tests.pipelines.calibration.stored import in_force, people
from tests.pipelines.matching.pooling_scene import drawn, post, see_drawings
from tests.platform_actions import enrol, source_of, upload

pytestmark = pytest.mark.any_database

AIM = Aim(fpir=0.1, strong_fpir=0.05, confidence=0.9)
BETWEEN = 0.37
"""What a picture of person 1 scores here: above the threshold by 60 strangers for 2 templates, below that for 12."""


@pytest.fixture
def scene(workspace: Workspace) -> Workspace:
    see_drawings(workspace, likeness=BETWEEN)
    aims = replace(workspace.config.calibration, fpir=0.1, strong_fpir=0.05, confidence=0.9)
    workspace.config = replace(workspace.config, calibration=aims)
    return workspace


def current(workspace: Workspace) -> Calibration | None:
    with workspace.database.read() as connection:
        return calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)


def by_strangers(workspace: Workspace, folder: Path, *, gallery: int | None = None) -> Calibration:
    """Calibrate by 60 strangers for the registry as it is, or for a gallery that somebody chose, and put it in
    force."""
    labels = read_folder(people(folder, 60, first=60))
    found = calibrate_background(workspace, labels, replace(AIM, templates=gallery), actor="tester").calibration
    return use(workspace, found.calibration_id, actor="tester")


def found_in(workspace: Workspace, item_id: str) -> list[str]:
    with workspace.database.read() as connection:
        return [hit.hit_id for hit in list_hits(connection) if hit.item_id == item_id and hit.tier == "face"]


def stored(workspace: Workspace) -> int:
    with workspace.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(calibrations)).scalar_one())


def told(workspace: Workspace) -> list[tuple[str, dict[str, Any]]]:
    query = sa.select(audit.c.actor, audit.c.facts).where(audit.c.action == "calibration.use").order_by(audit.c.seq)
    with workspace.database.read() as connection:
        return [(row.actor, json.loads(row.facts)) for row in connection.execute(query)]


def test_a_night_takes_the_threshold_for_the_registry_as_it_has_grown_and_back(
    scene: Workspace, uploads: Path, tmp_path: Path
) -> None:
    enrol(scene, person(1))
    before = by_strangers(scene, tmp_path / "strangers")
    for number in range(2):
        post(uploads, f"{number}", drawn(1, number), model=None)
    sweep(scene, source_of(uploads), day=None)
    assert current(scene) == before, "it bears two templates, and there is one"
    (hit_id,) = found_in(scene, "0.png")
    decide(scene, [hit_id], decision="confirm", reason="same_person", actor="one")
    others = [enrol(scene, person(number)) for number in range(2, 7)]
    sweep(scene, source_of(uploads), day=None)
    after = current(scene)
    assert after is not None
    assert (after.kind, after.templates, after.review.target_fpir) == ("background", 12, AIM.fpir)
    assert scene.thresholds.review == after.review.point.threshold
    assert before.thresholds().review < BETWEEN < scene.thresholds.review
    assert found_in(scene, "0.png") == [hit_id], "what a person confirmed counts on"
    assert found_in(scene, "1.png") == [], "it has lapsed"
    assert [actor.rpartition(":")[2] for actor, _ in told(scene)] == ["tester", "calibration"]
    sweep(scene, source_of(uploads), day=None)
    assert current(scene) == after, "once for each step"
    upload(uploads, "late.png", picture(drawn(1, 2)))
    sweep(scene, source_of(uploads), day=None)
    assert found_in(scene, "late.png") == []
    for subject_id in others:
        withdraw(scene, subject_id, actor="tester")
    rescan(scene)
    again = current(scene)
    assert again is not None
    assert again.templates == 2
    assert scene.thresholds.review < BETWEEN
    assert len(found_in(scene, "1.png")) == len(found_in(scene, "late.png")) == 1, "compared at the lower threshold"
    judge_pending(scene)
    assert all(finding.ok for finding in verify(scene))


@pytest.mark.parametrize("chosen", ["labelled", "bands", "off", "accepted"])
def test_what_people_chose_is_not_followed(
    scene: Workspace, tmp_path: Path, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(scene, person(1))
    before = in_force(scene, templates=1) if chosen == "labelled" else by_strangers(scene, tmp_path / "strangers")
    for number in range(2, 7):
        enrol(scene, person(number))
    if chosen == "bands":
        settings = replace(scene.policy.settings, bands={scene.pack_name: BandSettings(0.4, 0.5)})
        scene.policy = replace(scene.policy, settings=settings)  # type: ignore[misc]
    elif chosen == "off":
        config = replace(scene.config.calibration, follow_registry=False)
        scene.config = replace(scene.config, calibration=config)
    elif chosen == "accepted":
        for who in ("first", "second"):
            use(scene, before.calibration_id, actor=who, anyway=True)
    assert follow_registry(scene) is None
    assert current(scene) == before


@pytest.mark.parametrize("chosen", ["gallery", "accepted"])
def test_a_gallery_that_people_chose_is_not_followed_down(scene: Workspace, tmp_path: Path, chosen: str) -> None:
    enrol(scene, person(1))
    others = [enrol(scene, person(number)) for number in range(2, 7)] if chosen == "accepted" else []
    before = by_strangers(scene, tmp_path / "strangers", gallery=12 if chosen == "gallery" else None)
    if chosen == "accepted":
        others += [enrol(scene, person(number)) for number in range(10, 40)]
        for who in ("first", "second"):
            use(scene, before.calibration_id, actor=who, anyway=True)
    for subject_id in others:
        withdraw(scene, subject_id, actor="tester")
    assert follow_registry(scene) is None
    assert current(scene) == before


def test_a_calibration_that_follows_no_registry_is_stored_as_before_any_did(scene: Workspace) -> None:
    in_force(scene)
    with scene.database.read() as connection:
        document = json.loads(connection.execute(sa.select(calibrations.c.document)).scalar_one())
    assert "registered" not in document, "ids are digests of it, and those of earlier versions have to hold"


def test_a_gallery_that_somebody_chose_is_followed_once_the_registry_outgrows_it(
    scene: Workspace, tmp_path: Path
) -> None:
    enrol(scene, person(1))
    before = by_strangers(scene, tmp_path / "strangers", gallery=3)
    assert before.registered is None
    for number in range(2, 15):
        enrol(scene, person(number))
    after = follow_registry(scene)
    assert after is not None
    assert after.registered == 14


def test_too_few_strangers_leave_what_is_in_force_and_say_so(
    scene: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(scene, person(1))
    before = by_strangers(scene, tmp_path / "strangers")
    for number in range(2, 57):
        enrol(scene, person(number))
    count = stored(scene)
    with caplog.at_level(logging.WARNING):
        assert follow_registry(scene) is None
    assert "do not support an FPIR of 0.1" in caplog.text
    assert (current(scene), stored(scene)) == (before, count)
    with scene.database.read() as connection:
        fit = read_fit(connection, scene)
    assert fit.outgrown


def fill(uploads: Path, numbers: range) -> None:
    for number in numbers:
        upload(uploads, f"{number}.png", picture(person(number)), uploader=f"user-{number}")


def test_a_platform_is_its_own_background_after_the_first_night(
    scene: Workspace, uploads: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(scene, person(1))
    scene.config = replace(scene.config, calibration=replace(scene.config.calibration, from_platform=True))
    fill(uploads, range(60, 120))
    upload(uploads, "again.png", picture(person(60), person(60)), uploader="somebody-else")
    upload(uploads, "registered.png", picture(person(1)), uploader="a-user")
    upload(uploads, "more.png", picture(person(130)), uploader="user-60")
    for number in range(2):
        upload(uploads, f"nobody-{number}.png", picture(person(140 + number)))
    with caplog.at_level(logging.WARNING):
        sweep(scene, source_of(uploads), day=None)
    assert "faces of 0 different uploaders" in caplog.text
    assert current(scene) is None
    sweep(scene, source_of(uploads), day=None)
    found = current(scene)
    assert found is not None
    assert (found.kind, found.templates, found.photographs) == ("platform", 2, found.persons)
    assert 50 <= found.persons <= 60, "one face for each uploader, and nobody twice"
    assert (found.mated, found.complete, found.strong.point.threshold) == (0, False, None)
    thresholds = scene.thresholds
    assert thresholds.calibration_id == found.calibration_id
    assert thresholds.strong == pytest.approx(max(0.5, thresholds.review)), "as published"
    assert "too few strangers" in thresholds.source
    assert not list((scene.home / "calibrations").glob("*.sealed")), "nothing of it is kept"
    with scene.database.read() as connection:
        assert "by strangers alone" in read_fit(connection, scene).remark
    page = write_report(scene, day=None, folder=tmp_path / "report").html.read_text(encoding="utf-8")
    assert page.count("not measured") == 1, "the strong threshold"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_platform_whose_calibration_somebody_stopped_starts_none_by_itself(
    scene: Workspace, uploads: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(scene, person(1))
    fill(uploads, range(60, 120))
    sweep(scene, source_of(uploads), day=None)
    scene.config = replace(scene.config, calibration=replace(scene.config.calibration, from_platform=True))

    def use_and_stop() -> None:
        found = calibrate_platform(scene, AIM, actor="tester").calibration
        use(scene, found.calibration_id, actor="tester")
        stop_using(scene, actor="tester")

    def draw(workspace: Workspace, kind: str, *, least: float) -> Any:
        monkeypatch.undo()
        use_and_stop()
        return strangers(workspace, kind, least=least)

    if when == "meanwhile":
        monkeypatch.setattr(following, "strangers", draw)
    else:
        use_and_stop()
    for _ in range(2):
        sweep(scene, source_of(uploads), day=None)
        assert current(scene) is None
    again = calibrate_platform(scene, AIM, actor="tester").calibration
    assert current(scene) is None, "measured, and not put in force"
    use(scene, again.calibration_id, actor="tester")
    sweep(scene, source_of(uploads), day=None)
    assert current(scene) == again


def test_faces_of_a_platform_are_of_different_people_who_are_nobody_registered(scene: Workspace, uploads: Path) -> None:
    enrol(scene, person(1))
    fill(uploads, range(60, 70))
    sweep(scene, source_of(uploads), day=None)
    some = draw_strangers(scene)
    assert (some @ some.T - 2 * (some @ some.T > 0.999)).max() < scene.thresholds.strong
    upload(uploads, "registered.png", picture(person(1)), uploader="a-user")
    upload(uploads, "again.png", picture(person(60), person(60)), uploader="somebody-else")
    sweep(scene, source_of(uploads), day=None)
    assert len(draw_strangers(scene)) == len(some)


def test_a_platform_that_keeps_no_vectors_has_no_strangers(scene: Workspace, uploads: Path) -> None:
    scene.config = replace(scene.config, corpus=replace(scene.config.corpus, mode="none"))
    enrol(scene, person(1))
    fill(uploads, range(60, 70))
    sweep(scene, source_of(uploads), day=None)
    with pytest.raises(CalibrationError, match="faces of 0 different uploaders"):
        calibrate_platform(scene, AIM, actor="tester")
