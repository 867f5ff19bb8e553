"""The embedding stage: pending items -> fetched bytes -> faces -> one sealed shard per batch.

Each batch ends in one transaction that lists its shard and enters its items, so that a crash leaves the whole batch
pending or scanned (I6). New contents are described on the way and their descriptions entered afterwards, in a
transaction of their own: after a crash the content stage makes up for it. Content that the same models embedded before
is not embedded again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from embeddings.errors import UnscannableError
from embeddings.shard import embed_shard
from embeddings.types import face_schema
from indexes.corpus import ShardEntry
from pipelines.corpus.manifest import find_shard, insert_shard
from pipelines.corpus.retention import let_go, read_kept
from pipelines.corpus.turns import remove_leavings, turn, writing
from pipelines.database.tables import items, shards
from pipelines.home.attempts import attempting
from pipelines.home.clock import acts
from pipelines.home.isolation import resume
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import Fetched, ahead, fetch_item, fetch_until, refused
from pipelines.intake.ledger import (
    SCANNER_FAULTS,
    Scope,
    Work,
    has_earlier_header,
    outdated,
    status_after_scan,
    unscanned,
)
from pipelines.intake.model_files import enter_model_files, settle_unread
from pipelines.intake.picture_texts import enter_picture_texts
from pipelines.intake.retries import after_try, retry_is_due
from pipelines.scan.describe import describer_for, enter_descriptions
from pipelines.scan.rows import Scanned, corpus_rows, merge
from pipelines.settings.config import SweepConfig
from pipelines.sources import ItemSource

_STAGE: Final = "scan"


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """Counts of one run of the stage."""

    items: int = 0
    embedded: int = 0
    reused: int = 0
    faces: int = 0
    shards: int = 0

    def __add__(self, other: ScanCounts) -> ScanCounts:
        """Both together."""
        return ScanCounts(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@acts
def scan_pending(workspace: Workspace, scope: Scope, *, work: Work = "all", progress: Progress = silent) -> ScanCounts:
    """Fetch and embed everything in scope that needs it; one worker at a time per database, others wait.

    Raises nothing for a bad item; a bad database, disk or model ends the run, and everything before it is kept.
    """
    (counts,) = scan_in_turns(workspace, scope, work=work, batches=None, progress=progress)
    return counts


def scan_in_turns(
    workspace: Workspace, scope: Scope, *, work: Work, batches: int | None, progress: Progress = silent
) -> Iterator[ScanCounts]:
    """Scan as :func:`scan_pending` does, but after every ``batches`` batches give way and yield the counts so far.

    Each item is tried once, however many turns there are. The lock is free while the caller has the counts.
    """
    counts, total = ScanCounts(), 0
    let_go(workspace)
    condition = _needs_scan(workspace, scope, work)
    remote = workspace.engine.remote
    waiting: Iterator[Any] = _ids(workspace, condition) if remote else _batches(workspace, condition)
    for number in itertools.count():
        taken = 0
        with turn(workspace):
            if number == 0:
                remove_leavings(workspace)
                counts = sum(_resume(workspace), counts)
                total = _count(workspace, condition)
                progress("embed", 0, total)
            part = itertools.islice(waiting, batches)
            if remote:
                done = workspace.engine.map(scan_items, workspace, (scope, work), part)
            else:
                done = (_scan_batch(workspace, batch) for batch in ahead(part))
            for new in done:
                counts, taken = counts + new, taken + 1
                progress("embed", counts.items, total)
        yield counts
        if batches is None or taken < batches:
            return


def scan_items(workspace: Workspace, wanted: tuple[Scope, Work], item_ids: Sequence[str]) -> ScanCounts:
    """Scan those of these items that still need it, and commit: a task of an engine, safe to repeat.

    The caller holds the scan's lock.
    """
    _resume(workspace)  # on Ray, a task that is begun again works through the batch that the worker before it died over
    return _scan_these(workspace, wanted, item_ids)


def _resume(workspace: Workspace) -> list[ScanCounts]:
    return resume(workspace, _STAGE, scan_alone, refuse_item)


def scan_alone(workspace: Workspace, item_ids: Sequence[str]) -> ScanCounts:
    """Scan these items in a process of their own."""
    return _scan_these(workspace, (Scope(None, None), "all"), item_ids)


def refuse_item(workspace: Workspace, item_id: str, reason: str) -> None:
    """Enter an item that ends every process which scans it as unscannable, unless it changed meanwhile.

    An item behind a URL is tried again (:mod:`pipelines.intake.retries`).
    """
    wanted = sa.and_(_needs_scan(workspace, Scope(None, None), "all"), items.c.item_id == item_id)
    for row in _page(workspace, wanted, after=None):
        _commit(workspace, [refused(workspace, row, UnscannableError(reason))], Scanned({}, {}), None)


def _scan_these(workspace: Workspace, wanted: tuple[Scope, Work], item_ids: Sequence[str]) -> ScanCounts:
    scope, work = wanted
    condition = sa.and_(_needs_scan(workspace, scope, work), items.c.item_id.in_(item_ids))
    return sum((_scan_batch(workspace, batch) for batch in ahead(_batches(workspace, condition))), ScanCounts())


def _count(workspace: Workspace, condition: sa.ColumnElement[bool]) -> int:
    with workspace.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(items).where(condition)).scalar_one())


def _needs_scan(workspace: Workspace, scope: Scope, work: Work) -> sa.ColumnElement[bool]:
    retry = retry_is_due(items.c.retry_at, now=workspace.now(), config=workspace.config)
    return unscanned(scope, model_id=workspace.models.model_id, retry=retry, work=work)


def _ids(workspace: Workspace, condition: sa.ColumnElement[bool]) -> Iterator[list[str]]:
    """Yield item ids a batch at a time, in order of arrival, each item once."""
    rows: Sequence[Any] = ()
    while rows := _page(workspace, condition, after=rows[-1] if rows else None):
        yield [row.item_id for row in rows]


def _batches(workspace: Workspace, condition: sa.ColumnElement[bool]) -> Iterator[list[Fetched]]:
    """Fetched batches in order of arrival, each item at most once in this run."""
    sources: dict[str, ItemSource] = {}
    last: Any = None
    with ThreadPoolExecutor(workspace.config.sweep.fetch_threads, thread_name_prefix="fetch") as pool:
        while rows := _page(workspace, condition, after=last):
            with attempting(workspace, _STAGE, [row.item_id for row in rows]):
                batch = fetch_until(workspace, rows, sources, pool, fetch_item)
            last = rows[len(batch) - 1]
            yield batch


def _page(workspace: Workspace, condition: sa.ColumnElement[bool], *, after: Any) -> Sequence[Any]:
    """Read the rows of the next ``shard_items`` items after the row ``after``, by arrival and then id."""
    other_model = outdated(model_id=workspace.models.model_id).label("outdated")
    names = ("item_id", "received_at", "source_digest", "sealed_record", "content_sha256", "attempts")
    query = (
        sa.select(*(items.c[name] for name in names), other_model)
        .where(condition)
        .order_by(items.c.received_at, items.c.item_id)
    )
    if after is not None:
        same_time = sa.and_(items.c.received_at == after.received_at, items.c.item_id > after.item_id)
        query = query.where(sa.or_(items.c.received_at > after.received_at, same_time))
    with workspace.database.read() as connection:
        return connection.execute(query.limit(workspace.config.sweep.shard_items)).all()


def _scan_batch(workspace: Workspace, batch: list[Fetched]) -> ScanCounts:
    with attempting(workspace, _STAGE, [fetched.item_id for fetched in batch]):
        return _embed_batch(workspace, batch)


def _embed_batch(workspace: Workspace, batch: list[Fetched]) -> ScanCounts:
    contents = {fetched.content.sha256: fetched.content for fetched in batch if fetched.content}
    known = _known(workspace, list(contents))
    fresh = [content for sha256, content in contents.items() if sha256 not in known.faces]
    workers = workspace.config.embedding.worker_count()
    describer = describer_for(workspace, [content.sha256 for content in fresh])
    result = embed_shard(
        fresh,
        workspace.models,
        limits=workspace.limits,
        decoder=workspace.decoder,
        workers=workers,
        describer=describer,
        beat=workspace.beat,
    )
    scanned = merge(known, result, workspace.models.dimension)
    faces = corpus_rows([(one.item_id, one.content) for one in batch], scanned, workspace.models.dimension)
    with writing(workspace):
        entry = _write_shard(workspace, batch, faces) if len(faces) else None
        _commit(workspace, batch, scanned, entry)
    enter_descriptions(workspace, result.descriptions)
    return ScanCounts(
        items=len(batch),
        embedded=len(fresh),
        reused=sum(fetched.content is not None for fetched in batch) - len(fresh),
        faces=len(faces),
        shards=int(entry is not None),
    )


_STATUS_COLUMNS = ("format", "width", "height", "frames", "frames_total", "faces", "faces_dropped", "damage")


def _known(workspace: Workspace, digests: Sequence[bytes]) -> Scanned:
    """Read what earlier scans by the same models gave for these contents, faces from their sealed shards."""
    model_id, dimension = workspace.models.model_id, workspace.models.dimension
    columns = [items.c[name] for name in ("item_id", "content_sha256", "shard_id", "status", "pdq", *_STATUS_COLUMNS)]
    statuses: dict[bytes, dict[str, Any]] = {}
    faces: dict[bytes, pa.Table] = {}
    wanted: dict[str, dict[str, bytes]] = {}  # shard -> item -> content
    with workspace.database.read() as connection:
        query = sa.select(*columns).where(
            items.c.content_sha256.in_([digest.hex() for digest in digests]),
            items.c.model_id == model_id,
            items.c.live,
            items.c.status.not_like("fetch_failed:%"),
            items.c.status.not_in(SCANNER_FAULTS),  # a status that may be a passing fault is not taken over
            ~has_earlier_header(),
        )
        found = connection.execute(query).all()
        with_faces = {row.shard_id for row in found if row.shard_id}
        listed = {id_: find_shard(connection, workspace.sealer, id_) for id_ in with_faces}
    for row in found:
        digest, shard = bytes.fromhex(row.content_sha256), listed.get(row.shard_id)
        if digest in statuses or (row.shard_id and (shard is None or shard.entry.path is None)):
            continue
        statuses[digest] = {name: row._mapping[name] for name in _STATUS_COLUMNS}
        statuses[digest]["pdq"] = bytes.fromhex(row.pdq) if row.pdq else None
        statuses[digest]["status"] = "faces" if shard else row.status
        faces[digest] = face_schema(dimension).empty_table()
        if shard:
            wanted.setdefault(row.shard_id, {})[row.item_id] = digest
    for shard_id, donors in wanted.items():
        shard = listed[shard_id]
        table = read_kept(workspace, shard.entry) if shard else None
        for item_id, digest in donors.items():
            if table is None:  # the shard lost its files meanwhile
                del statuses[digest], faces[digest]
            else:
                faces[digest] = table.filter(pc.equal(table["item_id"], item_id)).drop_columns(["item_id"])
    return Scanned(statuses, faces)


def _write_shard(workspace: Workspace, batch: Sequence[Fetched], faces: pa.Table) -> ShardEntry:
    """Write the batch's shard. Its id follows from the batch, so that a repeat after a crash replaces the file."""
    model_id = workspace.models.model_id
    shard_id = _shard_id(workspace, [[fetched.item_id, fetched.source_digest] for fetched in batch])
    entry = workspace.corpus.write(
        faces,
        shard_id=shard_id,
        model_id=model_id,
        dimension=workspace.models.dimension,
        key=workspace.sealer.shard_key(shard_id),
        before_rename=lambda: workspace.failpoints.pass_by("before_shard_rename"),
    )
    workspace.failpoints.pass_by("after_shard_rename")
    return entry


