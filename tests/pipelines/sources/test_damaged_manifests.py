"""A Parquet manifest in which bits have flipped is read or refused by name, and never ends a run with a traceback."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError
from pipelines.sources.rows import read_parquet
from tests.examples import examples

TABLE = pa.table(
    {
        "id": ["a", "b", "c"] * 20,
        "path": ["x", "y", "z"] * 20,
        "received_at": pa.array([datetime(2026, 1, 1)] * 60, pa.timestamp("ns")),
        "tags": [["q"], ["w", "e"], None] * 20,
    }
)


def written(compression: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(TABLE, buffer, compression=compression)
    return buffer.getvalue()


FLIP = st.tuples(st.integers(0, 2**20), st.integers(0, 7))
WHOLE = {compression: written(compression) for compression in ("none", "snappy")}


@settings(max_examples=examples(300))
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=3),
)
@example("none", [(0, 0)])
def test_a_manifest_with_flipped_bits_is_read_or_corrupt(
    tmp_path_factory: pytest.TempPathFactory, compression: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE[compression])
    for at, bit in flips:
        data[at % len(data)] ^= 1 << bit
    file = tmp_path_factory.getbasetemp() / "flipped.parquet"
    file.write_bytes(data)
    with suppress(CorruptionError, ConfigError):
        list(read_parquet(file))


def test_a_column_whose_name_is_no_text_makes_a_manifest_corrupt(tmp_path: Path) -> None:
    file = tmp_path / "named.parquet"
    file.write_bytes(WHOLE["none"].replace(b"path", b"p\xffth"))
    with pytest.raises(CorruptionError, match="cannot be read"):
        list(read_parquet(file))
