"""Both sides of :mod:`benchmarks.clip`, each in a process of its own: encoded files to CLIP vectors.

``ours`` is :func:`embeddings.content.describe.describe_contents` without a rater. ``open_clip`` is what its
documentation shows: Pillow decodes, ``preprocess`` prepares, ``encode_image`` runs in fp32 on batches of 32 with
torch's default threads. It gets what the comparison needs and its documentation does not have: Exif orientation undone,
transparency over white.

As workers of :mod:`benchmarks.workers.turns`: ``{"files": [...]}`` -> seconds; ``{"save": path}`` -> vectors as
``.npz``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from benchmarks.machine import peak_mb
from benchmarks.workers.turns import Seat
from embeddings.content.clip import load_clip
from embeddings.content.clip_weights import ClipSettings, find_weights
from embeddings.content.describe import Describer, describe_contents
from embeddings.types import Content
from pipelines.settings.config import EmbeddingConfig, ImagesConfig

MODEL, TAG = "ViT-B-32", "laion2b_s34b_b79k"
PEER_BATCH = 32
DETECTED_AT = max(EmbeddingConfig().scales)
"""Images are decoded as a scan decodes them."""

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[Path]], Vectors]


def ours(checkpoint: Path, device: str) -> tuple[Embed, dict[str, Any]]:
    """Our encoder on one worker per core."""
    weights = find_weights(ClipSettings(MODEL, TAG, checkpoint), folder=checkpoint.parent / "memo")
    if weights is None:
        raise SystemExit("the checkpoint is not there")
    encoder = load_clip(weights, device=device, compiled=False)
    describer = Describer(rater=None, encoder=encoder, max_frames=1)
    limits, workers = ImagesConfig(max_frames=1), len(os.sched_getaffinity(0))

    def embed(files: Sequence[Path]) -> Vectors:
        read = [file.read_bytes() for file in files]
        contents = [Content(hashlib.sha256(data).digest(), data) for data in read]
        described = describe_contents(contents, describer, limits=limits, long_side=DETECTED_AT, workers=workers)
        by_digest = {one.sha256: one.vectors[0] for one in described}
        return np.stack([by_digest[content.sha256] for content in contents])

    return embed, {"precision": encoder.precision, "batch": encoder.batch, "workers": workers}


def open_clip_alone(checkpoint: Path, device: str) -> tuple[Embed, dict[str, Any]]:
    """open_clip's transform and model as documented."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(MODEL, pretrained=str(checkpoint))
    model = model.eval().to(device)

    def prepared(file: Path) -> torch.Tensor:
        image = ImageOps.exif_transpose(Image.open(file))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        tensor: torch.Tensor = preprocess(image.convert("RGB"))
        return tensor

    def embed(files: Sequence[Path]) -> Vectors:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(files), PEER_BATCH):
                batch = torch.stack([prepared(file) for file in files[start : start + PEER_BATCH]]).to(device)
                parts.append(torch.nn.functional.normalize(model.encode_image(batch), dim=-1).cpu().numpy())
        return np.concatenate(parts)

    return embed, {"precision": "fp32", "batch": PEER_BATCH, "workers": torch.get_num_threads()}


def main() -> None:
    """Serve turns until the parent is gone."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers.clip")
    parser.add_argument("side", choices=["ours", "open_clip"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    seat = Seat()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = ours if options.side == "ours" else open_clip_alone
        embed, facts = make(options.checkpoint, options.device)
    message = seat.answer(**facts)
    vectors: dict[str, Vectors] = {}
    cpu_before = time.process_time()
    while True:
        if "save" in message:
            np.savez(message["save"], **vectors)
            message = seat.answer(peak_mb=peak_mb(), cpu_seconds=time.process_time() - cpu_before)
            continue
        before = seat.clock()
        names = message["files"]
        found = embed([options.folder / name for name in names])
        seconds = seat.clock() - before
        if message.get("keep", True):
            vectors.update(zip(names, found, strict=True))
        else:
            cpu_before = time.process_time()
        message = seat.answer(seconds=seconds)


if __name__ == "__main__":
    main()
