"""Whether pictures and headers are decoded in confined processes, and the processes of this one that do.

They are started when the first picture is decoded, serve every home that this process opens under the same settings,
and end with it. How much the kernel confines them is asked here and shown by ``likeness status``.
"""

from __future__ import annotations

import atexit
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from embeddings.sandbox.confinement import MEASURES, offered
from pipelines.settings.config import Config

if TYPE_CHECKING:
    from embeddings.headers.reading import HeaderReader
    from embeddings.images.decoder import Decoder
    from embeddings.infotext.read import InfotextReader
    from embeddings.sandbox.pool import DecodingPool, SandboxSettings

_HEADROOM: Final = 512 * 2**20
"""Addresses beyond what decoding takes by a file's header: threads' stacks, the library's own heaps."""


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """How uploads are decoded. ``missing``: measures that this kernel does not offer, or that are switched off."""

    mode: str
    """``processes``, or ``off``: in the scanner's own process."""
    active: tuple[str, ...]
    missing: tuple[str, ...]


def sandbox_status(config: Config) -> SandboxStatus:
    """Ask what confines a decoding process here. Starts none."""
    if not _is_on(config):
        return SandboxStatus("off", (), MEASURES)
    found = offered()
    return SandboxStatus("processes", found.active, found.missing)


def decoder_for(config: Config) -> Decoder:
    """Return what decodes pictures under these settings."""
    from embeddings.images.decode import decode
    from embeddings.sandbox.decoding import SandboxedDecoder

    return SandboxedDecoder(_pool(_settings(config))) if _is_on(config) else decode


def header_reader_for(config: Config) -> HeaderReader:
    """Return what reads the headers of model files under these settings."""
    from embeddings.headers.reading import read_header
    from embeddings.sandbox.headers import SandboxedHeaderReader

    return SandboxedHeaderReader(_pool(_settings(config))) if _is_on(config) else read_header


def infotext_reader_for(config: Config) -> InfotextReader:
    """Return what reads pictures for what they say of their making under these settings."""
    from embeddings.infotext.read import read_infotext
    from embeddings.sandbox.infotext import SandboxedInfotextReader

    return SandboxedInfotextReader(_pool(_settings(config))) if _is_on(config) else read_infotext


def _is_on(config: Config) -> bool:
    """Confinement is Linux' own; elsewhere ``auto`` decodes in this process, and the status says so."""
    return config.decode.sandbox == "auto" and sys.platform == "linux"


def _settings(config: Config) -> SandboxSettings:
    from embeddings.sandbox.pool import SandboxSettings
    from embeddings.sandbox.process import ProcessLimits

    return SandboxSettings(
        processes=config.embedding.worker_count(),
        limits=ProcessLimits(
            memory_bytes=config.images.max_decode_bytes + _HEADROOM,
            processor_seconds=config.decode.item_seconds,
            item_seconds=config.decode.item_seconds,
            start_seconds=config.isolation.start_seconds,
        ),
        recycle_items=config.decode.recycle_items,
        recycle_bytes=config.decode.recycle_bytes,
    )


@lru_cache(maxsize=8)
def _pool(settings: SandboxSettings) -> DecodingPool:
    from embeddings.sandbox.pool import DecodingPool

    pool = DecodingPool(settings)
    atexit.register(pool.close)
    return pool
