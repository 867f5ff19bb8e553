"""One opened ``LIKENESS_HOME``: settings, database, keys, corpus, policy and, when first needed, the models.

Command line, Dagster and tests all work on a :class:`Workspace`; nothing else opens these things. What loads models or
Arrow is imported where it is first needed, so that a command that only reads the database starts at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, NotReadyError
from embeddings.settings import ImageLimits
from embeddings.weights import find_pack, model_id
from indexes.calibration import Thresholds
from pipelines.calibration.store import calibration_in_force
from pipelines.config import Config, load_config
from pipelines.database import Database, get_state, set_state
from pipelines.engine import Engine, open_engine
from pipelines.environment import Environment
from pipelines.failpoints import Failpoints
from pipelines.policy import Policy, load_policy
from pipelines.sealing import Sealer, load_master_key

if TYPE_CHECKING:
    from embeddings.models import FaceModels
    from indexes.corpus import Corpus
    from indexes.gallery import Gallery
    from pipelines.canary import Canary
    from pipelines.concept_list import ConceptList
    from pipelines.content_models import ContentModels


def utc_now() -> datetime:
    """The present moment, aware."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """An opaque random identifier such as ``sub_3f2a...``."""
    return f"{prefix}_{secrets.token_hex(10)}"


class Workspace:
    """Everything a stage needs, opened once."""

    def __init__(
        self, environment: Environment, config: Config, sealer: Sealer, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.environment = environment
        self.home = environment.home
        self.config = config
        self.sealer = sealer
        self.now = now
        self.failpoints = Failpoints(environment.failpoint)
        self.database = Database(
            config.database.url or f"sqlite:///{self.home / 'likeness.db'}",
            busy_timeout_seconds=config.database.busy_timeout_seconds,
        )
        self.galleries: dict[Hashable, Gallery] = {}
        """The gallery last compared with, by what it was made of; see :mod:`pipelines.matching`."""

    @cached_property
    def corpus(self) -> Corpus:
        """The shards of face embeddings."""
        from indexes.corpus import Corpus

        return Corpus(self.home / "corpus")

    @cached_property
    def content_corpus(self) -> Corpus:
        """The shards of content vectors."""
        from indexes.corpus import Corpus
        from pipelines.content_models import content_schema

        return Corpus(self.home / "content", schema=content_schema)

    @cached_property
    def policy(self) -> Policy:
        """The policy in force."""
        name = self.config.policy
        return load_policy(self.home / name if name else None)

    @cached_property
    def concept_list(self) -> ConceptList:
        """The list of concepts in force."""
        from pipelines.concept_list import load_concepts

        name = self.config.content.concepts
        return load_concepts(self.home / name if name else None)

    @cached_property
    def models(self) -> FaceModels:
        """Detector and recogniser, loaded on first use. Raises :class:`WeightsError` before terms are accepted."""
        from embeddings.models import load_models
        from pipelines.licences import require_accepted  # it works on workspaces

        with self.database.read() as connection:
            require_accepted(connection, find_pack(self.config.embedding.pack))
        return load_models(
            self.config.embedding.pack,
            cache_dir=self.home / "models",
            settings=self.config.embedding.faces(),
            runtime=self.config.embedding.runtime_settings(),
        )

    @property
    def model_id(self) -> str:
        """The id of the models in force. Loads none."""
        if "models" in self.__dict__:
            return self.models.model_id
        return model_id(find_pack(self.config.embedding.pack), self.config.embedding.faces())

    @cached_property
    def content_models(self) -> ContentModels:
        """The rater and the CLIP encoder, each loaded on first use."""
        from pipelines.content_models import ContentModels

        return ContentModels(self.config.content, home=self.home)

    @cached_property
    def canary(self) -> Canary:
        """The known face planted in every run."""
        from pipelines.canary import make_canary

        return make_canary(self.models, limits=self.limits)

    @cached_property
    def engine(self) -> Engine:
        """Where batches and shards are worked on. Raises :class:`NotReadyError` when Ray cannot be had."""
        return open_engine(self.config, self.environment)

    @property
    def thresholds(self) -> Thresholds:
        """The bands in force for the configured pack, read anew: another process may put a calibration in force."""
        with self.database.read() as connection:
            return self.thresholds_at(connection)

    def thresholds_at(self, connection: Connection, *, policy: Policy | None = None) -> Thresholds:
        """The bands as a transaction sees them, by the policy in force or another one.

        Raises :class:`CorruptionError` for an altered calibration.
        """
        calibration = calibration_in_force(connection, self.sealer, model_id=self.model_id)
        calibrated = calibration.thresholds() if calibration else None
        return (policy or self.policy).thresholds(self.pack_name, calibrated=calibrated)

    @property
    def pack_name(self) -> str:
        """The configured pack, as thresholds are keyed."""
        return find_pack(self.config.embedding.pack).name

    def thresholds_of(self, connection: Connection, model_id: str) -> Thresholds | None:
        """The bands for vectors of these models, in force or earlier ones; None for a pack without any."""
        if model_id == self.model_id:
            return self.thresholds_at(connection)
        try:
            return self.policy.thresholds(model_id.rpartition("-")[0])
        except NotReadyError:
            return None

    @property
    def limits(self) -> ImageLimits:
        """What the decoder accepts."""
        return self.config.images.limits()

    def close(self) -> None:
        """Close the database connections, and release models and engine if they were used."""
        if "models" in self.__dict__:
            self.models.close()
        if "engine" in self.__dict__:
            self.engine.close()
        self.database.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def create_workspace(environment: Environment, *, now: Callable[[], datetime] = utc_now) -> Workspace:
    """Make (or complete) the home folder, its key and its database, and open it. Safe to repeat."""
    environment.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    sealer = Sealer(load_master_key(environment.key, key_file(environment.home), create=True))
    workspace = Workspace(environment, load_config(environment), sealer, now=now)
    workspace.database.migrate()
    with workspace.database.write() as tx:
        if get_state(tx, "key_check") is None:
            set_state(tx, "key_check", sealer.fingerprint)
            set_state(tx, "registry_version", "0")
    _require_same_key(workspace)
    return workspace


def open_workspace(environment: Environment, *, now: Callable[[], datetime] = utc_now) -> Workspace:
    """Open an existing home. Raises :class:`NotReadyError` if it was never made, ``ConfigError`` for a wrong key."""
    if not environment.home.is_dir():
        raise NotReadyError(f"{environment.home} does not exist: run `likeness init` first")
    sealer = Sealer(load_master_key(environment.key, key_file(environment.home), create=False))
    workspace = Workspace(environment, load_config(environment), sealer, now=now)
    workspace.database.require_current()
    _require_same_key(workspace)
    return workspace


def key_file(home: Path) -> Path:
    """Where the sealing key lies when ``LIKENESS_KEY`` is not set."""
    return home / "likeness.key"


def _require_same_key(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        known = get_state(connection, "key_check")
    if known is None:
        raise NotReadyError("this home was never initialised: run `likeness init`")
    if known != workspace.sealer.fingerprint:
        raise ConfigError("the sealing key is not the one this home was made with: check LIKENESS_KEY")
