"""One opened ``LIKENESS_HOME``: settings, database, keys, corpus, policy and, when first needed, the models.

Command line, Dagster and tests all work on a :class:`Workspace`; nothing else opens these things. What loads models or
Arrow is imported where it is first needed, so that a command that only reads the database starts at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, NotReadyError
from embeddings.models.packs import find_pack
from embeddings.models.second_weights import DLIB, OFF, NamedNetwork, name_network
from embeddings.models.weights import model_id
from embeddings.settings import ImageLimits
from indexes.thresholds import Bands, Thresholds
from pipelines.database import Database, get_state
from pipelines.database.times import utc_now
from pipelines.home.attempts import WATCHDOG
from pipelines.home.calibration_cover import Cover, count_templates, cover_of, stricter
from pipelines.home.calibrations import Calibration, accepted_templates, calibration_in_force
from pipelines.home.clock import WatchedClock, believed
from pipelines.home.engine import Engine, LocalEngine
from pipelines.home.failpoints import Failpoints
from pipelines.home.recent import RecentContents
from pipelines.home.sealing import Sealer, load_master_key
from pipelines.home.state_seal import StateSeal
from pipelines.home.upgrade import upgrade
from pipelines.home.witness import Witness
from pipelines.policy import Policy, load_policy
from pipelines.settings.config import Config, load_config
from pipelines.settings.environment import Environment
from pipelines.text.private import require_private

if TYPE_CHECKING:
    from embeddings.faces.second import SecondNetwork
    from embeddings.headers.reading import HeaderReader
    from embeddings.images.decoder import Decoder
    from embeddings.infotext.read import InfotextReader
    from embeddings.models.load import FaceModels
    from indexes.corpus import Corpus
    from indexes.gallery import Gallery
    from pipelines.home.canary import Canary
    from pipelines.home.content_models import ContentModels
    from pipelines.policy.concept_list import ConceptList


def new_id(prefix: str) -> str:
    """Return an opaque random identifier such as ``sub_3f2a...``."""
    return f"{prefix}_{secrets.token_hex(10)}"


class Workspace:
    """Everything a stage needs, opened once."""

    def __init__(
        self,
        environment: Environment,
        config: Config,
        sealer: Sealer,
        *,
        database: Database,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.environment = environment
        self.home = environment.home
        self.config = config
        self.sealer = sealer
        self.clock = WatchedClock(now, config=config.clock)
        self.now: Callable[[], datetime] = self.clock
        self.failpoints = Failpoints(environment.failpoint)
        self.database = database
        database.go_by(lambda connection: believed(connection, self))
        witness = Witness(
            self.home / config.database.witness,
            sealer,
            before_rename=lambda: self.failpoints.pass_by("before_witness_rename"),
        )
        self.seal = StateSeal(sealer, witness, self.failpoints)
        self.galleries: dict[Hashable, Gallery] = {}
        """The gallery last compared with, by what it was made of; see :mod:`pipelines.matching.faces`."""
        self.recent = RecentContents()
        """What was fetched by this process a moment ago."""
        self.isolated = False
        """Whether this process is for items that ended another one (:mod:`pipelines.home.isolation`)."""
        self.opener: Callable[[Environment], Workspace] = open_workspace
        """How another process opens this home."""
        self.beat: Callable[[], None] = WATCHDOG.beat
        """Called whenever an item is done with: whoever works for too long without is ended."""

    @cached_property
    def corpus(self) -> Corpus:
        """The shards of face embeddings."""
        from indexes.corpus import Corpus

        return Corpus(self.home / "corpus")

    @cached_property
    def content_corpus(self) -> Corpus:
        """The shards of content vectors."""
        from indexes.corpus import Corpus
        from pipelines.home.content_models import content_schema

        return Corpus(self.home / "content", schema=content_schema)

    @cached_property
    def policy(self) -> Policy:
        """The policy in force."""
        name = self.config.policy
        return load_policy(self.home / name if name else None)

    @cached_property
    def concept_list(self) -> ConceptList:
        """The list of concepts in force."""
        from pipelines.policy.concept_list import load_concepts

        name = self.config.content.concepts
        return load_concepts(self.home / name if name else None)

    @cached_property
    def models(self) -> FaceModels:
        """Detector and recogniser, loaded on first use. Raises :class:`WeightsError` before terms are accepted."""
        from embeddings.models.load import load_models
        from pipelines.home.licences import require_accepted

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

    @property
    def second_network_named(self) -> NamedNetwork | None:
        """The name and the id of the configured second network; None: there is none. Loads nothing.

        Raises ``ConfigError`` where it is the first one again.
        """
        name = self.config.second_opinion
        if name == OFF:
            return None
        found = name_network(name)
        if found.recognizer_sha256 == find_pack(self.config.embedding.pack).recognizer.sha256:
            raise ConfigError(f"second_opinion: {name} recognises by the network that is in force already")
        return found

    @property
    def second_network_id(self) -> str | None:
        """The id of the second network; None: there is none. Loads nothing."""
        found = self.second_network_named
        return None if found is None else found.network_id

    @cached_property
    def second_network(self) -> SecondNetwork:
        """The second network, loaded on first use. Raises :class:`WeightsError` without its weights or its terms."""
        from embeddings.faces.second import load_second
        from pipelines.home.licences import require_accepted  # it works on workspaces

        name = self.config.second_opinion
        if name != DLIB:
            with self.database.read() as connection:
                require_accepted(connection, find_pack(name))
        return load_second(name, cache_dir=self.home / "models", runtime=self.config.embedding.runtime_settings())

    @cached_property
    def content_models(self) -> ContentModels:
        """The rater and the CLIP encoder, each loaded on first use."""
        from pipelines.home.content_models import ContentModels

        return ContentModels(self.config.content, home=self.home)

    @cached_property
    def canary(self) -> Canary:
        """The known face planted in every run."""
        from pipelines.home.canary import make_canary

        return make_canary(self.models, limits=self.limits, decoder=self.decoder)

    @cached_property
    def engine(self) -> Engine:
        """The engine that batches and shards run on. Raises :class:`NotReadyError` when Ray cannot be had."""
        if self.config.engine == "local":
            return LocalEngine()
        from pipelines.home.ray_engine import RayEngine  # an extra: imported only where it was chosen

        return RayEngine(self.config.ray, self.environment)

    @property
    def thresholds(self) -> Thresholds:
        """The bands in force for the configured pack, read anew: another process may put a calibration in force."""
        with self.database.read() as connection:
            return self.thresholds_at(connection)

    def thresholds_at(self, connection: Connection, *, policy: Policy | None = None) -> Thresholds:
        """Return the bands of single faces: those of :meth:`bands_at`, which raises the same."""
        return self.bands_at(connection, policy=policy).single

    def bands_at(self, connection: Connection, *, policy: Policy | None = None) -> Bands:
        """Return all bands as a transaction sees them, by the policy in force or another one.

        Pools have the thresholds that the calibration in force measured of pools; without any, those of single faces,
        which no stranger's pool reaches more often (benchmarks.pooling). Raises :class:`CorruptionError` for an altered
        calibration, and :class:`NotReadyError` where the gallery has outgrown it by far and nothing is published for
        the pack.
        """
        calibration = calibration_in_force(connection, self.sealer, model_id=self.model_id)
        single = self._single(connection, calibration, policy or self.policy)
        same = calibration is not None and calibration.calibration_id == single.calibration_id
        pooled = calibration.pooled_thresholds() if calibration is not None and same else None
        as_single = replace(single, source=f"as for one face, pools are not calibrated: {single.source}")
        return Bands(single, pooled or as_single)

    def _single(self, connection: Connection, calibration: Calibration | None, policy: Policy) -> Thresholds:
        if calibration is None:
            return policy.thresholds(self.pack_name)
        published = policy.thresholds_or_none(self.pack_name)
        calibrated = calibration.thresholds(published)
        if policy.has_bands(self.pack_name) or not self.cover_at(connection, calibration).lapsed:
            return policy.thresholds(self.pack_name, calibrated=calibrated)
        if published is None:
            raise NotReadyError("the registry has outgrown the calibration in force by far: calibrate anew")
        return stricter(calibrated, published)

    def cover_at(self, connection: Connection, calibration: Calibration) -> Cover:
        """Compare the gallery that a transaction sees with a calibration, in force or not."""
        return cover_of(
            calibration,
            templates=count_templates(connection, model_id=self.model_id, now=self.now()),
            accepted=accepted_templates(connection, self.sealer, calibration),
            factor=self.config.calibration.outgrown_factor,
        )

    @property
    def pack_name(self) -> str:
        """The name of the configured pack, by which thresholds are stored."""
        return find_pack(self.config.embedding.pack).name

    def thresholds_of(self, connection: Connection, model_id: str) -> Thresholds | None:
        """Return the bands for vectors of these models, in force or earlier ones; None for a pack without any."""
        if model_id == self.model_id:
            return self.thresholds_at(connection)
        try:
            return self.policy.thresholds(model_id.rpartition("-")[0])
        except NotReadyError:
            return None

    @property
    def limits(self) -> ImageLimits:
        """What the decoder accepts."""
        return self.config.images

    @cached_property
    def decoder(self) -> Decoder:
        """What decodes pictures: confined processes, or this one."""
        from pipelines.home.sandbox import decoder_for

        return decoder_for(self.config)

    @cached_property
    def header_reader(self) -> HeaderReader:
        """What reads the headers of model files: confined processes, or this one."""
        from pipelines.home.sandbox import header_reader_for

        return header_reader_for(self.config)

    @cached_property
    def infotext_reader(self) -> InfotextReader:
        """What reads pictures for what they say of their making."""
        from pipelines.home.sandbox import infotext_reader_for

        return infotext_reader_for(self.config)

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
    """Make (or complete) the home folder, its key and its database, and open it. Safe to repeat.

    Nothing is made or changed where the key is another one or is lacking (``ConfigError``), or where the database is
    not the newest that this home remembers (``CorruptionError``).
    """
    environment.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _connected(environment, now=now, create=True) as workspace:
        upgrade(workspace.database, workspace.sealer, workspace.seal, now=now())
        return _sealed(workspace)


def open_workspace(environment: Environment, *, now: Callable[[], datetime] = utc_now) -> Workspace:
    """Open an existing home. Raises :class:`NotReadyError` if it was never made, ``ConfigError`` for a wrong key, and
    ``CorruptionError`` if its database is older than it was."""
    with open_unchecked(environment, now=now) as workspace:
        workspace.database.require_current()
        return _sealed(workspace)


@contextmanager
def open_unchecked(environment: Environment, *, now: Callable[[], datetime] = utc_now) -> Iterator[Workspace]:
    """Open an existing home of any age under the right key; writes to it are not sealed. Closed after an error."""
    if not environment.home.is_dir():
        raise NotReadyError(f"{environment.home} does not exist: run `likeness init` first")
    with _connected(environment, now=now, create=False) as workspace:
        yield workspace


@contextmanager
def _connected(environment: Environment, *, now: Callable[[], datetime], create: bool) -> Iterator[Workspace]:
    """Connect a workspace under the right key, before its state is checked. Closed after an error."""
    require_private(environment.home, group=environment.group_access)
    config = load_config(environment)
    database = _open_database(environment.home, config, create=create)
    try:
        known = _key_check(database)
        if known is None and not create:
            raise NotReadyError("this home was never initialised: run `likeness init`")
        file = key_file(environment.home)
        if environment.key is None and file.exists():
            require_private(file, group=environment.group_access)
        is_new = known is None and not (environment.home / config.database.witness).exists()
        sealer = Sealer(load_master_key(environment.key, file, create=create and is_new))
        if known not in (None, sealer.fingerprint):
            raise ConfigError("the sealing key is not the one this home was made with: check LIKENESS_KEY")
        yield Workspace(environment, config, sealer, database=database, now=now)
    except BaseException:
        database.close()
        raise


def _open_database(home: Path, config: Config, *, create: bool) -> Database:
    file = home / "likeness.db"
    if not config.database.url and not create and not file.exists():
        raise NotReadyError("this home has no database: run `likeness init`")
    url = config.database.url or sa.URL.create("sqlite", database=str(file))
    return Database(url, busy_timeout_seconds=config.database.busy_timeout_seconds)


def _sealed(workspace: Workspace) -> Workspace:
    """Require the workspace's database to be the newest there was, and seal its writes from here on."""
    workspace.seal.require_newest(workspace.database)
    workspace.database.seal = workspace.seal
    return workspace


def key_file(home: Path) -> Path:
    """Return the file that holds the sealing key when ``LIKENESS_KEY`` is not set."""
    return home / "likeness.key"


def _key_check(database: Database) -> str | None:
    """The fingerprint of the key that the database was made with; None before that."""
    if database.revision() is None:
        return None
    with database.read() as connection:
        return get_state(connection, "key_check")
