"""Whatever is changed, added, deleted or exchanged in the database behind the program's back is noticed (I7, I12)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, LikenessError
from pipelines.cases.ending import withdraw
from pipelines.database.accounting import UNSEALED, all_parts
from pipelines.database.tables import audit, hits, items, metadata, outbox, state, subjects, verdicts
from pipelines.decisions.decide import decide
from pipelines.home.workspace import Workspace
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import failing

TABLES = [table.name for table in metadata.sorted_tables]


@contextmanager
def behind_the_back(workspace: Workspace, *, keep: bool = True) -> Iterator[Connection]:
    """A transaction of somebody who has the database and not the key."""
    engine = sa.create_engine(workspace.database.url)
    with engine.connect() as connection:
        if not workspace.database.is_sqlite:
            connection.execute(sa.text("SET session_replication_role = replica"))  # no foreign keys
        yield connection
        if keep:
            connection.commit()
    engine.dispose()


# Every table, row by row


def some_value(column: sa.Column[Any], number: int) -> Any:
    """A value of this column, another one for each number."""
    if isinstance(column.type, sa.Boolean):
        return bool(number % 2)
    if isinstance(column.type, sa.Integer):
        return 10 + number
    if isinstance(column.type, sa.Float):
        return 0.25 + number
    if isinstance(column.type, sa.LargeBinary):
        return b"sealed %d" % number
    if isinstance(column.type, sa.String):
        return f"value {number}"
    return datetime(2026, 1, 1 + number, tzinfo=UTC)


@pytest.fixture
def full(workspace: Workspace) -> Workspace:
    """A home with three rows in every table, written by this program."""
    with workspace.database.write() as tx:
        for table in metadata.sorted_tables:
            rows = [{column.name: some_value(column, number) for column in table.c} for number in range(3)]
            tx.execute(sa.insert(table), rows)
    return workspace


def is_noticed(workspace: Workspace, tamper: Callable[[Connection], object], table: str) -> bool:
    """Whether the seal tells that a table was altered, by a change that is then rolled back."""
    with behind_the_back(workspace, keep=False) as connection:
        tamper(connection)
        try:
            return bool(
                workspace.seal.altered(connection, [name for name in all_parts() if name.split(".")[0] == table])
            )
        except LikenessError:
            return True  # the seal itself is gone or altered


def test_a_home_whose_every_row_was_written_by_this_program_is_unaltered(full: Workspace) -> None:
    with full.database.read() as connection:
        assert full.seal.altered(connection) == []


@pytest.mark.parametrize("name", TABLES)
def test_i7_a_table_that_was_tampered_with_in_any_way_is_noticed(full: Workspace, name: str) -> None:
    table = metadata.tables[name]
    keys = list(table.primary_key.columns)
    unique = {column.name for column in table.c if column.unique} | {column.name for column in keys}
    with full.database.read() as connection:
        rows = connection.execute(sa.select(table).order_by(*keys)).all()
    first, last = ([key == row._mapping[key.name] for key in keys] for row in (rows[0], rows[-1]))
    ways: dict[str, Callable[[Connection], object]] = {
        "delete the last row": lambda connection: connection.execute(sa.delete(table).where(*last)),
        "delete all rows": lambda connection: connection.execute(sa.delete(table)),
    }
    for column in table.c:
        other = {column.name: some_value(column, 7 if rows[0]._mapping[column.name] is not True else 0)}
        ways[column.name] = lambda connection, other=other: connection.execute(
            sa.update(table).where(*first).values(**other)
        )
    exchanged = [column.name for column in table.c if column.name not in unique]
    for here, there in ((first, rows[-1]), (last, rows[0])) if exchanged else ():
        values = {column: there._mapping[column] for column in exchanged}
        ways[f"copy over {here[0]}"] = lambda connection, here=here, values=values: connection.execute(
            sa.update(table).where(*here).values(**values)
        )

    def exchange(connection: Connection) -> None:
        for way in [way for way in ways if way.startswith("copy over")]:
            ways[way](connection)

    both = {**ways, "exchange two rows": exchange} if exchanged else ways
    unnoticed = {way for way, tamper in both.items() if not is_noticed(full, tamper, name)}
    assert unnoticed == UNSEALED.get(name, frozenset())


def test_security_names_every_column_that_no_seal_covers() -> None:
    text = (Path(__file__).parents[3] / "SECURITY.md").read_text(encoding="utf-8")
    section = text.split("## What is not protected", 1)[1]
    named = {name for name in re.findall(r"`(\w+\.\w+)`", section) if name.partition(".")[0] in TABLES}
    assert named == {f"{table}.{column}" for table, columns in UNSEALED.items() for column in columns}


def test_an_older_seal_put_back_with_its_rows_is_older_than_the_witness(full: Workspace) -> None:
    with full.database.read() as connection:
        seal = connection.execute(sa.select(state.c.value).where(state.c.name == "seal")).scalar_one()
    with full.database.write() as tx:
        tx.execute(sa.update(items).where(items.c.item_id == "value 1").values(status="hit"))
    with behind_the_back(full) as connection:
        connection.execute(sa.update(items).where(items.c.item_id == "value 1").values(status="value 1"))
        connection.execute(sa.update(state).where(state.c.name == "seal").values(value=seal))
    with pytest.raises(CorruptionError, match="older than what this home remembers"):
        full.seal.require_newest(full.database)


def test_a_statement_that_cannot_be_accounted_for_is_refused(workspace: Workspace) -> None:
    copied = sa.insert(verdicts).from_select(list(verdicts.c), sa.select(verdicts))
    with pytest.raises(TypeError, match="one by one"), workspace.database.write() as tx:
        tx.execute(copied)
    with pytest.raises(TypeError, match="primary key"), workspace.database.write() as tx:
        tx.execute(sa.update(hits).values(hit_id="other"))


CHANGES: dict[str, Callable[[], tuple[sa.Update | sa.Delete, list[dict[str, Any]]]]] = {
    "by a key": lambda: (sa.update(items).where(items.c.item_id == "value 1"), []),
    "by a key and more": lambda: (sa.update(items).where(items.c.item_id == "value 1", items.c.faces == 11), []),
    "by a key that is not there": lambda: (sa.update(items).where(items.c.item_id == "nobody's"), []),
    "by some keys": lambda: (sa.update(items).where(items.c.item_id.in_(["value 0", "value 2", "nobody's"])), []),
    "by no keys": lambda: (sa.update(items).where(items.c.item_id.in_([])), []),
    "by either of two keys": lambda: (
        sa.update(items).where(sa.or_(items.c.item_id == "value 1", items.c.item_id == "value 2")),
        [],
    ),
    "by any key but one": lambda: (sa.update(items).where(items.c.item_id != "value 1"), []),
    "by another column": lambda: (sa.update(items).where(items.c.faces.in_([10, 11])), []),
    "by the key of another table": lambda: (
        sa.update(items).where(sa.exists().where(hits.c.hit_id == "value 1", hits.c.item_id == items.c.item_id)),
        [],
    ),
    "by keys given each with its row": lambda: (
        sa.update(items).where(items.c.item_id == sa.bindparam("of")),
        [{"of": "value 0"}, {"of": "value 2"}],
    ),
}


@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("deleted", [False, True])
def test_rows_are_accounted_for_however_a_statement_chooses_them(full: Workspace, way: str, deleted: bool) -> None:
    statement, rows = CHANGES[way]()
    changed = sa.delete(items).where(*statement._where_criteria) if deleted else statement.values(status="other")
    with full.database.write() as tx:
        tx.execute(changed, rows or None)
    with full.database.read() as connection:
        assert full.seal.altered(connection) == []


def test_rows_are_accounted_for_where_the_key_has_several_columns(full: Workspace) -> None:
    keys = list(verdicts.primary_key.columns)
    first = [column == some_value(column, 0) for column in keys]
    listed = [keys[0].in_([some_value(keys[0], 0), some_value(keys[0], 1)]), *(c == some_value(c, 1) for c in keys[1:])]
    with full.database.write() as tx:
        assert tx.execute(sa.update(verdicts).where(*first).values(verdict="clear")).rowcount == 1
        assert tx.execute(sa.update(verdicts).where(*listed).values(verdict="clear")).rowcount == 1
        assert tx.execute(sa.delete(verdicts).where(first[0])).rowcount == 1
    with full.database.read() as connection:
        assert full.seal.altered(connection) == []


def test_a_rehearsal_that_is_rolled_back_leaves_the_account_as_it_was(full: Workspace) -> None:
    with full.database.write() as tx:
        tx.execute(sa.update(items).where(items.c.item_id == "value 0").values(faces=3))
        rehearsal = tx.begin_nested()
        tx.execute(sa.delete(hits))
        rehearsal.rollback()
        with tx.begin_nested():
            tx.execute(sa.update(outbox).values(attempts=3))
    with full.database.read() as connection:
        assert full.seal.altered(connection) == []


# A platform, and what somebody without the key may try


@pytest.fixture
def lived(workspace: Workspace, uploads: Path) -> Workspace:
    """Two people, one of whom has been taken down three times; one hit confirmed, and one person gone."""
    enrol(workspace, person(0))
    enrol(workspace, person(1))
    gone = enrol(workspace, person(5))
    for number in range(4):
        upload(uploads, f"{number}.png", picture(person(number % 2), person(60 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        hit_id = connection.execute(sa.select(hits.c.hit_id).order_by(hits.c.hit_id)).scalars().first()
    decide(workspace, [str(hit_id)], decision="confirm", reason="same_person", actor="tester")
    withdraw(workspace, gone, actor="tester")
    assert failing(workspace) == set()
    return workspace


def _cut_the_chain(connection: Connection) -> None:
    """Delete the last row, and record the end before it as an earlier version of this program did."""
    last = connection.execute(sa.select(audit).order_by(audit.c.seq.desc())).first()
    assert last is not None
    connection.execute(sa.delete(audit).where(audit.c.seq == last.seq))
    head = f"{last.seq - 1}:{last.previous}"
    connection.execute(sa.update(state).where(state.c.name == "audit_head").values(value=head))


def _delete_the_chain(connection: Connection) -> None:
    connection.execute(sa.delete(audit))
    connection.execute(sa.delete(state).where(state.c.name == "audit_head"))


def _swap_identities(connection: Connection) -> None:
    one, two = connection.execute(sa.select(subjects).where(subjects.c.state == "active")).all()
    for here, there in ((one, two), (two, one)):
        own = sa.update(subjects).where(subjects.c.subject_id == here.subject_id)
        connection.execute(own.values(sealed_identity=there.sealed_identity))


def _delete_what_was_found(connection: Connection) -> None:
    for table in (outbox, verdicts, hits):
        connection.execute(sa.delete(table))


ATTACKS: dict[str, tuple[str, Callable[[Connection], object]]] = {
    "withdraw a subject": (
        "registry and audit chain",
        lambda connection: connection.execute(sa.update(subjects).values(state="withdrawn")),
    ),
    "move an expiry": (
        "sealed rows",
        lambda connection: connection.execute(sa.update(subjects).values(expires_at=datetime(2026, 1, 1, tzinfo=UTC))),
    ),
    "swap identities": ("sealed rows", _swap_identities),
    "cut the chain": ("audit chain", _cut_the_chain),
    "delete the chain": ("sealed rows", _delete_the_chain),
    "delete what was found": ("sealed rows", _delete_what_was_found),
    "call everything clean": (
        "sealed rows",
        lambda connection: connection.execute(sa.update(items).values(status="clean", shard_id=None)),
    ),
    "hide a hit from being judged": (
        "hits have verdicts",
        lambda connection: connection.execute(sa.delete(verdicts)),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_i7_an_attack_on_what_the_database_says_is_found_by_verify(lived: Workspace, attack: str) -> None:
    check, tamper = ATTACKS[attack]
    with behind_the_back(lived) as connection:
        tamper(connection)
    assert {check, "sealed rows"} <= failing(lived)


@pytest.mark.parametrize("attack", ["withdraw a subject", "move an expiry", "swap identities"])
def test_i7_no_run_works_with_a_registry_that_was_altered(lived: Workspace, uploads: Path, attack: str) -> None:
    with behind_the_back(lived) as connection:
        ATTACKS[attack][1](connection)
        before = connection.execute(sa.select(subjects).order_by(subjects.c.subject_id)).all()
    upload(uploads, "new.png", picture(person(0)))
    for run in (lambda: sweep(lived, source_of(uploads), day=None), lambda: rescan(lived)):
        with pytest.raises(CorruptionError, match="subjects"):
            run()
    with lived.database.read() as connection:
        assert connection.execute(sa.select(subjects).order_by(subjects.c.subject_id)).all() == before


def test_verify_finds_what_is_left_of_somebody_who_was_rejected(lived: Workspace) -> None:
    with behind_the_back(lived) as connection:
        connection.execute(sa.update(subjects).where(subjects.c.state == "withdrawn").values(state="rejected"))
    assert "leftovers" in failing(lived)
