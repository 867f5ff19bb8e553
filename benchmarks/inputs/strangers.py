"""A folder of a hundred strangers from an installed package, to try `likeness calibrate` on.

    python -m benchmarks.inputs.strangers FOLDER
    likeness calibrate --impostors FOLDER

They are the faces of scikit-image's LFW subset: 25 x 25 pixels, grey, enlarged here, of people whose names are not
given, so that one person may be there twice. Good for seeing what the command does, not for thresholds of a platform.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

FACES = 100
"""The other hundred pictures of the subset show no face."""


def write_strangers(folder: Path, count: int = FACES) -> None:
    """Write ``count`` photographs of 320 x 320 pixels, each with a face of 160 on grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, patch in enumerate(data.lfw_subset()[:count]):
        face = Image.fromarray((patch * 255).astype(np.uint8)).resize((160, 160), Image.Resampling.BICUBIC)
        frame = Image.new("L", (320, 320), 128)
        frame.paste(face, (80, 80))
        frame.save(folder / f"{number}.png")


if __name__ == "__main__":
    write_strangers(Path(sys.argv[1]))
