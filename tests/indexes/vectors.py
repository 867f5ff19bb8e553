"""Unit vectors to compare: ordinary ones, and those that are hard for codes, bounds and thresholds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embeddings.types import Float32
from indexes.join import Pairs, pair_scores


def unit(count: int, dimension: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


any_sides = given(
    probes=st.integers(0, 40),
    templates=st.integers(1, 30),
    dimension=st.sampled_from([4, 128, 512]),
    threshold=st.sampled_from([-1.0, -0.2, 0.0, 0.1, 0.363, 0.9, 1.0]),
    seed=st.integers(0, 2**16),
)
"""Draws what :func:`sides` takes, and a threshold."""


def sides(probes: int, templates: int, dimension: int, seed: int) -> tuple[Float32, Float32]:
    """Probes and templates, some probes being one of the templates, or its opposite."""
    left, right = unit(probes, dimension, seed), unit(templates, dimension, seed + 1)
    left[: probes // 3] = right[seed % templates]
    left[probes // 3 : probes // 2] = -right[seed % templates]
    return left, right


def hard(count: int, dimension: int, seed: int) -> Float32:
    """Ordinary vectors among one-hot, nearly one-hot, flat, partly tiny, longest and shortest ones."""
    random = np.random.default_rng(seed)
    vectors = unit(count, dimension, seed)
    for row in range(count):
        match random.integers(0, 8):
            case 0:
                vectors[row] = 0
                vectors[row, random.integers(dimension)] = random.choice([-1.0, 1.0])
            case 1:
                vectors[row] *= np.float32(1e-3)
                vectors[row, 0] = 1.0
            case 2:
                vectors[row] = random.choice([-1.0, 1.0], dimension) / np.sqrt(dimension)
            case 3:
                vectors[row, dimension // 2 :] *= np.float32(1e-30)
                vectors[row] /= np.linalg.norm(vectors[row])
            case 4:
                vectors[row] *= np.float32(random.choice([0.9991, 1.0009]))
            case _:
                pass
    return vectors


def mated(left: Float32, right: Float32, seed: int) -> None:
    """Make some of ``left`` duplicates of, opposite to and close to vectors of ``right``."""
    random = np.random.default_rng(seed)
    for row in range(len(left) if len(right) else 0):
        other = right[random.integers(len(right))]
        match random.integers(0, 5):
            case 0:
                left[row] = other
            case 1:
                left[row] = -other
            case 2:
                close = other + left[row] * np.float32(random.uniform(0.1, 2.0))
                left[row] = close / max(np.linalg.norm(close), np.float32(1e-3))
                if abs(np.linalg.norm(left[row]) - 1) > 1e-4:
                    left[row] = other
            case _:
                pass


def everything(left: Float32, right: Float32, threshold: float) -> list[tuple[int, int, np.float32]]:
    """The definition, pair by pair, without blocks or libraries."""
    return [
        (i, j, score)
        for i in range(len(left))
        for j in range(len(right))
        if (score := pair_scores(left[i : i + 1], right[j : j + 1])[0]) >= np.float32(threshold)
    ]


def listed(pairs: Pairs) -> list[tuple[int, int, np.float32]]:
    return list(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.scores, strict=True))
