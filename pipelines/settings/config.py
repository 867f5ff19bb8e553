"""Settings: what ``likeness.toml`` may say.

Settings are frozen dataclasses filled from ``likeness.toml`` and passed down; pydantic checks them, so that a misspelt
key is an error that names it. What is secret or differs per machine (home, keys, the receiver's address) comes from the
environment instead (:mod:`pipelines.settings.environment`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from embeddings.errors import ConfigError
from embeddings.strict_toml import read_toml
from indexes.name_rules import NameSettings
from pipelines.exchange.limits import HeadLimits
from pipelines.settings.config_calibration import CalibrationConfig
from pipelines.settings.config_clock import ClockConfig
from pipelines.settings.config_dagster import DagsterConfig
from pipelines.settings.config_evidence import EvidenceConfig
from pipelines.settings.config_matching import MatchingConfig
from pipelines.settings.config_ray import RayConfig
from pipelines.settings.config_review import ReviewConfig
from pipelines.settings.config_sources import FetchConfig, SourcesConfig
from pipelines.settings.environment import Environment
from pipelines.settings.scanning import (
    FORBID,
    ContentConfig,
    Days,
    DecodeConfig,
    EmbeddingConfig,
    ImagesConfig,
    InfotextConfig,
    ModelFilesConfig,
    ModelsConfig,
    Positive,
    Seconds,
    Threads,
    Unit,
    ViewsConfig,
    WholeHours,
)

__all__ = [
    "ClockConfig",
    "Config",
    "ContentConfig",
    "DagsterConfig",
    "EmbeddingConfig",
    "FetchConfig",
    "ImagesConfig",
    "ModelFilesConfig",
    "ModelsConfig",
    "ReviewConfig",
    "SourcesConfig",
    "ViewsConfig",
    "explain",
    "load_config",
]

_LOG = logging.getLogger(__name__)
_RENAMED: Final = {("sweep", "hit_rate_items"): "min_items_for_rates"}
"""Settings by their earlier names, which files may still use."""


def _growing(hours: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise((0.0, *hours))):
        raise ValueError("every entry has to be above the one before it, and the first above 0")
    return hours


Hours = Annotated[float, Field(ge=0, le=10_000)]
Growing = Annotated[tuple[Hours, ...], Field(min_length=1, max_length=20), AfterValidator(_growing)]


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """How work is cut. A shard closes at ``shard_items`` items or ``shard_bytes`` of encoded content. Texts are
    searched ``examined_items`` at a time, one transaction each: at 256 the transactions took half of the time.

    A day of which more than ``max_scanner_fault_rate`` of the items made the scanner itself fail is stopped as well.
    A day of which more than ``max_hit_rate`` are hits is stopped before its verdicts. Among fewer than
    ``min_items_for_rates`` items no such share stops anything, and that none could be fetched is no outage. A backfill
    gives way to a waiting sweep after ``backfill_batches`` shards, and is started by itself at most
    ``max_backfill_attempts`` times for one pack.

    What could not be fetched, or came from a URL and could not be read, is tried again no sooner than ``retry_hours``
    after the first try, and settled after the last (:mod:`pipelines.intake.retries`); a complete file that is refused,
    when the same bytes come again after ``same_bytes_hours``. A day of which more than ``max_fetch_failed_rate`` could
    not be fetched, or ``max_unscannable_rate`` not be read, is stopped before its verdicts.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    shard_items: Positive = 256
    shard_bytes: Positive = 128 * 2**20
    examined_items: Positive = 2048
    fetch_threads: Threads = 4
    retry_hours: Growing = (1.0, 6.0, 24.0, 72.0)
    same_bytes_hours: Hours = 24.0
    backfill_batches: Positive = 4
    max_backfill_attempts: Positive = 5
    allow_empty_registry: bool = False
    max_hit_rate: Unit = 0.5
    max_fetch_failed_rate: Unit = 0.2
    max_unscannable_rate: Unit = 0.2
    max_scanner_fault_rate: Unit = 0.05
    min_items_for_rates: Positive = 20


