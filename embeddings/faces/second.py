"""A second network's opinion on whether two faces are one person: dlib's ResNet, or the recogniser of another pack.

It is asked about few faces, those that the first network has matched already, so it may be slow. It sees the crops
that alignment makes and is never shown uploaded bytes. Knows no database and no threshold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from embeddings.errors import WeightsError
from embeddings.faces.alignment import CROP_SIDE
from embeddings.faces.recognition import SessionRecognizer
from embeddings.models.packs import find_pack
from embeddings.models.runtimes import REFERENCE, RuntimeSettings, choose_runtime, inspect_machine, open_session
from embeddings.models.second_weights import DLIB, DLIB_LANDMARKS, DLIB_RESNET, network_id
from embeddings.models.weights import ModelFile, Pack, prepared_graph
from embeddings.types import Float32, UInt8

if TYPE_CHECKING:
    from embeddings.types import FaceRecognizer

_BROWS_TO_CHIN: Final = (20, 30, 92, 102)
"""Left, top, right, bottom of what dlib's face detector would box in an aligned crop, about: moved by four pixels, a
crop's descriptor is 0.03 to 0.05 from what it was, at the median. Both sides of a comparison are cut alike."""


class SecondNetwork(Protocol):
    """Says how alike two faces are, on a scale of its own. Not for several threads at once."""

    network_id: str

    def describe(self, crops: UInt8) -> Float32:
        """Aligned crops, RGB uint8 (n, 112, 112, 3) -> descriptors float32 (n, d)."""
        ...

    def scores(self, faces: Float32, references: Float32) -> Float32:
        """Descriptors (n, d) and (m, d) -> scores (n, m), the higher the more alike."""
        ...


def load_second(name: str, *, cache_dir: Path, runtime: RuntimeSettings = REFERENCE) -> SecondNetwork:
    """Load a second network. Raises :class:`WeightsError` saying what to install or to pull."""
    if name == DLIB:
        return DlibNetwork()
    return PackNetwork(find_pack(name), cache_dir=cache_dir, runtime=runtime)


class DlibNetwork:
    """dlib's ResNet. A score is 1 less the Euclidean distance of two descriptors: 0.4 is its usual distance of 0.6.

    The crop's five landmarks are not dlib's, so dlib's own shape predictor looks for its five in the crop; its chip is
    cut from them. With landmarks computed from ours instead it agreed with itself less (docs/models.md).
    """

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise WeightsError("dlib is not installed: pip install 'likeness[second-opinion]'") from error
        self.network_id = network_id(DLIB)
        self._dlib: Any = dlib
        self._network = _opened(DLIB_RESNET, dlib.face_recognition_model_v1)
        self._landmarks = _opened(DLIB_LANDMARKS, dlib.shape_predictor)

    def describe(self, crops: UInt8) -> Float32:
        """Descriptors float32 (n, 128), not of unit length."""
        found = [np.array(self._network.compute_face_descriptor(self._chip(crop)), dtype=np.float32) for crop in crops]
        return np.array(found, dtype=np.float32).reshape(-1, 128)

    def scores(self, faces: Float32, references: Float32) -> Float32:
        """1 - distance, at most 1."""
        distances = np.linalg.norm(faces[:, None, :] - references[None, :, :], axis=2)
        scores: Float32 = (1.0 - distances).astype(np.float32)
        return scores

    def _chip(self, crop: UInt8) -> UInt8:
        """What the network is shown: RGB uint8 (150, 150, 3)."""
        dlib, margin = self._dlib, CROP_SIDE // 2
        around = np.ascontiguousarray(np.pad(crop, ((margin, margin), (margin, margin), (0, 0)), mode="edge"))
        box = dlib.rectangle(*(side + margin for side in _BROWS_TO_CHIN))
        return np.asarray(dlib.get_face_chip(around, self._landmarks(around, box), size=150, padding=0.25))


class PackNetwork:
    """The recogniser of another pack. A score is the cosine of two embeddings."""

    def __init__(self, pack: Pack, *, cache_dir: Path, runtime: RuntimeSettings) -> None:
        self.network_id = network_id(pack.name)
        chosen = choose_runtime(runtime, inspect_machine())
        session = open_session(prepared_graph(pack.recognizer, cache_dir=cache_dir), chosen)
        self._recognizer: FaceRecognizer = SessionRecognizer(session, dimension=pack.dimension)

    def describe(self, crops: UInt8) -> Float32:
        """Unit vectors float32 (n, dimension)."""
        return self._recognizer.embed(crops)

    def scores(self, faces: Float32, references: Float32) -> Float32:
        """Cosines, -1 to 1."""
        scores: Float32 = faces @ references.T
        return scores


def _opened(file: ModelFile, load: Any) -> Any:
    """What dlib makes of a published file. It takes names alone, so it is given a copy of the very bytes checked."""
    data = file.read()
    with tempfile.NamedTemporaryFile(prefix="weights-", suffix=".dat") as copy:
        copy.write(data)
        copy.flush()
        return load(copy.name)
