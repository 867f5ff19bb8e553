"""The one store of state: engine, transactions, named locks and migrations, on SQLite and PostgreSQL.

All writes are serialised: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by one advisory lock taken at the start of each
writing transaction. Writing transactions are short (no HTTP, no embedding inside), and a reader may therefore reason
about each of them as if it ran alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from embeddings.errors import ConfigError, CorruptionError, NotReadyError, StateError
from pipelines.database import tables
from pipelines.database.accounting import RowAccount, listen
from pipelines.database.journal import Journal
from pipelines.database.parts import parts

if TYPE_CHECKING:
    import alembic.config

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0028"
"""The newest revision under ``migrations/versions``, so that opening a database need not load Alembic to learn it."""
_READ_STATE = sa.select(tables.state.c.value).where(tables.state.c.name == sa.bindparam("of"))
_WRITE_STATE = sa.update(tables.state).where(tables.state.c.name == sa.bindparam("of")).values(value=sa.bindparam("to"))
_WRITER_LOCK = 0x6C696B65  # "like": the advisory lock every PostgreSQL writer takes


class Seal(Protocol):
    """Keeps account of all rows (:mod:`pipelines.home.state_seal`)."""

    def open_account(self) -> RowAccount:
        """Begin the account of one transaction."""

    def enter(self, tx: Connection, account: RowAccount) -> int:
        """Record in ``tx``, before its commit, what the transaction has changed; return its counter."""

    def committed(self, account: RowAccount) -> None:
        """Take note of a commit, outside of any transaction."""


class Database:
    """An engine and its two kinds of transaction. Safe to share between threads; not across a fork."""

    def __init__(self, url: str | sa.URL, *, busy_timeout_seconds: float) -> None:
        try:
            self.url = sa.make_url(url)
            self.url.get_dialect().import_dbapi()
        except (sa.exc.ArgumentError, ImportError, ValueError):  # ValueError: a port that is no number
            raise ConfigError(
                "the database URL cannot be read, or its driver is not installed: expected sqlite:///PATH or "
                "postgresql+psycopg://..."
            ) from None
        if self.is_sqlite and self.url.database:
            _create_private(Path(self.url.database))
        self.engine: Engine = sa.create_engine(
            self.url,
            pool_pre_ping=self.url.get_backend_name() == "postgresql",
            hide_parameters=True,  # an error's text reaches logs and the orchestrator's store (I8)
        )
        if self.is_sqlite:
            _prepare_sqlite(self.engine, busy_timeout_seconds)
        listen(self.engine)
        self.journal = Journal()
        """Whom the last transactions were about."""
        self.seal: Seal | None = None
        """Set by whoever has the key; without it nothing is accounted for."""

    def go_by(self, clock: Callable[[Connection], datetime]) -> None:
        """Set the clock that every later connection reads (:func:`pipelines.database.times.moment`)."""
        self.engine.update_execution_options(clock=clock)

    @property
    def is_sqlite(self) -> bool:
        """True for the default single-host database."""
        return self.url.get_backend_name() == "sqlite"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a consistent reading transaction."""
        with _typed_errors(), self.engine.connect() as connection, connection.begin():
            if not self.is_sqlite:
                connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a writing transaction, alone among writers. Commits at the end, rolls back on any exception."""
        account = self.seal.open_account() if self.seal else None
        with _typed_errors(), self.engine.connect() as connection:
            connection = connection.execution_options(writing=True, account=account)
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
                yield connection
                if self.seal and account and account.changed:
                    counter = self.seal.enter(connection, account)
        if self.seal and account and account.changed:
            self.journal.note(counter, account.about)
            self.seal.committed(account)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the named lock across processes; waits for it. The kernel or server frees it if the holder dies."""
        if self.is_sqlite:
            with self._locked_file(name, fcntl.LOCK_EX):
                yield
            return
        key = _lock_key(name)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))

    @contextlib.contextmanager
    def shared(self, name: str) -> Iterator[None]:
        """Hold the named lock together with other holders, so that :meth:`alone` sees them. SQLite only, whose
        processes are all on one machine."""
        with self._locked_file(name, fcntl.LOCK_SH) if self.is_sqlite else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Yield whether nobody is in :meth:`shared`; if so, newcomers wait until the block ends. False on
        PostgreSQL."""
        if not self.is_sqlite:
            yield False
            return
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._locked_file(name, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextlib.contextmanager
    def _locked_file(self, name: str, how: int) -> Iterator[None]:
        file = self._lock_file(name)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """Whether a process holds the named lock at this moment."""
        if self.is_sqlite:
            try:
                descriptor = os.open(self._lock_file(name), os.O_RDWR)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
            return False
        key = _lock_key(name)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            free = bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock_shared(key))).scalar())
            if free:
                connection.execute(sa.select(sa.func.pg_advisory_unlock_shared(key)))
        return not free

    def _lock_file(self, name: str) -> Path:
        return Path(str(self.url.database)).parent / "locks" / _lock_digest(name).hex()

    def migrate(self) -> None:
        """Bring the schema to the newest revision; does nothing when it is there already."""
        if self.revision() == HEAD:
            return
        import alembic.command  # a fifth of a second that only a change of schema should cost

        with self.exclusive("migrate"):
            alembic.command.upgrade(_alembic_config(self), "head")

    def require_current(self) -> None:
        """Raise :class:`NotReadyError` unless the schema is exactly the one this code was written for."""
        found = self.revision()
        if found != HEAD:
            raise NotReadyError(f"the database is at revision {found}, this version needs {HEAD}: run `likeness init`")

    def revision(self) -> str | None:
        """Return the revision of the schema as Alembic recorded it; None for a database without tables."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if found is None else str(found)

    def scrub(self) -> None:
        """Make deletions physical now: empty the write-ahead log into the (secure_delete) database file.

        On PostgreSQL the tables of :func:`pipelines.database.tables.tables_about_people` are vacuumed; its write-ahead
        log and its backups keep what they hold until they are recycled. Raises :class:`StateError` when a reader keeps
        the log from being emptied for longer than the busy timeout.
        """
        if not self.is_sqlite:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in tables.tables_about_people():
                    connection.execute(sa.text(f"VACUUM {table.name}"))
        else:
            with self.engine.connect() as connection:
                cursor = connection.connection.cursor()  # the driver's own: a checkpoint cannot run in a transaction
                (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                cursor.close()
            if busy:
                raise StateError(
                    "what was erased cannot be read any more, but its sealed bytes are still in the write-ahead log, "
                    "which another process is reading: erase again when that has ended"
                )

    def check(self) -> None:
        """Raise :class:`CorruptionError` when the database's own integrity check fails."""
        if self.is_sqlite:
            with self.read() as connection:
                answer = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            if answer != "ok":
                raise CorruptionError("the database fails its integrity check; restore it from a backup")

    def close(self) -> None:
        """Return every connection."""
        self.engine.dispose()


def _lock_digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:8]


