"""Concept heads: how much more a picture looks like a concept than like what it could be mistaken for.

The score of a vector and a concept is the cosine with the concept's direction, less the greatest cosine with the
directions that the concept stands *against* (neutral descriptions, or the other side of a contrast), times the
concept's weight. Against the greatest, not the mean: a picture has to be nearer to the concept than to every harmless
reading of it. Like the safety checker of Stable Diffusion this is one matrix product over stored vectors; unlike it, no
threshold is applied and every score is kept. Products are accumulated in float64, so that a score depends neither on
the batch nor on the library.

Pure functions of matrices: what the directions mean, and which threshold counts, is for the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.errors import ModelMismatchError, VectorError
from embeddings.types import Float32, check_unit
from indexes.stored import Int64

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Heads:
    """``k`` concepts over ``m`` directions, of which the first ``k`` are the concepts' own."""

    names: tuple[str, ...]
    directions: Float32
    """Unit vectors float32 (m, d)."""
    against: Bool
    """(k, m): the directions that each concept stands against; a row without any leaves the plain cosine."""
    weights: Float32
    """(k,), greater than 0."""
    every_frame: Bool
    """(k,): whether an animation has the concept only as far as all of its frames do."""
    model_id: str
    """Of the weights that gave the directions, and of the vectors that may be scored (I4)."""

    def __post_init__(self) -> None:
        check_unit(self.directions)
        shape = (len(self.names), len(self.directions))
        if (
            self.against.shape != shape
            or shape[0] > shape[1]
            or not len(self.weights) == len(self.every_frame) == shape[0]
        ):
            raise VectorError("the parts of these heads differ in number")


def concept_scores(vectors: Float32, heads: Heads, *, model_id: str) -> Float32:
    """Scores float32 (n, k) of ``vectors`` float32 (n, d), which ``model_id`` made.

    Raises :class:`ModelMismatchError` for vectors of another model or dimension, :class:`VectorError` for such as are
    not unit.
    """
    if model_id != heads.model_id:
        raise ModelMismatchError(f"the heads are of {heads.model_id}, the vectors of {model_id}")
    if vectors.shape[1:] != heads.directions.shape[1:]:
        raise ModelMismatchError("the heads and the vectors differ in dimension")
    check_unit(vectors)
    cosines = vectors.astype(np.float64) @ heads.directions.T.astype(np.float64)
    scores = np.empty((len(vectors), len(heads.names)), dtype=np.float32)
    for number, against in enumerate(heads.against):
        margin = cosines[:, against].max(axis=1) if against.any() else 0.0
        scores[:, number] = heads.weights[number] * (cosines[:, number] - margin)
    return scores


def content_scores(scores: Float32, starts: Int64, heads: Heads) -> Float32:
    """Scores float32 (c, k) of contents from those of their frames, (n, k).

    Frames of content i are the rows from ``starts[i]`` to the next start; ``starts`` ascends from 0. The greatest
    counts, or the least where a concept must hold for every frame.
    """
    if not len(starts):
        return np.empty((0, len(heads.names)), dtype=np.float32)
    found: Float32 = np.maximum.reduceat(scores, starts, axis=0)
    found[:, heads.every_frame] = np.minimum.reduceat(scores[:, heads.every_frame], starts, axis=0)
    return found
