"""Headers of model files per second, read from disk (from the page cache, after the first repeat) by one thread.

    python -m benchmarks.evidence.headers [--files 3000] [--repeats 5] [--json]

The files are made up: LoRAs as kohya-ss's trainer leaves them, with 792 tensors and the tags of 40 images, and a few
with a checkpoint's 2,500 tensors; tensors are holes in sparse files. ``ours`` opens, parses strictly, takes the texts
in which a name may stand and the thumbnail. Peers: ``safetensors.safe_open`` (Rust), asked for the metadata and the
names of the tensors; and ``json.loads`` of the same bytes. Neither refuses repeated keys or takes any text. Checked in
the run: metadata and number of tensors are the library's in every file, and the planted token is found. ``ratio_*``:
the peer's time divided by ours, median of interleaved repeats.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from benchmarks.finish import finish
from embeddings.headers.evidence import evident_texts
from embeddings.headers.pictures import pictures_in
from embeddings.headers.safetensors import LENGTH_BYTES, Header, header_length, parse_header
from pipelines.settings.config import ModelFilesConfig

TOKEN = "ohwx testina"
_MODULES = (
    "attn1_to_k",
    "attn1_to_q",
    "attn1_to_v",
    "attn1_to_out_0",
    "attn2_to_k",
    "attn2_to_q",
    "attn2_to_v",
    "ff_net_0",
)
_SETTINGS = (
    "ss_learning_rate",
    "ss_optimizer",
    "ss_seed",
    "ss_epoch",
    "ss_resolution",
    "ss_sd_model_name",
    "ss_clip_skip",
)
_CONFIG = ModelFilesConfig()


def metadata(drawn: random.Random) -> dict[str, str]:
    """What a trainer writes: settings, data sets, the tags of 40 images; every third file has a thumbnail."""
    tags = {
        f"{drawn.choice(['a', 'the', 'her'])} tag {drawn.randrange(10_000)}": drawn.randint(1, 30) for _ in range(300)
    }
    subset = {"img_count": 40, "num_repeats": 10, "image_dir": f"10_{TOKEN}", "class_tokens": TOKEN, "flip_aug": False}
    dataset = {"is_dreambooth": True, "batch_size_per_device": 2, "noise": -0.05, "subsets": [subset]}
    values = {name: f"{name} {drawn.random()}" for name in _SETTINGS} | {
        "ss_output_name": f"lora {drawn.randrange(10_000)}",
        "ss_datasets": json.dumps([dataset]),
        "ss_dataset_dirs": json.dumps({f"10_{TOKEN}": {"n_repeats": 10, "img_count": 40}}),
        "ss_tag_frequency": json.dumps({f"10_{TOKEN}": {TOKEN: 40, **tags}}),
        "modelspec.title": f"A model {drawn.randrange(10_000)}",
    }
    if drawn.random() < 1 / 3:
        image = b"\xff\xd8\xff" + drawn.randbytes(20_000)
        values["modelspec.thumbnail"] = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    return values


def write_files(folder: Path, count: int) -> list[Path]:
    """Files as described above, of which every twentieth has a checkpoint's number of tensors."""
    drawn, paths = random.Random(5), []
    for number in range(count):
        fields: dict[str, Any] = {"__metadata__": metadata(drawn)}
        end = 0
        for tensor in range(2500 if number % 20 == 0 else 792):
            block, module = divmod(tensor, len(_MODULES))
            size = drawn.choice([16 * 320, 16 * 640, 1])
            name = f"lora_unet_blocks_{block}_transformer_{_MODULES[module]}.lora_down.weight"
            fields[name] = {"dtype": "F16", "shape": [size], "data_offsets": [end, end + 2 * size]}
            end += 2 * size
        header = json.dumps(fields, separators=(",", ":")).encode()
        paths.append(folder / f"{number}.safetensors")
        with paths[-1].open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(LENGTH_BYTES + len(header) + end)
    return paths


def parse(path: Path) -> Header:
    """The header alone."""
    limits = _CONFIG.header_limits()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = header_length(file.read(LENGTH_BYTES), limits=limits)
        return parse_header(file.read(length), file_bytes=size, limits=limits)


def ours(path: Path) -> tuple[Mapping[str, str], int, set[str]]:
    """Metadata, number of tensors, and the texts of the places where a name may stand."""
    header = parse(path)
    pictures_in(header.metadata, max_bytes=_CONFIG.thumbnail_max_bytes)
    texts = evident_texts(header.metadata, limits=_CONFIG.text_limits())
    return header.metadata, header.tensors, {one.text for one in texts if one.place == "header:identity_token"}


def library(path: Path) -> tuple[Mapping[str, str], int]:
    """Metadata and number of tensors by the format's own library."""
    with safe_open(path, framework="np") as opened:
        return opened.metadata(), len(opened.keys())


def plain(path: Path) -> tuple[Mapping[str, str], int]:
    """Python's parser on the same bytes."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(LENGTH_BYTES))
        fields = json.loads(file.read(length))
    return fields["__metadata__"], len(fields) - 1


def seconds(work: Callable[[Path], Any], paths: list[Path]) -> float:
    """Wall time over all files."""
    before = time.perf_counter()
    for path in paths:
        work(path)
    return time.perf_counter() - before


def is_correct(path: Path) -> bool:
    """Whether ours agrees with the library, and finds the planted token and no other."""
    found, tensors, tokens = ours(path)
    return (dict(found), tensors) == library(path) and tokens == {TOKEN}


def measure(*, files: int, repeats: int) -> dict[str, Any]:
    """Time ours and the peers in turns."""
    work: dict[str, Callable[[Path], Any]] = {
        "ours": ours,
        "ours_parse_only": parse,
        "safe_open": library,
        "json": plain,
    }
    with tempfile.TemporaryDirectory(prefix="headers") as folder:
        paths = write_files(Path(folder), files)
        mean = statistics.mean(parse(path).bytes for path in paths)
        correct = sum(is_correct(path) for path in paths) == len(paths)
        spent: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(repeats):
            for name, call in work.items():
                spent[name].append(seconds(call, paths))
    row: dict[str, Any] = {"files": len(paths), "header_kb": round(mean / 1e3, 1), "correct": correct}
    row |= {f"{name}_per_s": round(len(paths) / statistics.median(times)) for name, times in spent.items()}
    for peer in ("safe_open", "json"):
        ratios = [theirs / own for theirs, own in zip(spent[peer], spent["ours"], strict=True)]
        row[f"ratio_{peer}"] = round(statistics.median(ratios), 2)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence.headers")
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    return finish([measure(files=options.files, repeats=options.repeats)], as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
