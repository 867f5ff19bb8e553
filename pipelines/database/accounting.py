"""Counts and keyed digests of every table's rows, kept up to date statement by statement.

A *part* is a table without its large sealed columns, or one of these columns by itself. The digest of a part is the sum
modulo 2^256 of a keyed BLAKE2b over each of its rows (an incremental multiset hash, Clarke et al., ASIACRYPT 2003): it
says which rows there are, whatever their order, and changing some rows costs time for these rows alone. Sums are worth
nothing by themselves: :mod:`pipelines.home.state_seal` keeps them under a MAC with a counter.

A transaction's :class:`RowAccount` looks at each statement on a known table: the rows that it may touch are subtracted
as they were and added as they are afterwards. What cannot be accounted for (an insert from a query) is refused.

Half of all statements are the account's own reads, so theirs are built once, and rows whose primary keys a statement
names are not looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from itertools import chain, product
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.dml import Delete, Insert, Update

from pipelines.database import tables
from pipelines.database.parts import parts

UNSEALED: Final[Mapping[str, frozenset[str]]] = {"hits": frozenset({"judged_at"})}
"""Columns that no digest covers. ``hits.judged_at``: set back for every hit when a setting changes; null asks for a
judgement that changes nothing, and a hit that is not null without a verdict is found by ``likeness verify``."""
SEAL: Final = "seal"
"""The fact in ``state`` that holds the digests, which no digest can cover."""
_APART: Final = {
    "items": ("sealed_record",),
    "templates": ("sealed_vector", "sealed_crop"),
    "kept_evidence": ("sealed_picture",),
}
"""Large columns with a digest of their own: whoever changes a status, or loads the gallery, need not read them."""
_OF_PEOPLE: Final = frozenset({"hits", "verdicts", "decisions", "seeds", "subjects", "requests"})
"""Tables whose rows are each about one person (``subject_id``), and say what is found of them."""
_OF_ANYBODY: Final[Mapping[str, frozenset[str]]] = {
    "items": frozenset(
        {"live", "content_sha256", "text_digest", "parent_model", "kind", "uploader", "model_id", "item_id"}
    ),
    "pools": frozenset(),
    "pool_faces": frozenset(),
}
"""Tables on which it depends which hits count, whoever they are of -> the columns on which it does; empty: on all."""
_STREAMED: Final = 2000
_NAMING: Final = frozenset({sa.sql.operators.eq, sa.sql.operators.in_op})
_MODULUS: Final = 1 << 256

Sums = dict[str, tuple[int, int]]
"""Part -> number of rows, sum of their digests."""
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """Some columns of a table, with the primary key among them."""

    name: str
    table: sa.Table
    columns: tuple[sa.Column[Any], ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the part's columns."""
        return frozenset(column.name for column in self.columns)

    @cached_property
    def lead(self) -> bytes:
        """What the digest of every row begins with."""
        return _lead([column.name for column in self.columns])

    @cached_property
    def one_row(self) -> sa.Select[Any]:
        """Its columns of the row whose primary key the parameters are."""
        return sa.select(*self.columns).where(*(c == sa.bindparam(c.name) for c in self.table.primary_key.columns))

    @cached_property
    def some_rows(self) -> sa.Select[Any]:
        """Its columns of the rows whose primary keys the parameter ``keys`` lists."""
        columns = list(self.table.primary_key.columns)
        key = columns[0] if len(columns) == 1 else sa.tuple_(*columns)
        return sa.select(*self.columns).where(key.in_(sa.bindparam("keys", expanding=True)))


@cache
def all_parts() -> dict[str, Part]:
    """Return every part of every table of the metadata, by name."""
    parts = {}
    for table in tables.metadata.sorted_tables:
        apart = _APART.get(table.name, ())
        left_out = UNSEALED.get(table.name, frozenset()).union(apart)
        parts[table.name] = Part(table.name, table, tuple(c for c in table.c if c.name not in left_out))
        for name in apart:
            part = Part(f"{table.name}.{name}", table, (*table.primary_key.columns, table.c[name]))
            parts[part.name] = part
    return parts


@cache
def _parts_of(table: sa.Table) -> tuple[Part, ...]:
    return tuple(part for part in all_parts().values() if part.table is table)


