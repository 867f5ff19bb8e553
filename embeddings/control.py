"""A picture and crops known to be good: work that fails on them shows a fault of the models or the machine."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache

import numpy as np
from PIL import Image

from embeddings.faces.alignment import CROP_SIDE
from embeddings.types import Content, UInt8

_SIDE = 256


@lru_cache(maxsize=1)
def control_content() -> Content:
    """Return a small PNG of two ramps of colour."""
    buffer = io.BytesIO()
    Image.fromarray(_ramps(_SIDE)).save(buffer, format="PNG")
    data = buffer.getvalue()
    return Content(hashlib.sha256(data).digest(), data)


def control_crops() -> UInt8:
    """Return the two ramps as one aligned crop, RGB uint8 (1, 112, 112, 3)."""
    return _ramps(CROP_SIDE)[None]


def _ramps(side: int) -> UInt8:
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    across, down = np.broadcast_to(ramp, (side, side)), np.broadcast_to(ramp[:, None], (side, side))
    return np.ascontiguousarray(np.stack([across, down, across[::-1]], axis=2))
