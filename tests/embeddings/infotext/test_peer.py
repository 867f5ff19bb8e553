"""sd-parsers, an independent reader, finds nothing in a picture that ours does not."""

from __future__ import annotations

import io

import pytest

from tests.embeddings.infotext_files import (
    PARAMETERS,
    comfy_prompt,
    exif_block,
    png_of,
    read,
    said,
    with_exif,
)

sd_parsers = pytest.importorskip("sd_parsers")


def pictures() -> dict[str, bytes]:
    """A picture of each generator that the peer knows."""
    comfy = {"prompt": comfy_prompt(), "workflow": {"nodes": [], "links": []}}
    for number in ("2", "5", "6"):  # the peer takes a LoRA's link to its model for a name, and fails
        del comfy["prompt"][number]
    comfy["prompt"]["3"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "photo of Jane Doe", "clip": ["1", 1]}}
    comfy["prompt"]["4"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "Mary Roe", "clip": ["1", 1]}}
    sampler = {"steps": 20, "cfg": 7.0, "seed": 1, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    linked = {"model": ["1", 0], "positive": ["3", 0], "negative": ["4", 0], "latent_image": ["1", 2]}
    comfy["prompt"]["7"] = {"class_type": "KSampler", "inputs": sampler | linked}
    novelai = {
        "prompt": "photo of Jane Doe",
        "uc": "Mary Roe",
        "steps": 28,
        "sampler": "k_euler",
        "seed": 1,
        "scale": 5,
    }
    novel = {"Software": "NovelAI", "Source": "Stable Diffusion 1D44365E", "Description": "photo of Jane Doe"}
    invoke = {"positive_prompt": "photo of Jane Doe", "negative_prompt": "Mary Roe", "seed": 1, "scheduler": "euler"}
    comment = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    return {
        "A1111, PNG": png_of({"parameters": PARAMETERS}),
        "A1111, JPEG": with_exif("JPEG", exif_block(comment)),
        "A1111, WebP": with_exif("WEBP", exif_block(comment)),
        "ComfyUI": png_of(comfy),
        "InvokeAI": png_of({"invokeai_metadata": invoke | {"model": {"model_name": "some_mix", "hash": "ab"}}}),
        "NovelAI": png_of(novel | {"Comment": novelai}),
    }


@pytest.mark.parametrize("kind", list(pictures()))
def test_whatever_the_peer_finds_is_found_and_what_it_finds_excluded_is_not(kind: str) -> None:
    data = pictures()[kind]
    theirs = sd_parsers.ParserManager().parse(io.BytesIO(data))
    assert theirs is not None
    ours = said(read(data))
    prompts, negative = [str(one) for one in theirs.prompts], [str(one) for one in theirs.negative_prompts]
    assert prompts
    assert negative
    for prompt in prompts:
        for part in prompt.replace("<lora:jane_doe_v2:0.8>", "\n").splitlines():
            assert part.strip() in ours
    for excluded in negative:
        assert excluded not in ours
    for model in theirs.models:
        assert model.name is None or model.name in ours
