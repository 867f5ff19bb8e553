"""Which runtime is chosen, and that any of them gives the same vectors from any number of threads."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import WeightsError
from embeddings.faces.find import find_faces
from embeddings.models.load import FaceModels, load_models
from embeddings.models.runtimes import (
    MIN_COSINE,
    Machine,
    Runtime,
    RuntimeSettings,
    _computes_bf16,
    choose_runtime,
    inspect_machine,
)
from embeddings.types import FaceSettings, ImageLimits

PLAIN = Machine(openvino=False, cuda=False, bf16=False)
FAST = Machine(openvino=True, cuda=False, bf16=True)
OLD = Machine(openvino=True, cuda=False, bf16=False)
GPU = Machine(openvino=True, cuda=True, bf16=True)
openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra `openvino`")


@pytest.mark.parametrize(
    ("asked", "machine", "chosen"),
    [
        (("auto", "auto"), PLAIN, ("onnxruntime", "fp32")),
        (("auto", "auto"), FAST, ("openvino", "bf16")),
        (("auto", "auto"), OLD, ("onnxruntime", "fp32")),
        (("auto", "auto"), GPU, ("onnxruntime-cuda", "fp32")),
        (("auto", "fp32"), FAST, ("onnxruntime", "fp32")),
        (("auto", "bf16"), GPU, ("openvino", "bf16")),
        (("openvino", "auto"), OLD, ("openvino", "fp32")),
        (("openvino", "bf16"), OLD, ("openvino", "bf16")),
        (("onnxruntime", "auto"), GPU, ("onnxruntime", "fp32")),
    ],
)
def test_auto_takes_what_is_installed_and_fastest(
    asked: tuple[str, str], machine: Machine, chosen: tuple[str, str]
) -> None:
    assert choose_runtime(RuntimeSettings(*asked), machine) == Runtime(*chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("openvino", "auto"), "pip install"),
        (("onnxruntime-cuda", "auto"), "no CUDA device"),
        (("onnxruntime", "bf16"), "fp32 only"),
        (("auto", "bf16"), "fp32 only"),
    ],
)
def test_what_cannot_be_had_is_said_and_not_replaced(asked: tuple[str, str], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        choose_runtime(RuntimeSettings(*asked), PLAIN)  # type: ignore[arg-type]


def test_the_processor_is_asked_for_native_bfloat16(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: x\nflags\t\t: fpu avx512_bf16 sse\n")
    assert _computes_bf16(file)
    file.write_text("flags\t\t: fpu avx2\n")
    assert not _computes_bf16(file)
    assert not _computes_bf16(tmp_path / "missing")
    assert inspect_machine() == inspect_machine()


@openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_runtime_finds_the_same_faces_and_the_same_vectors_within_tolerance(
    precision: str,
    models: FaceModels,
    cache_dir: Path,
    settings: FaceSettings,
    files: dict[str, bytes],
    limits: ImageLimits,
) -> None:
    wanted = RuntimeSettings("openvino", precision)  # type: ignore[arg-type]
    other = load_models("opencv-zoo", cache_dir=cache_dir, settings=settings, runtime=wanted)
    assert other.model_id == models.model_id
    assert other.runtime == f"openvino {precision}"
    for name in ("astronaut.png", "t1.jpg", "coffee.png"):
        reference = find_faces(files[name], models, limits=limits)
        found = find_faces(files[name], other, limits=limits)
        assert len(found) == len(reference)
        for face, same in zip(sorted(found, key=lambda f: f.box), sorted(reference, key=lambda f: f.box), strict=True):
            assert float(face.vector @ same.vector) >= MIN_COSINE
    other.close()


@openvino
def test_threads_share_a_session_and_get_their_own_answers(models: FaceModels, cache_dir: Path) -> None:
    wanted = RuntimeSettings("openvino", "fp32")
    other = load_models("opencv-zoo", cache_dir=cache_dir, settings=models.settings, runtime=wanted)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 255, (2, 112, 112, 3), dtype=np.uint8) for _ in range(12)]
    alone = [other.recognizer.embed(batch) for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(other.recognizer.embed, batches))
    np.testing.assert_allclose(np.stack(together), np.stack(alone), atol=1e-5)
    other.close()
