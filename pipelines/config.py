"""Settings: what ``likeness.toml`` may say.

Settings are frozen dataclasses filled from ``likeness.toml`` and passed down; pydantic checks them, so that a misspelt
key is an error that names it. What is secret or differs per machine (home, keys, the receiver's address) comes from the
environment instead (:mod:`pipelines.environment`).
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from embeddings.errors import ConfigError
from embeddings.runtimes import RuntimeSettings
from embeddings.types import FaceSettings, ImageLimits, ViewSettings
from pipelines.environment import Environment
from pipelines.sources import FetchSettings

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ViewsConfig:
    """Looking again from other sides (:mod:`embeddings.views`), measured by ``benchmarks/robustness.py``.

    ``off``: never; ``uncertain``: where the fast pass found nothing or something uncertain; ``always``: every frame in
    full, also against uploaders who put a plain face beside a turned one. ``megapixels`` bounds the cost of one frame:
    about 20 ms of one core for each. Off until thresholds are calibrated on the best of several views.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    mode: Literal["off", "uncertain", "always"] = "off"
    certain_score: Unit = 0.9
    candidate_score: Unit = 0.5
    promising_score: Unit = 0.7
    search_score: Unit = 0.85
    tiny_pixels: Positive = 20
    max_lean: Annotated[float, Field(gt=0, le=180)] = 20.0
    sides: tuple[Positive, ...] = (320, 640)
    megapixels: Annotated[float, Field(gt=0)] = 4.0

    def settings(self) -> ViewSettings | None:
        """As the embeddings package takes it."""
        if self.mode == "off":
            return None
        return ViewSettings(
            always=self.mode == "always",
            certain_score=self.certain_score,
            candidate_score=self.candidate_score,
            promising_score=self.promising_score,
            search_score=self.search_score,
            tiny_pixels=self.tiny_pixels,
            max_lean=self.max_lean,
            sides=self.sides,
            megapixels=self.megapixels,
        )


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """How content becomes vectors. ``workers`` 0 means one per core.

    ``pack``: a known one (``likeness models list``) or ``local:PATH``. ``runtime`` and ``precision`` change the speed,
    and vectors by no more than :data:`embeddings.runtimes.MIN_COSINE` says.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    pack: str = "opencv-zoo"
    runtime: Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    scales: tuple[Positive, ...] = (640, 160)
    min_score: Unit = 0.7
    nms_iou: Unit = 0.3
    max_faces: Positive = 200
    views: ViewsConfig = field(default_factory=ViewsConfig)

    def worker_count(self) -> int:
        """Threads that decode, detect and recognise."""
        return self.workers or len(os.sched_getaffinity(0))

    def runtime_settings(self) -> RuntimeSettings:
        """The part that decides what the networks run on."""
        return RuntimeSettings(self.runtime, self.precision)

    def faces(self) -> FaceSettings:
        """The part that decides which vectors come out."""
        return FaceSettings(
            scales=self.scales,
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_faces=self.max_faces,
            views=self.views.settings(),
        )


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """What content shows: a rating, and CLIP vectors.

    ``clip``: ``auto`` uses CLIP where its weights are at hand and otherwise says so and records what is missing;
    ``required`` fails without them; ``off`` misses nothing. ``clip_checkpoint`` is a weights file of ``clip_model`` or
    a folder as open_clip publishes them, relative to the home folder. Without it the weights of ``clip_pretrained`` are
    used if they were downloaded before; with ``clip_download`` a run downloads them itself. ``max_frames`` of an
    animation are looked at.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    rating: bool = True
    clip: Literal["auto", "required", "off"] = "auto"
    clip_model: str = "ViT-B-32"
    clip_pretrained: str = "laion2b_s34b_b79k"
    clip_checkpoint: str = ""
    clip_download: bool = False
    clip_device: str = "auto"
    clip_compile: bool = False
    max_frames: Positive = 8


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """How packs are downloaded. A cut connection is resumed up to ``pull_attempts`` times."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    pull_attempts: Positive = 5
    pull_timeout_seconds: Seconds = 30.0
    max_bytes: Positive = 2**30


@dataclass(frozen=True, slots=True)
class ImagesConfig:
    """What the decoder accepts."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    max_bytes: Positive = 32 * 2**20
    max_pixels: Positive = 40_000_000
    max_frames: Positive = 64
    max_animation_pixels: Positive = 400_000_000

    def limits(self) -> ImageLimits:
        """As the embeddings package takes it."""
        return ImageLimits(
            max_bytes=self.max_bytes,
            max_pixels=self.max_pixels,
            max_frames=self.max_frames,
            max_animation_pixels=self.max_animation_pixels,
        )


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """How work is cut. A shard closes at ``shard_items`` items or ``shard_bytes`` of encoded content.

    A day of which more than ``max_hit_rate`` are hits is stopped before its verdicts, unless it has fewer than
    ``hit_rate_items`` scannable items: then a rate says little. A backfill gives way to a waiting sweep after
    ``backfill_batches`` shards, and is started by itself at most ``max_backfill_attempts`` times for one pack.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    shard_items: Positive = 256
    shard_bytes: Positive = 128 * 2**20
    fetch_threads: Positive = 4
    max_fetch_attempts: Positive = 5
    backfill_batches: Positive = 4
    max_backfill_attempts: Positive = 5
    allow_empty_registry: bool = False
    max_hit_rate: Unit = 0.5
    max_fetch_failed_rate: Unit = 0.2
    hit_rate_items: Positive = 20


@dataclass(frozen=True, slots=True)
class CorpusConfig:
    """What is kept of faces, and how (:mod:`pipelines.retention`, :mod:`pipelines.compaction`).

    ``mode``: ``stored`` keeps vectors sealed; ``none`` keeps nothing once a shard is compared, and a rescan embeds
    again. ``max_age_days``: faces embedded longer ago are not kept either; 0: no limit. Compaction merges shards up to
    ``shard_bytes``, and rewrites one of which ``dead_ratio`` of the rows, or any for ``grace_days``, are of items that
    are gone. ``merged_subjects``: most people that one pass of a rescan compares with everything; up to a few dozen
    they cost little more than one, beyond this each costs its full share (``benchmarks.rescan``).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    mode: Literal["stored", "none"] = "stored"
    max_age_days: Annotated[int, Field(ge=0)] = 0
    shard_bytes: Positive = 128 * 2**20
    dead_ratio: Unit = 0.2
    grace_days: Annotated[float, Field(ge=0)] = 7.0
    merged_subjects: Positive = 256


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """How items behind URLs are fetched. No host is allowed until it is listed.

    ``"cdn.example"`` allows ports 80 (http) and 443 (https) of that very host; another port needs ``"host:port"``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    timeout_seconds: Seconds = 30.0
    allowed_hosts: tuple[str, ...] = ()
    allow_private_addresses: bool = False

    def settings(self) -> FetchSettings:
        """As the sources take it."""
        return FetchSettings(
            timeout_seconds=self.timeout_seconds,
            allowed_hosts=self.allowed_hosts,
            allow_private_addresses=self.allow_private_addresses,
            max_redirects=0,
        )


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """What a reference photograph must be. A *clear* face has this score and this shorter side in pixels."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    consent_days: Positive = 365
    min_reference_score: Unit = 0.8
    min_reference_pixels: Positive = 40
    request_hours: Positive = 48
    max_rescan_attempts: Positive = 5


