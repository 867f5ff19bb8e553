"""The weights of second networks (:mod:`embeddings.faces.second`), and the id of what they score. Loads nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embeddings.errors import WeightsError
from embeddings.models.packs import find_pack
from embeddings.models.preparation import PREPARATION_VERSION
from embeddings.models.weights import ModelFile, WheelFile

OFF: Final = "off"
DLIB: Final = "dlib"
_CARRIER: Final = ("face-recognition-models", "0.3.0")
_FOLDER: Final = "face_recognition_models/models"
_DLIB_PREPARATION: Final = 1
"""Raised whenever the same crops would give other scores."""


def _as_published(data: bytes) -> bytes:
    return data


DLIB_RESNET: Final = ModelFile(
    name="dlib face recognition ResNet v1",
    source=WheelFile(*_CARRIER, f"{_FOLDER}/dlib_face_recognition_resnet_model_v1.dat"),
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0-1.0",
    origin="davisking/dlib-models",
    prepare=_as_published,
)
DLIB_LANDMARKS: Final = ModelFile(
    name="dlib 5-point shape predictor",
    source=WheelFile(*_CARRIER, f"{_FOLDER}/shape_predictor_5_face_landmarks.dat"),
    sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    licence="CC0-1.0",
    origin="davisking/dlib-models",
    prepare=_as_published,
)


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """A second network without its weights. ``name``: by which thresholds are stored; ``network_id``: the name and 12
    hex digits of everything that decides its scores."""

    name: str
    network_id: str
    recognizer_sha256: str


def name_network(name: str) -> NamedNetwork:
    """Return the name and the id of a second network. Loads nothing.

    ``name``: ``dlib``, or that of a pack. Raises :class:`WeightsError` for a pack that there is not.
    """
    if name == DLIB:
        parts: list[object] = [DLIB_RESNET.sha256, DLIB_LANDMARKS.sha256, _DLIB_PREPARATION]
        return NamedNetwork(DLIB, f"{DLIB}-{_digest(parts)}", DLIB_RESNET.sha256)
    pack = find_pack(name)
    digest = _digest([pack.recognizer.sha256, PREPARATION_VERSION])
    return NamedNetwork(pack.name, f"{pack.name}-{digest}", pack.recognizer.sha256)


def network_id(name: str) -> str:
    """Return the id alone, as :func:`name_network` does."""
    return name_network(name).network_id


def require_second_weights(name: str, *, folder: Path) -> None:
    """Raise :class:`WeightsError`, saying what to install or to pull, where the files of a second network are not here
    or not the right ones. Imports and loads none; ``folder`` is where downloads are kept."""
    if name != DLIB:
        find_pack(name).recognizer.read(folder)
        return
    if importlib.util.find_spec("dlib") is None:
        raise WeightsError("dlib is not installed: pip install 'likeness[second-opinion]'")
    for file in (DLIB_RESNET, DLIB_LANDMARKS):
        file.read()


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
