"""The seal over all rows: a counter that rises with each changing transaction, and the digests of all tables, MACed.

The seal is one fact in ``state``, renewed in each transaction that changes anything, so that it is true of every
committed state, whatever is killed when. Nobody without the key can change, add, delete or exchange rows and make the
seal fit; an older database with its older seal has a lower counter than the :mod:`pipelines.home.witness` outside of
it.

Opening a home compares counters, which costs a millisecond. Runs add up the tables that say who is sought
(:data:`REGISTRY`), and ``likeness verify`` adds up all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, NotReadyError
from pipelines.database import Database, get_state, set_state
from pipelines.database.accounting import SEAL, RowAccount, Sums, add_up, added, all_parts
from pipelines.database.tables import audit as audit_rows
from pipelines.database.tables import metadata, state, subjects
from pipelines.home import audit
from pipelines.home.failpoints import Failpoints
from pipelines.home.sealing import Sealer
from pipelines.home.witness import Known, Witness

REGISTRY = ("state", "subjects", "subject_keys", "templates", "seeds", "decisions", "requests")
"""The parts that say who is sought, and what people said: a run works with none of them altered."""
ENDED = ("erased", "rejected", "withdrawn")
"""States of a subject that no older copy may undo, the strongest first. A consent that is over may be renewed."""
_TOLD = (state.name, audit_rows.name)
"""Tables from which the witness is told more than the seal."""
_COLUMNS = "sealed_columns"
_OLDER = (
    "the database is older than what this home remembers (transaction {found} of {known}): was a backup put back? "
    "`likeness restore` says what is undone by it, and `likeness restore --accept` goes on from it"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The seal as it is stored."""

    counter: int
    sums: Sums
    mac: str


class StateSeal:
    """Keeps the seal of one database, and its witness, up to date (:class:`pipelines.database.Seal`)."""

    def __init__(self, sealer: Sealer, witness: Witness, failpoints: Failpoints) -> None:
        self.witness = witness
        self._sealer = sealer
        self._failpoints = failpoints
        self._seen = 0
        self._told: Known | None = None

    def open_account(self) -> RowAccount:
        """Begin an empty account."""
        return RowAccount(self._sealer.row_key)

    def enter(self, tx: Connection, account: RowAccount) -> int:
        """Renew the seal; return its counter.

        Raises :class:`CorruptionError` if the database went back while this process was working.
        """
        head = self.read(tx)
        if head is None:
            raise NotReadyError(f"the seal over the database is gone: {_SEE}")
        if head.counter < self._seen:
            raise CorruptionError(_OLDER.format(found=head.counter, known=self._seen))
        same = None if any(any(account.sums.get(name, ())) for name in _TOLD) else self._known_at(head)
        renewed = _store(tx, self._sealer, head.counter + 1, added(head.sums, account.sums))
        ended = _ended(tx, self._sealer) if any(account.sums.get(subjects.name, ())) else frozenset()
        known = replace(same, counter=renewed.counter, head=renewed.mac) if same else _known(tx, renewed)
        account.told = (known, ended)
        return renewed.counter

    def _known_at(self, head: Head) -> Known | None:
        """Return what the witness was told last, if nobody has written since: it need not be read again."""
        last = self._told
        return last if last and (last.counter, last.head) == (head.counter, head.mac) else None

    def committed(self, account: RowAccount) -> None:
        """Let the witness know of the transaction."""
        known, ended = account.told
        self._seen = max(self._seen, known.counter)
        self._told = known
        self._failpoints.pass_by("before_witness_write")
        self.witness.advance(known, ended=ended)
        self._failpoints.pass_by("after_witness_write")

    def read(self, connection: Connection) -> Head | None:
        """Return the seal as this transaction sees it. Raises :class:`CorruptionError` for one that was altered."""
        text = get_state(connection, SEAL)
        if text is None:
            return None
        try:
            values = json.loads(text)
            counter, sums, mac = values["counter"], values["sums"], values["mac"]
            head = Head(counter, {name: (rows, int(digest, 16)) for name, (rows, digest) in sums.items()}, mac)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CorruptionError(f"the seal over the database cannot be read: {_SEE}") from None
        if mac != self._sealer.seal_mac(_canonical(counter, sums)):
            raise CorruptionError(f"the seal over the database is not what was written: {_SEE}")
        return head

    def require_newest(self, database: Database) -> None:
        """Raise unless the database is as new as the witness says; bring a witness up to date that lags behind.

        :class:`NotReadyError` before the first seal, :class:`CorruptionError` for an older state or a lost witness.
        """
        known = self.witness.read()  # read first: a commit in between makes the database newer, not older
        with database.read() as connection:
            head = self.read(connection)
            if head is None and (known is None or known.counter == 0):
                raise NotReadyError("this home has no seal over its database yet: run `likeness init`")
            current = require_not_older(self.witness.path, known, head)
            if self.is_outdated(connection):
                raise NotReadyError("the database is sealed by another version: run `likeness init`")
            late = _known(connection, current) if known and known.counter < current.counter else None
            ended = _ended(connection, self._sealer) if late else frozenset[str]()
        self._seen = max(self._seen, current.counter)
        if late:
            self.witness.advance(late, ended=ended)

    def is_outdated(self, connection: Connection) -> bool:
        """Whether the stored seal covers other columns than this version seals."""
        return get_state(connection, _COLUMNS) != _column_names()

    def altered(self, connection: Connection, names: Iterable[str] | None = None) -> list[str]:
        """Return the parts, of ``names`` or of all, whose rows are not those that were written."""
        head = self.read(connection)
        if head is None:
            raise NotReadyError(f"the seal over the database is gone: {_SEE}")
        recorded: dict[str, list[str]] = json.loads(get_state(connection, _COLUMNS) or "{}")
        wanted = list(names) if names is not None else sorted({*recorded, *head.sums})
        sums = count_rows(connection, self._sealer, {name: recorded.get(name, []) for name in wanted})
        return [name for name in wanted if sums[name] != head.sums.get(name, (0, 0))]

    def require_unaltered(self, connection: Connection, names: Iterable[str] | None = None) -> None:
        """Raise :class:`CorruptionError` where rows are not those that were written (I7)."""
        if wrong := self.altered(connection, names):
            raise CorruptionError(
                f"rows of {', '.join(wrong)} were changed, added or deleted by something else than this program: "
                "restore the database from a backup"
            )

    def seal_all(self, tx: Connection, *, after: int) -> tuple[Known, frozenset[str]]:
        """Seal every row as it is, with a counter above ``after``; returns what to tell the witness."""
        set_state(tx, _COLUMNS, _column_names())
        sums = count_rows(tx, self._sealer, json.loads(_column_names()))
        head = _store(tx, self._sealer, after + 1, sums)
        return _known(tx, head), _ended(tx, self._sealer)


