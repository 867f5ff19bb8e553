"""Streams the rows of a manifest file, whatever they contain. Knows JSON Lines and Parquet, not what a row means."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from embeddings.errors import ConfigError, CorruptionError
from pipelines.sources.metadata import FIELDS, MAX_METADATA_BYTES, REVISION_FIELDS, parse_object

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = (*FIELDS, "path", "url", *REVISION_FIELDS)
_BATCH_ROWS: Final = 1_024
_BOM: Final = b"\xef\xbb\xbf"


class _Unreadable:
    """Stands for a cell that has no Python value: invalid UTF-8, a time beyond the calendar. Of no accepted type."""


_UNREADABLE: Final = _Unreadable()


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A row's number, from 1, and its known fields; None when the row is no JSON object."""

    number: int
    fields: Mapping[str, object] | None


def read_json_lines(path: Path) -> Iterator[Row]:
    """One row per line that is not blank, numbered by line. Memory is bounded by one line's limit, even from gzip.

    Raises :class:`CorruptionError` when the file cannot be read to its end.
    """
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_METADATA_BYTES + 1):
                number += 1
                if len(line) > MAX_METADATA_BYTES and not line.endswith(b"\n"):
                    _skip_line(stream)
                    yield Row(number, None)
                elif content := line.removeprefix(_BOM if number == 1 else b"").strip():
                    yield Row(number, _parse(content))
    except (OSError, EOFError, zlib.error):
        raise CorruptionError("the manifest cannot be read to its end") from None


def read_parquet(path: Path) -> Iterator[Row]:
    """One row per Parquet row, numbered from 1, reading only the known columns, a batch at a time.

    Raises :class:`ConfigError` without an ``id`` column and :class:`CorruptionError` for a file that cannot be read.
    """
    number = 0
    for batch in _batches(path):
        columns = {name: _values(batch.column(name)) for name in batch.schema.names}
        for index in range(batch.num_rows):
            number += 1
            yield Row(number, {name: values[index] for name, values in columns.items()})


def _parse(line: bytes) -> Mapping[str, object] | None:
    try:
        fields = parse_object(line)
    except ValueError:
        return None
    return {name: fields[name] for name in COLUMNS if name in fields}


def _skip_line(stream: IO[bytes] | gzip.GzipFile) -> None:
    while (part := stream.readline(MAX_METADATA_BYTES)) and not part.endswith(b"\n"):
        pass


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    from indexes.damage import DAMAGE

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) != len(names) or "id" not in names:
                raise ConfigError("the manifest needs distinct columns, one of them named id")
            columns = [name for name in COLUMNS if name in names]
            yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
    except DAMAGE:
        raise CorruptionError("the manifest cannot be read to its end") from None


def _values(column: pa.Array) -> list[object]:
    """Python values of a column; a cell that has none costs only itself."""
    import pyarrow as pa

    from indexes.damage import DAMAGE

    try:
        if pa.types.is_timestamp(column.type):  # nanoseconds have no Python type, and a zone's name may be unknown
            unit = "us" if column.type.unit == "ns" else column.type.unit
            column = column.cast(pa.timestamp(unit, column.type.tz and "UTC"), safe=False)
        values: list[object] = column.to_pylist()
    except DAMAGE:
        return [_value(cell) for cell in column]
    return values


def _value(cell: pa.Scalar) -> object:
    from indexes.damage import DAMAGE

    try:
        value: object = cell.as_py()
    except DAMAGE:
        return _UNREADABLE
    return value
