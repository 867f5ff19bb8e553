"""CLIP: open_clip's own transform and towers are the oracle, on a small architecture with seeded random weights."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.content.clip import MARGIN, OpenClipEncoder, load_clip
from embeddings.content.clip_weights import ClipSettings, ClipWeights, clip_model_id, find_weights, pull_weights
from embeddings.content.describe import Describer, describe_contents
from embeddings.errors import VectorError, WeightsError
from embeddings.images.decode import decode
from embeddings.types import Content, Float32, ImageLimits, UInt8
from tests.embeddings.conftest import encode

SIDE = 64
MODEL = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as open_clip publishes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import open_clip
        import torch
        from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("clip")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    save_file({k: v.clone().contiguous() for k, v in model.state_dict().items()}, path / "open_clip_model.safetensors")
    return path


@pytest.fixture(scope="module")
def weights(folder: Path) -> ClipWeights:
    found = find_weights(settings(folder), folder=folder / "memo")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def encoder(weights: ClipWeights) -> OpenClipEncoder:
    return load_clip(weights, device="cpu", compiled=False)


@pytest.fixture(scope="module")
def original(folder: Path) -> tuple[Any, Any]:
    """open_clip's own model in fp32, and its transform."""
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform


def settings(checkpoint: Path | None, tag: str = "laion2b_s34b_b79k") -> ClipSettings:
    return ClipSettings("ViT-B-32", tag, checkpoint)


def original_vectors(original: tuple[Any, Any], images: list[UInt8]) -> Float32:
    import torch

    model, transform = original
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(image)) for image in images])
        vectors: Float32 = torch.nn.functional.normalize(model.encode_image(batch), dim=-1).numpy()
    return vectors


def original_pixels(original: tuple[Any, Any], encoder: OpenClipEncoder, image: UInt8) -> np.ndarray:
    mean, std = (np.array(part) for part in (encoder.transform.mean, encoder.transform.std))
    return np.asarray((original[1](Image.fromarray(image)).permute(1, 2, 0).numpy() * std + mean) * 255)


def test_pixels_of_a_full_decode_are_open_clips_own(
    encoder: OpenClipEncoder, original: tuple[Any, Any], limits: ImageLimits, photographs: dict[str, UInt8]
) -> None:
    shapes = {"tall": photographs["astronaut.png"][:, 100:171], "wide": photographs["coffee.png"][50:133, :]}
    for name, image in (photographs | shapes).items():
        decoded = decode(encode(image, "PNG"), limits=limits, long_side=0)
        ours = encoder.transform.pixels(next(decoded.frames), full=(decoded.width, decoded.height))
        difference = np.abs(ours - original_pixels(original, encoder, image))
        assert difference.max() <= 1.01, name
        assert (difference > 0.5).mean() < 0.001, name


def clip_only(encoder: OpenClipEncoder, limits: ImageLimits) -> Describer:
    return Describer(rater=None, encoder=encoder, max_frames=limits.max_frames)


def test_pixels_of_a_reduced_decode_are_close_to_open_clips(
    encoder: OpenClipEncoder, original: tuple[Any, Any], limits: ImageLimits, photographs: dict[str, UInt8]
) -> None:
    reduced = 0
    for name, image in photographs.items():
        data = encode(image, "JPEG", quality=92)
        decoded = decode(data, limits=limits, long_side=0)
        frame = next(decoded.frames).at_least(encoder.transform.short_side / min(decoded.width, decoded.height))
        assert min(frame.image.shape[:2]) >= min(MARGIN * SIDE, *image.shape[:2])
        reduced += frame.scale < 1
        ours = encoder.transform.pixels(frame, full=(decoded.width, decoded.height))
        full = decode(data, limits=limits, long_side=10**6)
        difference = np.abs(ours - original_pixels(original, encoder, next(full.frames).image))
        assert difference.mean() < 1.0, name
    assert reduced >= 6


def test_vectors_equal_open_clips_in_full_precision(
    encoder: OpenClipEncoder, original: tuple[Any, Any], limits: ImageLimits, photographs: dict[str, UInt8]
) -> None:
    files = {name: encode(image, "JPEG", quality=92) for name, image in photographs.items()}
    full = [next(decode(data, limits=limits, long_side=10**6).frames).image for data in files.values()]
    contents = [Content(name.encode().ljust(32), data) for name, data in files.items()]
    described = describe_contents(contents, clip_only(encoder, limits), limits=limits, long_side=0, workers=2)
    ours = np.concatenate([one.vectors[:1] for one in described])  # a pale picture is looked at with more contrast too
    cosines = np.einsum("ij,ij->i", ours, original_vectors(original, full))
    assert cosines.min() >= 0.999
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-5


