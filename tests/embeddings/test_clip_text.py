"""Ensembled text directions: open_clip's own text tower is the oracle, with seeded random weights."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from embeddings.content.clip import OpenClipEncoder
from embeddings.content.clip_text import ensemble, fill
from embeddings.errors import VectorError
from embeddings.types import Float32
from tests.embeddings.test_clip import encoder, folder, original, weights

__all__ = ["encoder", "folder", "original", "weights"]  # fixtures: a small model, and open_clip's own of the same file

TEMPLATES = ("{}", "a photo of {}", "a drawing of {}")
PROMPTS = ("a cup of coffee", "an espresso in a white cup")


def open_clips(original: tuple[Any, Any], texts: tuple[str, ...]) -> Float32:
    import open_clip
    import torch

    tokens = open_clip.get_tokenizer("ViT-B-32", context_length=16)(list(texts))
    with torch.inference_mode():
        unit: Float32 = torch.nn.functional.normalize(original[0].encode_text(tokens), dim=-1).numpy()
    return unit


def test_a_group_is_the_renormalised_mean_of_open_clips_vectors_of_its_texts(
    encoder: OpenClipEncoder, original: tuple[Any, Any]
) -> None:
    groups = [fill(TEMPLATES, PROMPTS), fill(("{}",), ("a rocket",)), fill(TEMPLATES, ("a cat",))]
    ours = ensemble(encoder, groups)
    for vector, texts in zip(ours, groups, strict=True):
        mean = open_clips(original, texts).mean(axis=0)
        assert vector @ (mean / np.linalg.norm(mean)) >= 0.999
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-6
    assert ours.dtype == np.float32


def test_a_group_of_one_text_is_that_texts_vector(encoder: OpenClipEncoder) -> None:
    assert np.allclose(ensemble(encoder, [("a rocket",)]), encoder.encode_texts(["a rocket"]), atol=1e-6)


def test_more_texts_than_one_batch_and_texts_that_repeat_change_nothing(encoder: OpenClipEncoder) -> None:
    many = tuple(f"picture number {number}" for number in range(150))
    both = ensemble(encoder, [many, many[::-1]])
    assert np.allclose(both[0], both[1], atol=1e-6)
    parts = np.concatenate([encoder.encode_texts(list(many[start : start + 50])) for start in (0, 50, 100)])
    mean = parts.mean(axis=0)
    assert both[0] @ (mean / np.linalg.norm(mean)) >= 0.9999


def test_every_prompt_is_put_into_every_template_and_other_braces_mean_nothing() -> None:
    assert fill(("{}", "a photo of {}"), ("x", "{0.__class__}")) == (
        "x",
        "a photo of x",
        "{0.__class__}",
        "a photo of {0.__class__}",
    )


def test_i4_groups_without_a_direction_are_refused(encoder: OpenClipEncoder) -> None:
    with pytest.raises(VectorError, match="empty"):
        ensemble(encoder, [("a cat",), ()])

    class Opposites:
        dimension = 2

        def encode_texts(self, texts: Any) -> Float32:
            return np.array([[1, 0], [-1, 0]], dtype=np.float32)

    with pytest.raises(VectorError):
        ensemble(Opposites(), [("black", "white")])


def test_the_module_loads_neither_torch_nor_open_clip() -> None:
    code = "import sys, embeddings.content.clip_text; assert not {'torch', 'open_clip'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
