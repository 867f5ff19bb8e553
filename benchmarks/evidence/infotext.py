"""Pictures per second that are read for what they say of their making, by format, on one thread.

    python -m benchmarks.evidence.infotext [--repeats 30] [--side 1024] [--json]

``ours`` reads prompts, LoRAs, hashes, models, captions and hidden texts from bytes in memory, within bounds. The peer
is ``sd-parsers``, which opens the picture by Pillow and names prompts and models. Pictures are of noise, so that they
have the size of real ones. Checked in the run: whatever prompt the peer finds, ours has; no negative prompt is in what
ours found; and each planted hash is found. ``ratio``: the peer's processor time divided by ours, median of interleaved
repeats. ``peer_found``: how many prompts the peer finds; 0 where it does not read what is there.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from benchmarks.finish import finish
from embeddings.infotext.read import Infotext, read_infotext
from pipelines.settings.config import InfotextConfig

WANTED = "portrait of Testina Example, soft light, street at night, 35mm, detailed"
UNWANTED = "Nobody Unwanted, blurry, low quality"
HASH = "abcdef012345"
PARAMETERS = (
    f"{WANTED} <lora:testina_v2:0.8>\nNegative prompt: {UNWANTED}\nSteps: 28, Sampler: DPM++ 2M, CFG scale: 6, "
    f'Seed: 12, Size: 1024x1024, Model hash: 0123456789, Model: some_mix, Lora hashes: "testina_v2: {HASH}", '
    "Version: v1.9"
)
_LIMITS = InfotextConfig().limits()
_UNICODE = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
_COLUMNS = ("format", "kb", "ms", "peer_ms", "ratio", "planted", "correct")


def graph() -> dict[str, Any]:
    """A graph of 60 nodes, as it was run."""
    nodes: dict[str, Any] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some_mix.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": WANTED, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": UNWANTED, "clip": ["1", 1]}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "seed": 1,
                "steps": 20,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}},
    }
    for number in range(6, 60):
        nodes[str(number)] = {"class_type": "ImageScale", "inputs": {"image": ["4", 0], "width": number, "crop": "no"}}
    return nodes


def _exif(comment: bytes) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    return exif.tobytes()


def _png(image: Image.Image, **texts: str) -> bytes:
    chunks, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, text in texts.items():
        chunks.add_text(key, text)
    image.save(file, "PNG", pnginfo=chunks, compress_level=1)
    return file.getvalue()


def _as(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _hidden(image: Image.Image) -> bytes:
    """A text in the lowest bits of alpha, column by column."""
    body = PARAMETERS.encode()
    head = b"stealth_pnginfo" + (len(body) * 8).to_bytes(4, "big")
    bits = np.unpackbits(np.frombuffer(head + body, dtype=np.uint8))
    pixels = np.array(image.convert("RGBA")).transpose(1, 0, 2).copy()
    alpha = pixels[:, :, 3].reshape(-1)
    alpha[:] = 254
    alpha[: len(bits)] |= bits
    pixels[:, :, 3] = alpha.reshape(pixels.shape[:2])
    return _png(Image.fromarray(pixels.transpose(1, 0, 2).copy(), "RGBA"))


def pictures(side: int) -> dict[str, tuple[bytes, bool, str]]:
    """Bytes by format, whether there is a prompt in them, and which hash."""
    noise = np.random.default_rng(3).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side))
    exif = _exif(_UNICODE)
    return {
        "PNG without texts": (_png(image), False, ""),
        "PNG in four channels without texts": (_png(image.convert("RGBA")), False, ""),
        "JPEG without texts": (_as(image, "JPEG"), False, ""),
        "WebP without texts": (_as(image, "WEBP"), False, ""),
        "A1111, PNG": (_png(image, parameters=PARAMETERS), True, HASH),
        "A1111, JPEG": (_as(image, "JPEG", exif=exif), True, HASH),
        "A1111, WebP": (_as(image, "WEBP", exif=exif), True, HASH),
        "ComfyUI, PNG, 60 nodes": (_png(image, prompt=json.dumps(graph())), True, ""),
        "hidden in alpha, PNG": (_hidden(image), True, HASH),
    }


def ours(data: bytes) -> Infotext:
    """Everything that we take of a picture."""
    return read_infotext(data, limits=_LIMITS)


def peer() -> Callable[[bytes], list[str]]:
    """The peer's prompts of a picture."""
    from sd_parsers import ParserManager

    manager = ParserManager()

    def prompts(data: bytes) -> list[str]:
        found = manager.parse(io.BytesIO(data))
        return [] if found is None else [str(one.value) for one in found.prompts]

    return prompts


def is_correct(data: bytes, theirs: Sequence[str], *, planted: bool, digits: str) -> bool:
    """Whether ours has what was planted and what the peer found, and nothing that was excluded."""
    found = ours(data)
    everything = " ".join(text for _, text in found.texts)
    asked = all(" ".join(text.split("<")[0].split()) in everything for text in theirs)
    hashes = not digits or digits in found.hashes
    return asked and hashes and "Unwanted" not in everything and (WANTED in everything) == planted


def measure(*, repeats: int, side: int) -> list[dict[str, Any]]:
    """Time ours and the peer in turns, each format by itself."""
    prompts, rows = peer(), []
    for name, (data, planted, digits) in pictures(side).items():
        spent: dict[str, list[float]] = {"ours": [], "theirs": []}
        theirs = prompts(data)
        for _ in range(repeats):
            for who, call in (("ours", ours), ("theirs", prompts)):
                before = time.process_time()
                call(data)
                spent[who].append(time.process_time() - before)
        own, other = statistics.median(spent["ours"]), statistics.median(spent["theirs"])
        ratio = statistics.median(b / a for a, b in zip(spent["ours"], spent["theirs"], strict=True))
        rows.append(
            {
                "format": name,
                "kb": len(data) // 1000,
                "ms": round(own * 1e3, 3),
                "peer_ms": round(other * 1e3, 3),
                "ratio": round(ratio, 1),
                "peer_found": len(theirs),
                "planted": planted,
                "correct": is_correct(data, theirs, planted=planted, digits=digits),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence.infotext")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = measure(repeats=options.repeats, side=options.side)
    return finish(rows, as_json=options.json, columns=(*_COLUMNS, "peer_found"))


if __name__ == "__main__":
    sys.exit(main())
