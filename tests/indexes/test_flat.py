"""FAISS as a second engine: the same pairs as our own join and as brute force, and the check that says when not."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import CorruptionError, ModelMismatchError
from embeddings.types import Float32
from indexes.flat import MOST_NEIGHBOURS, FlatGallery, Window, nearest_first, other_engine, require_same_pairs
from indexes.gallery import Gallery
from indexes.join import Pairs
from indexes.stored import FreshVectors, Stored
from tests.examples import examples
from tests.indexes.vectors import any_sides, everything, sides, unit


def gallery_of(vectors: Float32, kind: Callable[..., Gallery] = FlatGallery) -> Gallery:
    names = [f"t{i}" for i in range(len(vectors))]
    return kind(vectors, template_ids=names, subject_ids=names, model_id="m", registry_version=1)


def listed(pairs: Pairs) -> list[tuple[int, int, float]]:
    return list(zip(pairs.left, pairs.right, pairs.scores, strict=True))


@settings(max_examples=examples(60))
@any_sides
def test_i3_faiss_proposes_and_the_defined_score_decides(
    probes: int, templates: int, dimension: int, threshold: float, seed: int
) -> None:
    left, right = sides(probes, templates, dimension, seed)
    expected, gallery = everything(left, right, threshold), gallery_of(right)
    assert listed(gallery.pairs(left, model_id="m", threshold=threshold)) == expected
    stored = FreshVectors(left, block_rows=7)
    assert listed(gallery.pairs_stored(stored, model_id="m", threshold=threshold)) == expected
    ours = gallery_of(right, Gallery).match(left, model_id="m", threshold=threshold)
    theirs = gallery.match(left, model_id="m", threshold=threshold)
    assert [theirs.probe.tolist(), theirs.template.tolist(), theirs.scores.tolist()] == [
        ours.probe.tolist(),
        ours.template.tolist(),
        ours.scores.tolist(),
    ]


@settings(max_examples=examples(20))
@given(
    probes=st.integers(1, 9),
    templates=st.integers(1, 400),
    threshold=st.sampled_from([-1.01, -0.1, 0.0, 0.2, 0.9]),
    seed=st.integers(0, 2**16),
)
def test_i3_nearest_neighbours_are_asked_for_until_none_is_left_above(
    probes: int, templates: int, threshold: float, seed: int
) -> None:
    """An index on a GPU has no range search; this is what stands in for it, on the index that has both."""
    left, right = unit(probes, 16, seed), unit(templates, 16, seed + 1)
    flat = faiss.IndexFlatIP(16)
    flat.add(right)
    probe, template = nearest_first(flat, flat, left, threshold)
    rows, columns = np.nonzero(left @ right.T > threshold + 1e-6)
    assert set(zip(probe.tolist(), template.tolist(), strict=True)) >= set(
        zip(rows.tolist(), columns.tolist(), strict=True)
    )
    assert len({*zip(probe.tolist(), template.tolist(), strict=True)}) == len(probe)


def test_i3_more_neighbours_than_an_index_returns_are_found_all_the_same() -> None:
    right = np.repeat(unit(1, 16, 3), MOST_NEIGHBOURS + 100, axis=0)
    flat = faiss.IndexFlatIP(16)
    flat.add(right)
    probe, template = nearest_first(flat, flat, right[:2], 0.9)
    assert sorted(zip(probe.tolist(), template.tolist(), strict=True)) == [
        (row, column) for row in range(2) for column in range(len(right))
    ]


def test_i4_vectors_of_other_models_are_refused() -> None:
    gallery = gallery_of(unit(3, 8, 1))
    with pytest.raises(ModelMismatchError):
        gallery.pairs(unit(1, 8, 2), model_id="other", threshold=0.5)
    with pytest.raises(ModelMismatchError):
        gallery.pairs_stored(FreshVectors(unit(1, 8, 2)), model_id="other", threshold=0.5)
    with pytest.raises(ModelMismatchError):
        gallery.pairs(unit(1, 4, 2), model_id="m", threshold=0.5)


def test_a_window_is_some_blocks_of_the_whole() -> None:
    vectors = unit(50, 8, 1)
    whole = FreshVectors(vectors, block_rows=16)
    gallery = gallery_of(unit(6, 8, 2), Gallery)
    found = [gallery.pairs_stored(Window(whole, first, 2), model_id="m", threshold=0.0) for first in (0, 2, 4)]
    assert [Window(whole, first, 2).rows for first in (0, 2, 4)] == [32, 18, 0]
    joined = [
        (row + 32 * part, column, score) for part, pairs in enumerate(found) for row, column, score in listed(pairs)
    ]
    assert joined == everything(vectors, gallery.vectors, 0.0)


@pytest.mark.parametrize("kind", [Gallery, FlatGallery])
def test_two_engines_agree_and_say_on_how_much(kind: Callable[..., Gallery]) -> None:
    left, right = unit(100, 32, 1), unit(20, 32, 2)
    gallery = gallery_of(right, kind)
    assert type(other_engine(gallery)) is ({Gallery, FlatGallery} - {kind}).pop()
    assert require_same_pairs(gallery, FreshVectors(left), threshold=0.1) == len(everything(left, right, 0.1)) > 10


class Forgetful(Gallery):
    """A gallery that loses one pair."""

    def pairs_stored(self, stored: Stored, *, model_id: str, threshold: float) -> Pairs:
        found = super().pairs_stored(stored, model_id=model_id, threshold=threshold)
        return Pairs(found.left[1:], found.right[1:], found.scores[1:])


def test_i7_an_engine_that_loses_a_pair_is_found_out() -> None:
    gallery = gallery_of(unit(20, 32, 2), Forgetful)
    with pytest.raises(CorruptionError, match="0 pairs by the one alone, 1 by the other"):
        require_same_pairs(gallery, FreshVectors(unit(100, 32, 1)), threshold=0.1)
