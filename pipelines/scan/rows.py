"""Results of embedding by content, and the rows of a shard by item. Knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from embeddings.types import Content, ShardEmbeddings, face_schema
from indexes.corpus import corpus_schema


@dataclass(frozen=True, slots=True)
class Scanned:
    """Status rows and faces (face schema) by content digest."""

    statuses: dict[bytes, dict[str, Any]]
    faces: dict[bytes, pa.Table]


def merge(known: Scanned, result: ShardEmbeddings, dimension: int) -> Scanned:
    """Join what was known before with what was embedded now."""
    statuses = dict(known.statuses)
    faces = dict(known.faces)
    for row in result.statuses.to_pylist():
        digest = row.pop("content_sha256")
        statuses[digest] = row
        faces[digest] = face_schema(dimension).empty_table()
    start = 0
    for digest, rows in groupby(result.faces["content_sha256"].to_pylist()):  # faces come in order of their contents
        count = sum(1 for _ in rows)
        faces[digest] = result.faces.slice(start, count)
        start += count
    return Scanned(statuses, faces)


def corpus_rows(batch: Sequence[tuple[str, Content | None]], scanned: Scanned, dimension: int) -> pa.Table:
    """Return the faces of a batch of items, once per item even where items share a content."""
    tables, owners, counts = [face_schema(dimension).empty_table()], [], []
    for item_id, content in batch:
        if content and len(faces := scanned.faces[content.sha256]):
            tables.append(faces)
            owners.append(item_id)
            counts.append(len(faces))
    joined = pa.concat_tables(tables).combine_chunks()
    item_ids = pa.array(np.repeat(np.array(owners, dtype=object), counts), type=pa.string())
    return pa.Table.from_arrays([item_ids, *joined.columns], schema=corpus_schema(dimension))
