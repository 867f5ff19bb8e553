"""A process that is killed anywhere, or meets a full disk, loses nothing (I6) and does nothing twice (I5).

One home is prepared and copied for every case. A child process works through a night on the copy and is killed; then
the night is run again. What is there in the end must be what an undisturbed night leaves on another copy.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.cases.ending import withdraw
from pipelines.cases.requests import accept_request
from pipelines.corpus.manifest import list_shards
from pipelines.database import tables
from pipelines.database.tables import kept_evidence
from pipelines.evidence.kept import open_picture
from pipelines.hits.listing import list_hits
from pipelines.home import failpoints
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.backfill_progress import read_backfill
from pipelines.runs.status import read_status
from pipelines.runs.sweep import measure_coverage
from pipelines.runs.verify import verify
from pipelines.takedown.receiver import Receiver
from tests.conftest import KEY, START, administer, environment_for, use_fakes
from tests.fakes import WHITE, fake_models, person, picture
from tests.pipelines.runs.durability_process import backfill_to, night, run_night
from tests.pipelines.takedown.delivering import SECRET
from tests.platform_actions import DAY, ask_for_removal, enrol, upload

NIGHT = START + timedelta(days=1)
LATER = NIGHT + timedelta(seconds=200)
"""When every lease of a dead process has run out."""


@dataclass(frozen=True)
class Place:
    """A home to work on, the uploads that go with it, and where the receiver keeps its cases."""

    home: Path
    uploads: Path
    cases: Path
    database_url: str | None

    def variables(self, receiver: Receiver, **more: str) -> dict[str, str]:
        url = {"LIKENESS_DATABASE_URL": self.database_url} if self.database_url else {}
        return {"LIKENESS_TAKEDOWN_URL": receiver.url, "LIKENESS_TAKEDOWN_SECRET": SECRET, **url, **more}

    def receiver(self, now: datetime = NIGHT) -> Receiver:
        return Receiver("127.0.0.1", 0, [SECRET], log_path=self.cases, now=lambda: now)


def prepare(place: Place) -> None:
    """A platform with a past: swept and delivered once, a person who left, a request, and new uploads.

    The coming night then has shards to write, to compare (sweep) and to compare again (rescan), hits to judge in two
    rounds, and takedowns as well as withdrawals to send.
    """
    place.uploads.mkdir(parents=True)
    with place.receiver(START) as receiver:
        environment = environment_for(place.home, **place.variables(receiver))
        with use_fakes(create_workspace(environment, now=lambda: START)) as workspace:
            enrol(workspace, person(1))
            leaving = enrol(workspace, person(3))
            for number in range(5):
                crowd = (person(1 + number % 3), person(3), person(60 + number))
                upload(place.uploads, f"old-{number}.png", picture(*crowd), parent_model="m")
            night(workspace, place.uploads)
            withdraw(workspace, leaving, actor="tester")
            accept_request(workspace, ask_for_removal(workspace, person(2)).request_id, actor="tester")
    received = DAY + timedelta(days=1)
    for number in range(7):
        crowd = (person(1 + number % 2), person(80 + number))
        upload(place.uploads, f"new-{number}.png", picture(*crowd), parent_model="n", received=received)
    upload(place.uploads, "nobody.png", picture(WHITE), received=received)
    upload(place.uploads, "broken.png", b"no picture", received=received)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("prepared")
    place = Place(folder / "home", folder / "uploads", folder / "cases.jsonl", None)
    prepare(place)
    return place


def copied(place: Place, folder: Path) -> Place:
    """The same home again. The uploads stay where they are: their address is part of what is known of an item."""
    shutil.copytree(place.home, folder / "home")
    shutil.copy(place.cases, folder / "cases.jsonl")
    return replace(place, home=folder / "home", cases=folder / "cases.jsonl")


@pytest.fixture
def place(prepared: Place, tmp_path: Path) -> Place:
    return copied(prepared, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed night leaves, and that it is worth comparing with."""
    place = copied(prepared, tmp_path_factory.mktemp("undisturbed"))
    end = finish(place)
    assert [status for _, status in end["items"]].count("hit") == 11
    assert len(end["corpus"]) == 5
    assert len(end["evidence"]) == len(end["hits"]) + 6, "those of who left are kept for a while"
    assert all(problem is None and picture for _, problem, picture in end["evidence"])
    actions = [(action, state) for _, action, state, *_ in end["outbox"]]
    assert actions.count(("takedown", "done")) >= 12
    assert actions.count(("withdrawal", "done")) == 6  # of five items and of the block of their model
    return end


