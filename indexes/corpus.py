"""The corpus: face embeddings of live items in sealed Parquet shards (DESIGN 5).

A shard is written to a temporary name, fsynced, renamed, and exists for readers only once the manifest lists it. It is
sealed by Parquet Modular Encryption (AES-256-GCM, one key per shard, the shard's identity as associated data) and
checked whole against the manifest's digest whenever it is read: anything else than what was written is a
:class:`CorruptionError`, never an empty answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from embeddings.errors import CorruptionError, ModelMismatchError
from embeddings.types import check_unit, face_schema, vectors_of


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What the manifest says about one shard. ``path`` is relative to the corpus folder."""

    shard_id: str
    model_id: str
    dimension: int
    path: str
    sha256: str
    bytes: int
    faces: int


def corpus_schema(dimension: int) -> pa.Schema:
    """One row per face of one item: ``item_id`` before the columns of :func:`embeddings.types.face_schema`."""
    return pa.schema([pa.field("item_id", pa.string(), nullable=False), *face_schema(dimension)])


def with_view(table: pa.Table) -> pa.Table:
    """``table`` with the column ``view``, which shards from before there were views lack: null in all rows."""
    if "view" in table.column_names:
        return table
    return table.add_column(table.column_names.index("vector"), "view", pa.nulls(len(table), pa.string()))


class Corpus:
    """The folder of shards."""

    def __init__(self, folder: Path, *, schema: Callable[[int], pa.Schema] = corpus_schema) -> None:
        """``schema``: of a shard's rows for a dimension; it has a column ``vector``."""
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
    ) -> ShardEntry:
        """Write one shard durably and return its manifest entry. ``faces`` has :func:`corpus_schema`.

        The same ``shard_id`` written again replaces the file: a shard that a crash kept out of the manifest leaves
        nothing behind once its batch is done again. Raises :class:`VectorError` for vectors that are not unit.
        """
        if faces.schema != self.schema(dimension):
            raise ModelMismatchError("these rows do not have the corpus schema of this dimension")
        check_unit(vectors_of(faces["vector"], dimension))
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{shard_id}.parquet"
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        try:
            digest, size = _write_sealed(temporary, faces, _identity(shard_id, model_id, dimension, len(faces)), key)
            before_rename()
            temporary.replace(self.folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _fsync_folder(self.folder)
        return ShardEntry(
            shard_id=shard_id,
            model_id=model_id,
            dimension=dimension,
            path=name,
            sha256=digest,
            bytes=size,
            faces=len(faces),
        )

    def read(self, entry: ShardEntry, *, key: bytes) -> pa.Table:
        """The shard's rows, or :class:`CorruptionError` unless they are exactly what the manifest lists."""
        path = self.folder / entry.path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorruptionError(f"shard {entry.shard_id} is listed and cannot be read") from error
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CorruptionError(f"shard {entry.shard_id} is not what was written: its digest differs")
        identity = _identity(entry.shard_id, entry.model_id, entry.dimension, entry.faces)
        properties = pe.create_decryption_properties(footer_key=key, aad_prefix=identity)
        try:
            table = pq.read_table(pa.BufferReader(data), decryption_properties=properties)
        except (OSError, pa.ArrowException) as error:
            raise CorruptionError(f"shard {entry.shard_id} cannot be opened: its seal or the key differs") from error
        table = table.replace_schema_metadata(None)
        if "view" in self.schema(entry.dimension).names:
            table = with_view(table)
        if table.schema != self.schema(entry.dimension) or len(table) != entry.faces:
            raise CorruptionError(f"shard {entry.shard_id} does not hold the rows the manifest lists")
        check_unit(vectors_of(table["vector"], entry.dimension))
        return table

    def unlisted(self, listed: set[str]) -> list[Path]:
        """Files in the folder that the manifest does not list: leavings of interrupted writes."""
        if not self.folder.exists():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_file() and path.name not in listed)


def _identity(shard_id: str, model_id: str, dimension: int, faces: int) -> bytes:
    return json.dumps([shard_id, model_id, dimension, faces]).encode()


def _write_sealed(path: Path, faces: pa.Table, identity: bytes, key: bytes) -> tuple[str, int]:
    properties = pe.create_encryption_properties(footer_key=key, aad_prefix=identity, store_aad_prefix=False)
    sink = pa.BufferOutputStream()
    pq.write_table(
        faces, sink, compression="none", use_dictionary=False, write_statistics=False, encryption_properties=properties
    )
    data = sink.getvalue()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest(), len(data)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
