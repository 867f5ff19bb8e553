"""Embeddings from aligned crops. Owns normalisation and the refusal of vectors that mean nothing (I4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embeddings.errors import VectorError
from embeddings.faces.alignment import CROP_SIDE
from embeddings.types import Float32, ModelSession, UInt8, check_unit

CPU_BATCH = 4
"""Crops per call at which SFace is fastest on a CPU: 7.3 ms a face at 4, 7.8 at 1, 9.1 at 16 (caches)."""
CUDA_BATCH = 256
"""Crops per call on a GPU, which a smaller batch leaves idle. Has not been run."""
TINY_NORM = 1e-6
"""An output shorter than this has no direction worth keeping; real faces give norms of 5 to 15."""


class SessionRecognizer:
    """A :class:`embeddings.types.FaceRecognizer` around a prepared recogniser. Safe to call from several threads."""

    def __init__(self, session: ModelSession, *, dimension: int) -> None:
        self._session = session
        self.dimension = dimension

    def embed(self, crops: UInt8) -> Float32:
        """Unit vectors float32 (n, dimension) of ``crops``, RGB uint8 (n, 112, 112, 3), in one call of the network.

        Raises :class:`VectorError` when the crops have another shape or an output is NaN, infinite or zero.
        """
        if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIDE, CROP_SIDE, 3):
            raise VectorError(f"expected uint8 crops (n, {CROP_SIDE}, {CROP_SIDE}, 3), got {crops.dtype} {crops.shape}")
        if len(crops) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        (raw,) = self._session.run({"image": crops})
        return normalise(raw, dimension=self.dimension)


def normalise(raw: Float32, *, dimension: int) -> Float32:
    """Rows of ``raw`` (n, dimension) at unit length. Raises :class:`VectorError` on NaN, infinite or zero rows."""
    norms = np.sqrt(np.einsum("ij,ij->i", raw, raw, dtype=np.float64))
    bad = ~((norms > TINY_NORM) & np.isfinite(norms))  # also true for NaN
    if bad.any():
        raise VectorError(f"{int(bad.sum())} of {len(raw)} recogniser outputs are NaN, infinite or zero")
    return check_unit(np.ascontiguousarray(raw / norms[:, None], dtype=np.float32), dimension)


def mean_of_crops(vectors: Float32, counts: npt.NDArray[np.int64]) -> Float32:
    """One unit vector (n, d) for each face, of whose crops ``vectors`` (k, d) are; face i has ``counts[i]`` of them.

    The direction of their mean. A face with one crop keeps its vector bit for bit, and so does one whose crops cancel
    each other, which has the vector of its first.
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    if len(counts) == len(vectors):
        return vectors
    chosen: Float32 = vectors[starts]
    for at in np.flatnonzero(counts > 1).tolist():
        mean = vectors[starts[at] : starts[at] + counts[at]].mean(axis=0, dtype=np.float64)
        length = float(np.sqrt((mean * mean).sum()))
        if length > TINY_NORM:
            chosen[at] = mean / length
    return chosen
