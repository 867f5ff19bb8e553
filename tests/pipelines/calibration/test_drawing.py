"""Which comparisons are drawn: all of them where they are few, else so many different ones, of no more memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pipelines.calibration.compare import _combinations, drawn
from pipelines.calibration.pooling import _pairs


@pytest.mark.parametrize(("total", "at_most"), [(0, 3), (3, 3), (4, 3), (11, 3), (1000, 3), (10**12, 2000)])
def test_so_many_different_numbers_are_drawn_and_all_where_there_are_no_more(total: int, at_most: int) -> None:
    numbers = drawn(total, at_most=at_most, random=np.random.default_rng(0))
    assert len(numbers) == min(total, at_most)
    assert (np.diff(numbers) > 0).all()
    assert ((numbers >= 0) & (numbers < total)).all()


def test_every_number_is_drawn_as_often_as_another() -> None:
    random = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([drawn(50, at_most=5, random=random) for _ in range(2000)]), minlength=50)
    assert counts.min() > 150
    assert counts.max() < 250


def test_all_combinations_are_all_pairs_once() -> None:
    left, right = _combinations(9, 100, 0)
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == [
        (i, j) for i in range(9) for j in range(i + 1, 9)
    ]


def test_a_pool_is_compared_with_every_photograph_that_is_not_in_it() -> None:
    rows = np.array([7, 2, 9, 4, 5, 0], dtype=np.int64)
    members = [np.array([9, 7], dtype=np.int64), np.array([0, 5], dtype=np.int64)]
    left, right = _pairs(members, rows, most=100, random=np.random.default_rng(0))
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == [
        *((0, row) for row in (0, 2, 4, 5)),
        *((1, row) for row in (2, 4, 7, 9)),
    ]


def test_drawn_comparisons_of_pools_take_no_memory_for_the_others() -> None:
    rows = np.arange(20_000, dtype=np.int64)
    members = list(rows.reshape(-1, 2))
    tracemalloc.start()
    left, right = _pairs(members, rows, most=1000, random=np.random.default_rng(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(left) == len(right) == 1000
    assert not (right // 2 == left).any()
    assert peak < 20e6  # all of them: 200 million pairs
