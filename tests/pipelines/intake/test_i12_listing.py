"""Time and order undo nothing that was listed: an older list revives no deletion and reverts no picture (I12)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.database import Database, _alembic_config, tables
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.intake.ledger import Scope, source_id
from pipelines.intake.listing import ListedCounts
from pipelines.runs.sweep import advance_watermark, list_source, read_watermark, sweep, unfinished_days
from pipelines.runs.verify import verify
from pipelines.settings.environment import Environment
from pipelines.sources import Item
from tests.conftest import KEY, Clock, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import WHITE, person, picture
from tests.platform_actions import enrol, source_of, upload

pytestmark = pytest.mark.any_database

DAY = "2026-02-27T10:00:00Z"


class Listings:
    """A folder of manifests beside their pictures, and what the ledger makes of them."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace, self.folder = workspace, folder

    def picture(self, name: str, *people: int) -> str:
        (self.folder / name).write_bytes(picture(*(person(who) for who in people) if people else (WHITE,)))
        return name

    def write(self, name: str, *rows: dict[str, Any], generation: object = None) -> str:
        head = [] if generation is None else [{"generation": generation}]
        lines = [json.dumps(row) for row in (*head, *rows)]
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return f"manifest:{self.folder / name}"

    def list(self, *rows: dict[str, Any], name: str = "m.jsonl", generation: object = None) -> ListedCounts:
        return list_source(self.workspace, self.write(name, *rows, generation=generation), day=None)

    def item(self, item_id: str) -> tuple[bool, Item]:
        query = sa.select(tables.items.c.live, tables.items.c.sealed_record).where(tables.items.c.item_id == item_id)
        with self.workspace.database.read() as connection:
            row = connection.execute(query).one()
        record = self.workspace.sealer.unseal_record(row.sealed_record, item_id)
        return row.live, Item.from_record(record["item"])

    def facts(self, item_id: str) -> tuple[bool, str]:
        """Whether it is live, and what its path is."""
        live, item = self.item(item_id)
        return live, item.locator

    def column(self, item_id: str, name: str) -> Any:
        query = sa.select(tables.items.c[name]).where(tables.items.c.item_id == item_id)
        with self.workspace.database.read() as connection:
            return connection.execute(query).scalar_one()

    def hits(self) -> set[str]:
        with self.workspace.database.read() as connection:
            return {hit.item_id for hit in list_hits(connection)}


@pytest.fixture
def listings(workspace: Workspace, uploads: Path) -> Listings:
    return Listings(workspace, uploads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listings]:
    """One home for many examples, which all have ids of their own."""
    folder = tmp_path_factory.mktemp("many")
    with fresh_workspace(folder / "home", now=Clock()) as workspace:
        yield Listings(use_fakes(workspace), folder)


def row(item_id: str, path: str = "a.png", **more: Any) -> dict[str, Any]:
    return {"id": item_id, "path": path, "received_at": DAY, **more}


def at(hours: int) -> str:
    return (datetime(2026, 2, 27, tzinfo=UTC) + timedelta(hours=hours)).isoformat()


FRESH = itertools.count()
FACTS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 2)), min_size=1, max_size=6)
"""What happened to two items, oldest first: which, whether it was deleted, and which picture it had from then on."""
ORDERS = st.lists(st.integers(0, 5), min_size=1, max_size=12)
Fact = tuple[str, bool, int]


def as_row(fact: Fact, prefix: str, **more: Any) -> dict[str, Any]:
    which, deleted, number = fact
    return row(f"{prefix}{which}", f"{number}.png", **({"deleted": True} if deleted else {}), **more)


def newest(facts: Sequence[Fact], listed: Sequence[int]) -> dict[str, tuple[bool, str]]:
    """Item -> whether it is live, and its path, by the newest fact that was listed."""
    return {facts[number][0]: (not facts[number][1], f"{facts[number][2]}.png") for number in sorted(set(listed))}