def _shard_id(workspace: Workspace, parts: list[list[str]]) -> str:
    """Return the first id of this batch that is not listed: items may change back, or be fetched again."""
    with workspace.database.read() as connection:
        for repeat in itertools.count():
            name = json.dumps([workspace.models.model_id, parts, repeat])
            shard_id = hashlib.sha256(name.encode()).hexdigest()[:32]
            if connection.execute(sa.select(shards.c.shard_id).where(shards.c.shard_id == shard_id)).first() is None:
                return shard_id
    raise AssertionError("counting ends")


def _commit(workspace: Workspace, batch: Sequence[Fetched], scanned: Scanned, entry: ShardEntry | None) -> None:
    now = workspace.now()
    wanted = (fetched for fetched in batch if fetched.problem is None or not fetched.outdated)
    updates = [_item_update(fetched, scanned, entry, now=now, config=workspace.config.sweep) for fetched in wanted]
    model_files = [fetched.model_file for fetched in batch if fetched.model_file]
    pictures = [fetched.picture for fetched in batch if fetched.picture]
    model_id = workspace.models.model_id
    with workspace.database.write() as tx:
        if entry is not None:
            insert_shard(tx, workspace.sealer, entry, now=now)
        enter_picture_texts(tx, workspace.sealer, pictures, now=now)
        statement = (
            sa.update(items)
            .where(items.c.item_id == sa.bindparam("this_item"), items.c.source_digest == sa.bindparam("this_digest"))
            .values(
                model_id=model_id,
                scanned_at=now,
                attempts=sa.bindparam("failed_tries"),
                retry_at=sa.bindparam("again_at"),
                **{name: sa.bindparam(f"new_{name}") for name in _UPDATED if name != "status"},
                status=status_after_scan(model_id),
            )
        )
        if updates:
            tx.execute(statement, updates)
        enter_model_files(tx, workspace.sealer, model_files, now=now)  # after what asks for the version that read it
        settle_unread(tx, {fetched.before for fetched in batch if fetched.before and _is_settled(fetched)})
        workspace.failpoints.pass_by("before_manifest_commit")
    workspace.failpoints.pass_by("after_manifest_commit")