def test_texts_lie_in_the_space_of_open_clips_text_tower(encoder: OpenClipEncoder, original: tuple[Any, Any]) -> None:
    import open_clip
    import torch

    texts = ["a photograph of a cup of coffee", "a rocket", "word " * 100]
    tokens = open_clip.get_tokenizer("ViT-B-32", context_length=16)(texts)
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(original[0].encode_text(tokens), dim=-1).numpy()
    ours = encoder.encode_texts(texts)
    assert np.einsum("ij,ij->i", ours, theirs).min() >= 0.999
    assert encoder.encode_texts([]).shape == (0, encoder.dimension)


def test_results_depend_on_neither_workers_nor_batches(
    encoder: OpenClipEncoder, limits: ImageLimits, photographs: dict[str, UInt8]
) -> None:
    images = [encode(np.roll(image, turn * 50, axis=1), "PNG") for image in photographs.values() for turn in range(2)]
    contents = [Content(bytes([number]) * 32, data) for number, data in enumerate(images)]
    one, three = (
        describe_contents(contents, clip_only(encoder, limits), limits=limits, long_side=0, workers=workers)
        for workers in (1, 3)
    )
    assert [row.sha256 for row in three] == [content.sha256 for content in contents]
    for left, right in zip(one, three, strict=True):
        assert np.array_equal(left.vectors, right.vectors)


def test_each_sampled_frame_of_an_animation_has_its_vector(encoder: OpenClipEncoder, limits: ImageLimits) -> None:
    import io

    buffer = io.BytesIO()
    shades = [Image.new("RGB", (70, 90), (20 * n, 200 - 9 * n, 3 * n)) for n in range(11)]
    shades[0].save(buffer, format="WEBP", save_all=True, append_images=shades[1:], lossless=True)
    contents = [Content(b"a" * 32, b"broken"), Content(b"b" * 32, buffer.getvalue())]
    broken, moving = describe_contents(contents, clip_only(encoder, limits), limits=limits, long_side=0, workers=2)
    assert (broken.status, len(broken.vectors)) == ("unscannable:format", 0)
    assert len(moving.frames) == len(moving.vectors) == limits.max_frames
    assert (moving.frames[0], moving.frames[-1]) == (0, 10)


def test_i4_unusable_input_and_output_are_refused(encoder: OpenClipEncoder) -> None:
    with pytest.raises(VectorError):
        encoder.encode_images(np.zeros((1, SIDE, SIDE - 1, 3), dtype=np.uint8))
    assert encoder.encode_images(np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)).shape == (0, 48)


def test_i4_the_model_id_follows_architecture_tag_and_bytes(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes((folder / "open_clip_model.safetensors").read_bytes())

    def name(given: ClipSettings) -> str:
        found = find_weights(given, folder=tmp_path / "memo")
        assert found is not None
        return clip_model_id(found, folder=tmp_path / "memo")

    first = name(settings(file))
    assert first.startswith("clip-ViT-B-32-")
    assert name(settings(file)) == first
    assert name(settings(file, tag="openai")) != first
    assert name(settings(folder)) != first
    file.write_bytes(file.read_bytes() + b" ")
    assert name(settings(file)) != first


def test_i9_a_checkpoint_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str, str]]:
            return Path.write_text, (tmp_path / "sprung", "x")  # type: ignore[return-value]

    file = tmp_path / "trap.pt"
    torch.save({"state_dict": {"weight": Trap()}}, file)
    with pytest.raises(WeightsError):
        load_clip(ClipWeights(settings(file), file, None), device="cpu", compiled=False)
    assert not (tmp_path / "sprung").exists()


def test_weights_that_are_not_there_are_none_and_other_formats_are_refused(tmp_path: Path) -> None:
    assert find_weights(settings(None), folder=tmp_path) is None
    assert find_weights(settings(tmp_path / "missing.safetensors"), folder=tmp_path) is None
    assert find_weights(settings(tmp_path), folder=tmp_path) is None
    (tmp_path / "weights.npz").write_bytes(b"x")
    with pytest.raises(WeightsError, match="safetensors"):
        find_weights(settings(tmp_path / "weights.npz"), folder=tmp_path)


def test_downloaded_weights_are_found_again_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip import pretrained

    def download(source: object, *, cache_dir: str) -> str:
        path = Path(cache_dir) / "snapshot" / "open_clip_model.safetensors"
        path.parent.mkdir()
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setattr(pretrained, "download_pretrained", download)
    pulled = pull_weights(settings(None), folder=tmp_path / "clip")
    assert find_weights(settings(None), folder=tmp_path / "clip") == pulled
    with pytest.raises(WeightsError, match="no such model and tag"):
        pull_weights(settings(None, tag="unheard-of"), folder=tmp_path / "clip")
    modules = "embeddings.content.clip, embeddings.content.describe"
    code = f"import sys, {modules}; assert not {{'torch', 'open_clip'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
