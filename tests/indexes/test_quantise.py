"""The bound of the int8 codes holds for every vector, so that the first pass loses no pair (I3)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import VectorError
from indexes.join import pair_scores
from indexes.quantise import LEVELS, least_product, least_products, quantise_unit
from tests.examples import examples
from tests.indexes.vectors import hard, mated, unit


@settings(max_examples=examples(60))
@given(dimension=st.sampled_from([2, 16, 128, 512]), seed=st.integers(0, 2**16))
def test_the_stored_residual_is_never_below_the_true_one(dimension: int, seed: int) -> None:
    vectors = hard(12, dimension, seed)
    codes = quantise_unit(vectors)
    assert codes.codes.min() >= -LEVELS
    for row in range(len(vectors)):
        scale = Fraction(float(codes.scales[row]))
        residual = sum(
            (Fraction(float(x)) - scale * int(c)) ** 2 for x, c in zip(vectors[row], codes.codes[row], strict=True)
        )
        assert residual <= Fraction(float(codes.residuals[row])) ** 2


@settings(max_examples=examples(150))
@given(dimension=st.sampled_from([2, 16, 128, 512]), seed=st.integers(0, 2**16))
def test_i3_no_pair_that_reaches_its_own_score_is_below_the_least_product(dimension: int, seed: int) -> None:
    left, right = hard(20, dimension, seed), hard(9, dimension, seed + 1)
    mated(left, right, seed + 2)
    stored, probes = quantise_unit(left), quantise_unit(right)
    products = stored.codes.astype(np.int64) @ probes.codes.T.astype(np.int64)
    bound = {"probe_scale": probes.worst().scale, "probe_residual": probes.worst().residual}
    for column in range(len(right)):
        for row in range(len(left)):
            score = float(pair_scores(left[row : row + 1], right[column : column + 1])[0])
            least = least_products(stored.scales, stored.residuals, threshold=score, **bound)
            assert products[row, column] >= least[row]
            assert least_product(stored.worst(), threshold=score, **bound) <= least.min()


@pytest.mark.parametrize("dimension", [128, 512])
def test_the_bound_lets_little_through_that_is_not_a_match(dimension: int) -> None:
    left, right = unit(3000, dimension, 1), unit(8, dimension, 2)
    stored, probes = quantise_unit(left), quantise_unit(right)
    least = least_products(
        stored.scales,
        stored.residuals,
        probe_scale=probes.worst().scale,
        probe_residual=probes.worst().residual,
        threshold=0.2,
    )
    passed = stored.codes.astype(np.int64) @ probes.codes.T.astype(np.int64) >= least[:, None]
    assert not (passed & (left @ right.T < 0.17)).any()


def test_vectors_longer_than_the_bound_is_proven_for_are_refused() -> None:
    one = np.zeros((1, (1 << 16) + 1), dtype=np.float32)
    one[0, 0] = 1
    with pytest.raises(VectorError, match="proven"):
        quantise_unit(one)


def test_no_vectors_have_no_codes() -> None:
    assert len(quantise_unit(np.empty((0, 8), dtype=np.float32))) == 0