@dataclass(frozen=True, slots=True)
class CorpusConfig:
    """What is kept of faces, and how (:mod:`pipelines.corpus.retention`, :mod:`pipelines.runs.compaction`).

    ``mode``: ``stored`` keeps vectors sealed; ``none`` keeps nothing once a shard is compared, and a rescan embeds
    again. ``max_age_days``: faces embedded longer ago are not kept either; 0: no limit. Compaction merges shards up to
    ``shard_bytes``, and rewrites one of which ``dead_ratio`` of the rows, or any for ``grace_days``, are of items that
    are gone. ``merged_subjects``: most people that one pass of a rescan compares with everything; up to a few dozen
    they cost little more than one, beyond this each costs its full share (``benchmarks.rescan``).
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    mode: Literal["stored", "none"] = "stored"
    max_age_days: Annotated[int, Field(ge=0, le=36_525)] = 0
    shard_bytes: Positive = 128 * 2**20
    dead_ratio: Unit = 0.2
    grace_days: Annotated[float, Field(ge=0, le=36_525)] = 7.0
    merged_subjects: Positive = 256


@dataclass(frozen=True, slots=True)
class ExchangeConfig(HeadLimits):
    """What every server's answer is held to (:mod:`pipelines.exchange`): header fields, and bytes of head and interim
    answers. The time-outs of the other sections bound whole exchanges, from resolving the name to the last byte.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    max_header_fields: Positive = 100
    max_header_bytes: Positive = 65536


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """What a reference photograph must be, and how much people may ask for. A *clear* face has this score and this
    shorter side in pixels.

    A consent ends after ``consent_days``, or when it says so itself, within ``most_consent_days``. References of
    consent and contact, and the reason of a rejection, have at most ``max_text`` characters.
    ``approval_growth``: by which share what a request would hit may have grown since its first approval for that one to
    count beside the second.

    The end of a consent is told each of ``warn_days`` before it. ``min_ending`` or more that end at once, and more than
    ``max_ending_share`` of all, stop every run (:mod:`pipelines.registry.endings`).

    In a UTC day one contact may open ``max_requests_per_contact`` removal requests and all of them together
    ``max_requests_per_day``; a preview or an acceptance searches the whole platform, ``max_previews_per_day`` times.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    consent_days: Days = 365
    most_consent_days: Days = 36_525
    warn_days: tuple[Annotated[int, Field(ge=1, le=3660)], ...] = (30, 7)
    max_ending_share: Unit = 0.1
    min_ending: Positive = 5
    max_text: Positive = 1000
    min_reference_score: Unit = 0.8
    min_reference_pixels: Positive = 40
    request_hours: WholeHours = 48
    max_rescan_attempts: Positive = 5
    approval_growth: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_requests_per_contact: Positive = 20
    max_requests_per_day: Positive = 500
    max_previews_per_day: Positive = 2000


@dataclass(frozen=True, slots=True)
class NamesConfig(NameSettings):
    """How short a name may be, in letters (:mod:`indexes.name_rules`): at all, joined (``janedoe``), joined inside a
    longer word. A change has all texts searched again. ``most_letters``: how long a name or an exclusion may be that
    is taken on; looking for one takes longer the longer it is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    least_letters: Annotated[int, Field(ge=2, le=512)] = 3
    joined_letters: Annotated[int, Field(ge=2, le=512)] = 6
    inside_letters: Annotated[int, Field(ge=4, le=512)] = 8
    most_letters: Annotated[int, Field(ge=20, le=2**20)] = 300


