"""Vectors in sealed files made for the join: blocks of codes to stream, and vectors to look up one by one.

Parquet opens nothing smaller than a row group and decrypts at 5 GB/s on two cores; AES-256-GCM by itself does 15 GB/s
on one (benchmarks.search). So a file is a header and two runs of chunks, each chunk sealed by itself:

    header | chunk of block 0 | chunk of block 1 | ... | vectors 0-3 | vectors 4-7 | ...

A block's chunk holds the weakest values, scales, residuals and codes of its rows; the vectors, float16 or float32, are
opened only for candidates. The chunks' key is derived (HKDF-SHA256) from the shard's key and a fresh random salt,
which the manifest's entry repeats. Under such a key nothing else was ever sealed: a chunk that opens at its number is
the one written there, in that very writing, without a digest of the whole file. Anything else is a
:class:`CorruptionError`, never an empty answer (I7, I8).
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from embeddings.errors import CorruptionError
from embeddings.types import Float32, check_unit
from indexes.durable import durable_file
from indexes.quantise import Codes, Worst, quantise_unit
from indexes.stored import Block, Int64

Bytes = npt.NDArray[np.uint8]
VectorType = Literal["float16", "float32"]

MAGIC = b"LKJOIN01"
HEADER = struct.Struct("<8s32sQIIII")
"""Magic, salt, rows, dimension, rows per block, vectors per chunk, bytes per component."""
TAG = 16
ROWS_PER_BLOCK = 2048
"""Rows per block of a new file; a stored file states its own. 1 MB at 512 dimensions: half of that costs more by its
calls, twice that is slower where cores share a small last cache (benchmarks.search)."""
MOST_ROWS_PER_BLOCK = 1 << 16
"""A file that states more is refused."""
VECTORS_PER_CHUNK = 4
"""Vectors opened together: one page of 4 kB at 512 float16. Candidates are few and far apart."""
CHUNKS_AT_ONCE = 1024
"""Chunks whose vectors are in memory at once: 4 MB at 512 float16."""
AHEAD = 1 << 24
"""Bytes that the system is asked to read before they are needed: from a disk that saves a quarter of the time."""


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """What the manifest says about one file. ``path`` is relative to its folder; ``salt`` names this very writing."""

    shard_id: str
    model_id: str
    dimension: int
    rows: int
    path: str
    salt: bytes
    bytes: int
    vector_type: VectorType


def write_sealed(
    folder: Path,
    vectors: Float32,
    *,
    shard_id: str,
    model_id: str,
    key: bytes,
    vector_type: VectorType,
    before_rename: Callable[[], None],
) -> SealedEntry:
    """Seal unit vectors float32 (n, d) durably in ``folder``.

    Scores are defined on the vectors as stored: with ``float16``, on the rounded ones widened again, as
    :func:`stored_form` gives them. Raises :class:`VectorError` for vectors that are not unit before or after (I4).
    """
    vectors = stored_form(vectors, vector_type)
    salt = os.urandom(32)
    entry = SealedEntry(
        shard_id=shard_id,
        model_id=model_id,
        dimension=vectors.shape[1],
        rows=len(vectors),
        path=f"{shard_id}.vectors",
        salt=salt,
        bytes=0,
        vector_type=vector_type,
    )
    layout = _Layout(entry, block_rows=ROWS_PER_BLOCK)
    cipher = layout.cipher(key)
    with durable_file(folder / entry.path, before_rename=before_rename) as file:
        file.write(layout.header)
        for number, start in enumerate(range(0, len(vectors), ROWS_PER_BLOCK)):
            plain = _block_bytes(quantise_unit(vectors[start : start + ROWS_PER_BLOCK]))
            file.write(cipher.encrypt(_nonce(0, number), plain, layout.identity))
        for number, start in enumerate(range(0, len(vectors), VECTORS_PER_CHUNK)):
            chunk = vectors[start : start + VECTORS_PER_CHUNK].astype(f"<{layout.letter}")
            file.write(cipher.encrypt(_nonce(1, number), chunk.tobytes(), layout.identity))
    return replace(entry, bytes=layout.size)


def stored_form(vectors: Float32, vector_type: VectorType) -> Float32:
    """Unit vectors float32 (n, d) as they come back from storage. Raises :class:`VectorError` unless unit (I4)."""
    check_unit(vectors)
    if vector_type == "float32":
        return vectors
    return check_unit(vectors.astype(np.float16).astype(np.float32))


class SealedVectors:
    """One sealed file as the stored side of a join (:class:`indexes.stored.Stored`). Close it after use."""

    def __init__(self, folder: Path, entry: SealedEntry, *, key: bytes) -> None:
        """Raises :class:`CorruptionError` unless the file has the size and header the entry says."""
        self.entry = entry
        self.rows, self.dimension = entry.rows, entry.dimension
        self._local = threading.local()
        try:
            self._file = os.open(folder / entry.path, os.O_RDONLY)
            header = os.pread(self._file, HEADER.size, 0)
        except OSError as error:
            raise CorruptionError(f"shard {entry.shard_id} is listed and cannot be read") from error
        self.block_rows = HEADER.unpack(header)[4] if len(header) == HEADER.size else 0
        self._layout = _Layout(entry, block_rows=min(max(self.block_rows, 1), MOST_ROWS_PER_BLOCK))
        self._cipher = self._layout.cipher(key)
        if os.fstat(self._file).st_size != self._layout.size or header != self._layout.header:
            os.close(self._file)
            raise CorruptionError(f"shard {entry.shard_id} is not the file that the manifest lists")

    def __enter__(self) -> SealedVectors:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def block(self, number: int) -> Block:
        """Read and open one block; the same thread's next call overwrites it."""
        offset, size, rows = self._layout.block(number)
        if number % max(AHEAD // size, 1) == 0:
            self._read_ahead(offset)
        plain = self._plain(size - TAG)
        self._open(0, number, offset, plain.data)
        numbers = plain[: 12 + 8 * rows].view("<f4")
        codes = plain[-rows * self.dimension :].view(np.int8).reshape(rows, self.dimension)
        worst = Worst(*numbers[:3].tolist())
        return Block(Codes(codes, numbers[3 : 3 + rows], numbers[3 + rows :]), worst)

    def vectors(self, rows: Int64) -> Float32:
        """Return the stored vectors of ascending ``rows``, float32 (len(rows), dimension)."""
        out = np.empty((len(rows), self.dimension), dtype=np.float32)
        chunks = rows // VECTORS_PER_CHUNK
        numbers = np.unique(chunks)
        for start in range(0, len(numbers), CHUNKS_AT_ONCE):
            some = numbers[start : start + CHUNKS_AT_ONCE]
            low, high = np.searchsorted(chunks, (some[0], some[-1] + 1))
            opened = np.empty((len(some) * VECTORS_PER_CHUNK, self.dimension), dtype=f"<{self._layout.letter}")
            places = opened.view(np.uint8).reshape(len(some), -1).data
            for place, number in enumerate(some.tolist()):
                offset, size = self._layout.chunk(number)
                self._open(1, number, offset, places[place : place + 1].cast("B")[: size - TAG])
            within = np.searchsorted(some, chunks[low:high]) * VECTORS_PER_CHUNK
            out[low:high] = opened[within + rows[low:high] % VECTORS_PER_CHUNK]
        return out

    def codes(self) -> Codes:
        """Return all codes in memory, for a corpus that is searched often: d + 8 bytes a row."""
        out = Codes(
            np.empty((self.rows, self.dimension), dtype=np.int8),
            np.empty(self.rows, dtype=np.float32),
            np.empty(self.rows, dtype=np.float32),
        )
        for start in range(0, self.rows, self.block_rows):
            block, part = self.block(start // self.block_rows).codes, out.part(start, start + self.block_rows)
            part.codes[:], part.scales[:], part.residuals[:] = block.codes, block.scales, block.residuals
        return out

    def _open(self, run: int, number: int, offset: int, plain: memoryview) -> None:
        size = len(plain) + TAG
        memory: Bytes | None = getattr(self._local, "sealed", None)
        if memory is None or len(memory) < size:
            memory = self._local.sealed = np.empty(size, dtype=np.uint8)
        sealed = memory.data[:size]
        try:
            had = os.preadv(self._file, [sealed], offset)
        except OSError as error:
            raise CorruptionError(f"shard {self.entry.shard_id} is listed and cannot be read") from error
        if had != size:
            raise CorruptionError(f"shard {self.entry.shard_id} ends too early")
        try:
            self._cipher.decrypt_into(_nonce(run, number), sealed, self._layout.identity, plain)
        except InvalidTag as error:
            raise CorruptionError(f"shard {self.entry.shard_id} is not what was written, or the key differs") from error

    def _plain(self, size: int) -> Bytes:
        """This thread's memory for a block, beginning on a cache line, as the codes in it then do."""
        memory: Bytes | None = getattr(self._local, "plain", None)
        if memory is None or len(memory) < size + 64:
            memory = self._local.plain = np.empty(size + 64, dtype=np.uint8)
        skip = -int(memory.ctypes.data) % 64
        return memory[skip : skip + size]

    def _read_ahead(self, offset: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, offset, 2 * AHEAD, os.POSIX_FADV_WILLNEED)


class _Layout:
    """Where the chunks of a file are, and what seals them."""

    def __init__(self, entry: SealedEntry, *, block_rows: int) -> None:
        width = 2 if entry.vector_type == "float16" else 4
        self.letter = f"f{width}"
        self.header = HEADER.pack(MAGIC, entry.salt, entry.rows, entry.dimension, block_rows, VECTORS_PER_CHUNK, width)
        names = [entry.shard_id, entry.model_id]
        self.identity = self.header + json.dumps(names).encode()
        self._entry = entry
        self._vector = width * entry.dimension
        self._block_rows = block_rows
        blocks, last = divmod(entry.rows, block_rows)
        self._full = _block_size(block_rows, entry.dimension) + TAG
        tail = _block_size(last, entry.dimension) + TAG if last else 0
        self._vectors_at = len(self.header) + blocks * self._full + tail
        self.size = self._vectors_at + entry.rows * self._vector + TAG * -(-entry.rows // VECTORS_PER_CHUNK)

    def cipher(self, key: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt=self._entry.salt, info=self.identity).derive(key))

    def block(self, number: int) -> tuple[int, int, int]:
        """Offset, sealed size and rows."""
        rows = min(self._block_rows, self._entry.rows - number * self._block_rows)
        return len(self.header) + number * self._full, _block_size(rows, self._entry.dimension) + TAG, rows

    def chunk(self, number: int) -> tuple[int, int]:
        """Offset and sealed size."""
        rows = min(VECTORS_PER_CHUNK, self._entry.rows - number * VECTORS_PER_CHUNK)
        return self._vectors_at + number * (VECTORS_PER_CHUNK * self._vector + TAG), rows * self._vector + TAG


def _nonce(run: int, number: int) -> bytes:
    return struct.pack("<IQ", run, number)


def _block_size(rows: int, dimension: int) -> int:
    return -(-(12 + 8 * rows) // 64) * 64 + rows * dimension


def _block_bytes(codes: Codes) -> bytes:
    worst = codes.worst()
    head = np.array([worst.least_scale, worst.scale, worst.residual], dtype="<f4").tobytes()
    head += codes.scales.astype("<f4").tobytes() + codes.residuals.astype("<f4").tobytes()
    return head + bytes(-len(head) % 64) + codes.codes.tobytes()
