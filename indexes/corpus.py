"""The corpus: face embeddings of live items in sealed shards.

A shard is written to a temporary name, fsynced, renamed, and exists for readers only once the manifest lists it. It is
sealed by Parquet Modular Encryption (AES-256-GCM, one key per shard, the shard's identity as associated data) and
checked whole against the manifest's digest whenever it is read: anything else than what was written is a
:class:`CorruptionError`, never an empty answer.

A shard has one of three forms. A scan writes one Parquet file. Compaction writes two (*apart*): the vectors in a file
made for the join (:mod:`indexes.sealed`), everything else in Parquet, which a search opens only for what it found. And
a shard may keep *nothing*: then its entry names no file, and its faces are embedded again when they are needed.
The vectors are the same float32 in both forms, so no score depends on the form (I3).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embeddings.errors import CorruptionError, ModelMismatchError, StateError
from embeddings.types import check_unit, face_schema, vector_column, vectors_of
from indexes.durable import durable_file, fsync_folder
from indexes.sealed import SealedEntry, SealedVectors, write_sealed

if TYPE_CHECKING:
    import pyarrow as pa

PREFETCHED = 1 << 25
"""Bytes of the next shard that are read ahead: what a pass needs until the read-ahead within the shard takes over."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What the manifest says about one shard. ``path`` is relative to the corpus folder, None if nothing is kept.
    ``rows``: faces, or CLIP vectors of frames.

    ``vector_salt``, in hex, names the writing of the file that holds the vectors apart; None if they are in ``path``.
    """

    shard_id: str
    model_id: str
    dimension: int
    path: str | None
    sha256: str | None
    bytes: int
    rows: int
    vector_salt: str | None = None
    vector_bytes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files in the corpus folder."""
        if self.path is None:
            return ()
        return (self.path,) if self.vector_salt is None else (self.path, f"{self.shard_id}.vectors")

    @property
    def stored_bytes(self) -> int:
        """Size of all its files in bytes."""
        return self.bytes + self.vector_bytes if self.path else 0

    def without_files(self) -> ShardEntry:
        """This entry once none of the shard's files is kept."""
        return replace(self, path=None, sha256=None, bytes=0, vector_salt=None, vector_bytes=0)

    def sealed(self) -> SealedEntry:
        """Return the entry of the file that holds the vectors, for :mod:`indexes.sealed`."""
        if self.vector_salt is None:
            raise StateError(f"shard {self.shard_id} has no file of vectors")
        return SealedEntry(
            shard_id=self.shard_id,
            model_id=self.model_id,
            dimension=self.dimension,
            rows=self.rows,
            path=f"{self.shard_id}.vectors",
            salt=bytes.fromhex(self.vector_salt),
            bytes=self.vector_bytes,
            vector_type="float32",
        )


def corpus_schema(dimension: int) -> pa.Schema:
    """One row per face of one item: ``item_id`` before the columns of :func:`embeddings.types.face_schema`."""
    import pyarrow as pa

    return pa.schema([pa.field("item_id", pa.string(), nullable=False), *face_schema(dimension)])


