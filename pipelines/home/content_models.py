"""The rating and CLIP models: which are configured, which are on this machine; each is loaded when first used.

Ids are known without importing torch, so that a run without CLIP weights stays as light as a face-only one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.content.clip_weights import (
    ClipSettings,
    ClipWeights,
    clip_model_id,
    clip_terms,
    find_weights,
    pull_weights,
)
from embeddings.errors import WeightsError
from pipelines.settings.config import ContentConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from embeddings.content.clip import OpenClipEncoder
    from embeddings.content.clip_text import TextEncoder
    from embeddings.content.ratings import Rater

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """The configured CLIP weights. ``state``: ``downloaded``, ``missing``, ``local checkpoint``, ``local checkpoint
    missing``, or why it cannot be read."""

    name: str
    licence: str
    origin: str
    state: str


def content_schema(dimension: int) -> pa.Schema:
    """One row per looked-at frame of one content: its digest, the frame's position, the CLIP vector."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("content_sha256", pa.binary(32), nullable=False),
            pa.field("frame", pa.int32(), nullable=False),
            pa.field("vector", pa.binary(4 * dimension), nullable=False),
        ]
    )


class ContentModels:
    """The configured models. Their ids are known before they are loaded: what is pending follows from the ids alone."""

    def __init__(self, config: ContentConfig, *, home: Path) -> None:
        self.clip_wanted = config.clip != "off"
        """Whether content without CLIP vectors counts as missing them."""
        self._config = config
        self._folder = home / "models" / "clip"
        checkpoint = home / config.clip_checkpoint if config.clip_checkpoint else None
        self._problem = ""
        self._settings = ClipSettings(config.clip_model, config.clip_pretrained, checkpoint)

    @property
    def rating_model_id(self) -> str | None:
        """The id of the scores; None when rating is off."""
        from embeddings.content.ratings import rating_model_id

        return rating_model_id() if self._config.rating else None

    @cached_property
    def clip_model_id(self) -> str | None:
        """The id of the CLIP vectors; None when CLIP is off or has no weights here. Downloads nothing."""
        weights = find_weights(self._settings, folder=self._folder) if self.clip_wanted else None
        return clip_model_id(weights, folder=self._folder) if weights else None

    def clip_facts(self) -> ClipFacts:
        """Return the configured CLIP weights, their terms, and whether they are here. Loads and downloads nothing."""
        settings = self._settings
        terms = clip_terms(settings)
        name = settings.checkpoint.name if settings.checkpoint else f"{settings.model} {settings.pretrained}"
        here = "local checkpoint" if settings.checkpoint else "downloaded"
        try:
            found = find_weights(settings, folder=self._folder) is not None
        except WeightsError as error:
            return ClipFacts(name, terms.licence, terms.origin, f"unusable: {error}")
        missing = "local checkpoint missing" if settings.checkpoint else "missing"
        return ClipFacts(name, terms.licence, terms.origin, here if found else missing)

    def pull_clip(self) -> bool:
        """Download the configured weights with open_clip's loader; False when they are here already.

        Raises :class:`WeightsError` when they cannot be had.
        """
        present = find_weights(self._settings, folder=self._folder) is not None
        pull_weights(self._settings, folder=self._folder)
        self.__dict__.pop("clip_model_id", None)  # cached, perhaps, from before the download
        return not present

    def offer_clip(self) -> None:
        """Download the weights if settings allow it and they are not here; a failure is left for
        :meth:`require_clip`."""
        if not (self._config.clip_download and self.clip_wanted) or self.clip_model_id is not None or self._problem:
            return
        try:
            self.pull_clip()
        except WeightsError as error:
            self._problem = f" ({error})"

    def require_clip(self) -> None:
        """Try to get the weights; without them fail or warn once, as ``content.clip`` says.

        Raises :class:`WeightsError` for ``required``.
        """
        self.offer_clip()
        if not self.clip_wanted or self.clip_model_id is not None:
            return
        text = (
            f"no weights for CLIP {self._config.clip_model} {self._config.clip_pretrained} on this machine"
            f"{self._problem}: run `likeness models pull clip`, set content.clip_checkpoint to a local file, or let "
            "runs fetch them by content.clip_download = true"
        )
        if self._config.clip == "required":
            raise WeightsError(text)
        self._say(text)

    @cached_property
    def rater(self) -> Rater:
        """The rating network."""
        from embeddings.content.ratings import load_rater

        return load_rater()

    @cached_property
    def encoder(self) -> OpenClipEncoder:
        """The CLIP towers. Raises :class:`WeightsError` without weights."""
        from embeddings.content.clip import load_clip

        return load_clip(self._weights(), device=self._config.clip_device, compiled=self._config.clip_compile)

    @property
    def text_encoder(self) -> TextEncoder:
        """The text tower of the same weights."""
        return self.encoder

    def _weights(self) -> ClipWeights:
        weights = find_weights(self._settings, folder=self._folder)
        if weights is None:
            raise WeightsError("there are no CLIP weights on this machine")
        return weights

    @cached_property
    def _said(self) -> set[str]:
        return set()

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _LOG.warning("%s. Until then CLIP vectors count as missing; a later run fills the gap", text)
