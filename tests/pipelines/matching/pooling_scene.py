"""A platform of colours on which faces resemble a person by degrees, so that pools can tell more than single faces.

Colour (who, n, 250) is picture ``n`` of person ``who`` as a poor generator draws them. Its vector has three orthogonal
parts: a little of the person, what all pictures of this person by the generator share, and something of its own. So two
pictures are :data:`MUTUAL` alike, and k of them pooled score ``likeness / sqrt(MUTUAL + (1 - MUTUAL) / k)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embeddings.types import Float32
from pipelines.home.workspace import Workspace
from tests.fakes import DIMENSION, Colour, ColourRecognizer, fake_models, person, picture, vectors_of_colours
from tests.platform_actions import upload

MUTUAL = 0.5
"""What two pictures of one person score with each other: above the review threshold."""
LIKENESS = 0.305
"""What one of them scores with the person: below it. Two pooled score 0.352, three 0.374, four 0.386."""
DRAWN = 250
"""The blue of a colour that is somebody drawn."""


def drawn(who: int, number: int) -> Colour:
    """Picture ``number`` of person ``who``; numbers up to 25 differ in directions of their own."""
    return (who, number, DRAWN)


def vectors_of(colours: Sequence[tuple[int, ...]], *, likeness: float = LIKENESS) -> Float32:
    """Unit vectors float32 (n, DIMENSION): of drawn colours as above, of all others as in the other tests."""
    rows = vectors_of_colours(colours)
    for row, colour in zip(rows, colours, strict=True):
        if colour[2] == DRAWN:
            row[:] = _drawn_vector(colour[0], colour[1], likeness)
    return rows


def _drawn_vector(who: int, number: int, likeness: float) -> Float32:
    named = vectors_of_colours([person(who), (who, 255, DRAWN)]).astype(np.float64)
    axes, _ = np.linalg.qr(np.concatenate([named.T, np.eye(DIMENSION)], axis=1))
    axes[:, 0] *= np.sign(axes[:, 0] @ named[0])
    parts = [likeness, np.sqrt(MUTUAL - likeness**2), np.sqrt(1 - MUTUAL)]
    vector = parts[0] * axes[:, 0] + parts[1] * axes[:, 1] + parts[2] * axes[:, 2 + number]
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class DrawingRecognizer(ColourRecognizer):
    """Embeds the colour in the middle of a crop by :func:`vectors_of`."""

    def __init__(self, likeness: float = LIKENESS) -> None:
        self.likeness = likeness

    def embed(self, crops: np.ndarray) -> Float32:  # type: ignore[type-arg]
        """Unit vectors float32 (n, DIMENSION)."""
        return vectors_of([tuple(int(c) for c in crop[56, 56]) for crop in crops], likeness=self.likeness)


def see_drawings(workspace: Workspace, *, likeness: float = LIKENESS, model_id: str = "fake-1") -> None:
    """Give a workspace models that see drawn people."""
    models = replace(fake_models(model_id), recognizer=DrawingRecognizer(likeness))
    workspace.models = models  # type: ignore[misc]


def post(
    folder: Path,
    name: str,
    *colours: Colour,
    model: str | None = "m",
    uploader: str | None = "u",
    deleted: bool = False,
) -> str:
    """Put a picture of these people with a model on the platform; ``deleted``: take it off."""
    sidecar: dict[str, object] = {"parent_model": model, "uploader": uploader} | ({"deleted": True} if deleted else {})
    return upload(folder, f"{name}.png", picture(*colours), **sidecar)  # type: ignore[arg-type]
