"""What decoders raise on hostile bytes, as the item's own fault."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from embeddings.errors import UnscannableError

EXPECTED: Final = (
    OSError,  # Pillow: stream ends early or is broken
    EOFError,  # Pillow: a frame that the file announced is not there
    SyntaxError,  # Pillow plugins: a structure they do not accept
    ValueError,  # simplejpeg: every error and, in strict mode, every warning; Pillow: sizes, modes, text limits
    IndexError,  # Pillow plugins: a field beyond the end of a chunk
    KeyError,  # Pillow plugins: a mode or a type they do not know
    TypeError,  # Pillow plugins: a field that is missing
    AttributeError,  # Pillow plugins: state that an earlier chunk should have made
    AssertionError,  # Pillow plugins: palettes and frames in the wrong order
    NotImplementedError,  # Pillow: legal and not supported
    RuntimeError,  # libwebp through Pillow: decoder refused to start
    OverflowError,  # sizes beyond a C int
    struct.error,  # Pillow plugins: a short fixed-size field
    zlib.error,  # PNG: broken compressed data
    Image.DecompressionBombError,  # Pillow's own pixel limit, in case ours is set above it
    Warning,  # Pillow's warnings where the process runs with -W error
)


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn what a decoder raises on hostile bytes into ``truncated`` or ``corrupt``. Nothing else is caught.

    ``MemoryError`` is let through: other work may have taken the memory (:mod:`embeddings.faults`).
    """
    try:
        yield
    except UnscannableError:
        raise
    except EXPECTED as error:
        text = str(error).lower()
        ended = isinstance(error, EOFError) or "truncated" in text or "premature end" in text
        raise UnscannableError("truncated" if ended else "corrupt") from error
