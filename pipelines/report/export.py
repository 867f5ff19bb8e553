"""Writes hits and verdicts on models as CSV and Parquet, a row each, and the items not looked at as CSV.

Both forms have the fields of :class:`ReportHit` as columns, in that order, and the rows by hit id; or those of
:class:`ModelVerdict`, the most pressing first. Parquet keeps types and exact text.

A CSV is opened in spreadsheets, which run a cell that begins like a formula, and item ids are an uploader's (I9). The
program decides where cells end: one set to semicolons or tabs splits an id at those, even inside quotes. So an
apostrophe is put before whatever begins like a formula, at the start of a text and after any character that some
program takes for the end of a cell, as OWASP's page on CSV injection advises. :func:`original` removes the apostrophes.
Numbers are written as numbers. A program that treats apostrophes as quotes would swallow the mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.hits.verdicts import ModelVerdict
from pipelines.report.facts import ReportHit, UnscannedItem
from pipelines.text.spreadsheets import neutralised

_TIME: Final = pa.timestamp("us", tz="UTC")

HIT_SCHEMA: Final = pa.schema(
    [
        pa.field("hit_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("parent_model", pa.string()),
        pa.field("content_sha256", pa.string(), nullable=False),
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("tier", pa.string(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("threshold_source", pa.string(), nullable=False),
        pa.field("calibration_id", pa.string()),
        pa.field("reference_id", pa.string()),
        pa.field("place", pa.string()),
        pa.field("match", pa.string()),
        pa.field("seed_id", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("seconds", pa.float64()),
        pa.field("face", pa.int32()),
        pa.field("x1", pa.float64()),
        pa.field("y1", pa.float64()),
        pa.field("x2", pa.float64()),
        pa.field("y2", pa.float64()),
        pa.field("detector_score", pa.float64()),
        pa.field("view", pa.string()),
        pa.field("pictures", pa.int32()),
        pa.field("alone_score", pa.float64()),
        pa.field("second_opinion", pa.string()),
        pa.field("second_score", pa.float64()),
        pa.field("second_threshold", pa.float64()),
        pa.field("second_network", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("policy_version", pa.string(), nullable=False),
        pa.field("verdict", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("distinct_images", pa.int32()),
        pa.field("tiers", pa.string()),
        pa.field("decided_by", pa.string()),
        pa.field("priority", pa.int32()),
        pa.field("found_by", pa.string(), nullable=False),
        pa.field("found_at", _TIME, nullable=False),
        pa.field("judged_at", _TIME),
        pa.field("takedown_id", pa.string()),
        pa.field("takedown_state", pa.string()),
        pa.field("takedown_due_at", _TIME),
    ]
)
"""The Parquet file's schema. Null verdict: not judged; null takedown: none was ever asked for; null frame, face and
box: the evidence is no face."""

MODEL_SCHEMA: Final = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("generator_block", pa.bool_(), nullable=False),
        pa.field("priority", pa.int32(), nullable=False),
        pa.field("rating", pa.string(), nullable=False),
        pa.field("tiers", pa.string(), nullable=False),
        pa.field("images", pa.int32(), nullable=False),
        pa.field("images_with_face", pa.int32(), nullable=False),
        pa.field("distinct_images", pa.int32(), nullable=False),
        pa.field("best_score", pa.float64()),
        pa.field("median_score", pa.float64()),
        pa.field("policy_version", pa.string(), nullable=False),
        pa.field("judged_at", _TIME, nullable=False),
    ]
)
"""The Parquet file of verdicts on models. Null scores: no face was found in its images."""

UNSCANNED_COLUMNS: Final = tuple(UnscannedItem.__dataclass_fields__)


def write_hits_parquet(file: BinaryIO, hits: Sequence[ReportHit]) -> None:
    """Write the hits with :data:`HIT_SCHEMA`."""
    write_rows_parquet(file, HIT_SCHEMA, _rows(HIT_SCHEMA.names, hits))


def write_hits_csv(file: BinaryIO, hits: Iterable[ReportHit]) -> None:
    """Write the hits as UTF-8 CSV with a header line; null is an empty cell, times are ISO 8601."""
    _write_fields(file, HIT_SCHEMA.names, hits)


def write_models_parquet(file: BinaryIO, models: Sequence[ModelVerdict]) -> None:
    """Write the verdicts on models with :data:`MODEL_SCHEMA`."""
    write_rows_parquet(file, MODEL_SCHEMA, _rows(MODEL_SCHEMA.names, models))


def write_models_csv(file: BinaryIO, models: Iterable[ModelVerdict]) -> None:
    """Write the verdicts on models as CSV."""
    _write_fields(file, MODEL_SCHEMA.names, models)


def write_unscanned_csv(file: BinaryIO, unscanned: Iterable[UnscannedItem]) -> None:
    """Write the items that were not looked at, with the reason."""
    _write_fields(file, UNSCANNED_COLUMNS, unscanned)


def write_rows_csv(file: BinaryIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of any columns as CSV, in the same form."""
    _write_csv(file, names, rows)


def write_rows_parquet(file: BinaryIO, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as Parquet: a value for each field of ``schema``, in its order."""
    held = list(rows)
    columns = [pa.array([row[at] for row in held], type=field.type) for at, field in enumerate(schema)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), file, compression="zstd")


def _write_fields(file: BinaryIO, names: Sequence[str], rows: Iterable[object]) -> None:
    _write_csv(file, names, _rows(names, rows))


def _rows(names: Sequence[str], found: Iterable[object]) -> Iterator[list[Any]]:
    return ([getattr(one, name) for name in names] for one in found)


def _write_csv(file: BinaryIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(_cells(row) for row in rows)
    text.flush()
    text.detach()


def _cells(row: Sequence[Any]) -> Iterator[object]:
    for value in row:
        if isinstance(value, str):
            yield neutralised(value)
        elif isinstance(value, datetime):
            yield value.astimezone(UTC).isoformat()
        else:
            yield value
