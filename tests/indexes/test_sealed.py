"""Sealed vector files: what comes back is what was written, and anything else is loud (I3, I7, I8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import CorruptionError, VectorError
from indexes import sealed
from indexes.first_pass import pack_probes
from indexes.join import brute_force, join_pairs
from indexes.sealed import (
    HEADER,
    ROWS_PER_BLOCK,
    VECTORS_PER_CHUNK,
    SealedEntry,
    SealedVectors,
    VectorType,
    stored_form,
    write_sealed,
)
from indexes.stored import ResidentCodes
from tests.indexes.vectors import listed, unit
from tests.searching import in_clear

KEY = bytes(range(32))
SHARD = "shard-7b1e02c9d4"
"""Long enough that no sealed file contains it by chance."""


def written(
    folder: Path, rows: int, *, seed: int = 0, dimension: int = 20, vector_type: VectorType = "float16"
) -> SealedEntry:
    return write_sealed(
        folder,
        unit(rows, dimension, seed),
        shard_id=SHARD,
        model_id="m",
        key=KEY,
        vector_type=vector_type,
        before_rename=lambda: None,
    )


def read_all(folder: Path, entry: SealedEntry, key: bytes = KEY) -> None:
    with SealedVectors(folder, entry, key=key) as stored:
        stored.codes()
        stored.vectors(np.arange(entry.rows))


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, ROWS_PER_BLOCK, ROWS_PER_BLOCK + 1, 2 * ROWS_PER_BLOCK + 37])
@pytest.mark.parametrize("vector_type", ["float16", "float32"])
def test_i3_a_join_from_the_file_is_brute_force_over_the_stored_form(
    tmp_path: Path, rows: int, vector_type: VectorType
) -> None:
    entry = written(tmp_path, rows, vector_type=vector_type)
    vectors, probes = stored_form(unit(rows, 20, 0), vector_type), unit(5, 20, 1)
    expected = listed(brute_force(vectors, probes, threshold=0.3, block=512))
    assert entry.bytes == (tmp_path / entry.path).stat().st_size
    with SealedVectors(tmp_path, entry, key=KEY) as stored:
        kept = ResidentCodes(stored.codes(), fetch=stored.vectors)
        for side in (stored, kept):
            assert listed(join_pairs([side], pack_probes(probes), threshold=0.3, workers=2)) == expected
        some = np.arange(0, rows, 7)
        assert np.array_equal(stored.vectors(some), vectors[some])


def test_i7_a_flipped_bit_anywhere_is_a_loud_error(tmp_path: Path) -> None:
    entry = written(tmp_path, 50)
    path = tmp_path / entry.path
    whole = path.read_bytes()
    for position in [*range(0, len(whole), 61), len(whole) - 1]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptionError):
            read_all(tmp_path, entry)


def test_i7_a_shorter_a_missing_or_an_older_file_is_a_loud_error(tmp_path: Path) -> None:
    older = written(tmp_path, 50)
    old = (tmp_path / older.path).read_bytes()
    entry = written(tmp_path, 50)
    for data in (old, old[:-1], b""):
        (tmp_path / entry.path).write_bytes(data)
        with pytest.raises(CorruptionError):
            SealedVectors(tmp_path, entry, key=KEY)
    with pytest.raises(CorruptionError):
        SealedVectors(tmp_path, replace(entry, path="gone"), key=KEY)


def test_i7_chunks_in_another_order_do_not_open(tmp_path: Path) -> None:
    entry = written(tmp_path, 64)
    path = tmp_path / entry.path
    data, chunk = path.read_bytes(), VECTORS_PER_CHUNK * 20 * 2 + 16
    path.write_bytes(data[: -2 * chunk] + data[-chunk:] + data[-2 * chunk : -chunk])
    with (
        pytest.raises(CorruptionError, match="not what was written"),
        SealedVectors(tmp_path, entry, key=KEY) as stored,
    ):
        stored.vectors(np.arange(64))


def test_a_file_with_blocks_of_another_size_is_read_by_what_it_says_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "ROWS_PER_BLOCK", 16)
    entry = written(tmp_path, 50)
    monkeypatch.undo()
    probes = unit(5, 20, 1)
    expected = listed(brute_force(stored_form(unit(50, 20, 0), "float16"), probes, threshold=0.2, block=512))
    with SealedVectors(tmp_path, entry, key=KEY) as stored:
        assert listed(join_pairs([stored], pack_probes(probes), threshold=0.2, workers=2)) == expected
        assert len(stored.codes()) == 50


@pytest.mark.parametrize("block_rows", [0, 2**32 - 1])
def test_i7_a_file_that_says_it_has_blocks_of_no_or_any_number_of_rows_is_a_loud_error(
    tmp_path: Path, block_rows: int
) -> None:
    entry = written(tmp_path, 50)
    path = tmp_path / entry.path
    values = list(HEADER.unpack(path.read_bytes()[: HEADER.size]))
    values[4] = block_rows
    path.write_bytes(HEADER.pack(*values) + path.read_bytes()[HEADER.size :])
    with pytest.raises(CorruptionError, match="not the file"):
        SealedVectors(tmp_path, entry, key=KEY)


@pytest.mark.parametrize("change", [{"model_id": "other"}, {"shard_id": "s2"}])
def test_i7_an_entry_of_another_shard_or_model_or_another_key_does_not_open(
    tmp_path: Path, change: dict[str, str]
) -> None:
    entry = written(tmp_path, 20)
    wrong = [(replace(entry, **change), KEY), (entry, bytes(32))]  # type: ignore[arg-type]
    for listed_entry, key in wrong:
        with pytest.raises(CorruptionError):
            read_all(tmp_path, listed_entry, key)


def test_i7_a_file_cut_while_it_is_open_is_a_loud_error(tmp_path: Path) -> None:
    entry = written(tmp_path, 50)
    with SealedVectors(tmp_path, entry, key=KEY) as stored:
        with (tmp_path / entry.path).open("r+b") as file:
            file.truncate(entry.bytes - 5)
        with pytest.raises(CorruptionError, match="too early"):
            stored.vectors(np.array([49]))


def test_i8_neither_vectors_nor_codes_nor_names_can_be_read_off_the_file(tmp_path: Path) -> None:
    entry = written(tmp_path, 100)
    vectors = stored_form(unit(100, 20, 0), "float16")
    with SealedVectors(tmp_path, entry, key=KEY) as stored:
        code = stored.codes().codes[3].tobytes()
    data = (tmp_path / entry.path).read_bytes()
    for secret in (code, vectors[3].astype(np.float16).tobytes(), vectors[3].tobytes(), SHARD.encode()):
        assert not in_clear(secret, data[100:])


def test_writing_again_is_sealed_anew_and_a_cut_off_write_leaves_nothing(tmp_path: Path) -> None:
    first = written(tmp_path, 20)
    data = (tmp_path / first.path).read_bytes()
    second = written(tmp_path, 20)
    again = (tmp_path / second.path).read_bytes()
    assert first.salt != second.salt
    assert data[-100:] != again[-100:]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sealed(
            tmp_path,
            unit(3, 20, 1),
            shard_id="s2",
            model_id="m",
            key=KEY,
            vector_type="float32",
            before_rename=stop,
        )
    assert [path.name for path in tmp_path.iterdir()] == [second.path]


def test_i4_vectors_that_are_not_unit_are_not_written(tmp_path: Path) -> None:
    for value in (np.nan, 0.0, 1e-20):
        bad = unit(3, 20, 0)
        bad[1] = value
        with pytest.raises(VectorError):
            write_sealed(
                tmp_path,
                bad,
                shard_id=SHARD,
                model_id="m",
                key=KEY,
                vector_type="float16",
                before_rename=lambda: None,
            )
    assert list(tmp_path.iterdir()) == []
