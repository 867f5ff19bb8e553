"""The manifest of CLIP vectors: which shards exist and what they hold; :mod:`pipelines.corpus.manifest` is for faces.

A shard exists for readers from the transaction that lists it. Each row carries a MAC, and content that names a shard
which is not listed is an error.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from embeddings.types import Description, vector_column
from indexes.corpus import ShardEntry
from pipelines.database.tables import content_shards, contents
from pipelines.home.content_models import content_schema
from pipelines.home.sealing import Sealer
from pipelines.home.workspace import Workspace


def list_content_shards(connection: Connection, sealer: Sealer) -> list[ShardEntry]:
    """Return all listed shards, oldest first. Raises :class:`CorruptionError` for an altered or lost row."""
    lost = connection.execute(
        sa.select(sa.func.count())
        .select_from(contents.outerjoin(content_shards, content_shards.c.shard_id == contents.c.clip_shard_id))
        .where(contents.c.clip_shard_id.is_not(None), content_shards.c.shard_id.is_(None))
    ).scalar_one()
    if lost:
        raise CorruptionError(f"{lost} contents name shards that the manifest does not list: restore from a backup")
    listed = []
    query = sa.select(content_shards).order_by(content_shards.c.created_at, content_shards.c.shard_id)
    for row in connection.execute(query):
        entry = ShardEntry(row.shard_id, row.model_id, row.dimension, row.path, row.sha256, row.bytes, row.vectors)
        if row.seal != _seal(sealer, entry):
            raise CorruptionError("a manifest row is not what was written: restore the database from a backup")
        listed.append(entry)
    return listed


def insert_content_shard(tx: Connection, sealer: Sealer, entry: ShardEntry, *, now: datetime) -> None:
    """List a shard that has been written."""
    tx.execute(
        sa.insert(content_shards).values(
            shard_id=entry.shard_id,
            model_id=entry.model_id,
            dimension=entry.dimension,
            path=entry.path,
            sha256=entry.sha256,
            bytes=entry.bytes,
            vectors=entry.rows,
            created_at=now,
            seal=_seal(sealer, entry),
        )
    )


def write_content_shard(workspace: Workspace, described: Sequence[Description], *, model_id: str) -> ShardEntry | None:
    """Write the vectors of ``described`` as one sealed shard; None when there are none.

    Its id follows from the contents, so that a repeat after a crash replaces the file.
    """
    with_vectors = [one for one in described if len(one.vectors)]
    if not with_vectors:
        return None
    vectors = np.concatenate([one.vectors for one in with_vectors])
    dimension = vectors.shape[1]
    counts = [len(one.vectors) for one in with_vectors]
    digests = np.repeat(np.array([one.sha256.hex() for one in with_vectors]), counts)
    rows = pa.Table.from_arrays(
        [
            pa.array([bytes.fromhex(digest) for digest in digests], type=pa.binary(32)),
            pa.array([frame for one in with_vectors for frame in one.frames], type=pa.int32()),
            vector_column(vectors),
        ],
        schema=content_schema(dimension),
    )
    shard_id = _shard_id(workspace, model_id, [one.sha256.hex() for one in with_vectors])
    entry = workspace.content_corpus.write(
        rows,
        shard_id=shard_id,
        model_id=model_id,
        dimension=dimension,
        key=workspace.sealer.shard_key(shard_id),
        before_rename=lambda: workspace.failpoints.pass_by("before_shard_rename"),
    )
    workspace.failpoints.pass_by("after_shard_rename")
    return entry


def clip_vectors(workspace: Workspace, entry: ShardEntry) -> pa.Table:
    """Return the rows of one listed shard (``content_schema``), checked against the manifest."""
    return workspace.content_corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id))


def remove_superseded(workspace: Workspace) -> None:
    """Unlist shards that no content names any more, then delete unlisted files, remains of interrupted writes
    included."""
    named = sa.select(contents.c.clip_shard_id).where(contents.c.clip_shard_id.is_not(None))
    with workspace.database.write() as tx:
        tx.execute(sa.delete(content_shards).where(content_shards.c.shard_id.not_in(named)))
    with workspace.database.read() as connection:
        listed = {name for entry in list_content_shards(connection, workspace.sealer) for name in entry.files}
    for path in workspace.content_corpus.unlisted(listed):
        if path.suffix in (".parquet", ".tmp"):
            path.unlink(missing_ok=True)


def _shard_id(workspace: Workspace, model_id: str, digests: list[str]) -> str:
    """The first id of these contents that is not listed: a model that was used before may come back."""
    with workspace.database.read() as connection:
        listed = set(connection.execute(sa.select(content_shards.c.shard_id)).scalars())
    names = (json.dumps(["content", model_id, digests, repeat]) for repeat in itertools.count())
    ids = (hashlib.sha256(name.encode()).hexdigest()[:32] for name in names)
    return next(shard_id for shard_id in ids if shard_id not in listed)


def _seal(sealer: Sealer, entry: ShardEntry) -> str:
    fields: list[str | int | float | None] = [
        "content",
        entry.shard_id,
        entry.model_id,
        entry.dimension,
        entry.path,
        entry.sha256,
        entry.bytes,
        entry.rows,
    ]
    return sealer.manifest_seal(fields)
