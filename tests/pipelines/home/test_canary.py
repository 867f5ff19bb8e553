"""The canary with the real models: it is found, and a broken model or gallery is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import NotReadyError
from embeddings.models.load import FaceModels, load_models
from embeddings.types import Float32, UInt8
from indexes.gallery import Gallery
from pipelines.home.canary import Canary, make_canary
from pipelines.policy import load_policy
from pipelines.settings.config import EmbeddingConfig, ImagesConfig

THRESHOLDS = load_policy(None).thresholds("opencv-zoo")
LIMITS = ImagesConfig()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> FaceModels:
    cache: Path = tmp_path_factory.mktemp("models")
    return load_models("opencv-zoo", cache_dir=cache, settings=EmbeddingConfig().faces())


def gallery_of(canary: Canary, template: Float32 | None = None) -> Gallery:
    return Gallery(
        canary.template if template is None else template,
        template_ids=[canary.template_id],
        subject_ids=[canary.subject_id],
        model_id=canary.model_id,
        registry_version=1,
    )


def test_the_canary_is_found_and_strangers_are_not_taken_for_it(models: FaceModels) -> None:
    canary = make_canary(models, limits=LIMITS)
    canary.require_found(gallery_of(canary), THRESHOLDS)
    assert float((canary.probe @ canary.template.T)[0, 0]) > 0.8
    assert len(canary.strangers) == 6
    assert float((canary.strangers @ canary.template.T).max()) < THRESHOLDS.review


def test_a_gallery_whose_vectors_were_mixed_up_misses_the_canary(models: FaceModels) -> None:
    canary = make_canary(models, limits=LIMITS)
    with pytest.raises(NotReadyError, match="missed"):
        canary.require_found(gallery_of(canary, np.ascontiguousarray(canary.template[:, ::-1])), THRESHOLDS)


class OneFaceForAll:
    """A recogniser that gives everybody the same vector."""

    dimension = 128

    def embed(self, crops: UInt8) -> Float32:
        """The first unit vector, n times."""
        return np.tile(np.eye(1, 128, dtype=np.float32), (len(crops), 1))


def test_a_recogniser_that_finds_everybody_everywhere_is_noticed(models: FaceModels) -> None:
    canary = make_canary(replace(models, recognizer=OneFaceForAll()), limits=LIMITS)
    with pytest.raises(NotReadyError, match="stranger"):
        canary.require_found(gallery_of(canary), THRESHOLDS)


class Blind:
    """A detector that sees nothing."""

    def detect(self, image: UInt8, *, as_is: bool = False) -> object:
        """No faces."""
        from embeddings.types import Detections

        empty = np.empty(0, dtype=np.float32)
        return Detections(empty.reshape(0, 4), empty.reshape(0, 5, 2), empty)


def test_a_detector_that_sees_nothing_is_noticed(models: FaceModels) -> None:
    with pytest.raises(NotReadyError, match="expected faces"):
        make_canary(replace(models, detector=Blind()), limits=LIMITS)  # type: ignore[arg-type]