def _lock_key(name: str) -> int:
    return int.from_bytes(_lock_digest(name), "big", signed=True)


def get_state(connection: Connection, name: str) -> str | None:
    """Return the value of a single fact in ``state``, or None."""
    value = connection.execute(_READ_STATE, {"of": name}).scalar()
    return None if value is None else str(value)


def set_state(connection: Connection, name: str, value: str) -> None:
    """Write a single fact to ``state``."""
    if not connection.execute(_WRITE_STATE, {"of": name, "to": value}).rowcount:
        connection.execute(sa.insert(tables.state).values(name=name, value=value))


def insert_missing(tx: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary key is new and return their number. Exact, because writers are serialised."""
    (key,) = table.primary_key.columns
    new = {row[key.name]: row for row in rows}
    for some in parts(rows):
        part = [row[key.name] for row in some]
        for found in tx.execute(sa.select(key).where(key.in_(part))).scalars():
            new.pop(found, None)
    if new:
        tx.execute(sa.insert(table), list(new.values()))
    return len(new)


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn a damaged file into a typed error; leave everything else (a full disk, a lost server) as it is."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        text = str(error.orig)
        if "malformed" in text or "not a database" in text or "Could not decode" in text:
            raise CorruptionError("the database file is damaged; restore it from a backup") from error
        if "no such table" in text or "UndefinedTable" in type(error.orig).__name__:
            raise NotReadyError("the database has no tables yet: run `likeness init`") from error
        raise


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, readable by its owner alone; its log and shared memory take after it."""
    if path.parent.is_dir():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(engine: Engine, busy_timeout_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(driver: object, _record: object) -> None:
        driver.isolation_level = None  # type: ignore[attr-defined]  # SQLAlchemy's BEGIN below, not the driver's
        cursor = driver.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_seconds * 1000)}")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _alembic_config(database: Database) -> alembic.config.Config:
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # else it is interpolated
    config.attributes["database"] = database
    return config
