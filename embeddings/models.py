"""Loading a pack: from its name to a detector and a recogniser that are ready to share between threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from embeddings.detection import YuNetDetector
from embeddings.recognition import CPU_BATCH, SessionRecognizer
from embeddings.runtime import OnnxSession
from embeddings.types import FaceDetector, FaceRecognizer, FaceSettings
from embeddings.weights import find_pack, model_id, prepared_graph


@dataclass(frozen=True, slots=True)
class FaceModels:
    """A loaded pack: everything that turns pixels into vectors, and the id of what comes out. Safe to share."""

    pack: str
    model_id: str
    dimension: int
    settings: FaceSettings
    detector: FaceDetector
    recognizer: FaceRecognizer
    batch: int
    """Crops per recogniser call at which it is fastest. Vectors depend on it by no more than float32 rounding."""


def load_models(pack_name: str, *, cache_dir: Path, settings: FaceSettings) -> FaceModels:
    """Load the detector and the recogniser of a pack, preparing their graphs into ``cache_dir`` the first time.

    Also tells OpenCV to use one thread in this process: images are spread over worker threads, and OpenCV's own pool
    below each of them would only contend. Raises :class:`WeightsError`.
    """
    cv2.setNumThreads(1)
    pack = find_pack(pack_name)
    detector = OnnxSession(prepared_graph(pack.detector, cache_dir=cache_dir))
    recognizer = OnnxSession(prepared_graph(pack.recognizer, cache_dir=cache_dir))
    return FaceModels(
        pack=pack.name,
        model_id=model_id(pack, settings),
        dimension=pack.dimension,
        settings=settings,
        detector=YuNetDetector(detector, settings=settings),
        recognizer=SessionRecognizer(recognizer, dimension=pack.dimension),
        batch=CPU_BATCH,
    )
