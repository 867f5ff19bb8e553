"""Bringing a home to this version: its schema, its key check, and the seal over all of its rows.

The rows of a home without a seal are sealed once as they are, which the audit chain records. From then on the schema
changes only if every row is as it was written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from embeddings.errors import CorruptionError
from pipelines.database import HEAD, Database, get_state, set_state
from pipelines.home import audit
from pipelines.home.actors import service
from pipelines.home.sealing import Sealer
from pipelines.home.state_seal import StateSeal, require_not_older

SEALED: Final = "state.seal"
"""The action of the audit row which says that everything was sealed as it was found."""


def upgrade(database: Database, sealer: Sealer, seal: StateSeal, *, now: datetime) -> None:
    """Bring schema, key check and seal up to date. Safe to repeat, and to be killed anywhere."""
    revision = database.revision()
    if not _is_due(database, seal, revision):
        return
    seal.witness.begin()
    database.migrate()
    with database.write() as tx:
        if get_state(tx, "key_check") is None:
            set_state(tx, "key_check", sealer.fingerprint)
            set_state(tx, "registry_version", "0")
        head = seal.read(tx)
        if head is None:
            audit.verify(tx, sealer, plain_end=True)
        elif revision == HEAD and not seal.is_outdated(tx):
            return  # another process has done it meanwhile
        audit.append(
            tx,
            sealer,
            actor=service("init"),
            action=SEALED,
            now=now,
            from_revision=revision,
            counter=head.counter if head else 0,
        )
        known, ended = seal.seal_all(tx, after=head.counter if head else 0)
    seal.witness.advance(known, ended=ended)


def _is_due(database: Database, seal: StateSeal, revision: str | None) -> bool:
    """Whether schema or seal are not this version's. Raises :class:`CorruptionError` where nothing may be changed."""
    known = seal.witness.read()  # read before the database
    if revision is None:
        if known and known.counter:
            require_not_older(seal.witness.path, known, None)
        return True
    with database.read() as connection:
        head = seal.read(connection)
        if head is None and (known is None or not known.counter):
            if audit.was_written(connection, SEALED):
                raise CorruptionError("the seal over the database is gone: look at `likeness restore`")
            return True
        require_not_older(seal.witness.path, known, head)
        due = revision != HEAD or seal.is_outdated(connection)
        if due:
            seal.require_unaltered(connection)
    return due
