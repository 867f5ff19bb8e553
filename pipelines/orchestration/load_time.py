"""What the orchestrator has to know when its code is loaded, before any home is opened: first partition and owners.

Loading must not fail, and must not make anything: without a home, or with one that cannot be read, there are defaults,
and the first run says what is wrong. Nothing is verified here and no key is needed; only days are read.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

import sqlalchemy as sa

from embeddings.errors import LikenessError
from pipelines.database import Database
from pipelines.database.tables import items, runs
from pipelines.database.times import utc_now
from pipelines.home.settings_files import database_file
from pipelines.runs.sweep import NIGHTLY
from pipelines.settings.config import Config, DagsterConfig, load_config
from pipelines.settings.config_dagster import EARLIEST_DAY
from pipelines.settings.environment import Environment, read_environment

_LOG = logging.getLogger(__name__)
_NIGHTS_BACK: Final = timedelta(days=2)
"""The schedule asks for these days whatever there is."""


def read_load_time() -> DagsterConfig:
    """Read ``[dagster]`` of the home that the environment names, with the first day of its partitions.

    Items before that day are in no partition, and every night takes them. A missing or broken home raises nothing.
    """
    settings = DagsterConfig()
    try:
        environment = read_environment()
        if not environment.home.is_dir():
            return settings
        config = load_config(environment)
        settings = config.dagster
        first = _first_day(environment, config)
    except (LikenessError, OSError, sa.exc.SQLAlchemyError) as error:
        _LOG.warning(
            "the home could not be read (%s): partitions begin with %s", type(error).__name__, settings.first_day
        )
        first = None
    return replace(settings, first_day=first or settings.first_day)


def _first_day(environment: Environment, config: Config) -> date | None:
    """The earliest day of an item or of a night, and early enough for the schedule; None while there is no item."""
    file = database_file(environment, config)
    if file is not None and not file.exists():
        return None
    database = Database(
        config.database.url or sa.URL.create("sqlite", database=str(file)),
        busy_timeout_seconds=config.database.busy_timeout_seconds,
    )
    try:
        if database.revision() is None:
            return None
        with database.read() as connection:
            first = connection.execute(_earliest(items.c.day)).scalar()
            night = connection.execute(_earliest(runs.c.day).where(runs.c.kind == NIGHTLY)).scalar()
    finally:
        database.close()
    if first is None:
        return None
    days = [date.fromisoformat(day) for day in (first, night) if day is not None]
    return min(*days, utc_now().date() - _NIGHTS_BACK)


def _earliest(day: sa.Column[str]) -> sa.Select[str]:
    return sa.select(sa.func.min(day)).where(day >= EARLIEST_DAY.isoformat())