def require_not_older(path: Path, known: Known | None, head: Head | None) -> Head:
    """Return the seal, if it is at least as new as what the witness at ``path`` knows. Raises
    :class:`CorruptionError`."""
    if known is None:
        raise CorruptionError(f"{path} is gone, which remembers how far this home had come: {_SEE}")
    if head is None or known.counter > head.counter:
        raise CorruptionError(_OLDER.format(found=head.counter if head else 0, known=known.counter))
    if known.counter == head.counter and known.head != head.mac:
        raise CorruptionError(f"the database has another past than this home remembers: {_SEE}")
    return head


def count_rows(connection: Connection, sealer: Sealer, columns: dict[str, list[str]]) -> Sums:
    """Return the sums over the given columns of each part. A part without a table counts as having no rows."""
    there = set(sa.inspect(connection).get_table_names())
    sums = {}
    for part, names in columns.items():
        name = part.partition(".")[0]
        if name not in there:
            sums[part] = (0, 0)
            continue
        sums[part] = add_up(connection, _columns(name, tuple(names)), sealer.row_key) if names else (0, 0)
    return sums


@lru_cache(maxsize=256)  # for as many parts as there are; the same objects again let their query be kept
def _columns(name: str, names: tuple[str, ...]) -> Sequence[sa.ColumnClause[Any]]:
    """Return these columns of a table, which this version may not know any more."""
    known = metadata.tables.get(name)
    types = {one: known.c[one].type for one in names if known is not None and one in known.c}
    return tuple(sa.table(name, *(sa.column(one, types.get(one)) for one in names)).c)


def _store(tx: Connection, sealer: Sealer, counter: int, sums: Sums) -> Head:
    plain = {name: [rows, f"{digest:064x}"] for name, (rows, digest) in sorted(sums.items())}
    mac = sealer.seal_mac(_canonical(counter, plain))
    set_state(tx, SEAL, json.dumps({"counter": counter, "sums": plain, "mac": mac}))
    return Head(counter, sums, mac)


def _canonical(counter: Any, sums: Any) -> str:
    return json.dumps([counter, sums], sort_keys=True)


@cache  # asked for whenever a home is opened, and fixed by the code
def _column_names() -> str:
    return json.dumps({name: [column.name for column in part.columns] for name, part in sorted(all_parts().items())})


def _known(connection: Connection, head: Head) -> Known:
    version = int(get_state(connection, "registry_version") or 0)
    return Known(head.counter, head.mac, registry_version=version, audit_rows=audit.length(connection))


def _ended(connection: Connection, sealer: Sealer) -> frozenset[str]:
    query = sa.select(subjects.c.subject_id, subjects.c.state).where(subjects.c.state.in_(ENDED))
    return frozenset(sealer.ended_mac(row.subject_id, row.state) for row in connection.execute(query))


def ended_again(connection: Connection, sealer: Sealer, ended: frozenset[str]) -> Sequence[tuple[str, str, str]]:
    """Return (subject, state now, state remembered) for each subject in a weaker state than the witness remembers."""
    again = []
    for row in connection.execute(sa.select(subjects.c.subject_id, subjects.c.state).order_by(subjects.c.subject_id)):
        state = next((state for state in ENDED if sealer.ended_mac(row.subject_id, state) in ended), None)
        if state is not None and (row.state not in ENDED or ENDED.index(state) < ENDED.index(row.state)):
            again.append((row.subject_id, row.state, state))
    return again


_SEE = "`likeness restore` says what there is, and how to go on"