@settings(max_examples=examples(60))
@given(FACTS, ORDERS, st.booleans())
def test_i12_any_interleaving_of_old_and_new_rows_ends_in_the_newest_facts(
    home: Listings, facts: list[Fact], order: list[int], explicit: bool
) -> None:
    prefix = f"rows-{next(FRESH)}-"
    listed = [number % len(facts) for number in order]
    for number in listed:
        said = {"deleted": facts[number][1]} if explicit else {}
        home.list(as_row(facts[number], prefix) | {"updated_at": at(number)} | said, name=f"{prefix}{number}.jsonl")
    for which, expected in newest(facts, listed).items():
        assert home.facts(f"{prefix}{which}") == expected


@settings(max_examples=examples(40))
@given(FACTS, ORDERS, st.booleans())
def test_i12_any_interleaving_of_old_and_new_manifests_ends_in_the_newest_generation(
    home: Listings, facts: list[Fact], order: list[int], counted: bool
) -> None:
    prefix = f"generations-{next(FRESH)}-"
    listed = [number % len(facts) for number in order]
    for number in listed:
        happened = {fact[0]: fact for fact in facts[: number + 1]}
        rows = [as_row(fact, prefix) for fact in happened.values()]
        home.list(*rows, name=f"{prefix}{number}.jsonl", generation=number if counted else at(number))
    for which, expected in newest(facts, range(max(listed) + 1)).items():
        assert home.facts(f"{prefix}{which}") == expected


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=10))
def test_i12_without_any_time_a_deletion_stands_whatever_is_listed_again(
    home: Listings, order: list[tuple[int, bool]]
) -> None:
    item_id = f"deleted-{next(FRESH)}"
    for number in range(4):
        home.list(row(item_id, f"{number}.png"), name=f"{item_id}-{number}.jsonl")
    home.list({"id": item_id, "deleted": True}, name=f"{item_id}.jsonl")
    for number, renamed in order:
        counts = home.list(row(item_id, f"{number}.png"), name=f"{item_id}-{number}{'-copy' * renamed}.jsonl")
        assert (counts.deletion_stands, counts.changed) == (1, 0)
        assert not home.facts(item_id)[0]


@settings(max_examples=examples(60))
@given(st.permutations(range(4)), st.booleans())
def test_i12_of_several_rows_of_one_id_in_one_manifest_the_newest_counts(
    home: Listings, order: list[int], deleted: bool
) -> None:
    item_id = f"several-{next(FRESH)}"
    rows = [row(item_id, f"{number}.png", updated_at=at(number)) for number in order]
    rows = [one | {"deleted": True} if deleted and one["updated_at"] == at(3) else one for one in rows]
    home.list(*rows, name=f"{item_id}.jsonl")
    assert home.facts(item_id) == (not deleted, "3.png")


def test_i12_an_older_manifest_listed_again_changes_nothing_and_says_so(listings: Listings) -> None:
    """As it was seen: ten deletions revived, five pictures reverted, three likenesses clean."""
    enrol(listings.workspace, person(1))
    for name, people in {"nobody.png": (8,), "likeness.png": (1,), "both.png": (1, 8)}.items():
        listings.picture(name, *people)
    before = [row(f"gone-{n}", "likeness.png") for n in range(10)]
    before += [row(f"changed-{n}", "nobody.png") for n in range(3)] + [row("changed-3", "likeness.png")]
    after = [{"id": f"gone-{n}", "deleted": True, "received_at": DAY} for n in range(10)]
    after += [row(f"changed-{n}", "both.png") for n in range(3)] + [row("changed-3", "nobody.png")]
    old, new = listings.write("old.jsonl", *before), listings.write("new.jsonl", *after)
    for source in (old, new):
        summary = sweep(listings.workspace, source, day=None)
    assert listings.hits() == {f"changed-{n}" for n in range(3)}
    again = sweep(listings.workspace, old, day=None)
    assert again.passed_over == {"deletion_stands": 10, "repeated": 4}
    assert listings.hits() == {f"changed-{n}" for n in range(3)}
    assert listings.facts("changed-3") == (True, "nobody.png")
    summary = sweep(listings.workspace, new, day=None)
    assert (summary.items, summary.passed_over) == (4, {})
    assert [one.check for one in verify(listings.workspace) if not one.ok] in ([], ["model files"])


