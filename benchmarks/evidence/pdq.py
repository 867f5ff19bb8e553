"""How many PDQ hashes a second, beside hashing the pictures at their full size?

    python -m benchmarks.evidence.pdq [--sides 512 1024 2048] [--repeats 5] [--json]

Work: `embeddings.images.pdq.pdq`, which first halves a picture to about 384 pixels, on one thread. Pictures: those
that installed packages carry, brought to a long side of ``side`` pixels, decoded already. Peer: `pdqhash.compute` on
the same pixels as they are. ``ratio``: the peer's time by ours, median of interleaved repeats.

The hashes differ a little, so how much is said: ``bits_median``, ``bits_mean`` and ``bits_max`` of 256 between the two
hashes of one picture. What they are for is compared as well: every picture with its copy, halved and re-encoded as a
JPEG of quality 60, and with every other picture, at 31 bits. ``copies_found`` and ``peer_copies_found``: of the copies;
``others_found`` and ``peer_others_found``: of the others, which should be none. Bricks, a printed page and drawn masks
are among the pictures: repeated patterns and bare outlines, on which PDQ's bits are least stable whoever computes them.
``correct``: the median is at most half of that distance, and no other picture is found that the peer does not find. A
run that is not correct exits with 1.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pdqhash

from benchmarks.finish import finish
from embeddings.images.pdq import MIN_QUALITY, pdq
from embeddings.types import UInt8
from pipelines.sample.photographs import load_photographs

DISTANCE = 31
QUALITY = 60
USUAL = DISTANCE // 2
Hash = Callable[[UInt8], bytes | None]
Pair = tuple[int, int]


def at_full_size(image: UInt8) -> bytes | None:
    """The peer: the published hash of all pixels, or None where its own quality is as low as we refuse."""
    bits, quality = pdqhash.compute(image)
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes() if quality >= MIN_QUALITY else None


def pictures_of(side: int) -> list[UInt8]:
    """Every packaged photograph with this long side."""
    found = []
    for picture in load_photographs().values():
        factor = side / max(picture.shape[:2])
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        found.append(np.ascontiguousarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method)))
    return found


def copy_of(picture: UInt8) -> UInt8:
    """What an uploader makes of it: half the size, a JPEG."""
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def differing(left: bytes, right: bytes) -> int:
    """Number of the 256 bits that differ."""
    return (int.from_bytes(left) ^ int.from_bytes(right)).bit_count()


def near(own: Sequence[bytes | None], others: Sequence[bytes | None]) -> set[Pair]:
    """(picture, other picture) whose hashes are so near that they count as one picture."""
    numbered = itertools.product(enumerate(own), enumerate(others))
    return {(at, to) for (at, one), (to, two) in numbered if one and two and differing(one, two) <= DISTANCE}


def seconds(hash_of: Hash, pictures: Sequence[UInt8]) -> float:
    """Wall time of hashing all of them."""
    started = time.perf_counter()
    for picture in pictures:
        hash_of(picture)
    return time.perf_counter() - started


def measure(side: int, repeats: int) -> dict[str, Any]:
    """One size of picture: times in turns, then the hashes beside each other."""
    pictures = pictures_of(side)
    copies = [copy_of(picture) for picture in pictures]
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(seconds(pdq, pictures))
        theirs.append(seconds(at_full_size, pictures))
    own, full = [pdq(picture) for picture in pictures], [at_full_size(picture) for picture in pictures]
    bits = [differing(one, two) for one, two in zip(own, full, strict=True) if one and two]
    found = near(own, [pdq(copy) for copy in copies])
    peer_found = near(full, [at_full_size(copy) for copy in copies])
    same = {(at, at) for at in range(len(pictures))}
    return {
        "side": side,
        "pictures": len(pictures),
        "per_second": round(len(pictures) / statistics.median(ours), 1),
        "peer_per_second": round(len(pictures) / statistics.median(theirs), 1),
        "ratio": round(statistics.median(peer / own for peer, own in zip(theirs, ours, strict=True)), 2),
        "compared": len(bits),
        "bits_median": statistics.median(bits),
        "bits_mean": round(statistics.mean(bits), 1),
        "bits_max": max(bits),
        "copies_found": len(found & same),
        "peer_copies_found": len(peer_found & same),
        "others_found": len(found - same),
        "peer_others_found": len(peer_found - same),
        "correct": statistics.median(bits) <= USUAL and found - same <= peer_found,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence.pdq", description="PDQ hashes a second.")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rows = [measure(side, options.repeats) for side in options.sides]
    return finish(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
