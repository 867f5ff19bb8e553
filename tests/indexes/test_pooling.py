"""Pools depend on what faces are, never on the order in which they come, and each picture counts once in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import VectorError
from indexes.join import pair_scores
from indexes.pooling import LEAST_WEIGHT, Pool, distinct_pictures, face_weight, pool_faces, pooled_vector
from tests.examples import examples

DIMENSION = 16
THRESHOLD = 0.4


def crowd(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, list[int]]:  # type: ignore[type-arg]
    """Faces of about three people, some equal to others, with weights and pictures."""
    random = np.random.default_rng(seed)
    people = random.normal(size=(3, DIMENSION))
    vectors = people[random.integers(0, 3, count)] + 0.8 * random.normal(size=(count, DIMENSION))
    vectors[random.random(count) < 0.2] = vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = random.choice([0.25, 0.5, 0.9], count)
    return vectors.astype(np.float32), weights, random.integers(0, max(1, count // 2), count).tolist()


def told(pools: list[Pool], vectors: np.ndarray, pictures: list[int]) -> list[tuple[object, ...]]:  # type: ignore[type-arg]
    return [(pool.vector.tobytes(), [(vectors[row].tobytes(), pictures[row]) for row in pool.rows]) for pool in pools]


@given(st.integers(0, 10_000), st.integers(1, 14), st.randoms(use_true_random=False))
@settings(max_examples=examples(60))
def test_no_order_of_the_faces_changes_the_pools(seed: int, count: int, random) -> None:  # type: ignore[no-untyped-def]
    vectors, weights, pictures = crowd(seed, count)
    order = list(range(count))
    random.shuffle(order)
    before = pool_faces(vectors, weights, pictures, threshold=THRESHOLD)
    shuffled = [pictures[row] for row in order]
    after = pool_faces(vectors[order], weights[order], shuffled, threshold=THRESHOLD)
    assert told(before, vectors, pictures) == told(after, vectors[order], shuffled)


@given(st.integers(0, 10_000), st.integers(1, 14))
@settings(max_examples=examples(60))
def test_every_face_is_in_a_pool_or_behind_a_better_one_of_its_picture(seed: int, count: int) -> None:
    vectors, weights, pictures = crowd(seed, count)
    pools = pool_faces(vectors, weights, pictures, threshold=THRESHOLD)
    pooled = [row for pool in pools for row in pool.rows]
    assert len(set(pooled)) == len(pooled)
    for pool in pools:
        own = [pictures[row] for row in pool.rows]
        assert len(set(own)) == len(own), "a picture counts once"
        pivot = np.broadcast_to(vectors[pool.rows[0]], (len(own), DIMENSION))
        scores = pair_scores(vectors[list(pool.rows)], np.ascontiguousarray(pivot))
        assert (scores[1:] >= np.float32(THRESHOLD)).all(), "each matches the pivot by itself"
        assert weights[pool.rows[0]] == max(weights[list(pool.rows)])
        assert np.linalg.norm(pool.vector) == pytest.approx(1.0, abs=1e-5)
    for row in set(range(count)) - set(pooled):
        near = pair_scores(np.stack([vectors[pool.rows[0]] for pool in pools]), np.tile(vectors[row], (len(pools), 1)))
        better = [
            any(pictures[other] == pictures[row] and weights[other] >= weights[row] for other in pool.rows)
            for pool, score in zip(pools, near, strict=True)
            if score >= np.float32(THRESHOLD)
        ]
        assert any(better)


@given(st.integers(0, 10_000))
@settings(max_examples=examples(30))
def test_one_face_is_its_own_pool(seed: int) -> None:
    vectors, weights, _ = crowd(seed, 1)
    (pool,) = pool_faces(vectors, weights, [7], threshold=THRESHOLD)
    assert pool.rows == (0,)
    assert pool.vector.tobytes() == vectors[0].tobytes()


def test_a_chain_of_likenesses_joins_nobody() -> None:
    angles = np.radians([0, 60, 120])  # each like the next, the ends unlike
    vectors = np.array([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=np.float32)
    pools = pool_faces(vectors, np.array([0.9, 0.8, 0.7]), [0, 1, 2], threshold=0.4)
    assert [pool.rows for pool in pools] == [(0, 1), (2,)]


def test_a_better_face_counts_for_more() -> None:
    vectors = np.eye(2, dtype=np.float32)
    mean = pooled_vector(vectors, np.array([0.9, 0.1]))
    assert mean is not None
    assert mean.tolist() == pytest.approx([0.9 / np.hypot(0.9, 0.1), 0.1 / np.hypot(0.9, 0.1)])
    assert pooled_vector(np.array([[1, 0], [-1, 0]], dtype=np.float32), np.array([1.0, 1.0])) is None


def test_vectors_that_are_not_unit_are_refused() -> None:
    with pytest.raises(VectorError):
        pool_faces(np.ones((1, 4), dtype=np.float32), np.array([1.0]), [0], threshold=THRESHOLD)


def test_pictures_that_repeat_one_another_have_one_number() -> None:
    near = (1 << 5) - 1
    hashes = {"a": f"{0:064x}", "b": f"{near:064x}", "c": f"{1 << 200:064x}", "d": None, "e": None, "f": "f" * 64}
    numbers = distinct_pictures(hashes, distance=5)
    assert numbers["a"] == numbers["b"] == numbers["c"]
    assert len(set(numbers.values())) == 4
    assert distinct_pictures(dict(reversed(hashes.items())), distance=5) == numbers
    assert len(set(distinct_pictures(hashes, distance=4).values())) == 5


def test_a_face_weighs_less_the_more_it_had_to_be_enlarged() -> None:
    assert face_weight(0.8, 112, 112, side=112) == face_weight(0.8, 300, 300, side=112) == pytest.approx(0.8)
    assert face_weight(0.8, 56, 56, side=112) == pytest.approx(0.4)
    assert face_weight(0.0, -1, 5, side=112) == LEAST_WEIGHT