@dataclass
class RowAccount:
    """What one transaction has changed so far. ``key`` keys the digests; ``told`` is for the seal's own use.

    ``about``: people whose hits, or what was said of them, it may have changed; None: anybody's.
    """

    key: bytes = field(repr=False)
    sums: Sums = field(default_factory=dict)
    told: Any = None
    about: frozenset[str] | None = frozenset()
    _open: list[tuple[list[Part], list[tuple[Any, ...]]]] = field(default_factory=list)
    _savepoints: list[tuple[Sums, frozenset[str] | None]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the transaction has changed any row."""
        return any(rows or digest for rows, digest in self.sums.values())

    def before(self, connection: Connection, statement: Insert | Update | Delete, given: Sequence[Values]) -> None:
        """Subtract the rows that the statement may touch."""
        parts = _touched_parts(statement, given)
        if _is_about_anybody(statement, given):
            self.about = None
        keys = _touched_keys(connection, statement, given) if parts else []
        if not isinstance(statement, Insert) or statement._post_values_clause is not None:
            self._enter(connection, parts, keys, -1)  # a plain insert touches no old row
        self._open.append((parts, keys))

    def after(self, connection: Connection) -> None:
        """Add the same rows as they are now."""
        parts, keys = self._open.pop()
        self._enter(connection, parts, keys, 1)

    def savepoint(self) -> None:
        """Remember the sums. Savepoints end in the opposite order: the event that begins one does not know its name."""
        self._savepoints.append((dict(self.sums), self.about))

    def end_savepoint(self, *, roll_back: bool) -> None:
        """Keep the sums as they are by now, or return to those at the newest savepoint."""
        sums, about = self._savepoints.pop()
        if roll_back:
            self.sums, self.about = sums, about

    def _enter(self, connection: Connection, parts: Sequence[Part], keys: Sequence[tuple[Any, ...]], sign: int) -> None:
        for part in parts:
            rows, digest = self.sums.get(part.name, (0, 0))
            for query, chosen in _queries(part, keys):
                rows_now: Sequence[Any] = connection.execute(query, chosen).all()
                if self.about is not None and part.name in _OF_PEOPLE:
                    self.about |= {row.subject_id for row in rows_now}
                found, total = _digest(rows_now, part.lead, self.key)
                rows, digest = rows + sign * found, (digest + sign * total) % _MODULUS
            self.sums[part.name] = (rows, digest)


def added(sums: Sums, more: Sums) -> Sums:
    """Return the sum of ``sums`` and ``more``, part by part."""
    parts = dict.fromkeys((*sums, *more), (0, 0)) | sums
    for name, (rows, digest) in more.items():
        parts[name] = (parts[name][0] + rows, (parts[name][1] + digest) % _MODULUS)
    return parts


def add_up(connection: Connection, columns: Sequence[sa.ColumnClause[Any]], key: bytes) -> tuple[int, int]:
    """Return the number of rows of a table and the sum of their digests over ``columns``."""
    found = connection.execute(_every_row(tuple(columns)), execution_options={"yield_per": _STREAMED})
    return _digest(found, _lead([column.name for column in columns]), key)


@lru_cache(maxsize=256)  # for as many parts as there are, and those of an older schema
def _every_row(columns: tuple[sa.ColumnClause[Any], ...]) -> sa.Select[Any]:
    table: Any = columns[0].table  # taken off the column: a query would be compiled to find it
    query = sa.select(*columns)
    return query.where(table.c.name != SEAL) if table.name == tables.state.name else query


def _lead(names: Sequence[str]) -> bytes:
    return ascii(list(names)).encode()


def _digest(found: Iterable[Sequence[Any]], lead: bytes, key: bytes) -> tuple[int, int]:
    start = hashlib.blake2b(lead, key=key, digest_size=32)
    rows = total = 0
    for row in found:
        plain = tuple([bytes(value) if isinstance(value, memoryview) else value for value in row])
        digest = start.copy()
        digest.update(ascii(plain).encode())  # not repr: what that escapes depends on the Unicode version
        total += int.from_bytes(digest.digest(), "big")
        rows += 1
    return rows, total % _MODULUS


def _touched_parts(statement: Insert | Update | Delete, given: Sequence[Values]) -> list[Part]:
    table: Any = statement.table
    own = list(_parts_of(table))
    if not isinstance(statement, Update):
        return own
    named = _named_columns(statement, given)
    keys = {column.name for column in table.primary_key.columns}
    if named & keys:
        raise TypeError(f"a change of a primary key of {table.name} cannot be accounted for: delete and insert")
    return [part for part in own if named & part.names]


def _named_columns(statement: Update, given: Sequence[Values]) -> set[str]:
    """Names of the columns that an update sets."""
    table: Any = statement.table
    named = {_name(column) for column in (statement._values or {})}
    return named | {name for values in given for name in values if name in table.c}


def _is_about_anybody(statement: Insert | Update | Delete, given: Sequence[Values]) -> bool:
    """Whether a statement may change which hits count, and does not say whose."""
    table: Any = statement.table
    columns = _OF_ANYBODY.get(table.name)
    if columns is None:
        return False
    return not isinstance(statement, Update) or not columns or bool(columns & _named_columns(statement, given))


def _touched_keys(
    connection: Connection, statement: Insert | Update | Delete, given: Sequence[Values]
) -> list[tuple[Any, ...]]:
    """Primary keys of the rows that the statement may touch: all of them, and perhaps others."""
    table: Any = statement.table
    key = list(table.primary_key.columns)
    if isinstance(statement, Insert):
        if statement.select is not None or statement._multi_values:
            raise TypeError(f"an insert into {table.name} has to be given its rows one by one")
        own = {_name(column): value.value for column, value in (statement._values or {}).items() if _is_plain(value)}
        return [tuple({**own, **values}[column.name] for column in key) for values in given or [{}]]
    named = _named_keys(statement, table)
    if all(column.name in named for column in key):
        chosen = (product(*(_values_of(named[c.name], values) for c in key)) for values in given or [{}])
        return list(dict.fromkeys(chain.from_iterable(chosen)))
    query = sa.select(*key)
    for condition in statement._where_criteria:
        query = query.where(condition)
    found = (tuple(row) for values in given or [{}] for row in connection.execute(query, dict(values)))
    return list(dict.fromkeys(found))


def _named_keys(statement: Update | Delete, table: sa.Table) -> dict[str, sa.BindParameter[Any]]:
    """Column -> parameter, of the conditions ``column = :parameter`` and ``column IN :parameter`` that have to hold."""
    named = {}
    for condition in _conjuncts(statement._where_criteria):
        if isinstance(condition, sa.BinaryExpression) and condition.operator in _NAMING:
            left, right = condition.left, condition.right
            if isinstance(right, sa.BindParameter) and isinstance(left, sa.Column) and left.table is table:
                named[left.name] = right
    return named


def _values_of(parameter: sa.BindParameter[Any], given: Values) -> Sequence[Any]:
    value = given.get(parameter.key, parameter.effective_value)
    return list(value) if parameter.expanding else [value]


def _conjuncts(conditions: Iterable[Any]) -> Iterator[Any]:
    for condition in conditions:
        if isinstance(condition, sa.sql.elements.BooleanClauseList) and condition.operator is sa.sql.operators.and_:
            yield from _conjuncts(condition.clauses)
        else:
            yield condition


def _queries(part: Part, keys: Sequence[tuple[Any, ...]]) -> Iterator[tuple[sa.Select[Any], dict[str, Any]]]:
    """Statements that read the rows with these keys, and their parameters."""
    names = [column.name for column in part.table.primary_key.columns]
    if part.table is tables.state:
        keys = [key for key in keys if key != (SEAL,)]
    if len(keys) == 1:
        yield part.one_row, dict(zip(names, keys[0], strict=True))
    else:
        for some in parts(keys):
            yield part.some_rows, {"keys": [key[0] for key in some] if len(names) == 1 else list(some)}


def _name(column: Any) -> str:
    return column if isinstance(column, str) else str(column.name)


def _is_plain(value: Any) -> bool:
    return isinstance(value, sa.BindParameter)


def listen(engine: Engine) -> None:
    """Let the :class:`RowAccount` in a connection's execution option ``account`` see each statement on known tables."""

    @event.listens_for(engine, "before_execute")
    def before(connection: Connection, statement: Any, many: Any, one: Any, options: Any) -> None:
        if account := _account(connection, statement):
            account.before(connection, statement, list(many) or ([one] if one else []))

    @event.listens_for(engine, "after_execute")
    def after(connection: Connection, statement: Any, many: Any, one: Any, options: Any, result: Any) -> None:
        if account := _account(connection, statement):
            account.after(connection)

    @event.listens_for(engine, "savepoint")
    def savepoint(connection: Connection, name: str) -> None:
        if account := connection.get_execution_options().get("account"):
            account.savepoint()

    @event.listens_for(engine, "rollback_savepoint")
    def rolled_back(connection: Connection, name: str, context: Any) -> None:
        if account := connection.get_execution_options().get("account"):
            account.end_savepoint(roll_back=True)

    @event.listens_for(engine, "release_savepoint")
    def released(connection: Connection, name: str, context: Any) -> None:
        if account := connection.get_execution_options().get("account"):
            account.end_savepoint(roll_back=False)


def _account(connection: Connection, statement: Any) -> RowAccount | None:
    if not isinstance(statement, Insert | Update | Delete) or not isinstance(statement.table, sa.Table):
        return None
    if statement.table.metadata is not tables.metadata:
        return None
    account: RowAccount | None = connection.get_execution_options().get("account")
    return account
