"""Finds the photographs that installed packages carry, without importing those packages.

Owns where the files are and where the faces in them are. Knows nothing of what is made from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from embeddings.errors import ConfigError
from embeddings.types import UInt8

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels, the second corner outside."""

_SKIMAGE: Final = ("skimage", "scikit-image", "data")
_INSIGHTFACE: Final = ("insightface", "insightface", "data/images")
_FILES: Final[Mapping[str, tuple[tuple[str, str, str], str]]] = {
    "astronaut": (_SKIMAGE, "astronaut.png"),
    "camera": (_SKIMAGE, "camera.png"),
    "brick": (_SKIMAGE, "brick.png"),
    "chelsea": (_SKIMAGE, "chelsea.png"),
    "coffee": (_SKIMAGE, "coffee.png"),
    "coins": (_SKIMAGE, "coins.png"),
    "gravel": (_SKIMAGE, "gravel.png"),
    "hubble": (_SKIMAGE, "hubble_deep_field.jpg"),
    "moon": (_SKIMAGE, "moon.png"),
    "motorcycle": (_SKIMAGE, "motorcycle_left.png"),
    "page": (_SKIMAGE, "page.png"),
    "rocket": (_SKIMAGE, "rocket.jpg"),
    "group": (_INSIGHTFACE, "t1.jpg"),
    "mask_black": (_INSIGHTFACE, "mask_black.jpg"),
    "mask_blue": (_INSIGHTFACE, "mask_blue.jpg"),
    "mask_green": (_INSIGHTFACE, "mask_green.jpg"),
    "mask_white": (_INSIGHTFACE, "mask_white.jpg"),
    "stranger": (_INSIGHTFACE, "Tom_Hanks_54745.png"),
}

NAMES: Final = tuple(_FILES)
"""What :func:`photograph_path` knows. Faces: one in astronaut, camera and stranger, six in group, none elsewhere."""

ASTRONAUT_FACE: Final[Box] = (178, 63, 268, 177)
CAMERA_FACE: Final[Box] = (195, 113, 256, 195)
GROUP_FACES: Final[tuple[Box, ...]] = (
    (1132, 274, 1227, 399),
    (52, 266, 170, 400),
    (271, 147, 370, 276),
    (462, 266, 576, 417),
    (751, 346, 846, 472),
    (899, 57, 1005, 197),
)
"""Where the detector finds the faces of the group photograph. The first is the second subject's: of the six it is the
one whose embedding depends least on size, light and framing, and two of the others resemble each other."""


def photograph_path(name: str) -> Path:
    """Return the file of the photograph ``name``. Raises :class:`ConfigError` when its package or the file is
    missing."""
    (module, distribution, folder), file = _FILES[name]
    spec = find_spec(module)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location, folder, file)
        if path.is_file():
            return path
    raise ConfigError(f"the photograph {file} is missing: it comes with {distribution}; install that package")


def load_photographs(names: Iterable[str] = NAMES) -> dict[str, UInt8]:
    """Return the photographs as uint8 RGB (h, w, 3), by name. Raises like :func:`photograph_path`."""
    pictures: dict[str, UInt8] = {}
    for name in names:
        with Image.open(photograph_path(name)) as opened:
            pictures[name] = np.array(opened.convert("RGB"))
    return pictures
