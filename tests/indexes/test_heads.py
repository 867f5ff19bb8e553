"""Concept heads: scores are what the definition gives vector by vector, and nothing else decides them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ModelMismatchError, VectorError
from indexes.heads import Heads, concept_scores, content_scores
from tests.indexes.vectors import unit


def heads(dimension: int = 16, *, seed: int = 1) -> Heads:
    """Two concepts against two neutral directions; a contrast, whose sides stand against each other."""
    against = np.zeros((4, 6), dtype=np.bool_)
    against[:2, 4:] = True
    against[2, 3] = against[3, 2] = True
    return Heads(
        names=("first", "second", "photograph", "drawing"),
        directions=unit(6, dimension, seed),
        against=against,
        weights=np.array([1, 2.5, 1, 1], dtype=np.float32),
        every_frame=np.array([False, False, False, True]),
        model_id="clip-1",
    )


def defined(vector: np.ndarray, given: Heads) -> list[float]:
    """The definition, one cosine at a time."""
    cosines = [float(np.dot(vector.astype(np.float64), one.astype(np.float64))) for one in given.directions]
    margins = [max((c for c, is_against in zip(cosines, row, strict=True) if is_against)) for row in given.against]
    return [float(given.weights[n]) * (cosines[n] - margins[n]) for n in range(len(given.names))]


def test_scores_are_those_of_the_definition() -> None:
    vectors = unit(50, 16, 2)
    found = concept_scores(vectors, heads(), model_id="clip-1")
    assert found.dtype == np.float32
    assert np.allclose(found, [defined(vector, heads()) for vector in vectors], atol=1e-7)


@given(seed=st.integers(0, 1000), count=st.integers(0, 40), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_scores_do_not_depend_on_batches(seed: int, count: int, cuts: list[int]) -> None:
    vectors = unit(count, 16, seed) if count else np.empty((0, 16), dtype=np.float32)
    whole = concept_scores(vectors, heads(), model_id="clip-1")
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [
        concept_scores(vectors[start:stop], heads(), model_id="clip-1") for start, stop in itertools.pairwise(edges)
    ]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-7)


def test_two_sides_of_a_contrast_are_each_others_opposite() -> None:
    found = concept_scores(unit(30, 16, 3), heads(), model_id="clip-1")
    assert np.allclose(found[:, 2], -found[:, 3], atol=1e-7)


def test_what_stands_against_nothing_is_scored_by_its_cosine_alone() -> None:
    given = heads()
    bare = replace(given, against=np.zeros_like(given.against))
    vectors = unit(5, 16, 4)
    assert np.allclose(concept_scores(vectors, bare, model_id="clip-1")[:, 0], vectors @ given.directions[0], atol=1e-6)


def test_an_animation_has_what_any_frame_has_and_is_a_drawing_only_as_a_whole() -> None:
    frames = np.array([[1, 2, 3, 4], [5, 0, 1, -2], [7, 7, 7, 7]], dtype=np.float32)
    found = content_scores(frames, np.array([0, 2]), heads())
    assert found.tolist() == [[5, 2, 3, -2], [7, 7, 7, 7]]
    assert content_scores(frames[:0], np.array([], dtype=np.int64), heads()).shape == (0, 4)


def test_i4_vectors_of_another_model_dimension_or_length_are_refused() -> None:
    with pytest.raises(ModelMismatchError, match="clip-2"):
        concept_scores(unit(1, 16, 1), heads(), model_id="clip-2")
    with pytest.raises(ModelMismatchError, match="dimension"):
        concept_scores(unit(1, 8, 1), heads(), model_id="clip-1")
    with pytest.raises(VectorError):
        concept_scores(unit(1, 16, 1) * np.float32(2), heads(), model_id="clip-1")
    with pytest.raises(VectorError):
        replace(heads(), directions=heads().directions * np.float32(0))
    with pytest.raises(VectorError, match="differ in number"):
        replace(heads(), weights=np.ones(3, dtype=np.float32))
