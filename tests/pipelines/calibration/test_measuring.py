"""From labelled pictures to a calibration: what is compared, what is dropped and counted, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import CalibrationError, ConfigError, StateError
from indexes.det import OperatingPoint, Rate
from indexes.join import pair_scores
from pipelines.calibration.compare import _combinations
from pipelines.calibration.labels import MAX_GROUPS, read_folder, read_pairs
from pipelines.calibration.measure import Aim, in_order, measure_labels, use
from pipelines.database import tables
from pipelines.database.tables import calibrations
from pipelines.home.calibrations import Calibration, read_calibration
from pipelines.home.workspace import Workspace
from tests.fakes import WHITE, person, picture, vectors_of_colours
from tests.pipelines.calibration.stored import people
from tests.pipelines.matching.pooling_scene import drawn, see_drawings, vectors_of
from tests.platform_actions import enrol

pytestmark = pytest.mark.any_database

AIM = Aim(fpir=0.1, strong_fpir=0.05, confidence=0.9, templates=1)


def listed(folder: Path, *rows: str, columns: str = "a,b,same") -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join([columns, *rows]), encoding="utf-8")
    return path


def measured(workspace: Workspace, source: Path, aim: Aim = AIM) -> Calibration:
    labels = read_pairs(source) if source.is_file() else read_folder(source)
    return measure_labels(workspace, labels, aim, actor="tester").calibration


def test_a_folder_of_people_is_compared_each_with_each(workspace: Workspace, tmp_path: Path) -> None:
    found = measured(workspace, people(tmp_path / "people", 60))
    assert (found.photographs, found.persons, found.impostors, found.mated) == (60, 60, 60 * 59 // 2, 0)
    vectors = vectors_of_colours([person(number) for number in range(60)])
    left, right = np.array(list(combinations(range(60), 2))).T
    scores = pair_scores(vectors[left], vectors[right])
    threshold = found.review.point.threshold
    assert threshold is not None
    assert found.review.point.fmr is not None
    assert found.review.point.fmr.errors == sum(score >= threshold for score in scores)
    assert found.review.fpir_upper is not None
    assert found.review.fpir_upper <= AIM.fpir


def test_a_subfolder_is_one_person_whose_pictures_are_mated(workspace: Workspace, tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 30)
    (folder / "one").mkdir()
    for stripe in (1, 2, 3):  # other bytes, the same largest face
        (folder / "one" / f"{stripe}.png").write_bytes(picture(person(100), *[WHITE] * stripe))
    found = measured(workspace, folder)
    assert (found.persons, found.mated, found.impostors) == (31, 3, 30 * 29 // 2 + 90)
    assert found.review.fnmr is not None
    assert found.review.fnmr.errors == 0


def test_what_cannot_be_compared_costs_only_its_own_pair_and_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    people(tmp_path, 40)
    (tmp_path / "nobody.png").write_bytes(picture(WHITE))
    (tmp_path / "cut.png").write_bytes(picture(person(50))[:60])
    (tmp_path / "copy.png").write_bytes(picture(person(0)))
    (tmp_path / "0b.png").write_bytes(picture(person(0), WHITE))
    impostors = [f"{i}.png,{i + 1}.png,0" for i in range(1, 39)]
    odd = [
        *("0.png,0b.png,1", "0b.png,0.png,same", "0.png,copy.png,1", "0.png,nothere.png,0", "0.png,nobody.png,0"),
        *("cut.png,0.png,0", "0.png,1.png,perhaps", ",1.png,1", "1.png,2.png,1"),
    ]
    found = measured(workspace, listed(tmp_path, *impostors, *odd))
    assert found.dropped == {
        "bad_label": 1,
        "bad_path": 1,
        "contradictory": 1,
        "missing": 1,
        "no_face": 1,
        "repeated": 2,
        "same_bytes": 1,
        "unscannable:truncated": 1,
    }
    assert (found.mated, found.impostors) == (1, 37)


def test_pictures_linked_by_others_are_one_person_whatever_a_row_says(workspace: Workspace, tmp_path: Path) -> None:
    people(tmp_path, 30)
    for stripe in (1, 2):
        (tmp_path / f"0-{stripe}.png").write_bytes(picture(person(0), *[WHITE] * stripe))
    links = ["0.png,0-1.png,1", "0-1.png,0-2.png,1", "0.png,0-2.png,0"]
    found = measured(workspace, listed(tmp_path, *links, *(f"{i}.png,{i + 1}.png,0" for i in range(1, 29))))
    assert found.dropped == {"contradictory": 1}
    assert found.mated == 2


def test_of_several_faces_the_largest_counts_and_that_is_said(workspace: Workspace, tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 30)
    (folder / "two.png").write_bytes(picture(person(70), person(71)))
    found = measured(workspace, folder)
    assert (found.several_faces, found.persons) == (1, 31)


def test_the_same_picture_in_two_peoples_folders_is_nobodys(workspace: Workspace, tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 30)
    (folder / "another.png").write_bytes(picture(person(3)))
    found = measured(workspace, folder)
    assert found.dropped == {"contradictory": 1, "same_bytes": 1}
    assert found.persons == 29


def test_without_two_different_people_nothing_is_calibrated(workspace: Workspace, tmp_path: Path) -> None:
    people(tmp_path, 2)
    (tmp_path / "0b.png").write_bytes(picture(person(0), WHITE))
    with pytest.raises(CalibrationError, match="missing 1"):
        measured(workspace, listed(tmp_path, "0.png,0b.png,1", "0.png,nothere.png,0"))
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(calibrations)).first() is None


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ("a,b", ["1.png,2.png"], "lacks the columns same"),
        ("a,b,same", [], "no usable row"),
        ("a,b,same", ["1.png,2.png,perhaps"], "no usable row"),
        ("a,b,same,group", [f"1.png,2.png,0,{n}" for n in range(MAX_GROUPS + 1)], "never people"),
        ("a,b,same,group", ["1.png,2.png,0," + "x" * 41], "printable"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, columns: str, rows: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_pairs(listed(tmp_path, *rows, columns=columns))


def test_a_file_in_another_encoding_or_an_empty_folder_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"a,b,same\n\xff\xfe,2.png,0\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_pairs(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="0 people"):
        read_folder(tmp_path / "empty")


def test_groups_are_measured_at_the_threshold_of_all(workspace: Workspace, tmp_path: Path) -> None:
    people(tmp_path, 120)
    rows = [f"{i}.png,{j}.png,0,{'ab'[i % 2]}" for i in range(0, 118, 2) for j in (i + 1, i + 2)]
    rows += [f"{i}.png,{i + 2}.png,0,b" for i in range(1, 117, 2)]
    found = measured(workspace, listed(tmp_path, *rows, columns="a,b,same,group"))
    assert [group.group for group in found.groups] == ["a", "b"]
    assert sum(group.fmr.comparisons for group in found.groups) == found.impostors
    assert found.review.point.fmr is not None
    assert sum(group.fmr.errors for group in found.groups) == found.review.point.fmr.errors


def test_an_unsupported_threshold_is_not_stated_and_cannot_be_used(workspace: Workspace, tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 40)
    found = measured(workspace, folder, Aim(fpir=0.1, strong_fpir=1e-6, confidence=0.95, templates=1))
    assert found.review.point.threshold is not None
    assert found.strong.point.threshold is None
    assert found.strong.point.needed > 2_900_000
    with pytest.raises(StateError, match="more comparisons"):
        use(workspace, found.calibration_id, actor="tester")


def test_a_larger_gallery_needs_a_higher_threshold(workspace: Workspace, tmp_path: Path) -> None:
    labels = read_folder(people(tmp_path / "people", 150))
    one, ten = (
        measure_labels(
            workspace, labels, Aim(0.2, 0.2, 0.9, templates), actor="tester"
        ).calibration.review.point.threshold
        for templates in (1, 10)
    )
    assert one is not None
    assert ten is not None
    assert ten > one


def test_the_gallery_is_by_default_the_one_there_is(workspace: Workspace, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        enrol(workspace, person(number))
    found = measured(workspace, people(tmp_path / "people", 30, first=50), Aim(0.9, 0.9, 0.9))
    assert found.templates == 3


def test_review_is_never_above_strong() -> None:
    rate = Rate(errors=0, comparisons=900, rate=0.0, upper=0.004, effective=800.0)
    strong = OperatingPoint(0.005, 0.4, rate, 700)
    for review in (OperatingPoint(0.05, 0.5, rate, 70), OperatingPoint(0.05, None, None, 70, "too few")):
        ordered, same = in_order(review, strong)
        assert (ordered.threshold, ordered.target_fmr, ordered.refusal) == (0.4, 0.05, None)
        assert same == strong
    usual = OperatingPoint(0.05, 0.3, rate, 70)
    assert in_order(usual, strong) == (usual, strong)


def test_a_strong_target_above_that_of_review_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most"):
        measured(workspace, people(tmp_path / "people", 3), Aim(0.01, 0.1, 0.9))


def test_i8_nothing_stored_names_a_picture_or_a_person(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "Testina Examplesdaughter"
    people(folder, 30)
    found = measured(workspace, folder)
    with workspace.database.read() as connection:
        stored = [*connection.execute(sa.select(calibrations)), *connection.execute(sa.select(tables.audit))]
    assert "Testina" not in repr(stored)
    assert ".png" not in repr(stored)
    with workspace.database.read() as connection:
        assert read_calibration(connection, workspace.sealer, found.calibration_id) == found


@given(st.integers(2, 400), st.floats(0.01, 0.999), st.integers(0, 100))
def test_more_pairs_than_are_wanted_are_drawn_without_repeats(count: int, share: float, seed: int) -> None:
    total = count * (count - 1) // 2
    most = max(1, int(total * share))
    left, right = _combinations(count, most, seed)
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == min(most, total)
    assert (left >= 0).all()
    assert (left < right).all()
    assert (right < count).all()


def test_drawing_reaches_the_last_pair_of_very_many_photographs() -> None:
    left, right = _combinations(200_000, 100_000, 3)
    assert (left < right).all()
    assert left.min() >= 0
    assert 199_000 < right.max() < 200_000


def test_what_was_not_drawn_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    limited = replace(workspace.config.calibration, max_comparisons=300)
    workspace.config = replace(workspace.config, calibration=limited)
    found = measured(workspace, people(tmp_path / "people", 60))
    assert (found.impostors, found.dropped) == (300, {"not_drawn": 60 * 59 // 2 - 300})


def test_pools_of_photographs_of_one_person_are_measured_beside_single_ones(
    workspace: Workspace, tmp_path: Path
) -> None:
    see_drawings(workspace, likeness=0.6)
    folder = tmp_path / "people"
    for who in range(60):
        (folder / str(who)).mkdir(parents=True)
        for number in range(4):
            (folder / str(who) / f"{number}.png").write_bytes(picture(drawn(who, number)))
    found = measured(workspace, folder)
    pooled = found.pooled
    assert pooled is not None
    assert (pooled.pictures, pooled.pools, pooled.persons) == (3, 60, 60)
    assert (pooled.mated, pooled.impostors) == (60, 60 * 59 * 4)
    vectors = vectors_of([drawn(who, number) for who in range(60) for number in range(4)], likeness=0.6)
    assert pooled.review.fnmr is not None
    assert pooled.review.fnmr.errors == 0
    assert pooled.review.point.threshold is not None
    three = vectors[:3].astype(np.float64).sum(axis=0)
    mate = float(three @ vectors[3] / np.linalg.norm(three))
    assert mate == pytest.approx(0.612, abs=1e-3), "beside 0.5 of one photograph with another"
    assert pooled.review.point.threshold < mate
    with workspace.database.read() as connection:
        assert read_calibration(connection, workspace.sealer, found.calibration_id) == found


def test_a_list_of_pairs_and_single_photographs_give_no_pools(workspace: Workspace, tmp_path: Path) -> None:
    assert measured(workspace, people(tmp_path / "people", 60)).pooled is None