@dataclass(frozen=True, slots=True)
class TakedownConfig:
    """Delivery. Back-off doubles from ``backoff_seconds`` up to ``backoff_cap_seconds``.

    ``timeout_seconds`` bounds a whole exchange with the service; a lease lasts at least twice as long, so that a
    message is never claimed by another dispatcher while its answer may still come. Of an answer to a message
    ``max_answer_bytes`` are read. The list of open cases may have ``max_cases_bytes`` and ``max_cases_parts`` (commas
    and brackets of its JSON, some 300 bytes of memory each; a case has 4 to 12). A pass ends after ``max_unanswered``
    messages in a row without an answer: the rest stay due, and what is urgent is first again in the next pass.

    A wait that the service asks for ends with the message's deadline, or after ``overdue_wait_seconds`` once that is
    over. Given up is what failed for ``give_up_hours`` and ``give_up_attempts`` times: hours in which this machine was
    off, or its clock jumped over, give nothing up. A stored wait of more than ``longest_wait_seconds``, or a lease that
    ends later than ``lease_seconds`` and ``skew_seconds`` from now, was written by a clock that was ahead, and is over.
    ``held_hours``: after which ``likeness status --check`` fails because of a message that is held.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    timeout_seconds: Seconds = 15.0
    lease_seconds: Seconds = 60.0
    batch: Positive = 50
    max_answer_bytes: Positive = 4096
    max_cases_bytes: Positive = 32 * 2**20
    max_cases_parts: Positive = 1_000_000
    max_unanswered: Positive = 20
    backoff_seconds: Seconds = 5.0
    backoff_cap_seconds: Seconds = 36 * 3600.0
    give_up_hours: WholeHours = 75
    give_up_attempts: Positive = 8
    overdue_wait_seconds: Seconds = 3600.0
    longest_wait_seconds: Seconds = 48 * 3600.0
    skew_seconds: Seconds = 600.0
    held_hours: WholeHours = 24

    def __post_init__(self) -> None:
        if self.lease_seconds < 2 * self.timeout_seconds:
            raise ConfigError("takedown.lease_seconds must be at least twice takedown.timeout_seconds")


@dataclass(frozen=True, slots=True)
class IsolationConfig:
    """What the work on one item may take (:mod:`pipelines.home.isolation`). ``item_seconds``, beside fetching it; a
    process in which no item is done with for longer ends. ``start_seconds``: within which a process for items that
    ended another has loaded its models. ``memory_bytes``: that such a process may take beyond its models; 0: no limit,
    as CUDA needs it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    item_seconds: Seconds = 600.0
    start_seconds: Seconds = 600.0
    memory_bytes: Annotated[int, Field(ge=0, le=2**53)] = 4 * 2**30


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """``url`` empty means SQLite in the home folder. ``witness``: the file that remembers how far the database had come
    (:mod:`pipelines.home.witness`), relative to the home folder; on another disk or machine it is not put back with it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    url: str = ""
    witness: str = "likeness.witness"
    busy_timeout_seconds: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in ``likeness.toml``."""

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    source: str = ""
    policy: str = ""
    engine: Literal["local", "ray"] = "local"
    second_opinion: Annotated[str, Field(min_length=1)] = "off"
    """Another network that is asked about each face that was found (:mod:`pipelines.evidence.second_opinions`):
    ``dlib``, a pack, or ``off``."""
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    model_files: ModelFilesConfig = field(default_factory=ModelFilesConfig)
    infotext: InfotextConfig = field(default_factory=InfotextConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    names: NamesConfig = field(default_factory=NamesConfig)
    exchange: ExchangeConfig = field(default_factory=ExchangeConfig)
    takedown: TakedownConfig = field(default_factory=TakedownConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    review: ReviewConfig = field(default_factory=ReviewConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    dagster: DagsterConfig = field(default_factory=DagsterConfig)


def load_config(environment: Environment) -> Config:
    """Read ``--config``, else ``likeness.toml`` in the home folder, else the defaults. Raises ``ConfigError``."""
    path = environment.config_path or environment.home / "likeness.toml"
    if not path.exists():
        if environment.config_path:
            raise ConfigError(f"the configuration file {path} does not exist")
        return _with_environment(Config(), environment)
    try:
        values, _ = read_toml(path)
        config = _adapter().validate_python(_by_present_names(values, path))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return _with_environment(config, environment)


def _by_present_names(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings with earlier names replaced by present ones. Raises ``ConfigError`` for one under both."""
    named = dict(values)
    for (table, before), after in _RENAMED.items():
        section = named.get(table)
        if isinstance(section, dict) and before in section:
            if after in section:
                raise ConfigError(f"{path}: {table}.{before} and {table}.{after} are one setting: keep the second")
            _LOG.warning(
                "%s: %s.%s is called %s.%s now; version 1.0 will not know the old name",
                path,
                table,
                before,
                table,
                after,
            )
            named[table] = {after if name == before else name: value for name, value in section.items()}
    return named


@functools.cache
def _adapter() -> TypeAdapter[Config]:
    """Build the schema once: building takes far longer than reading a file by it."""
    return TypeAdapter(Config)


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
