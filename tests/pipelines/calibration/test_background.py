"""A cohort of strangers: thresholds for the registry's size by it, and what a person would be taken for."""

from __future__ import annotations

import csv
import logging
import stat
from pathlib import Path

import pytest

from embeddings.errors import ConfigError, CorruptionError, StateError
from indexes.det import lower_bound, lower_of
from indexes.join import pair_scores
from pipelines.calibration.background import (
    calibrate_background,
    expected_false_hits,
    forget_cohort,
    may_be_put_in_force,
    read_cohort,
    refit_background,
)
from pipelines.calibration.labels import read_folder, with_groups
from pipelines.calibration.measure import Aim, measure_labels, use
from pipelines.cli.calibration import write_worst_pairs
from pipelines.home.workspace import Workspace
from tests.fakes import person, picture, vectors_of_colours
from tests.pipelines.calibration.stored import people
from tests.platform_actions import enrol
from tests.searching import in_clear

pytestmark = pytest.mark.any_database

AIM = Aim(fpir=0.5, strong_fpir=0.4, confidence=0.9)


def everything(folder: Path) -> list[bytes]:
    """The content of every file below a folder."""
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


def cohort_of(workspace: Workspace, folder: Path, count: int = 60) -> None:
    labels = read_folder(people(folder, count, first=20))
    calibrate_background(workspace, labels, AIM, actor="tester")


def test_thresholds_by_strangers_are_for_twice_the_registry(workspace: Workspace, tmp_path: Path) -> None:
    enrol(workspace, person(1))
    enrol(workspace, person(2))
    labels = read_folder(people(tmp_path / "strangers", 60, first=20))
    found = calibrate_background(workspace, labels, AIM, actor="tester").calibration
    assert (found.kind, found.templates, found.mated) == ("background", 4, 0)
    assert found.review.fpir_upper is not None
    assert found.review.fpir_upper <= AIM.fpir
    assert may_be_put_in_force(workspace)
    use(workspace, found.calibration_id, actor="tester")
    assert workspace.thresholds.review == found.review.point.threshold
    assert workspace.thresholds.calibration_id == found.calibration_id


def test_a_larger_registry_is_fitted_again_without_a_picture(workspace: Workspace, tmp_path: Path) -> None:
    cohort_of(workspace, tmp_path / "strangers")
    for file in (tmp_path / "strangers").iterdir():
        file.unlink()
    first = refit_background(workspace, AIM, actor="tester").calibration
    for number in range(5):
        enrol(workspace, person(number))
    then = refit_background(workspace, AIM, actor="tester").calibration
    assert (first.templates, then.templates) == (2, 10)
    assert first.impostors == then.impostors == 60 * 59 // 2
    assert first.review.point.threshold is not None
    assert then.review.point.threshold is not None
    assert then.review.point.threshold > first.review.point.threshold


def test_labelled_photographs_go_before_strangers(workspace: Workspace, tmp_path: Path) -> None:
    labels = read_folder(people(tmp_path / "people", 60, first=20))
    own = measure_labels(workspace, labels, Aim(0.5, 0.4, 0.9, 2), actor="tester").calibration
    use(workspace, own.calibration_id, actor="tester")
    assert not may_be_put_in_force(workspace)


def test_a_person_is_weighed_against_strangers_before_they_are_registered(workspace: Workspace, tmp_path: Path) -> None:
    assert expected_false_hits(workspace, [vectors_of_colours([person(25)])[0]], threshold=0.9) is None
    cohort_of(workspace, tmp_path / "strangers")
    vectors = vectors_of_colours([person(25), person(1)])
    found = expected_false_hits(workspace, list(vectors), threshold=0.9)
    assert found is not None
    assert (found.strangers, found.taken, found.by_reference) == (60, 1, (1, 0))
    assert found.rate < found.rate_at_most < 0.2
    none = expected_false_hits(workspace, [vectors[1]], threshold=0.9)
    assert none is not None
    assert none.taken == 0
    assert 0 < none.rate_at_most < 0.1


def test_i8_the_cohort_is_sealed_and_goes_with_one_command(workspace: Workspace, tmp_path: Path) -> None:
    cohort_of(workspace, tmp_path / "strangers")
    cohort = read_cohort(workspace)
    assert cohort is not None
    assert cohort.people == 60
    assert not any(in_clear(cohort.vectors[0].tobytes(), data) for data in everything(workspace.home))
    (file,) = (workspace.home / "calibrations").glob("background-*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptionError):
        read_cohort(workspace)
    assert forget_cohort(workspace)
    assert not forget_cohort(workspace)
    assert read_cohort(workspace) is None
    with pytest.raises(StateError, match="no background cohort"):
        refit_background(workspace, AIM, actor="tester")


def test_the_most_alike_strangers_are_named_to_the_operator_alone(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = people(tmp_path / "people", 40)
    (folder / "twin.png").write_bytes(picture(person(7)) + b"other bytes")
    labels = read_folder(folder)
    with caplog.at_level(logging.INFO):
        measured = measure_labels(workspace, labels, Aim(0.5, 0.4, 0.9, 1), actor="tester")
    scores = [score for _, _, score in measured.worst]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 41 * 40 // 2
    write_worst_pairs(tmp_path / "worst.csv", measured, labels, overwrite=False)
    with (tmp_path / "worst.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(rows[0]["a"]).name, Path(rows[0]["b"]).name} == {"7.png", "twin.png"}
    assert rows[0]["band"] == "strong"
    assert stat.S_IMODE((tmp_path / "worst.csv").stat().st_mode) == 0o600
    assert "twin.png" not in caplog.text
    assert not any(b"twin.png" in data for data in everything(workspace.home))
    vectors = vectors_of_colours([person(7), person(7)])
    assert scores[0] == pytest.approx(float(pair_scores(vectors[:1], vectors[1:])[0]))


def test_groups_of_a_folder_are_measured_within_themselves(workspace: Workspace, tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 40)
    names = [path.name for path in sorted(folder.iterdir())]
    groups = tmp_path / "groups.csv"
    rows = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(names[:30])]
    groups.write_text("\n".join(["person,group", *rows]), encoding="utf-8")
    labels = with_groups(read_folder(folder), folder, groups)
    found = measure_labels(workspace, labels, Aim(0.5, 0.4, 0.9, 1), actor="tester").calibration
    assert {one.group: one.fmr.comparisons for one in found.groups} == {"a": 15 * 14 // 2, "b": 15 * 14 // 2}
    for one in found.groups:
        assert lower_of(one.fmr, confidence=0.9) <= one.fmr.rate <= one.fmr.upper


@pytest.mark.parametrize(
    ("text", "said"), [("person\n1.png", "lacks the columns group"), ("person,group\nnobody,a", "names nobody")]
)
def test_a_file_of_groups_that_fits_nothing_says_so(tmp_path: Path, text: str, said: str) -> None:
    folder = people(tmp_path / "people", 3)
    groups = tmp_path / "groups.csv"
    groups.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        with_groups(read_folder(folder), folder, groups)


def test_the_lower_bound_of_a_rate_is_that_of_as_many_independent_comparisons(
    workspace: Workspace, tmp_path: Path
) -> None:
    found = measure_labels(
        workspace, read_folder(people(tmp_path / "p", 60)), Aim(0.5, 0.4, 0.9, 1), actor="tester"
    ).calibration
    assert found.review.point.fmr is not None
    rate = found.review.point.fmr
    expected = lower_bound(rate.rate * rate.effective, rate.effective, confidence=0.9)
    assert lower_of(rate, confidence=0.9) == expected
    assert 0 < expected < rate.rate