def finish(place: Place) -> dict[str, Any]:
    """Run the night without disturbance, some time later, and tell how things stand then."""
    with place.receiver(LATER) as receiver:
        environment = environment_for(place.home, **place.variables(receiver))
        with use_fakes(open_workspace(environment, now=later)) as workspace:
            night(workspace, place.uploads)
            assert [f for f in verify(workspace) if not f.ok and f.check != "model files"] == []
            return how_things_stand(workspace) | {
                "cases": sorted((case["key"], case["action"], case["open"]) for case in receiver.cases())
            }


def later() -> datetime:
    return LATER


def how_things_stand(workspace: Workspace) -> dict[str, Any]:
    """All state that means something; neither times nor random ids nor the history of runs and attempts."""
    with workspace.database.read() as connection:
        listed = list_shards(connection, workspace.sealer)
        coverage = measure_coverage(connection, workspace, Scope(None, None))
        hits = [
            replace(hit, found_at=None)  # type: ignore[arg-type]
            for hit in list_hits(connection)
        ]
        return {
            "items": [
                tuple(row)[:2] for row in _rows(connection, tables.items, "item_id", "status", "shard_id", "faces")
            ],
            "ledger": _rows(
                connection, tables.items, "item_id", "live", "shard_id", "faces", "attempts", "content_sha256", "pdq"
            ),
            "hits": sorted(map(repr, hits)),
            "verdicts": _rows(
                connection, tables.verdicts, "item_id", "subject_id", "verdict", "rule", "best_score", "reasons"
            ),
            "outbox": _rows(
                connection, tables.outbox, "key", "action", "state", "withdraws_key", "item_id", "subject_id"
            ),
            "requests": _rows(connection, tables.requests, "request_id", "state"),
            "shards": _rows(connection, tables.shards, "shard_id", "covered_version", "covered_threshold", "faces"),
            "coverage": (coverage.pairs, coverage.settled),
            "evidence": [
                (hit_id, problem, open_picture(connection, workspace.sealer, hit_id))
                for hit_id, problem in _rows(connection, kept_evidence, "hit_id", "problem")
            ],
            "corpus": {
                shard.entry.shard_id: workspace.corpus.read(
                    shard.entry, key=workspace.sealer.shard_key(shard.entry.shard_id)
                ).to_pylist()
                for shard in listed
            },
            "unlisted": workspace.corpus.unlisted({shard.entry.path for shard in listed}),
        }


def _rows(connection: sa.Connection, table: sa.Table, *names: str) -> list[tuple[Any, ...]]:
    rows = connection.execute(sa.select(*(table.c[name] for name in names)))
    return sorted((tuple(row) for row in rows), key=repr)


def require_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare part by part, so that a failure names the part."""
    assert found["unlisted"] == []
    for name in wanted:
        assert found[name] == wanted[name], name


OF_A_NIGHT = [name for name in failpoints.NAMES if "compaction" not in name and "decision" not in name]


@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("name", OF_A_NIGHT)
def test_i6_a_night_that_is_killed_and_repeated_ends_like_an_undisturbed_one(
    place: Place, undisturbed: dict[str, Any], name: str, passage: int
) -> None:
    with place.receiver() as receiver:
        variables = place.variables(receiver, LIKENESS_KEY=KEY, LIKENESS_FAILPOINT=f"{name}:{passage}")
        killed = run_night(place.home, place.uploads, variables, at=NIGHT)
    assert killed.returncode == -9, killed.stderr[-2000:]
    require_same(finish(place), undisturbed)


BACKFILL_POINTS = ("before_shard_rename", "before_manifest_commit", "after_manifest_commit", "after_match_commit")


@pytest.fixture(scope="module")
def undisturbed_backfill(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed backfill leaves, several turns later."""
    end = finish_backfill(copied(prepared, tmp_path_factory.mktemp("undisturbed-backfill")))
    assert end["coverage"][0] == end["coverage"][1] > 0
    assert len([row for row in end["shards"] if row[1]]) >= 3
    assert {model_id for model_id, _ in end["embedded"]} == {"fake-2"}
    return end


