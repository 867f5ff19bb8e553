"""The types that cross module borders: faces, descriptions, the Arrow schemas and the protocols.

Vectors are float32, C-contiguous, of unit length (L2 norm within ``UNIT_TOLERANCE`` of 1). Boxes and landmarks are in
pixels of the upright image (EXIF orientation applied), x to the right, y down, boxes as (x1, y1, x2, y2). Images are
uint8 RGB of shape (height, width, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from embeddings.errors import VectorError
from embeddings.settings import VIEWS_VERSION as VIEWS_VERSION
from embeddings.settings import FaceSettings as FaceSettings
from embeddings.settings import ImageLimits as ImageLimits
from embeddings.settings import TileSettings as TileSettings
from embeddings.settings import ViewSettings as ViewSettings

if TYPE_CHECKING:
    import pyarrow as pa

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

UNIT_TOLERANCE = 1e-3
"""How far from 1 a vector's L2 norm may be. float16 storage moves a norm by at most about 5e-4."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one frame: ``boxes`` (n, 4), ``landmarks`` (n, 5, 2), ``scores`` (n,), all float32, best score first.

    Landmarks: eye, eye, nose tip, mouth corner, mouth corner; within each pair the one on the image's left first.
    """

    boxes: Float32
    landmarks: Float32
    scores: Float32

    def __len__(self) -> int:
        return int(self.scores.shape[0])


@dataclass(frozen=True, slots=True)
class Content:
    """One piece of uploaded content: its bytes and their SHA-256. The unit that is embedded once."""

    sha256: bytes
    data: bytes = field(repr=False)


class ModelSession(Protocol):
    """A loaded network on some runtime. Safe to call from several threads."""

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Float32]:
        """Run the network on ``inputs`` by name, and return its outputs in the order of the graph."""
        ...

    def close(self) -> None:
        """Release the network and its memory. It must not be run again."""
        ...


class FaceDetector(Protocol):
    """Finds faces in one image. Safe to call from several threads."""

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """Find the faces of RGB uint8 (h, w, 3) of any size; boxes and landmarks are in pixels of ``image``.

        ``as_is``: look at ``image`` in its own size alone, not in the scales of the settings.
        """
        ...


class FaceRecognizer(Protocol):
    """Turns aligned crops into embeddings. Safe to call from several threads."""

    dimension: int

    def embed(self, crops: UInt8) -> Float32:
        """Embed ``crops``, RGB uint8 (n, 112, 112, 3), as unit vectors float32 (n, dimension)."""
        ...


def status_schema() -> pa.Schema:
    """One row per distinct content given to :func:`embeddings.shard.embed_shard`, in order of first appearance."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("content_sha256", pa.binary(32), nullable=False),
            pa.field("status", pa.string(), nullable=False),  # "faces", "no_face" or "unscannable:<reason>"
            pa.field("format", pa.string()),  # see embeddings.images.magic; null when unscannable
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("frames", pa.int32()),  # frames looked at
            pa.field("frames_total", pa.int32()),  # frames in the file
            pa.field("faces", pa.int32(), nullable=False),
            pa.field("faces_dropped", pa.int32(), nullable=False),  # beyond max_faces
            pa.field("damage", pa.string()),  # the gravest of what is wrong with it, see embeddings.images.damage
            pa.field("pdq", pa.binary(32)),  # PDQ hash of the first frame, see embeddings.images.pdq
        ]
    )


def face_schema(dimension: int) -> pa.Schema:
    """One row per face: content, frame, running face number within the content, box, score, view, time, vector.

    The vector is ``dimension`` little-endian float32 in a FixedSizeBinary, which Parquet reads about ten times faster
    than a list.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("content_sha256", pa.binary(32), nullable=False),
            pa.field("frame", pa.int32(), nullable=False),
            pa.field("face", pa.int32(), nullable=False),
            pa.field("x1", pa.float32(), nullable=False),
            pa.field("y1", pa.float32(), nullable=False),
            pa.field("x2", pa.float32(), nullable=False),
            pa.field("y2", pa.float32(), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field("view", pa.string()),  # how it was found, see embeddings.faces.views; null: not recorded
            pa.field("seconds", pa.float32()),  # when its frame is shown; null: in no animation, or not recorded
            pa.field("vector", pa.binary(4 * dimension), nullable=False),
        ]
    )


DESCRIBED = "described"


@dataclass(frozen=True, slots=True)
class Description:
    """What describing one content gave."""

    sha256: bytes
    status: str
    """``described`` or ``unscannable:<reason>``."""
    nsfw_score: float | None
    """The highest score of the frames looked at; None without a rater, or when unscannable."""
    frames: tuple[int, ...]
    """Positions in the file of the frames that ``vectors`` are of."""
    vectors: Float32 = field(repr=False)
    """(n, dimension); no rows without an encoder, or when unscannable."""


@dataclass(frozen=True, slots=True)
class ShardEmbeddings:
    """What :func:`embeddings.shard.embed_shard` returns: one status per content, the faces, and what contents show."""

    statuses: pa.Table
    faces: pa.Table
    descriptions: tuple[Description, ...] = ()


def check_unit(vectors: Float32, dimension: int | None = None) -> Float32:
    """Return ``vectors`` (n, d) unchanged, or raise :class:`VectorError` (I4).

    Refuses another dtype or shape, NaN, infinities, zero and norms further than ``UNIT_TOLERANCE`` from 1.
    """
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise VectorError(f"expected float32 of shape (n, d), got {vectors.dtype} of {vectors.ndim} dimensions")
    if dimension is not None and vectors.shape[1] != dimension:
        raise VectorError(f"expected dimension {dimension}, got {vectors.shape[1]}")
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    bad = ~(np.abs(norms - 1.0) <= UNIT_TOLERANCE)  # also true for NaN
    if bad.any():
        raise VectorError(f"{int(bad.sum())} of {len(vectors)} vectors are NaN, zero or not of unit length")
    return vectors


def vectors_of(column: pa.ChunkedArray | pa.Array, dimension: int) -> Float32:
    """Return the float32 matrix (n, dimension) in a FixedSizeBinary column; a view where Arrow allows it."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps chunks when there are none
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=column.type)
    width = 4 * dimension
    if array.type != pa.binary(width):
        raise VectorError(f"expected vectors of {width} bytes, the column is {array.type}")
    if len(array) == 0:
        return np.empty((0, dimension), dtype=np.float32)
    data = array.buffers()[1]
    matrix = np.frombuffer(data, dtype="<f4", count=len(array) * dimension, offset=array.offset * width)
    return matrix.reshape(len(array), dimension)


def vector_column(vectors: Float32) -> pa.Array:
    """FixedSizeBinary column from float32 (n, d): the inverse of :func:`vectors_of`."""
    import pyarrow as pa

    contiguous = np.ascontiguousarray(vectors, dtype="<f4")
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4 * contiguous.shape[1]), len(contiguous), [None, pa.py_buffer(contiguous)]
    )


def distinct_contents(contents: Sequence[Content]) -> list[Content]:
    """Return ``contents`` without repeats of one SHA-256, in order of first appearance."""
    return list({content.sha256: content for content in contents}.values())
