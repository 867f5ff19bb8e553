"""Streams the rows of a manifest file, whatever they contain. Knows JSON Lines and Parquet, not what a row means."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from embeddings.errors import ConfigError, CorruptionError
from pipelines.sources.json_rows import merged, read_objects
from pipelines.sources.metadata import FIELDS, MAX_METADATA_BYTES, REVISION_FIELDS
from pipelines.sources.values import UNREADABLE

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = (*FIELDS, "path", "url", *REVISION_FIELDS)
BROKEN: Final = "row"
"""Stands among the bad fields for the row itself, which could be read in part only."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_BATCH_ROWS: Final = 1_024
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A row's number, from 1, and its known fields; None when the row is no JSON object.

    ``bad``: fields that occur more than once, and :data:`BROKEN` for a row that could be read in part only.
    """

    number: int
    fields: Mapping[str, object] | None
    bad: tuple[str, ...] = ()


def read_json_lines(path: Path, *, every: bool = False) -> Iterator[Row]:
    """Yield one row per line that is not blank, numbered by line; several where a line break between objects is
    missing.

    ``every``: unknown fields too, where the line is sound. Memory is bounded by one line's limit, even
    from gzip. Raises :class:`CorruptionError` when the file cannot be read to its end.
    """
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_METADATA_BYTES + 1):
                number += 1
                if cut := len(line) > MAX_METADATA_BYTES and not line.endswith(b"\n"):
                    _skip_line(stream)
                if content := line.removeprefix(_BOM if number == 1 else b"").strip():
                    yield from _rows(number, content, cut=cut, every=every)
    except (OSError, EOFError, zlib.error):
        raise CorruptionError("the manifest cannot be read to its end") from None


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield one row per Parquet row, numbered from 1, reading only the known columns, a batch at a time.

    Raises :class:`ConfigError` without an ``id`` column and :class:`CorruptionError` for a file that cannot be read.
    """
    number = 0
    for batch in _batches(path):
        columns = {name: _values(batch.column(name)) for name in batch.schema.names}
        for index in range(batch.num_rows):
            number += 1
            yield Row(number, {name: values[index] for name, values in columns.items()})


def parquet_generation(path: Path) -> str | None:
    """Return the ``generation`` in a Parquet file's key-value metadata, as text; None without one.

    Raises :class:`CorruptionError` for a file that cannot be read.
    """
    import pyarrow.parquet as pq

    from indexes.damage import DAMAGE

    try:
        with pq.ParquetFile(path) as file:
            found = (file.schema_arrow.metadata or {}).get(b"generation")
            return None if found is None else found.decode("utf-8", "replace")
    except DAMAGE:
        raise CorruptionError("the manifest cannot be read to its end") from None


def other_fields(path: Path, *, parquet: bool, most: int) -> dict[str, int]:
    """Count the fields that nothing reads in a manifest's first ``most`` rows, by name.

    Only keys that look like names of fields count: a key may be anybody's text. Raises :class:`CorruptionError` for a
    file that cannot be read.
    """
    if parquet:
        import pyarrow.parquet as pq

        from indexes.damage import DAMAGE

        try:
            names: list[str] = pq.read_schema(path).names
            counts = Counter(dict.fromkeys(names, min(pq.read_metadata(path).num_rows, most)))
        except DAMAGE:
            raise CorruptionError("the manifest cannot be read to its end") from None
    else:
        counts = Counter(name for row in islice(read_json_lines(path, every=True), most) for name in row.fields or ())
    return {name: count for name, count in sorted(counts.items()) if name not in COLUMNS and _NAME.fullmatch(name)}


def _rows(number: int, content: bytes, *, cut: bool, every: bool) -> Iterator[Row]:
    objects = read_objects(content, None if every else COLUMNS, cut=cut)
    if not objects:
        yield Row(number, None)
    for one in objects:
        fields, repeated = merged(one.pairs)
        nothing = not fields and not one.whole
        yield Row(number, None if nothing else fields, repeated if one.whole else (*repeated, BROKEN))


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
    """Return the Python values of a column; a cell without one becomes :class:`Unreadable`."""
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
    """Return the value of a cell; bytes of a text that are not UTF-8 become lone surrogates."""
    import pyarrow as pa

    from indexes.damage import DAMAGE

    try:
        value: object = cell.as_py()
    except DAMAGE:
        try:
            if pa.types.is_string(cell.type) or pa.types.is_large_string(cell.type):
                return cell.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
        except DAMAGE:
            pass
        return UNREADABLE
    return value