def with_newer_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Add what a ``table`` of an older shard lacks, ``view`` and ``seconds``, null in all rows, where ``schema`` has
    it."""
    import pyarrow as pa

    for name in ("view", "seconds"):
        if name in schema.names and name not in table.column_names:
            field = schema.field(name)
            table = table.add_column(schema.get_field_index(name), field, pa.nulls(len(table), field.type))
    return table


class Corpus:
    """The folder of shards."""

    def __init__(self, folder: Path, *, schema: Callable[[int], pa.Schema] = corpus_schema) -> None:
        """``schema`` gives the Arrow schema of a shard's rows for a dimension; it has a column ``vector``."""
        self.folder = folder
        self.schema = schema

    def write(
        self,
        faces: pa.Table,
        *,
        shard_id: str,
        model_id: str,
        dimension: int,
        key: bytes,
        before_rename: Callable[[], None],
        apart: bool = False,
    ) -> ShardEntry:
        """Write one shard durably and return its manifest entry. ``faces`` has :func:`corpus_schema`.

        ``apart``: with the vectors in a file of their own. The same ``shard_id`` written again replaces the files: a
        shard that a crash kept out of the manifest leaves nothing behind once its batch is done again. Raises
        :class:`VectorError` for vectors that are not unit.
        """
        if faces.schema != self.schema(dimension):
            raise ModelMismatchError("these rows do not have the corpus schema of this dimension")
        vectors = check_unit(vectors_of(faces["vector"], dimension))
        salt, vector_bytes = None, 0
        if apart:
            sealed = write_sealed(
                self.folder,
                vectors,
                shard_id=shard_id,
                model_id=model_id,
                key=key,
                vector_type="float32",
                before_rename=before_rename,
            )
            salt, vector_bytes = sealed.salt.hex(), sealed.bytes
            faces = faces.drop_columns(["vector"])
        name = f"{shard_id}.parquet"
        data = _sealed_bytes(faces, _identity(shard_id, model_id, dimension, len(faces)), key)
        with durable_file(self.folder / name, before_rename=before_rename) as file:
            file.write(data)
        digest, size = hashlib.sha256(data).hexdigest(), data.size
        return ShardEntry(shard_id, model_id, dimension, name, digest, size, len(faces), salt, vector_bytes)

    def read(self, entry: ShardEntry, *, key: bytes) -> pa.Table:
        """Return the shard's rows, or :class:`CorruptionError` unless they are exactly what the manifest lists."""
        table = self.read_rows(entry, key=key)
        schema = self.schema(entry.dimension)
        if entry.vector_salt is not None:
            with self.open_vectors(entry, key=key) as sealed:
                vectors = sealed.vectors(np.arange(entry.rows, dtype=np.int64))
            table = table.append_column("vector", vector_column(vectors)).select(schema.names).cast(schema)
        check_unit(vectors_of(table["vector"], entry.dimension))
        return table

    def read_rows(self, entry: ShardEntry, *, key: bytes) -> pa.Table:
        """:meth:`read` without the column ``vector`` where the vectors are apart: for what a search found."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        import pyarrow.parquet.encryption as pe

        from indexes.damage import DAMAGE

        if entry.path is None:
            raise StateError(f"nothing is kept of shard {entry.shard_id}")
        path = self.folder / entry.path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorruptionError(f"shard {entry.shard_id} is listed and cannot be read") from error
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CorruptionError(f"shard {entry.shard_id} is not what was written: its digest differs")
        identity = _identity(entry.shard_id, entry.model_id, entry.dimension, entry.rows)
        properties = pe.create_decryption_properties(footer_key=key, aad_prefix=identity)
        try:
            table = pq.read_table(pa.BufferReader(data), decryption_properties=properties)
        except DAMAGE as error:
            raise CorruptionError(f"shard {entry.shard_id} cannot be opened: its seal or the key differs") from error
        table = table.replace_schema_metadata(None)
        schema = self.schema(entry.dimension)
        if entry.vector_salt is not None:
            schema = schema.remove(schema.get_field_index("vector"))
        table = with_newer_columns(table, schema)
        if table.schema != schema or len(table) != entry.rows:
            raise CorruptionError(f"shard {entry.shard_id} does not hold the rows the manifest lists")
        return table

    def open_vectors(self, entry: ShardEntry, *, key: bytes) -> SealedVectors:
        """Return the vectors that lie apart, row for row those of :meth:`read_rows`, as a side of a join. Close it."""
        return SealedVectors(self.folder, entry.sealed(), key=key)

    def prefetch(self, entry: ShardEntry) -> None:
        """Ask the system to read a shard's files while another one is compared."""
        for name in entry.files:
            with contextlib.suppress(OSError):
                descriptor = os.open(self.folder / name, os.O_RDONLY)
                try:
                    if hasattr(os, "posix_fadvise"):
                        os.posix_fadvise(descriptor, 0, PREFETCHED, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(descriptor)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files, durably, if they are there. Copies in snapshots and backups are out of reach."""
        names = list(names)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        if names and self.folder.exists():
            fsync_folder(self.folder)

    def unlisted(self, listed: set[str]) -> list[Path]:
        """Files in the folder that the manifest does not list: remains of interrupted writes."""
        if not self.folder.exists():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_file() and path.name not in listed)


def _identity(shard_id: str, model_id: str, dimension: int, faces: int) -> bytes:
    return json.dumps([shard_id, model_id, dimension, faces]).encode()


def _sealed_bytes(faces: pa.Table, identity: bytes, key: bytes) -> pa.Buffer:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe

    properties = pe.create_encryption_properties(footer_key=key, aad_prefix=identity, store_aad_prefix=False)
    sink = pa.BufferOutputStream()
    pq.write_table(
        faces, sink, compression="none", use_dictionary=False, write_statistics=False, encryption_properties=properties
    )
    return sink.getvalue()
