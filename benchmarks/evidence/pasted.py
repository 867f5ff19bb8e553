"""How near a picture is to itself with a face pasted into it, by PDQ: from which share of its area on the two differ.

The policy's ``[copies] face_share`` rests on it. Run: ``python -m benchmarks.evidence.pasted``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from embeddings.images.pdq import pdq
from embeddings.types import UInt8
from pipelines.sample.photographs import ASTRONAUT_FACE, load_photographs
from pipelines.sample.variants import crop, paste, resize

BACKGROUNDS = ("coffee", "rocket", "brick", "gravel", "hubble", "moon", "chelsea", "motorcycle", "coins")
WIDTH, HEIGHT = 600, 480
SHARES = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
NEAR = 31


def main() -> None:
    """Print, for each share, the distances over all backgrounds and nine places."""
    pictures = load_photographs()
    scenes = [resize(pictures[name], width=WIDTH, height=HEIGHT) for name in BACKGROUNDS]
    face = crop(pictures["astronaut"], ASTRONAUT_FACE)
    print("share   pairs   least   median   within 31 bits")
    for share in SHARES:
        found = [distance for scene in scenes for distance in distances(scene, face, share=share)]
        near = sum(distance <= NEAR for distance in found)
        print(f"{share:5.2f} {len(found):7} {min(found):7} {statistics.median(found):8} {near:16}")


def distances(scene: UInt8, face: UInt8, *, share: float) -> Iterator[int]:
    """Distances of the scene to itself with the face in each of nine places, filling this share of its area."""
    factor = (share * WIDTH * HEIGHT / (face.shape[0] * face.shape[1])) ** 0.5
    width, height = int(face.shape[1] * factor), int(face.shape[0] * factor)
    pasted = resize(face, width=width, height=height)
    before = pdq(scene)
    for across in (0.0, 0.5, 1.0):
        for down in (0.0, 0.5, 1.0):
            place = int((WIDTH - width) * across), int((HEIGHT - height) * down)
            after = pdq(paste(scene, pasted, x=place[0], y=place[1]))
            if before is not None and after is not None:
                yield (int.from_bytes(before, "big") ^ int.from_bytes(after, "big")).bit_count()


if __name__ == "__main__":
    main()
