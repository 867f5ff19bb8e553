"""Settings of scanning: ``[embedding]``, ``[content]``, ``[models]``, ``[images]``, ``[decode]``, ``[model_files]`` and
``[infotext]``.

:mod:`pipelines.settings.config` reads them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from embeddings.headers.evidence import TextLimits
from embeddings.headers.reading import ReadingLimits
from embeddings.headers.safetensors import HeaderLimits
from embeddings.infotext.fields import InfotextLimits
from embeddings.models.runtimes import RuntimeSettings
from embeddings.settings import FaceSettings, ImageLimits, TileSettings, ViewSettings

Positive = Annotated[int, Field(gt=0, le=2**53)]
"""A count that every database and library takes and that a float holds exactly."""
Threads = Annotated[int, Field(gt=0, le=1024)]
Seconds = Annotated[float, Field(gt=0, le=20 * 86_400)]
"""A time-out: at most 20 days, because poll(2) takes milliseconds in 31 bits, less than 25 days."""
WholeHours = Annotated[int, Field(gt=0, le=366 * 24)]
Days = Annotated[int, Field(gt=0, le=36_525)]
"""A number of days, a hundred years at most, so that today plus it stays within the calendar."""
Unit = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ViewsConfig:
    """Looking again from other sides (:mod:`embeddings.faces.views`), measured by ``benchmarks/robustness.py``.

    ``off``: never; ``uncertain``: where the fast pass found nothing or something uncertain, or where that leaves
    room; ``always``: every frame in full, for which ``megapixels`` should be 8 or so. That bounds what looking for
    others may cost in one frame, 15 to 35 ms of one core for each; looking at what the fast pass found costs about
    a quarter of recognising it. Views change the models' id: thresholds have to be calibrated with them.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    mode: Literal["off", "uncertain", "always"] = "uncertain"
    candidate_score: Unit = 0.5
    search_score: Unit = 0.85
    room: Unit = 0.25
    glance_side: Positive = 128
    sides: tuple[Positive, ...] = (320, 640)
    megapixels: Annotated[float, Field(gt=0, le=1000)] = 1.25

    def settings(self) -> ViewSettings | None:
        """The settings in the form that ``embeddings`` takes; None when views are off."""
        if self.mode == "off":
            return None
        deciding = {one.name: getattr(self, one.name) for one in fields(ViewSettings) if one.name != "always"}
        return ViewSettings(always=self.mode == "always", **deciding)


@dataclass(frozen=True, slots=True)
class TilesConfig:
    """Tiles of large and long pictures (:mod:`embeddings.faces.tiling`), measured by ``benchmarks/small_faces.py``.

    ``megapixels`` bounds what the detector is shown of one frame in tiles, about 20 ms of one core for each; 0: no
    tiles. ``smallest_face``: longer side in pixels for which tiles are made large enough within that. Tiles change the
    models' id.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    smallest_face: Positive = 60
    megapixels: Annotated[float, Field(ge=0, le=1000)] = 6.0

    def settings(self) -> TileSettings | None:
        """The settings in the form that ``embeddings`` takes; None when there are no tiles."""
        return TileSettings(self.smallest_face, self.megapixels) if self.megapixels else None


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """How content becomes vectors. ``workers`` 0 means one per core.

    ``pack``: a known one (``likeness models list``) or ``local:PATH``. ``runtime`` and ``precision`` change the speed,
    and vectors by no more than :data:`embeddings.models.runtimes.MIN_COSINE` says.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    pack: str = "opencv-zoo"
    runtime: Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    scales: tuple[Positive, ...] = (640, 160)
    min_score: Unit = 0.7
    nms_iou: Unit = 0.3
    max_faces: Positive = 200
    views: ViewsConfig = field(default_factory=ViewsConfig)
    tiles: TilesConfig = field(default_factory=TilesConfig)

    def worker_count(self) -> int:
        """Threads that decode, detect and recognise."""
        return self.workers or len(os.sched_getaffinity(0))

    def runtime_settings(self) -> RuntimeSettings:
        """Return the part that decides what the networks run on."""
        return RuntimeSettings(self.runtime, self.precision)

    def faces(self) -> FaceSettings:
        """Return the part that decides which vectors come out."""
        return FaceSettings(
            scales=self.scales,
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_faces=self.max_faces,
            views=self.views.settings(),
            tiles=self.tiles.settings(),
        )


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """What content shows: a rating, and CLIP vectors.

    ``clip``: ``auto`` uses CLIP where its weights are at hand and otherwise says so and records what is missing;
    ``required`` fails without them; ``off`` misses nothing. ``clip_checkpoint`` is a weights file of ``clip_model`` or
    a folder as open_clip publishes them, relative to the home folder. Without it the weights of ``clip_pretrained`` are
    used if they were downloaded before; with ``clip_download`` a run downloads them itself. ``max_frames`` of an
    animation are looked at.

    ``concepts``: a list of concepts of one's own (:mod:`pipelines.policy.concept_list`), relative to the home folder.
    An image whose Open-NSFW score reaches ``suggestive_score``, ``mature_score`` or ``explicit_score`` is at least
    that. The first two are the bounds that the network's publisher gives for "not safe" and "certainly not"; the third
    is ours.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    rating: bool = True
    clip: Literal["auto", "required", "off"] = "auto"
    clip_model: str = "ViT-B-32"
    clip_pretrained: str = "laion2b_s34b_b79k"
    clip_checkpoint: str = ""
    clip_download: bool = False
    clip_device: str = "auto"
    clip_compile: bool = False
    max_frames: Positive = 8
    concepts: str = ""
    suggestive_score: Unit = 0.2
    mature_score: Unit = 0.8
    explicit_score: Unit = 0.95

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        if not self.suggestive_score <= self.mature_score <= self.explicit_score:
            raise ValueError("suggestive_score, mature_score and explicit_score have to ascend")


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """How packs are downloaded. A cut connection is resumed up to ``pull_attempts`` times, and one that brings less
    than ``pull_min_bytes_per_second`` on average over ``pull_timeout_seconds`` counts as cut.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    pull_attempts: Positive = 5
    pull_timeout_seconds: Seconds = 30.0
    pull_min_bytes_per_second: Positive = 4096
    pull_max_redirects: Annotated[int, Field(ge=0, le=100)] = 5
    max_bytes: Positive = 2**30


