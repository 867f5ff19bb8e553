"""The recall benchmark: what it counts, on made-up vectors, and that its plots hold numbers and no pictures."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.inputs.degradations import degradations
from benchmarks.recall import Sitting, by_references, chosen_transforms, is_correct, row_of, simulated
from benchmarks.recall_plots import write_plots
from embeddings.types import Float32, UInt8


def people(*, spread: float, lost: int = 0) -> list[Sitting]:
    """Six people with five pictures each; in the first ``lost`` of each person's the noisy face is not found."""
    random = np.random.default_rng(5)
    made = []
    for person in range(6):
        centre = random.normal(size=64)
        for picture in range(5):
            vector = unit(centre + spread * random.normal(size=64))
            noisy = np.empty((0, 64), dtype=np.float32) if picture < lost else unit(vector + 0.05)[None]
            made.append(Sitting(person, vector, {"plain": vector[None], "noisy": noisy}))
    return made


def unit(vector: Float32) -> Float32:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_recall_counts_pictures_whose_face_was_not_found_as_missed() -> None:
    random = np.random.default_rng(0)
    whole = row_of(people(spread=0.2), "noisy", 1, 1, random, own=False)
    half = row_of(people(spread=0.2, lost=2), "noisy", 1, 1, random, own=False)
    assert (whole["found"], whole["review"]) == (1.0, 1.0)
    assert (half["found"], half["review"]) == (0.6, 0.6)
    assert half["review low"] < 0.6 < half["review high"]


def test_false_matches_are_other_peoples_pairs_alone() -> None:
    apart = row_of(people(spread=0.2), "plain", 1, 1, np.random.default_rng(0), own=False)
    same = [
        Sitting(at, one.reference * 0 + people(spread=0.2)[0].reference, one.faces)
        for at, one in enumerate(people(spread=0.2)[:5])
    ]
    assert apart["strong FMR"] == 0
    assert row_of(same, "plain", 1, 1, np.random.default_rng(0), own=True)["strong FMR"] > 0.5


def test_more_references_and_pictures_find_no_less() -> None:
    rows = by_references(people(spread=1.3), ["plain"], np.random.default_rng(0))
    recall = {(row["references"], row["pictures"]): row["review"] for row in rows}
    assert set(recall) == {(1, 1), (1, 3), (3, 1)}
    assert recall[(3, 1)] >= recall[(1, 1)]
    assert recall[(1, 3)] >= recall[(1, 1)]


def test_simulated_likenesses_are_found_the_more_the_more_they_resemble() -> None:
    rows = [row for row in simulated(people(spread=0.2), np.random.default_rng(0)) if row["references"] == 1]
    recall = [row["review"] for row in rows]
    assert all("simulated" in row["transform"] for row in rows)
    assert recall == sorted(recall, reverse=True)
    assert recall[0] == 1.0


def test_scores_that_are_no_numbers_make_the_run_incorrect() -> None:
    good = people(spread=0.2)
    bad = [Sitting(0, good[0].reference, {"plain": good[0].faces["plain"] * np.nan})]
    assert is_correct(good)
    assert not is_correct(bad)
    assert not is_correct([])


def test_plain_comes_first_and_unknown_names_are_refused() -> None:
    assert list(chosen_transforms(["rotated 180", "noise 40"])) == ["plain", "rotated 180", "noise 40"]
    with pytest.raises(SystemExit, match="no such transforms: nothing"):
        chosen_transforms(["nothing"])


@pytest.mark.parametrize("name", sorted(degradations()))
def test_degradations_give_pictures_and_the_same_ones_again(name: str) -> None:
    picture: UInt8 = np.random.default_rng(1).integers(0, 255, (60, 48, 3), dtype=np.uint8)
    before = picture.copy()
    first, second = degradations()[name](picture), degradations()[name](picture)
    assert (first.dtype, first.ndim, first.shape[2]) == (np.uint8, 3, 3)
    assert np.array_equal(first, second)
    assert np.array_equal(picture, before)


def test_plots_are_drawings_of_the_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [row_of(people(spread=0.2, lost=1), name, 1, 1, random, own=False) for name in ("plain", "noisy")]
    write_plots(tmp_path, {"transforms": rows, "references": [], "simulated": []})
    (plot,) = tmp_path.iterdir()
    text = plot.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "<image" not in text
    assert ">0.80<" in text
