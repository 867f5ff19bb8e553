"""The seam at which pictures are decoded: here, or in a process that can do nothing else."""

from __future__ import annotations

from typing import Protocol

from embeddings.images.decode import DecodedImage
from embeddings.types import ImageLimits


class Decoder(Protocol):
    """Decodes pictures. Safe to call from several threads.

    :func:`embeddings.images.decode.decode` is one; :class:`embeddings.sandbox.decoding.SandboxedDecoder` gives the same
    pixels from another process.
    """

    def __call__(self, data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
        """Check ``data`` and decode it as :func:`embeddings.images.decode.decode` does."""
        ...