@dataclass(frozen=True, slots=True)
class ImagesConfig(ImageLimits):
    """What the decoder accepts. ``max_decode_bytes``: of memory that decoding one image takes by its header; as many
    images are decoded at once as there are workers, so that workers x ``max_decode_bytes`` bound the decoding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    max_bytes: Positive = 32 * 2**20
    max_pixels: Positive = 40_000_000
    max_frames: Positive = 64
    max_animation_pixels: Positive = 400_000_000
    max_video_seconds: Seconds = 600.0
    max_video_pixels: Positive = 2_000_000_000
    max_decode_bytes: Positive = 1280 * 2**20


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Where uploaded bytes are decoded (:mod:`embeddings.sandbox`). ``sandbox``: ``auto`` has pictures and headers
    decoded in confined processes, by what the kernel offers for that; ``off`` decodes in the scanner itself.

    ``item_seconds``: for one frame or header, in processor time and by the clock. A process is ended after
    ``recycle_items`` or ``recycle_bytes`` of uploads.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    sandbox: Literal["auto", "off"] = "auto"
    item_seconds: Seconds = 60.0
    recycle_items: Positive = 2000
    recycle_bytes: Positive = 4 * 2**30


@dataclass(frozen=True, slots=True)
class ModelFilesConfig:
    """What is read of uploaded model files (:mod:`pipelines.intake.model_reading`); they are never held in memory.

    ``payload``: ``stream`` reads a file to its end once, for the SHA-256 of the file and of its tensors, if these are
    no larger than ``max_payload_bytes`` and come in ``payload_timeout_seconds``; ``off`` reads headers alone. A header
    is read up to ``max_header_bytes`` and ``max_tensors``, the image in it up to ``thumbnail_max_bytes``, and of its
    texts ``max_text`` characters from each place, with the ``top_tags`` most frequent tags. A tag on
    ``identity_share`` of a folder's images is taken for what the folder shows.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    payload: Literal["stream", "off"] = "stream"
    max_payload_bytes: Positive = 32 * 2**30
    payload_timeout_seconds: Seconds = 600.0
    max_header_bytes: Positive = 16 * 2**20
    max_tensors: Positive = 100_000
    thumbnail_max_bytes: Positive = 8 * 2**20
    max_text: Positive = 20_000
    top_tags: Positive = 200
    identity_share: Annotated[float, Field(gt=0, le=1)] = 0.9

    def header_limits(self) -> HeaderLimits:
        """Return the part that decides which headers are read."""
        return HeaderLimits(max_bytes=self.max_header_bytes, max_tensors=self.max_tensors)

    def text_limits(self) -> TextLimits:
        """Return the part that decides what is taken of one."""
        return TextLimits(max_chars=self.max_text, top_tags=self.top_tags, identity_share=self.identity_share)

    def reading_limits(self) -> ReadingLimits:
        """Return what is read of a header in all."""
        return ReadingLimits(self.header_limits(), self.text_limits(), self.thumbnail_max_bytes)


@dataclass(frozen=True, slots=True)
class InfotextConfig:
    """What is read of what pictures say of their making (:mod:`embeddings.infotext`): ``max_bytes`` of texts per
    picture, inflated; ``max_text`` characters from each place; and of a graph of nodes ``max_parts`` commas and
    brackets. A picture of up to ``max_pixels`` is decoded for a text in its lowest bits, if it seems to have one.
    ``version_prefix``: what stands before a version's number in the item ids of models.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    max_bytes: Positive = 4 * 2**20
    max_text: Positive = 40_000
    max_parts: Positive = 100_000
    max_pixels: Positive = 20_000_000
    version_prefix: str = ""

    def limits(self) -> InfotextLimits:
        """Return the limits as the reader takes them."""
        return InfotextLimits(
            max_bytes=self.max_bytes,
            max_chars=self.max_text,
            max_parts=self.max_parts,
            max_pixels=self.max_pixels,
        )