def _is_settled(fetched: Fetched) -> bool:
    """Whether an item with a result gave nothing this time for a reason that another try does not change."""
    status = fetched.problem.status if fetched.problem is not None and fetched.outdated else ""
    return status.startswith("unscannable:") and status not in SCANNER_FAULTS


_UPDATED = ("status", "content_sha256", "shard_id", "pdq", *_STATUS_COLUMNS)


def _item_update(
    fetched: Fetched, scanned: Scanned, entry: ShardEntry | None, *, now: datetime, config: SweepConfig
) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(_UPDATED)
    if fetched.text_alone:
        values["status"] = "clean"
    elif fetched.problem is not None:
        values["status"] = fetched.problem.status
    elif fetched.content is not None:
        row = scanned.statuses[fetched.content.sha256]
        has_faces = row["status"] == "faces"
        values |= {name: row[name] for name in _STATUS_COLUMNS}
        values["pdq"] = row["pdq"].hex() if row["pdq"] else None
        values["content_sha256"] = fetched.content.sha256.hex()
        values["status"] = "pending" if has_faces else row["status"]
        values["shard_id"] = entry.shard_id if has_faces and entry else None
    elif fetched.model_file is not None:  # without an image to look at
        values["status"], values["format"] = fetched.model_file.item_status, fetched.model_file.format
        values["content_sha256"], values["faces"] = fetched.model_file.identity.hex(), 0
    else:
        raise AssertionError("neither a content nor a problem")
    digest = values["content_sha256"]
    tries = after_try(
        values["status"],
        failed=fetched.failed,
        remote=fetched.remote,
        same_bytes=digest is not None and digest == fetched.before,
        now=now,
        config=config,
    )
    return {
        "this_item": fetched.item_id,
        "failed_tries": tries.failed,
        "again_at": tries.again_at,
        "this_digest": fetched.source_digest,
        **{f"new_{name}": value for name, value in values.items()},
    }
