"""Embeds the items of a shard without files again, in memory, so that the shard can be compared with more people.

The same bytes and the same models give the same vectors, so the hits are those that stored vectors would give. An item
whose bytes are no longer the same leaves the shard, so that it does not block the others: if its content cannot be had
or read, its status says so, what is known of it stays, and it is tried again like any other; if its content is another
one, it waits for the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import FetchError, NotReadyError, UnscannableError
from embeddings.shard import embed_shard
from pipelines.database.parts import parts
from pipelines.database.tables import items
from pipelines.home.attempts import attempting
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import Fetched, ahead, fetch_item, fetch_until, refused
from pipelines.intake.ledger import unscanned_values
from pipelines.intake.retries import Tries, after_try
from pipelines.scan.rows import Scanned, corpus_rows, merge
from pipelines.sources import ItemSource

STAGE: Final = "match"
"""Name of the stage in the record of batches that a process works on (:mod:`pipelines.home.attempts`)."""


@dataclass(frozen=True, slots=True)
class LeavingItem:
    """An item that leaves its shard. ``status`` None: to be scanned anew; else why its content cannot be had."""

    item_id: str
    source_digest: str
    status: str | None
    tries: Tries


def embed_again(workspace: Workspace, shard_id: str) -> Iterator[tuple[pa.Table, list[LeavingItem]]]:
    """Yield the faces of the shard's live items (corpus schema), a batch at a time, and the items that leave it.

    Raises :class:`NotReadyError` when no content of a whole shard can be had: that is an outage, not the items' fault.
    """
    yield from _embed_rows(workspace, _items(workspace, shard_id), where=f"shard {shard_id}")


def embed_items(workspace: Workspace, item_ids: Sequence[str]) -> Iterator[tuple[pa.Table, list[LeavingItem]]]:
    """As :func:`embed_again`, for the live ones of these items, whichever shards they are in."""
    rows = [row for some in parts(item_ids) for row in _rows(workspace, items.c.item_id.in_(some))]
    yield from _embed_rows(workspace, rows, where="what is pooled")


def _embed_rows(
    workspace: Workspace, rows: Sequence[Row], *, where: str
) -> Iterator[tuple[pa.Table, list[LeavingItem]]]:
    failed = 0
    for batch in ahead(_batches(workspace, rows)):
        faces, leaving = _embed(workspace, batch)
        failed += sum(one.status is not None for one in leaving)
        yield faces, leaving
    if failed == len(rows) >= workspace.config.sweep.min_items_for_rates:
        raise NotReadyError(f"none of the {failed} items of {where} could be fetched: is the source down?")


def leave(tx: Connection, shard_id: str, leaving: Sequence[LeavingItem]) -> None:
    """Take items out of a shard, unless they changed meanwhile."""
    for one in leaving:
        values: Mapping[str, Any] = unscanned_values()
        if one.status is not None:  # its known content, and hits on it, stay
            tries = {"attempts": one.tries.failed, "retry_at": one.tries.again_at}
            values = {"status": one.status, "shard_id": None, **tries}
        same = (items.c.shard_id == shard_id, items.c.source_digest == one.source_digest)
        tx.execute(sa.update(items).where(items.c.item_id == one.item_id, *same).values(**values))


def embed_alone(workspace: Workspace, item_ids: Sequence[str]) -> None:
    """Embed these items in a process of their own, to learn whether it survives that."""
    for batch in _batches(workspace, _rows(workspace, items.c.item_id.in_(item_ids))):
        _embed(workspace, batch)


def refuse_item(workspace: Workspace, item_id: str, reason: str) -> None:
    """Take an item that ends every process which embeds it out of its shard, unscannable. Hits on it stand.

    An item behind a URL is tried again (:mod:`pipelines.intake.retries`).
    """
    for row in _rows(workspace, items.c.item_id == item_id):
        one = _leaving(workspace, refused(workspace, row, UnscannableError(reason)), Scanned({}, {}))
        with workspace.database.write() as tx:
            leave(tx, row.shard_id, [one])


Row = sa.Row[Any]


def _items(workspace: Workspace, shard_id: str) -> Sequence[Row]:
    return _rows(workspace, items.c.shard_id == shard_id)


def _rows(workspace: Workspace, condition: sa.ColumnElement[bool]) -> Sequence[Row]:
    names = ("item_id", "source_digest", "sealed_record", "content_sha256", "faces", "attempts", "shard_id")
    columns = [*(items.c[name] for name in names), sa.false().label("outdated")]
    here = sa.select(*columns).where(condition, items.c.live).order_by(items.c.item_id)
    with workspace.database.read() as connection:
        return connection.execute(here).all()


def _batches(workspace: Workspace, rows: Sequence[Row]) -> Iterator[list[tuple[Fetched, Row]]]:
    config = workspace.config.sweep
    sources: dict[str, ItemSource] = {}
    done = 0
    with ThreadPoolExecutor(config.fetch_threads, thread_name_prefix="fetch") as pool:
        while done < len(rows):
            some = rows[done : done + config.shard_items]
            with attempting(workspace, STAGE, [row.item_id for row in some]):
                batch = fetch_until(workspace, some, sources, pool, fetch_item)
            yield list(zip(batch, some, strict=False))  # a batch may end early, by bytes
            done += len(batch)


def _embed(workspace: Workspace, batch: Sequence[tuple[Fetched, Row]]) -> tuple[pa.Table, list[LeavingItem]]:
    contents = {fetched.content.sha256: fetched.content for fetched, _ in batch if fetched.content}
    workers = workspace.config.embedding.worker_count()
    with attempting(workspace, STAGE, [fetched.item_id for fetched, _ in batch]):
        result = embed_shard(
            list(contents.values()),
            workspace.models,
            limits=workspace.limits,
            workers=workers,
            decoder=workspace.decoder,
            beat=workspace.beat,
        )
    scanned = merge(Scanned({}, {}), result, workspace.models.dimension)
    same, leaving = [], []
    for fetched, row in batch:
        if _is_as_before(fetched, row, scanned):
            same.append((fetched.item_id, fetched.content))
        else:
            leaving.append(_leaving(workspace, fetched, scanned))
    return corpus_rows(same, scanned, workspace.models.dimension), leaving


def _leaving(workspace: Workspace, fetched: Fetched, scanned: Scanned) -> LeavingItem:
    problem = fetched.problem
    if fetched.remote and _is_unreadable(fetched, scanned):
        problem = FetchError("changed", "what came cannot be read, and something that could was there before")
    if problem is None:
        return LeavingItem(fetched.item_id, fetched.source_digest, None, Tries(0, None))
    status, now, config = problem.status, workspace.now(), workspace.config.sweep
    tries = after_try(status, failed=fetched.failed, remote=fetched.remote, same_bytes=False, now=now, config=config)
    return LeavingItem(fetched.item_id, fetched.source_digest, status, tries)


def _is_unreadable(fetched: Fetched, scanned: Scanned) -> bool:
    if fetched.content is not None:
        return str(scanned.statuses[fetched.content.sha256]["status"]).startswith("unscannable:")
    return fetched.model_file is not None and fetched.model_file.item_status.startswith("unscannable:")


def _is_as_before(fetched: Fetched, row: Row, scanned: Scanned) -> bool:
    content = fetched.content
    if content is None or content.sha256.hex() != row.content_sha256:
        return False
    return len(scanned.faces[content.sha256]) == int(row.faces)
