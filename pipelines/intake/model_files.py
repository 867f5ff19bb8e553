"""The table of model files: what their headers say, kept once per content, sealed like an item's own texts.

A row is written in the transaction that enters the scan's result for the item (I6), and deleted when no live item has
the content any more. Knows no formats; :mod:`pipelines.intake.model_reading` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.headers.evidence import HeaderText
from pipelines.database.parts import parts
from pipelines.database.tables import items, model_files
from pipelines.home.sealing import Sealer
from pipelines.intake.ledger import SCANNER_FAULTS, is_read_by_earlier
from pipelines.intake.model_reading import READ, READER, KnownFile, ReadModel

__all__ = ["HeaderText", "enter_model_files", "forget_model_files", "header_texts", "known_file", "settle_unread"]


def enter_model_files(tx: Connection, sealer: Sealer, files: Iterable[ReadModel], *, now: datetime) -> None:
    """Write what was read of these files. The latest reading of a content counts; one of the header alone counts where
    an earlier version of the reader read less of it. A fault that may pass replaces no reading."""
    tried = list(files)
    passing = _passing(tx, tried)
    read = [file for file in tried if file.identity not in passing]
    rows = {file.identity.hex(): _row(sealer, file, now) for file in read if not file.again}
    if rows:
        tx.execute(sa.delete(model_files).where(model_files.c.content_sha256.in_(list(rows))))
        tx.execute(sa.insert(model_files), list(rows.values()))
    for file in read:
        if file.again:
            own = sa.and_(model_files.c.content_sha256 == file.identity.hex(), is_read_by_earlier())
            row = _row(sealer, file, now)
            tx.execute(sa.update(model_files).where(own).values({name: row[name] for name in _OF_HEADER}))


def _passing(tx: Connection, files: Iterable[ReadModel]) -> set[bytes]:
    """Return the contents that only failed this time, and of which there is a reading."""
    failed = {file.identity.hex() for file in files if file.status in SCANNER_FAULTS}
    found: set[bytes] = set()
    for some in parts(sorted(failed)):
        own = sa.and_(model_files.c.content_sha256.in_(some), model_files.c.status.not_in(SCANNER_FAULTS))
        found |= {
            bytes.fromhex(key) for key in tx.execute(sa.select(model_files.c.content_sha256).where(own)).scalars()
        }
    return found


def settle_unread(tx: Connection, contents: Collection[str]) -> None:
    """Note that the present version of the reader has tried these contents and gets no more of them: what an earlier
    one read stands, and is not asked for again."""
    for some in parts(sorted(contents)):
        own = sa.and_(model_files.c.content_sha256.in_(some), is_read_by_earlier())
        tx.execute(sa.update(model_files).where(own).values(reader=READER))


_OF_HEADER: Final = ("status", "sealed_header", "read_at", "reader", "notes")
"""Columns that a reading of the header alone gives."""


def header_texts(
    connection: Connection, sealer: Sealer, contents: Collection[str]
) -> dict[str, tuple[HeaderText, ...]]:
    """Return the texts in the headers of these contents, as far as they are model files whose header was read."""
    wanted, texts = sorted(contents), {}
    for part in parts(wanted):
        query = sa.select(model_files.c.content_sha256, model_files.c.sealed_header).where(
            model_files.c.content_sha256.in_(part), model_files.c.sealed_header.is_not(None)
        )
        for row in connection.execute(query):
            opened = sealer.unseal_header(row.sealed_header, row.content_sha256)
            texts[row.content_sha256] = tuple(HeaderText(place, text) for place, text in opened["texts"])
    return texts


def known_file(connection: Connection, sealer: Sealer, content_sha256: str) -> KnownFile | None:
    """Return what recognises this content by its header; None if it is no model file with a header."""
    query = sa.select(model_files.c.sealed_header).where(
        model_files.c.content_sha256 == content_sha256, model_files.c.status == READ
    )
    sealed = connection.execute(query).scalar()
    if sealed is None:
        return None
    opened = sealer.unseal_header(sealed, content_sha256)
    return KnownFile(bytes.fromhex(content_sha256), bytes.fromhex(opened["header_sha256"]))


def forget_model_files(tx: Connection) -> int:
    """Delete the rows of contents that no live item has. Returns how many."""
    alive = (
        sa.select(items.c.item_id)
        .where(items.c.content_sha256 == model_files.c.content_sha256, items.c.live)
        .correlate(model_files)
        .exists()
    )
    return tx.execute(sa.delete(model_files).where(~alive)).rowcount


def _row(sealer: Sealer, file: ReadModel, now: datetime) -> dict[str, object]:
    content_sha256, sealed = file.identity.hex(), None
    if file.header_sha256 is not None:
        texts = [[one.place, one.text] for one in file.texts]
        sealed = sealer.seal_header({"header_sha256": file.header_sha256.hex(), "texts": texts}, content_sha256)
    return {
        "content_sha256": content_sha256,
        "status": file.status,
        "format": file.format,
        "header_bytes": file.header_bytes,
        "tensors": file.tensors,
        "payload_sha256": file.payload_sha256.hex() if file.payload_sha256 else None,
        "sealed_header": sealed,
        "read_at": now,
        "reader": READER,
        "notes": ",".join(file.notes) or None,
    }