def test_i12_the_sweep_command_says_what_it_passed_over_and_could_not_read(
    listings: Listings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(environment: Environment) -> Workspace:
        return use_fakes(open_workspace(environment, now=clock))

    monkeypatch.setattr("pipelines.cli.console.open_workspace", opened)
    variables = {"LIKENESS_KEY": KEY, "LIKENESS_DATABASE_URL": listings.workspace.config.database.url}
    enrol(listings.workspace, person(1))
    listings.picture("a.png")
    old = listings.write("old.jsonl", row("x", tags=5.5), row("y", received_at="soon"))
    new = listings.write("new.jsonl", {"id": "x", "deleted": "yes", "received_at": DAY})
    for source in (old, new, old):
        words = ["sweep", "--json", "--home", str(listings.workspace.home), "--source", source]
        found = CliRunner().invoke(main, words, env=variables)
        assert found.exit_code == 0, found.output
    summary = json.loads(found.stdout)
    assert summary["passed_over"] == {"deletion_stands": 1}
    assert (summary["undated"], summary["bad_fields"]) == (1, {"received_at": 1, "tags": 1})
    assert "1 listed rows were passed over" in found.stderr
    assert "received_at 1, tags 1" in found.stderr


def test_i12_what_undoes_a_deletion_is_a_newer_time_or_its_name(listings: Listings, clock: Clock) -> None:
    live, deleted = row("x"), {"id": "x", "deleted": True}

    def tried(*rows: dict[str, Any]) -> bool:
        for one in rows:
            clock.forward(seconds=1)
            listings.list(one)
        return listings.facts("x")[0]

    assert not tried(live, deleted, live)
    assert not tried(live | {"deleted": "maybe"}), "which is no undoing"
    assert tried(live | {"deleted": 0})
    assert not tried(deleted)
    assert not tried(live | {"updated_at": at(0)}), "a deletion without a time is as old as its listing at most"
    assert tried(live | {"updated_at": (clock() + timedelta(minutes=1)).isoformat()})
    clock.forward(hours=1)
    moment = clock().isoformat()
    assert not tried(deleted | {"updated_at": moment})
    assert not tried(live | {"updated_at": moment}), "of two at one time the deletion"
    assert tried(live | {"updated_at": (clock() + timedelta(seconds=5)).isoformat()})


def test_i12_a_deletion_whose_export_gave_both_rows_one_time_is_not_undone_by_the_older_file(
    listings: Listings,
) -> None:
    rows = [row("x", updated_at=at(1), deleted=deleted) for deleted in (False, True)]
    for name, one in (("old.jsonl", rows[0]), ("new.jsonl", rows[1]), ("old.jsonl", rows[0])):
        counts = listings.list(one, name=name)
    assert (listings.facts("x")[0], counts.deletion_stands) == (False, 1)


def test_i12_a_state_that_comes_back_in_a_new_list_without_a_time_is_looked_at_unless_a_hit_would_be_lost(
    listings: Listings,
) -> None:
    """Nobody evades by going back to what was seen before, and no list takes a hit away that way."""
    enrol(listings.workspace, person(1))
    listings.picture("likeness.png", 1)
    listings.picture("nobody.png", 8)
    seen = []
    for number, path in enumerate(["likeness.png", "nobody.png", "likeness.png", "nobody.png"]):
        manifest = listings.write("m.jsonl", row("x", path), {"id": f"other-{number}", "kind": "bounty"})
        summary = sweep(listings.workspace, manifest, day=None)
        seen.append((listings.hits() == {"x"}, summary.passed_over))
    assert seen == [(True, {}), (False, {}), (True, {}), (True, {"repeated": 1})]


def test_i12_a_genuine_return_with_a_newer_time_counts(listings: Listings) -> None:
    enrol(listings.workspace, person(1))
    listings.picture("likeness.png", 1)
    listings.picture("nobody.png", 8)
    for number, path in enumerate(["nobody.png", "likeness.png", "nobody.png"]):
        sweep(listings.workspace, listings.write("m.jsonl", row("x", path, updated_at=at(number))), day=None)
        assert listings.hits() == ({"x"} if path == "likeness.png" else set())


@pytest.mark.parametrize("absurd", ["9999-12-31", "1970-01-01", 20261130100000 * 1000])
def test_i12_an_absurd_time_freezes_no_item_and_makes_none_the_oldest(listings: Listings, absurd: object) -> None:
    listings.list(row("x", "0.png", updated_at=at(0)))
    for number in (1, 2):
        counts = listings.list(row("x", f"{number}.png", updated_at=absurd))
        assert (listings.facts("x"), counts.bad_fields) == ((True, f"{number}.png"), {"updated_at": 1})
    listings.list(row("x", "3.png", updated_at=at(3)))
    assert listings.facts("x") == (True, "3.png")


def test_i12_a_second_source_that_is_older_takes_nothing_over(listings: Listings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = Listings(listings.workspace, other)
    listings.list(row("x", "new.png", updated_at=at(2)), row("y", updated_at=at(2), deleted=True))
    counts = elsewhere.list(row("x", "old.png", updated_at=at(1)), row("y", updated_at=at(1), deleted=False))
    assert (counts.older, counts.changed) == (2, 0)
    assert (listings.facts("x"), listings.facts("y")[0]) == ((True, "new.png"), False)
    here = listings.column("x", "source_id")
    elsewhere.list(row("x", "new.png", updated_at=at(1)))
    assert listings.column("x", "source_id") == here, "nor is it where the content is from then on"
    elsewhere.list(row("x", "new.png", updated_at=at(2)))
    assert listings.column("x", "source_id") != here


def test_i1_the_same_path_beside_another_manifest_is_another_file_unless_its_digest_is_given(
    listings: Listings, tmp_path: Path
) -> None:
    enrol(listings.workspace, person(1))
    other = tmp_path / "tomorrow"
    other.mkdir()
    tomorrow = Listings(listings.workspace, other)
    listings.picture("a.png", 8)
    listings.picture("b.png", 8)
    tomorrow.picture("a.png", 1)
    tomorrow.picture("b.png", 8)
    rows = [row("x", "a.png"), row("y", "b.png", sha256="5f")]
    sweep(listings.workspace, listings.write("m.jsonl", *rows), day=None)
    assert listings.hits() == set()
    counts = tomorrow.list(*rows)
    assert (counts.changed, listings.column("x", "status"), listings.column("y", "status")) == (2, "pending", "clean")
    sweep(listings.workspace, tomorrow.write("m.jsonl", *rows), day=None)
    assert listings.hits() == {"x"}


def test_i12_an_older_folder_put_back_revives_nothing_and_what_it_shows_is_looked_at(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for name in ("gone.png", "timed.png", "replaced.png"):
        upload(uploads, name, picture(person(1)), updated_at=at(1))
    sweep(workspace, source_of(uploads), day=None)
    upload(uploads, "gone.png", picture(person(1)), deleted=True)
    upload(uploads, "timed.png", picture(person(8), person(1)), updated_at=at(3))
    upload(uploads, "replaced.png", picture(person(8)), updated_at=at(3))
    assert sweep(workspace, source_of(uploads), day=None).hits == 1
    for name in ("gone.png", "timed.png"):
        upload(uploads, name, picture(person(1)), updated_at=at(1), deleted=None)
    summary = sweep(workspace, source_of(uploads), day=None)
    assert (summary.hits, summary.items) == (1, 2)
    assert summary.passed_over == {"older": 1, "deletion_stands": 1}


@pytest.mark.parametrize("received", [None, "", "soon", 5, float("nan"), "2026-02-30"], ids=str)
def test_i12_a_row_without_a_date_that_can_be_read_keeps_the_time_it_was_first_listed(
    listings: Listings, clock: Clock, received: object
) -> None:
    first = clock()
    for _ in range(3):
        listings.list(row("x") | {"received_at": received})
        assert (listings.column("x", "received_at"), listings.column("x", "day")) == (first, "2026-03-01")
        clock.forward(days=1)
    counts = listings.list(row("x") | {"received_at": received})
    assert (counts.changed, counts.undated, counts.bad_fields.get("received_at", 0)) == (
        0,
        1,
        0 if received in (None, "") else 1,
    )
    listings.list(row("x"))
    listings.list(row("x") | {"received_at": received})
    assert listings.column("x", "day") == "2026-02-27", "a date that was known once is not lost"


def test_i12_a_field_that_cannot_be_read_this_time_keeps_what_was_known_of_it(listings: Listings) -> None:
    known = {"title": "T", "parent_model": 4384, "kind": "model", "tags": ["a"], "uploader": "u", "prompt": "p"}
    listings.list(row("x", **known))
    broken: dict[str, object] = dict.fromkeys(known, float("nan"))
    counts = listings.list(row("x") | broken | {"prompt": "new"})
    assert counts.bad_fields == dict.fromkeys(set(known) - {"prompt"}, 1)
    _, item = listings.item("x")
    assert (item.title, item.parent_model, item.kind, item.tags, item.uploader) == ("T", "4384", "model", ("a",), "u")
    assert item.prompt == "new"


def test_i12_a_row_that_was_cut_short_keeps_what_was_known_of_the_rest(listings: Listings) -> None:
    listings.list(row("x", title="T", prompt="p"))
    source = listings.folder / "m.jsonl"
    source.write_text('{"id": "x", "title": "new", "prompt": "hal')
    counts = list_source(listings.workspace, f"manifest:{source}", day=None)
    live, item = listings.item("x")
    assert (live, item.title, item.prompt, item.locator, counts.bad_fields) == (True, "new", "p", "a.png", {"row": 1})


def test_i12_a_deletion_is_never_lost_whatever_else_is_broken(listings: Listings) -> None:
    lines = {
        "one": '{"id": "one", "deleted": 1}',
        "nan": '{"id": "nan", "prompt": NaN, "deleted": true}',
        "infinite": '{"id": "infinite", "nsfw_level": -Infinity, "deleted": "TRUE"}',
        "twice": '{"id": "twice", "title": "a", "title": "b", "deleted": "yes"}',
        "both": '{"id": "both", "deleted": true, "deleted": false}',
        "bytes": '{"id": "bytes", "prompt": "\udcff\udcfe", "deleted": true}',
        "surrogate": '{"id": "surrogate", "title": "\\ud800", "deleted": 1.0}',
        "control": '{"id": "control", "title": "a\tb\x01", "deleted": "t"}',
        "quote": '{"id": "quote", "prompt": "she said "no" to it", "deleted": true}',
        "deep": '{"id": "deep", "x": ' + "[" * 100_000 + "]" * 100_000 + ', "deleted": true}',
        "digits": '{"id": "digits", "uploader": ' + "9" * 5000 + ', "deleted": true}',
        "large": '{"id": "large", "prompt": "' + "p" * (3 << 20) + '", "deleted": true}',
        "cut": '{"id": "cut", "deleted": true, "prompt": "hal',
        "joined": '{"id": "first", "kind": "bounty"}{"id": "joined", "deleted": true}',
        "after": '{"id": "first", "prompt": "hal{"id": "after", "deleted": true}',
        "7": '{"id": 7.0, "deleted": true, "received_at": {}}',
    }
    listings.list(*(row(item_id) for item_id in lines))
    source = listings.folder / "deletions.jsonl"
    source.write_bytes("\n".join(lines.values()).encode("utf-8", "surrogateescape"))
    counts = list_source(listings.workspace, f"manifest:{source}", day=None)
    assert {item_id for item_id in lines if listings.facts(item_id)[0]} == set()
    assert counts.deleted == len(lines)


def test_i9_no_text_of_an_uploader_deletes_an_item(listings: Listings) -> None:
    """What a proper export escapes stays text, also where the line is broken further on."""
    forged = '"deleted": true, "x": "', '{"id": "victim", "deleted": true}', '", "deleted": true}', '\\", "deleted": 1}'
    rows = [row(f"a-{number}", prompt=text) for number, text in enumerate(forged)]
    listings.list(row("victim"), *rows)
    lines = [json.dumps(row("victim"))]
    for one in rows:
        whole = json.dumps(one)
        lines += [whole, *(whole[:length] for length in range(len(whole) // 2, len(whole)))]
    source = listings.folder / "cut.jsonl"
    source.write_text("\n".join(lines))
    list_source(listings.workspace, f"manifest:{source}", day=None)
    assert all(listings.facts(one)[0] for one in ("victim", "a-0", "a-1", "a-2", "a-3"))


def test_i12_the_watermark_passes_no_day_while_an_item_of_an_earlier_one_waits(
    listings: Listings, clock: Clock
) -> None:
    """Neither one that was listed after its night, nor one that got its date then."""
    enrol(listings.workspace, person(1))
    listings.picture("a.png", 1)
    first, second = date(2026, 2, 26), date(2026, 2, 27)

    def night(day: date, *rows: dict[str, Any]) -> date | None:
        manifest = listings.write("m.jsonl", *rows)
        sweep(listings.workspace, manifest, day=day)
        advance_watermark(listings.workspace, Scope(source_id(manifest), day))
        with listings.workspace.database.read() as connection:
            return read_watermark(connection)

    def waiting() -> list[date]:
        with listings.workspace.database.read() as connection:
            return unfinished_days(connection, listings.workspace)

    of_first, of_second = row("x", received_at=f"{first}T10:00:00Z"), row("y", received_at=f"{second}T10:00:00Z")
    assert night(first, of_first) == second
    late = row("late", received_at=f"{first} 11:00:00 UTC")
    listings.list(of_first, of_second, late)
    assert waiting() == [first, second]
    assert night(second, of_first, of_second, late) == second, "the late one waits"
    assert night(first, of_first, of_second, late) == second
    assert night(second, of_first, of_second, late) == date(2026, 2, 28)
    undated = row("undated", received_at="soon")
    listings.list(of_first, of_second, late, undated)
    assert waiting() == [clock().date()]
    redated = row("undated", received_at=f"{second}T12:00:00Z")
    listings.list(of_first, of_second, late, redated)
    assert waiting() == [second]
    third = date(2026, 2, 28)
    assert night(third, of_first, of_second, late, redated) == third, "what got its date late waits"
    night(second, of_first, of_second, late, redated)
    assert night(third, of_first, of_second, late, redated) == date(2026, 3, 1)


def test_i12_deletions_from_before_this_version_stand(empty_url: str) -> None:
    """Of these nobody wrote down when they were listed; it was in some run that there is."""
    import alembic.command

    database = Database(empty_url, busy_timeout_seconds=5)
    alembic.command.upgrade(_alembic_config(database), "0008")
    moment = datetime(2026, 2, 27, 3, tzinfo=UTC)
    known = {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    values: dict[str, Any] = dict.fromkeys(known) | dict.fromkeys(("first_seen", "received_at", "live_since"), moment)
    values |= {"kind": "image", "day": "2026-02-27", "source_id": "s", "source_digest": "d", "content_digest": "c"}
    values |= {"sealed_record": b"sealed", "status": "pending", "attempts": 0}
    run = {"run_id": "r", "kind": "sweep", "started_at": moment, "model_id": "m", "policy_version": "p"}
    with database.write() as tx:
        tx.execute(sa.insert(tables.runs).values(**run, registry_version=0, finished_at=moment + timedelta(hours=1)))
        for item_id, live in (("live", True), ("gone", False)):
            tx.execute(sa.insert(tables.items).values(**values | {"item_id": item_id, "live": live}))
    database.migrate()
    with database.read() as connection:
        columns = sa.select(tables.items.c.item_id, tables.items.c.deleted_at).order_by(tables.items.c.item_id)
        found = [tuple(one) for one in connection.execute(columns)]
    database.close()
    assert found == [("gone", moment + timedelta(hours=1)), ("live", None)]
