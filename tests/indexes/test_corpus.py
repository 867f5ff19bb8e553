"""Shards: sealed, durable, and checked against the manifest whenever they are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embeddings.errors import CorruptionError, ModelMismatchError, VectorError
from embeddings.types import vector_column, vectors_of
from indexes.corpus import Corpus, ShardEntry, corpus_schema, with_newer_columns
from tests.searching import in_clear

KEY = bytes(range(32))


def faces(count: int, dimension: int = 16, seed: int = 0) -> pa.Table:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = [
        pa.array([f"item-{i}" for i in range(count)]),
        pa.array([bytes([i % 256]) * 32 for i in range(count)], type=pa.binary(32)),
        pa.array([0] * count, type=pa.int32()),
        pa.array(range(count), type=pa.int32()),
        *(pa.array([float(k)] * count, type=pa.float32()) for k in range(5)),
        pa.array(["fast"] * count),
        pa.array([None] * count, type=pa.float32()),
        vector_column(vectors),
    ]
    return pa.Table.from_arrays(columns, schema=corpus_schema(dimension))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path / "corpus")


def written(corpus: Corpus, table: pa.Table, shard_id: str = "s1") -> ShardEntry:
    return corpus.write(table, shard_id=shard_id, model_id="m", dimension=16, key=KEY, before_rename=lambda: None)


def test_a_shard_comes_back_as_it_was_written(corpus: Corpus) -> None:
    table = faces(100)
    entry = written(corpus, table)
    assert corpus.read(entry, key=KEY).equals(table)
    assert (entry.rows, entry.bytes) == (100, (corpus.folder / entry.path).stat().st_size)
    assert corpus.unlisted({entry.path}) == []


def test_i8_neither_vectors_nor_items_can_be_read_off_the_file(corpus: Corpus) -> None:
    table = faces(50)
    data = (corpus.folder / written(corpus, table).path).read_bytes()
    for secret in (b"item-1", vectors_of(table["vector"], 16)[3].tobytes(), b"vector"):
        assert not in_clear(secret, data)


def test_a_write_that_is_cut_off_leaves_no_file(corpus: Corpus) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpus.write(faces(5), shard_id="s1", model_id="m", dimension=16, key=KEY, before_rename=stop)
    assert corpus.unlisted(set()) == []


def test_writing_a_shard_again_replaces_it(corpus: Corpus) -> None:
    written(corpus, faces(5))
    entry = written(corpus, faces(7, seed=1))
    assert len(corpus.read(entry, key=KEY)) == 7
    assert len(list(corpus.folder.iterdir())) == 1


@pytest.mark.parametrize("position", [0, 3, 100, -1, -5, -100])
def test_i7_a_flipped_bit_anywhere_is_a_loud_error(corpus: Corpus, position: int) -> None:
    entry = written(corpus, faces(40))
    path = corpus.folder / entry.path
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="digest differs"):
        corpus.read(entry, key=KEY)


@pytest.mark.parametrize(
    "change", [{"model_id": "other"}, {"rows": 39}, {"dimension": 8}, {"shard_id": "s2"}, {"path": "gone.parquet"}]
)
def test_i7_a_manifest_entry_that_does_not_fit_the_file_is_a_loud_error(
    corpus: Corpus, change: dict[str, object]
) -> None:
    entry = written(corpus, faces(40))
    with pytest.raises(CorruptionError):
        corpus.read(replace(entry, **change), key=KEY)  # type: ignore[arg-type]


def test_i7_another_key_or_another_shards_file_does_not_open(corpus: Corpus) -> None:
    first, second = written(corpus, faces(40)), written(corpus, faces(40, seed=1), "s2")
    with pytest.raises(CorruptionError, match="seal or the key"):
        corpus.read(first, key=bytes(32))
    swapped = replace(first, path=second.path, sha256=second.sha256, bytes=second.bytes)
    with pytest.raises(CorruptionError, match="seal or the key"):
        corpus.read(swapped, key=KEY)


def test_i4_rows_of_another_dimension_or_with_bad_vectors_are_not_written(corpus: Corpus) -> None:
    with pytest.raises(ModelMismatchError):
        written(corpus, faces(3, dimension=8))
    bad = faces(3)
    zero = vector_column(np.zeros((3, 16), dtype=np.float32))
    with pytest.raises(VectorError):
        written(corpus, bad.set_column(bad.column_names.index("vector"), bad.schema.field("vector"), zero))


@pytest.mark.parametrize("lacking", [["view", "seconds"], ["seconds"]])
def test_an_older_shard_gets_empty_columns_for_what_was_not_recorded_then(lacking: list[str]) -> None:
    rows = faces(3)
    completed = with_newer_columns(rows.drop_columns(lacking), rows.schema)
    assert completed.schema == rows.schema
    assert [completed[name].null_count for name in lacking] == [3] * len(lacking)
    assert with_newer_columns(rows, rows.schema) is rows