def finish_backfill(place: Place) -> dict[str, Any]:
    """Bring everything to another pack without disturbance, and tell how things stand then."""
    with use_fakes(open_workspace(environment_for(place.home), now=later)) as workspace:
        backfill_to(workspace, "fake-2")
        assert [f for f in verify(workspace) if not f.ok and f.check != "model files"] == []
        with workspace.database.read() as connection:
            assert not read_backfill(connection, model_id="fake-2").due
            embedded = _rows(connection, tables.items, "model_id", "item_id")
            made = _rows(connection, tables.templates, "model_id", "subject_id")
        # References get random ids, so what names them differs from home to home.
        found = {
            name: value
            for name, value in how_things_stand(workspace).items()
            if name not in ("hits", "verdicts", "evidence")
        }
        return found | {"embedded": embedded, "templates": made}


@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("name", BACKFILL_POINTS)
def test_i6_a_backfill_that_is_killed_and_repeated_ends_like_an_undisturbed_one(
    place: Place, undisturbed_backfill: dict[str, Any], name: str, passage: int
) -> None:
    variables = {"LIKENESS_KEY": KEY, "LIKENESS_FAILPOINT": f"{name}:{passage}"}
    killed = run_night(place.home, place.uploads, variables, "--new-pack", "fake-2", at=NIGHT)
    assert killed.returncode == -9, killed.stderr[-2000:]
    with use_fakes(open_workspace(environment_for(place.home), now=later)) as workspace:
        workspace.models = fake_models("fake-2")  # type: ignore[misc]
        assert read_status(workspace).backfill.state == "interrupted"
    require_same(finish_backfill(place), undisturbed_backfill)


def test_i6_a_night_killed_again_and_again_still_ends_like_an_undisturbed_one(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    with place.receiver() as receiver:
        for name in ("after_shard_rename", "before_match_commit", "after_outbox_commit", "after_http_send"):
            variables = place.variables(receiver, LIKENESS_KEY=KEY, LIKENESS_FAILPOINT=name)
            assert run_night(place.home, place.uploads, variables, at=NIGHT).returncode == -9
    require_same(finish(place), undisturbed)


@pytest.mark.parametrize(("full", "most_bytes"), [("shards", 100), ("everything", 40_000), ("everything", 1_000)])
def test_i6_a_full_disk_fails_clearly_and_costs_nothing_once_there_is_space(
    place: Place, undisturbed: dict[str, Any], full: str, most_bytes: int
) -> None:
    with place.receiver() as receiver:
        variables = place.variables(receiver, LIKENESS_KEY=KEY)
        options = ("--full", full, "--most-bytes", str(most_bytes))
        failed = run_night(place.home, place.uploads, variables, *options, at=NIGHT)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert "Traceback" not in failed.stderr
    require_same(finish(place), undisturbed)


@pytest.fixture(scope="module")
def prepared_on_postgresql(postgresql_server: sa.URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("postgresql")
    url = postgresql_server.set(database=f"prepared_{secrets.token_hex(4)}")
    administer(postgresql_server, f"CREATE DATABASE {url.database}")
    place = Place(
        folder / "home", folder / "uploads", folder / "cases.jsonl", url.render_as_string(hide_password=False)
    )
    prepare(place)
    yield place
    administer(postgresql_server, f"DROP DATABASE {url.database} WITH (FORCE)")


def test_i6_on_postgresql_a_killed_and_repeated_night_ends_like_an_undisturbed_one(
    prepared_on_postgresql: Place, postgresql_server: sa.URL, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        places = [
            stack.enter_context(_copied_database(prepared_on_postgresql, postgresql_server, tmp_path / str(number)))
            for number in range(3)
        ]
        wanted = finish(places[0])
        for place, failpoint in zip(places[1:], ("before_match_commit:2", "before_manifest_commit:2"), strict=True):
            with place.receiver() as receiver:
                variables = place.variables(receiver, LIKENESS_KEY=KEY, LIKENESS_FAILPOINT=failpoint)
                assert run_night(place.home, place.uploads, variables, at=NIGHT).returncode == -9
            require_same(finish(place), wanted)


@contextmanager
def _copied_database(place: Place, server: sa.URL, folder: Path) -> Iterator[Place]:
    folder.mkdir()
    url = sa.make_url(place.database_url or "")
    copy = url.set(database=f"copy_{secrets.token_hex(4)}")
    administer(server, f"CREATE DATABASE {copy.database} TEMPLATE {url.database}")
    yield replace(copied(place, folder), database_url=copy.render_as_string(hide_password=False))
    administer(server, f"DROP DATABASE {copy.database} WITH (FORCE)")
