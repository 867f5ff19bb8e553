"""Settings: what ``likeness.toml`` may say.

Settings are frozen dataclasses filled from ``likeness.toml`` and passed down; pydantic checks them, so that a misspelt
key is an error that names it. What is secret or differs per machine (home, keys, the receiver's address) comes from the
environment instead (:mod:`pipelines.environment`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from embeddings.errors import ConfigError
from indexes.name_rules import NameSettings
from pipelines.config_embedding import (
    FORBID,
    ContentConfig,
    EmbeddingConfig,
    ImagesConfig,
    ModelFilesConfig,
    ModelsConfig,
    Positive,
    Seconds,
    Share,
    Unit,
    ViewsConfig,
)
from pipelines.environment import Environment
from pipelines.sources import FetchSettings

__all__ = [
    "Config",
    "ContentConfig",
    "EmbeddingConfig",
    "ImagesConfig",
    "ModelFilesConfig",
    "ModelsConfig",
    "ViewsConfig",
    "explain",
    "load_config",
]


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """How work is cut. A shard closes at ``shard_items`` items or ``shard_bytes`` of encoded content. Texts are
    searched ``examined_items`` at a time, each time in one transaction: of 256 at a time these took half of the work.

    A day of which more than ``max_scanner_fault_rate`` of the items made the scanner itself fail is stopped as well.
    A day of which more than ``max_hit_rate`` are hits is stopped before its verdicts, unless it has fewer than
    ``hit_rate_items`` scannable items: then a rate says little. A backfill gives way to a waiting sweep after
    ``backfill_batches`` shards, and is started by itself at most ``max_backfill_attempts`` times for one pack.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    shard_items: Positive = 256
    shard_bytes: Positive = 128 * 2**20
    examined_items: Positive = 2048
    fetch_threads: Positive = 4
    max_fetch_attempts: Positive = 5
    backfill_batches: Positive = 4
    max_backfill_attempts: Positive = 5
    allow_empty_registry: bool = False
    max_hit_rate: Unit = 0.5
    max_fetch_failed_rate: Unit = 0.2
    max_scanner_fault_rate: Unit = 0.05
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

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
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

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
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

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    consent_days: Positive = 365
    min_reference_score: Unit = 0.8
    min_reference_pixels: Positive = 40
    request_hours: Positive = 48
    max_rescan_attempts: Positive = 5


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """What ``likeness calibrate`` aims at: the false positive identification rate, per face of a stranger, at the
    review and at the strong threshold, each held with ``confidence``. Of more than ``max_comparisons`` that a folder
    gives, so many are drawn. ``points``: of the stored DET curve.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    fpir: Share = 0.01
    strong_fpir: Share = 0.001
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_comparisons: Positive = 5_000_000
    points: Annotated[int, Field(ge=10, le=1000)] = 120


@dataclass(frozen=True, slots=True)
class MatchingConfig:
    """How subjects with more than four references are compared (:mod:`indexes.templates`).

    ``exact`` finds what comparing with every reference finds. ``centroids`` first compares with four centroids of a
    subject, and with its references where one scores within ``centroid_margin`` of the threshold: faster, but it misses
    some hits (benchmarks.templates), and what it missed counts as compared.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    references: Literal["exact", "centroids"] = "exact"
    centroid_margin: Unit = 0.1

    def margin(self) -> float | None:
        """As the gallery takes it: None is exact."""
        return self.centroid_margin if self.references == "centroids" else None


@dataclass(frozen=True, slots=True)
class NamesConfig:
    """How short a name may be, in letters (:mod:`indexes.name_rules`): at all, joined (``janedoe``), joined inside a
    longer word. A change has all texts searched again. ``most_letters``: how long a name or an exclusion may be that
    is taken on; looking for one takes longer the longer it is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    least_letters: Annotated[int, Field(ge=2)] = 3
    joined_letters: Annotated[int, Field(ge=2)] = 6
    inside_letters: Annotated[int, Field(ge=4)] = 8
    most_letters: Annotated[int, Field(ge=20)] = 300

    def settings(self) -> NameSettings:
        """As the matcher takes it."""
        return NameSettings(
            least_letters=self.least_letters,
            joined_letters=self.joined_letters,
            inside_letters=self.inside_letters,
            most_letters=self.most_letters,
        )


@dataclass(frozen=True, slots=True)
class TakedownConfig:
    """Delivery: DESIGN 10. Back-off doubles from ``backoff_seconds`` up to ``backoff_cap_seconds``."""

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    timeout_seconds: Seconds = 15.0
    lease_seconds: Seconds = 60.0
    batch: Positive = 50
    backoff_seconds: Seconds = 5.0
    backoff_cap_seconds: Seconds = 36 * 3600.0
    give_up_hours: Positive = 75


@dataclass(frozen=True, slots=True)
class IsolationConfig:
    """What the work on one item may take (:mod:`pipelines.isolation`). ``item_seconds``, beside fetching it; a process
    in which no item is done with for longer ends. ``start_seconds``: within which a process for items that ended
    another has loaded its models. ``memory_bytes``: that such a process may take beyond its models; 0: no
    limit, as CUDA needs it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    item_seconds: Seconds = 600.0
    start_seconds: Seconds = 600.0
    memory_bytes: Annotated[int, Field(ge=0)] = 4 * 2**30


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """``url`` empty means SQLite in the home folder."""

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    url: str = ""
    busy_timeout_seconds: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class RayConfig:
    """For ``engine = "ray"``. ``address`` empty: ``workers`` processes on this machine; ``cpus``: cores of each.

    A task whose worker dies is begun again up to ``max_retries`` times.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    address: str = ""
    workers: Positive = 2
    cpus: Positive = 1
    max_retries: Annotated[int, Field(ge=0)] = 3


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in ``likeness.toml``."""

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    source: str = ""
    policy: str = ""
    engine: Literal["local", "ray"] = "local"
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    model_files: ModelFilesConfig = field(default_factory=ModelFilesConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    names: NamesConfig = field(default_factory=NamesConfig)
    takedown: TakedownConfig = field(default_factory=TakedownConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    ray: RayConfig = field(default_factory=RayConfig)


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
