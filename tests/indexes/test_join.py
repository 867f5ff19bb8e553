"""The streaming join against the definition: the same pairs and scores in the same order, whatever is inside (I3)."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import CorruptionError, ModelMismatchError, VectorError
from embeddings.types import Float32
from indexes import first_pass, join
from indexes.first_pass import BlasKernel, Kernel, NumKongKernel, Scratch, choose_kernel, pack_probes
from indexes.join import brute_force, join_pairs, pair_scores, stream_pairs
from indexes.quantise import quantise_unit
from indexes.stored import Block, FreshVectors, Int64, ResidentCodes
from tests.examples import examples
from tests.indexes.vectors import everything, hard, listed, mated, unit


@pytest.fixture
def no_remembered_kernel() -> Iterator[None]:
    choose_kernel.cache_clear()
    yield
    choose_kernel.cache_clear()


def kernels() -> list[Kernel]:
    return [BlasKernel(), choose_kernel()]


def resident(vectors: Float32, *, block_rows: int) -> ResidentCodes:
    return ResidentCodes(quantise_unit(vectors), fetch=vectors.__getitem__, block_rows=block_rows)


@settings(max_examples=examples(150))
@given(
    rows=st.integers(0, 40),
    probes=st.integers(0, 12),
    dimension=st.sampled_from([4, 128, 512]),
    threshold=st.sampled_from([-1.0, -0.2, 0.0, 0.1, 0.363, 0.9, 1.0]),
    block_rows=st.sampled_from([1, 7, 64]),
    workers=st.sampled_from([1, 2, 5]),
    kernel=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**16),
)
def test_i3_the_join_gives_exactly_the_defined_pairs(
    rows: int, probes: int, dimension: int, threshold: float, block_rows: int, workers: int, kernel: int, seed: int
) -> None:
    left, right = hard(rows, dimension, seed), hard(probes, dimension, seed + 1)
    mated(left, right, seed + 2)
    expected = everything(left, right, threshold)
    packed = pack_probes(right, kernel=kernels()[kernel])
    for stored in (resident(left, block_rows=block_rows), FreshVectors(left, block_rows=block_rows)):
        assert listed(join_pairs([stored], packed, threshold=threshold, workers=workers)) == expected
    assert listed(brute_force(left, right, threshold=threshold, block=7)) == expected


@pytest.mark.parametrize("dimension", [128, 512])
def test_i3_a_threshold_at_the_very_score_keeps_the_pair_and_one_ulp_above_drops_it(dimension: int) -> None:
    left, right = unit(300, dimension, 1), unit(5, dimension, 2)
    packed, stored = pack_probes(right), resident(left, block_rows=64)
    for row in range(0, 300, 37):
        score = pair_scores(left[row : row + 1], right[2:3])[0]
        at = join_pairs([stored], packed, threshold=float(score))
        above = join_pairs([stored], packed, threshold=float(np.nextafter(score, np.float32(2))))
        assert (row, 2) in zip(at.left.tolist(), at.right.tolist(), strict=True)
        assert (row, 2) not in zip(above.left.tolist(), above.right.tolist(), strict=True)


def test_parts_follow_each_other_through_all_stored_sides_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "PAIRS_AT_ONCE", 160)  # many small tasks
    monkeypatch.setattr(join, "RECHECKED_AT_ONCE", 11)
    left, right = unit(500, 16, 3), unit(10, 16, 4)
    sides = [resident(left[:130], block_rows=8), resident(left[130:131], block_rows=8), FreshVectors(left[131:])]
    parts = list(stream_pairs(sides, pack_probes(right), threshold=0.1, workers=3))
    assert len(parts) > 10
    assert max(len(part) for part in parts[:10]) <= 160
    assert [pair for part in parts for pair in listed(part)] == listed(
        brute_force(left, right, threshold=0.1, block=64)
    )


def test_more_probes_than_one_pack_holds_are_all_compared() -> None:
    left, right = unit(70, 16, 5), unit(2 * NumKongKernel.probes_per_pack + 3, 16, 6)
    found = join_pairs([resident(left, block_rows=32)], pack_probes(right), threshold=0.3)
    assert listed(found) == listed(brute_force(left, right, threshold=0.3, block=64))
    assert found.right.max() >= 2 * NumKongKernel.probes_per_pack


@pytest.mark.parametrize("dimension", [1, 16, 128, 512, 1040, 1041, 2000])
def test_both_kernels_multiply_codes_exactly(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    codes = random.integers(-127, 128, (50, dimension), dtype=np.int8)
    probes = random.integers(-127, 128, (9, dimension), dtype=np.int8)
    codes[0], probes[0], probes[1] = 127, 127, -127
    expected = codes.astype(np.int64) @ probes.T.astype(np.int64)
    for kernel in kernels():
        assert np.array_equal(kernel.products(codes, kernel.pack(probes), Scratch()), expected)


def test_without_the_library_the_plain_path_is_chosen(
    monkeypatch: pytest.MonkeyPatch, no_remembered_kernel: None
) -> None:
    monkeypatch.setitem(sys.modules, "numkong", None)
    assert choose_kernel().name == "blas"


def test_a_processor_without_integer_dot_products_takes_the_plain_path(
    monkeypatch: pytest.MonkeyPatch, no_remembered_kernel: None
) -> None:
    monkeypatch.setattr(first_pass, "DOT_INSTRUCTIONS", ())
    assert choose_kernel().name == "blas"


def test_a_kernel_that_multiplies_wrongly_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, no_remembered_kernel: None
) -> None:
    def wrong(self: NumKongKernel, codes: np.ndarray, packed: object, scratch: Scratch) -> np.ndarray:
        return np.zeros((len(codes), 17), dtype=np.int32)

    monkeypatch.setattr(first_pass, "DOT_INSTRUCTIONS", ("serial",))
    monkeypatch.setattr(NumKongKernel, "products", wrong)
    assert choose_kernel().name == "blas"


def test_i4_probes_that_are_not_unit_or_of_another_dimension_are_refused() -> None:
    bad = unit(3, 8, 0)
    bad[1] = 1e-20
    with pytest.raises(VectorError):
        pack_probes(bad)
    with pytest.raises(VectorError):
        FreshVectors(bad)
    with pytest.raises(ModelMismatchError):
        join_pairs([FreshVectors(unit(3, 8, 0))], pack_probes(unit(3, 16, 0)), threshold=0.3)


def test_i7_what_cannot_be_read_ends_the_join_loudly() -> None:
    class Broken(FreshVectors):
        def block(self, number: int) -> Block:
            if number == 3:
                raise CorruptionError("shard s is not what was written")
            return super().block(number)

    with pytest.raises(CorruptionError):
        join_pairs([Broken(unit(200, 8, 0), block_rows=16)], pack_probes(unit(3, 8, 1)), threshold=0.3, workers=2)


def test_only_candidates_have_their_vectors_fetched() -> None:
    left, right = unit(2000, 512, 1), unit(3, 512, 2)
    right[1] = left[1234]
    fetched: list[int] = []

    def fetch(rows: Int64) -> Float32:
        fetched.extend(rows.tolist())
        return left[rows]

    stored = ResidentCodes(quantise_unit(left), fetch=fetch, block_rows=256)
    assert join_pairs([stored], pack_probes(right), threshold=0.9).left.tolist() == [1234]
    assert fetched == [1234]
