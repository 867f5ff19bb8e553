"""Loading a pack: from its name to a detector and a recogniser that are ready to share between threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from embeddings.faces.detection import YuNetDetector
from embeddings.faces.recognition import CPU_BATCH, CUDA_BATCH, SessionRecognizer
from embeddings.faces.scrfd import ScrfdDetector
from embeddings.models.packs import find_pack
from embeddings.models.runtimes import REFERENCE, RuntimeSettings, choose_runtime, inspect_machine, open_session
from embeddings.models.weights import model_id, prepared_graph
from embeddings.types import FaceDetector, FaceRecognizer, FaceSettings, ModelSession


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
    runtime: str = ""
    """What the networks run on, for people to read."""
    sessions: tuple[ModelSession, ...] = ()
    """The loaded networks, for :meth:`close`."""

    def close(self) -> None:
        """Release the networks and their memory. Nothing is detected or recognised with these models after it."""
        for session in self.sessions:
            session.close()


def load_models(
    pack_name: str, *, cache_dir: Path, settings: FaceSettings, runtime: RuntimeSettings = REFERENCE
) -> FaceModels:
    """Load the detector and the recogniser of a pack, preparing their graphs into ``cache_dir`` the first time.

    Also tells OpenCV to use one thread in this process: images are spread over worker threads, and OpenCV's own pool
    below each of them would only contend. Raises :class:`WeightsError`.
    """
    cv2.setNumThreads(1)
    pack = find_pack(pack_name)
    machine = inspect_machine()
    chosen = choose_runtime(runtime, machine)
    # bf16 was shown to keep the recogniser within tolerance, not every detector: `auto` detects in fp32.
    exact = replace(runtime, precision="fp32") if runtime.precision == "auto" else runtime
    detecting = choose_runtime(exact, machine)
    detector = open_session(prepared_graph(pack.detector, cache_dir=cache_dir), detecting)
    recognizer = open_session(prepared_graph(pack.recognizer, cache_dir=cache_dir), chosen)
    return FaceModels(
        pack=pack.name,
        model_id=model_id(pack, settings),
        dimension=pack.dimension,
        settings=settings,
        detector=DETECTORS[pack.detector_kind](detector, settings=settings),
        recognizer=SessionRecognizer(recognizer, dimension=pack.dimension),
        batch=CUDA_BATCH if chosen.name == "onnxruntime-cuda" else CPU_BATCH,
        runtime=f"{chosen}, detector {detecting}" if detecting != chosen else str(chosen),
        sessions=(detector, recognizer),
    )


DETECTORS = {"yunet": YuNetDetector, "scrfd": ScrfdDetector}
