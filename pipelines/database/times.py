"""Times in the database: the column type, aware UTC datetimes everywhere, and the clock of a connection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from embeddings.errors import CorruptionError


def utc_now() -> datetime:
    """Return the present moment by this machine's clock."""
    return datetime.now(UTC)


def moment(connection: Connection) -> datetime:
    """Return the present moment by the clock that the connection's database goes by: a workspace's, else this
    machine's.

    Code that asks whether a consent is over uses this. Where a workspace's clock has jumped, it is the latest time that
    a run recorded (:func:`pipelines.home.clock.believed`).
    """
    clock: Callable[[Connection], datetime] | None = connection.get_execution_options().get("clock")
    return clock(connection) if clock else utc_now()


class UTCDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, on databases with and without time zones."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Use ``timestamptz`` on PostgreSQL."""
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes: they are how a deadline moves by a time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time must carry its time zone")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware UTC datetime."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Refuse values that are no time: SQLite would hand a damaged page's bytes to the parser."""
        process = super().result_processor(dialect, coltype)

        def checked(value: Any) -> Any:
            try:
                return process(value) if process else value
            except (TypeError, ValueError):
                raise CorruptionError("a stored time is not one: the database file is damaged") from None

        return checked
