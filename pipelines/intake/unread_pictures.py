"""Reads what pictures say of their making where an older version scanned them, or another reader read them.

The bytes are fetched again, nothing is decoded. A picture that cannot be fetched now, or on which the reader fails in a
way that may pass, stays unread, is counted (:func:`pipelines.intake.picture_texts.unread_count`), and is tried by the
next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from embeddings.errors import ItemError
from embeddings.types import Content
from pipelines.database.tables import items
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import fetch_until, found
from pipelines.intake.ledger import SCANNER_FAULTS
from pipelines.intake.picture_texts import ReadPicture, enter_picture_texts, read_picture, unread_count, unread_pictures
from pipelines.sources import Item, ItemSource


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture: its bytes, or None where they could not be had or are others by now; and what was read of them."""

    content: Content | None
    read: ReadPicture | None = None


def read_unread(workspace: Workspace, *, progress: Progress = silent) -> int:
    """Read every live picture that was not read by this reader, a batch in one transaction; return how many were.

    Safe to repeat, and to be cut off.
    """
    with workspace.database.read() as connection:
        total = unread_count(connection)
    tried, done, after = 0, 0, ""
    sources: dict[str, ItemSource] = {}
    with ThreadPoolExecutor(workspace.config.sweep.fetch_threads, thread_name_prefix="fetch") as pool:
        while rows := _page(workspace, after):
            batch = fetch_until(workspace, rows, sources, pool, _fetch)
            after = rows[len(batch) - 1].item_id
            read = [one.read for one in batch if one.read]
            with workspace.database.write() as tx:
                enter_picture_texts(tx, workspace.sealer, read, now=workspace.now())
            tried += len(batch)
            done += sum(one.status not in SCANNER_FAULTS for one in read)
            progress("texts", tried, max(total, tried))
    return done


def _page(workspace: Workspace, after: str) -> Sequence[Any]:
    columns = (items.c.item_id, items.c.sealed_record, items.c.content_sha256)
    query = unread_pictures().with_only_columns(*columns).where(items.c.item_id > after).order_by(items.c.item_id)
    with workspace.database.read() as connection:
        return connection.execute(query.limit(workspace.config.sweep.shard_items)).all()


def _fetch(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> _Picture:
    try:
        content = found(workspace, opened, known=row.content_sha256).content
    except ItemError:
        content = None
    workspace.beat()
    if content is None or content.sha256.hex() != row.content_sha256:
        return _Picture(None)  # the item will be listed anew
    return _Picture(content, read_picture(content, config=workspace.config.infotext, reader=workspace.infotext_reader))
