"""The gallery against the oracle: float32 brute force, whatever the sizes, the order and the threshold (I3, I4, I7)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

from embeddings.errors import ModelMismatchError, NotReadyError, VectorError
from embeddings.types import Float32
from indexes.gallery import Gallery
from indexes.join import brute_force, pair_scores
from tests.examples import examples
from tests.indexes.vectors import any_sides, everything, sides, unit


def gallery_of(vectors: Float32, owners: list[str] | None = None) -> Gallery:
    return Gallery(
        vectors,
        template_ids=[f"t{i}" for i in range(len(vectors))],
        subject_ids=owners or [f"s{i}" for i in range(len(vectors))],
        model_id="m",
        registry_version=1,
    )


@settings(max_examples=examples(60))
@any_sides
def test_i3_gallery_and_brute_force_give_exactly_the_defined_pairs(
    probes: int, templates: int, dimension: int, threshold: float, seed: int
) -> None:
    left, right = sides(probes, templates, dimension, seed)
    expected = everything(left, right, threshold)
    for found in (
        brute_force(left, right, threshold=threshold, block=7),
        gallery_of(right).pairs(left, model_id="m", threshold=threshold),
    ):
        assert list(zip(found.left, found.right, found.scores, strict=True)) == expected


@pytest.mark.parametrize("dimension", [128, 512])
def test_i3_a_threshold_at_the_very_score_keeps_the_pair_and_one_ulp_above_drops_it(dimension: int) -> None:
    left, right = unit(300, dimension, 1), unit(5, dimension, 2)
    gallery = gallery_of(right)
    for row in range(0, 300, 37):
        score = pair_scores(left[row : row + 1], right[2:3])[0]
        at = gallery.pairs(left[row : row + 1], model_id="m", threshold=float(score))
        above = gallery.pairs(left[row : row + 1], model_id="m", threshold=float(np.nextafter(score, np.float32(2))))
        assert 2 in at.right
        assert 2 not in above.right


def test_i3_blocks_of_probes_change_nothing() -> None:
    left, right = unit(2051, 16, 3), unit(50, 16, 4)
    whole = gallery_of(right).pairs(left, model_id="m", threshold=0.4)
    parts = [gallery_of(right).pairs(left[i : i + 300], model_id="m", threshold=0.4) for i in range(0, len(left), 300)]
    assert np.array_equal(whole.scores, np.concatenate([part.scores for part in parts]))
    assert len(whole) > 1000


@pytest.mark.parametrize(("probes", "templates"), [(50, 40), (40, 50), (10, 4200), (4300, 4200)])
def test_i3_whichever_side_is_streamed_the_answer_is_in_probe_order(probes: int, templates: int) -> None:
    left, right = unit(probes, 16, 8), unit(templates, 16, 9)
    found = gallery_of(right).pairs(left, model_id="m", threshold=0.8)
    oracle = brute_force(left, right, threshold=0.8, block=512)
    assert np.array_equal(found.left, oracle.left)
    assert np.array_equal(found.right, oracle.right)
    assert np.array_equal(found.scores, oracle.scores)


def test_a_match_is_the_best_template_of_each_subject() -> None:
    right = unit(6, 8, 5)
    probe = (right[1] + 0.2 * right[0])[None, :]
    probe /= np.linalg.norm(probe)
    owners = ["a", "a", "b", "b", "c", "c"]
    found = gallery_of(right, owners).match(probe, model_id="m", threshold=-1.0)
    scores = pair_scores(np.repeat(probe, len(right), axis=0), right)
    best = [int(2 * k + np.argmax(scores[2 * k : 2 * k + 2])) for k in range(3)]
    assert found.template.tolist() == best
    assert found.probe.tolist() == [0, 0, 0]


def test_no_probe_gives_no_match_and_keeps_its_types() -> None:
    found = gallery_of(unit(3, 8, 0)).match(np.empty((0, 8), dtype=np.float32), model_id="m", threshold=0.3)
    assert (len(found), found.scores.dtype, found.template.dtype) == (0, np.float32, np.int64)


def test_i7_an_empty_gallery_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(NotReadyError, match="empty"):
        gallery_of(np.empty((0, 8), dtype=np.float32))


def test_i7_ids_that_do_not_fit_the_vectors_are_refused() -> None:
    with pytest.raises(NotReadyError, match="differ in number"):
        Gallery(unit(2, 8, 0), template_ids=["t"], subject_ids=["s", "s"], model_id="m", registry_version=1)


def test_i4_probes_of_another_model_or_dimension_are_refused() -> None:
    gallery = gallery_of(unit(3, 8, 0))
    with pytest.raises(ModelMismatchError):
        gallery.pairs(unit(1, 8, 1), model_id="other", threshold=0.3)
    with pytest.raises(ModelMismatchError):
        gallery.pairs(unit(1, 16, 1), model_id="m", threshold=0.3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0, 1e-20])
def test_i4_vectors_that_are_not_unit_are_refused_on_both_sides(value: float) -> None:
    bad = unit(3, 8, 0)
    bad[1] = value
    with pytest.raises(VectorError):
        gallery_of(bad)
    with pytest.raises(VectorError):
        gallery_of(unit(3, 8, 0)).pairs(bad, model_id="m", threshold=0.3)
    with pytest.raises(VectorError):
        brute_force(bad, unit(3, 8, 0), threshold=0.3, block=2)
