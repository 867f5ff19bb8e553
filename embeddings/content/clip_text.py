"""Texts as directions in CLIP's space: one unit vector for all the ways in which a thing can be described.

A single caption lands wherever its wording takes it. The mean over several wordings in several templates is a better
classifier than any of them ("prompt ensembling", Radford et al. 2021, 3.1.4). Knows neither concepts nor thresholds;
the text tower is the one beside the image tower in :mod:`embeddings.content.clip`, with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from embeddings.errors import VectorError
from embeddings.types import Float32

BLANK = "{}"
"""The placeholder that a template has for the description."""


class TextEncoder(Protocol):
    """Turns texts into vectors comparable with those of an ``ImageEncoder`` of the same weights."""

    dimension: int

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors float32 (n, dimension). What is longer than the model reads is cut off."""
        ...


def fill(templates: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    """Put every prompt into every template. Only :data:`BLANK` is replaced; other braces stay as they are."""
    return tuple(template.replace(BLANK, prompt) for prompt in prompts for template in templates)


def ensemble(encoder: TextEncoder, groups: Sequence[Sequence[str]]) -> Float32:
    """One unit vector per group, float32 (len(groups), dimension): the mean of its texts' unit vectors, renormalised.

    Raises :class:`VectorError` for a group without texts, or one whose texts cancel each other out.
    """
    from embeddings.faces.recognition import normalise

    if not all(groups):
        raise VectorError("a group of texts is empty: its mean has no direction")
    distinct = list(dict.fromkeys(text for group in groups for text in group))
    rows = dict(zip(distinct, encoder.encode_texts(distinct), strict=True))
    means = np.empty((len(groups), encoder.dimension), dtype=np.float32)
    for number, group in enumerate(groups):
        means[number] = np.mean([rows[text] for text in group], axis=0, dtype=np.float64)
    return normalise(means, dimension=encoder.dimension)