@dataclass(frozen=True, slots=True)
class TakedownConfig:
    """Delivery: DESIGN 10. Back-off doubles from ``backoff_seconds`` up to ``backoff_cap_seconds``."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    timeout_seconds: Seconds = 15.0
    lease_seconds: Seconds = 60.0
    batch: Positive = 50
    backoff_seconds: Seconds = 5.0
    backoff_cap_seconds: Seconds = 36 * 3600.0
    give_up_hours: Positive = 75


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """``url`` empty means SQLite in the home folder."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    url: str = ""
    busy_timeout_seconds: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in ``likeness.toml``."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    source: str = ""
    policy: str = ""
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    takedown: TakedownConfig = field(default_factory=TakedownConfig)


def load_config(environment: Environment) -> Config:
    """Read ``--config``, else ``likeness.toml`` in the home folder, else the defaults. Raises ``ConfigError``."""
    path = environment.config_path or environment.home / "likeness.toml"
    if not path.exists():
        if environment.config_path:
            raise ConfigError(f"the configuration file {path} does not exist")
        return _with_environment(Config(), environment)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        config = TypeAdapter(Config).validate_python(values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None
    return _with_environment(config, environment)


def explain(error: pydantic.ValidationError) -> str:
    """One line per problem: where, and what would be right. Values are left out."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
    )


def _with_environment(config: Config, environment: Environment) -> Config:
    if environment.source:
        config = replace(config, source=environment.source)
    if environment.database_url:
        config = replace(config, database=replace(config.database, url=environment.database_url))
    return config
