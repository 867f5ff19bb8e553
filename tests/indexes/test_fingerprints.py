"""Fingerprints against the oracle: every pair's bits counted; and digests against a dictionary (I3, I4, I7)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import ModelMismatchError, NotReadyError, VectorError
from embeddings.types import UInt8
from indexes import fingerprints
from indexes.fingerprints import Fingerprints, NearPairs, brute_force_near, hash_matrix
from tests.examples import examples

Listed = list[tuple[int, int, int]]


def hashes(count: int, seed: int) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def flipped(value: UInt8, bits: int, seed: int) -> UInt8:
    """``value`` (32,) with exactly ``bits`` of its 256 bits flipped."""
    unpacked = np.unpackbits(value)
    unpacked[np.random.default_rng(seed).choice(256, bits, replace=False)] ^= 1
    return np.packbits(unpacked)


def index_of(stored: UInt8) -> Fingerprints:
    return Fingerprints(stored, ids=[f"item{i}" for i in range(len(stored))], model_id="m")


def listed(pairs: NearPairs) -> Listed:
    return list(zip(pairs.probe.tolist(), pairs.row.tolist(), pairs.distances.tolist(), strict=True))


def everything(probes: UInt8, stored: UInt8, distance: int) -> Listed:
    """The definition with Python's own integers."""
    left, right = ([int.from_bytes(row.tobytes()) for row in side] for side in (probes, stored))
    found = [(i, j, (a ^ b).bit_count()) for i, a in enumerate(left) for j, b in enumerate(right)]
    return [pair for pair in found if pair[2] <= distance]


@settings(max_examples=examples(80))
@given(
    probes=st.integers(0, 30),
    stored=st.integers(1, 30),
    distance=st.sampled_from([0, 1, 30, 31, 32, 100, 128, 255, 256]),
    flips=st.lists(st.sampled_from([0, 1, 31, 32, 33, 255, 256]), max_size=12),
    segment=st.sampled_from([1, 7, 1 << 14]),
    seed=st.integers(0, 2**16),
)
def test_i3_the_index_and_brute_force_give_exactly_the_defined_pairs(
    probes: int, stored: int, distance: int, flips: list[int], segment: int, seed: int
) -> None:
    left, right = hashes(probes, seed), hashes(stored, seed + 1)
    right[stored // 2 :] = right[0]  # duplicates
    for row, bits in enumerate(flips[:probes]):
        left[row] = flipped(right[row % stored], bits, seed + row)
    expected = everything(left, right, distance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprints, "SEGMENT_ROWS", segment)
        assert listed(index_of(right).pairs(left, model_id="m", distance=distance)) == expected
    assert listed(brute_force_near(left, right, distance=distance, block=7)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_i3_distance_31_is_found_at_31_and_32_is_not(seed: int) -> None:
    stored = hashes(1, seed)
    probes = np.stack([flipped(stored[0], bits, seed) for bits in (31, 32)])
    assert listed(index_of(stored).pairs(probes, model_id="m", distance=31)) == [(0, 0, 31)]


def test_the_complement_of_a_hash_is_as_far_as_a_hash_can_be() -> None:
    stored = hashes(1, 0)
    index = index_of(stored)
    assert listed(index.pairs(~stored, model_id="m", distance=256)) == [(0, 0, 256)]
    assert len(index.pairs(~stored, model_id="m", distance=255)) == 0


def test_parts_follow_each_other_and_hold_no_more_pairs_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.repeat(hashes(1, 0), 10, axis=0)
    monkeypatch.setattr(fingerprints, "PAIRS_AT_ONCE", 40)
    monkeypatch.setattr(fingerprints, "FEWEST_PROBES", 1)
    parts = list(index_of(stored).stream(np.repeat(stored[:1], 11, axis=0), model_id="m", distance=0))
    assert [len(part) for part in parts] == [40, 40, 30]
    assert [pair for part in parts for pair in listed(part)] == [(i, j, 0) for i in range(11) for j in range(10)]


def test_no_probe_gives_no_pair_and_keeps_its_types() -> None:
    found = index_of(hashes(3, 0)).pairs(hashes(0, 1), model_id="m", distance=31)
    assert (len(found), found.probe.dtype, found.row.dtype, found.distances.dtype) == (0, np.int64, np.int64, np.int32)


def test_a_row_leads_to_the_id_it_was_stored_with() -> None:
    stored = hashes(50, 3)
    index = index_of(stored)
    found = index.pairs(stored[[41, 7]], model_id="m", distance=31)
    assert [index.ids[row] for row in found.row] == ["item41", "item7"]
    assert len(index) == 50


def test_i4_hashes_of_another_preparation_are_refused() -> None:
    with pytest.raises(ModelMismatchError, match="pdq-other"):
        index_of(hashes(3, 0)).pairs(hashes(1, 1), model_id="pdq-other", distance=31)


def test_i7_an_empty_index_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(NotReadyError, match="no fingerprints"):
        index_of(hashes(0, 0))


def test_i7_ids_that_do_not_fit_the_hashes_are_refused() -> None:
    with pytest.raises(NotReadyError, match="differ in number"):
        Fingerprints(hashes(2, 0), ids=["one"], model_id="m")


@pytest.mark.parametrize("bad", [np.zeros((2, 31), np.uint8), np.zeros((2, 32), np.int8), np.zeros(32, np.uint8)])
def test_hashes_of_another_shape_are_refused_on_both_sides(bad: UInt8) -> None:
    with pytest.raises(VectorError):
        index_of(bad)
    with pytest.raises(VectorError):
        index_of(hashes(2, 0)).pairs(bad, model_id="m", distance=31)


@pytest.mark.parametrize("distance", [-1, 257])
def test_a_distance_that_no_two_hashes_have_is_refused(distance: int) -> None:
    with pytest.raises(VectorError, match="from 0 to 256"):
        index_of(hashes(2, 0)).pairs(hashes(1, 1), model_id="m", distance=distance)


def test_bytes_become_a_matrix_and_only_32_of_them() -> None:
    stored = hashes(3, 0)
    assert np.array_equal(hash_matrix([row.tobytes() for row in stored]), stored)
    assert hash_matrix([]).shape == (0, 32)
    with pytest.raises(VectorError):
        hash_matrix([b"short"])
