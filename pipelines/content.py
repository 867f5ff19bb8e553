"""The content stage: what every live, scannable content shows, by the current models.

New contents are described while they are scanned, from the same bytes and pixels (:func:`describer_for`,
:func:`enter_descriptions`). The stage itself runs after the scan, over contents that still lack a rating or (when CLIP
has weights) vectors by the current models: because a model came or changed, or the scan was cut off. Each is described
once however many items have it. A batch ends in one transaction that lists its shard and enters its contents: a crash
leaves the whole batch undone or done (I6). What is missing stays missing in the database until a later run fills it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import FetchError, ItemError
from embeddings.types import DESCRIBED, Content, Description
from indexes.corpus import ShardEntry
from indexes.heads import Heads
from pipelines.concepts import apply_concepts, concept_values, heads_for, is_due, stored_model_ids
from pipelines.database.tables import contents, items
from pipelines.fetch import ahead, fetch_until, find_content
from pipelines.ledger import Scope, judge_anew
from pipelines.model_reading import SAFETENSORS
from pipelines.progress import Progress, silent
from pipelines.sources import Item, ItemSource
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from embeddings.content import Describer


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """What one run of the stage did."""

    contents: int = 0
    rated: int = 0
    clip_embedded: int = 0
    content_failed: int = 0
    concepts_scored: int = 0


@dataclass(frozen=True, slots=True)
class ContentCoverage:
    """The distinct contents of live scannable items: how many are rated, have CLIP vectors, and lack wanted ones.

    ``concepts_missing``: have vectors, and no scores of them by the list of concepts in force.
    """

    contents: int
    rated: int
    clip_embedded: int
    clip_missing: int
    concepts_missing: int


@dataclass(frozen=True, slots=True)
class _Needs:
    """Which models a content has not been seen by."""

    rating: bool
    clip: bool


def describe_pending(workspace: Workspace, scope: Scope, *, progress: Progress = silent) -> ContentCounts:
    """Rate and embed every content in scope that needs it; one worker at a time per database, others wait.

    Then score whatever stored vectors the list of concepts has not been applied to.
    Without CLIP weights it says so once and does the rest, or raises :class:`WeightsError` if they are ``required``.
    A content that cannot be fetched or decoded costs itself; a bad database, disk or model ends the run with
    everything before it kept.
    """
    from pipelines.content_shards import remove_superseded

    workspace.content_models.require_clip()
    counts = ContentCounts()
    with workspace.database.exclusive("content"):
        with workspace.database.exclusive("content-shards"):
            remove_superseded(workspace)
        total = _count_pending(workspace, scope)
        progress("content", 0, total)
        for batch in ahead(_batches(workspace, scope)):
            counts = _describe_batch(workspace, batch, counts)
            progress("content", counts.contents, total)
    return replace(counts, concepts_scored=apply_concepts(workspace, progress=progress).scored)


def measure_content(connection: Connection, workspace: Workspace, scope: Scope) -> ContentCoverage:
    """Read how much of the scope's content is described by the current models. Loads no model."""
    models = workspace.content_models
    seen = _scannable(scope).subquery()
    joined = seen.outerjoin(contents, contents.c.content_sha256 == seen.c.content_sha256)
    rated = sa.and_(contents.c.nsfw_score.is_not(None), contents.c.rating_model_id == models.rating_model_id)
    # Without weights the id is None, and what has no vectors of any model is missing them.
    lacking: sa.ColumnElement[bool] = contents.c.clip_model_id.is_(None)
    if models.clip_model_id is not None:
        lacking = sa.or_(lacking, contents.c.clip_model_id != models.clip_model_id)
    embedded = sa.and_(contents.c.clip_shard_id.is_not(None), ~lacking)
    unscored = is_due(workspace, stored_model_ids(connection))
    counted = [sa.func.count(), *(_number_of(part) for part in (rated, embedded, lacking, unscored))]
    row = tuple(connection.execute(sa.select(*counted).select_from(joined)).one())
    total, done, encoded, missing, due = (int(value or 0) for value in row)
    return ContentCoverage(total, done, encoded, missing if models.clip_wanted else 0, due)


def _number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _scannable(scope: Scope) -> sa.Select[Any]:
    """The distinct contents of live items in scope that the scan could decode, each with one item that has it.

    A model file without an image in its header has nothing to decode.
    """
    scanned = items.c.status.in_(("pending", "clean", "hit", "no_face"))
    decoded = sa.and_(scanned, items.c.format.is_distinct_from(SAFETENSORS))
    return (
        sa.select(items.c.content_sha256, sa.func.min(items.c.item_id).label("item_id"))
        .where(*scope.where(), items.c.content_sha256.is_not(None), decoded)
        .group_by(items.c.content_sha256)
    )


def _pending(workspace: Workspace, scope: Scope) -> sa.Select[Any]:
    """Contents that need something: digest, an item, that item's source record, and what is needed."""
    models = workspace.content_models
    seen = _scannable(scope).subquery()
    never = sa.literal(False)
    rating = contents.c.rating_model_id.is_distinct_from(models.rating_model_id) if models.rating_model_id else never
    clip = contents.c.clip_model_id.is_distinct_from(models.clip_model_id) if models.clip_model_id else never
    given_up = contents.c.attempts >= workspace.config.sweep.max_fetch_attempts
    return (
        sa.select(
            seen.c.content_sha256,
            items.c.item_id,
            items.c.sealed_record,
            rating.label("rating"),
            clip.label("clip"),
        )
        .select_from(
            seen.join(items, items.c.item_id == seen.c.item_id).outerjoin(
                contents, contents.c.content_sha256 == seen.c.content_sha256
            )
        )
        .where(sa.or_(rating, clip), sa.or_(contents.c.content_sha256.is_(None), ~given_up))
    )


def _count_pending(workspace: Workspace, scope: Scope) -> int:
    query = sa.select(sa.func.count()).select_from(_pending(workspace, scope).subquery())
    with workspace.database.read() as connection:
        return int(connection.execute(query).scalar_one())


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One pending content: its digest in the ledger, what it needs, and its bytes or what went wrong."""

    sha256: str
    needs: _Needs
    content: Content | None
    problem: ItemError | None


def _batches(workspace: Workspace, scope: Scope) -> Iterator[list[_Fetched]]:
    """Fetched batches in order of digest, each content at most once in this run."""
    config = workspace.config.sweep
    sources: dict[str, ItemSource] = {}
    last = ""
    with ThreadPoolExecutor(config.fetch_threads, thread_name_prefix="fetch") as pool:
        while True:
            query = _pending(workspace, scope).order_by(items.c.content_sha256)
            with workspace.database.read() as connection:
                rows = connection.execute(query.where(items.c.content_sha256 > last).limit(config.shard_items)).all()
            if not rows:
                return
            batch = fetch_until(workspace, rows, sources, pool, _fetch)
            last = batch[-1].sha256
            yield batch


def _fetch(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> _Fetched:
    """The bytes that the ledger's digest is of; other bytes are a problem: the item will be listed anew."""
    content: Content | None = None
    problem: ItemError | None = None
    try:
        content = find_content(workspace, opened, known=row.content_sha256).content
        if content is None or content.sha256.hex() != row.content_sha256:
            raise FetchError("changed", "the content is no longer what was scanned")
    except ItemError as error:
        content, problem = None, error
    return _Fetched(row.content_sha256, _Needs(bool(row.rating), bool(row.clip)), content, problem)


def _describe_batch(workspace: Workspace, batch: Sequence[_Fetched], counts: ContentCounts) -> ContentCounts:
    from embeddings.content import describe_contents

    described: dict[str, Description] = {}
    fetched = sorted((one for one in batch if one.content), key=lambda one: (one.needs.rating, one.needs.clip))
    for needs, group in groupby(fetched, key=lambda one: one.needs):
        for one in describe_contents(
            [found.content for found in group if found.content],
            _describer(workspace, needs),
            limits=workspace.limits,
            long_side=max(workspace.config.embedding.scales),
            workers=workspace.config.embedding.worker_count(),
        ):
            described[one.sha256.hex()] = one
    _enter(workspace, batch, described)
    good = [described[one.sha256] for one in fetched if described[one.sha256].status == DESCRIBED]
    return ContentCounts(
        contents=counts.contents + len(batch),
        rated=counts.rated + sum(one.nsfw_score is not None for one in good),
        clip_embedded=counts.clip_embedded + sum(len(one.vectors) > 0 for one in good),
        content_failed=counts.content_failed + len(batch) - len(good),
    )


def describer_for(workspace: Workspace, digests: Sequence[bytes]) -> Describer | None:
    """What a scan describes these contents by: every model at hand, except contents that were looked at before.

    Loads no model when there is nothing to describe, as in a backfill.
    """
    workspace.content_models.offer_clip()
    needs = _at_hand(workspace)
    if not (needs.rating or needs.clip):
        return None
    query = sa.select(contents.c.content_sha256).where(contents.c.content_sha256.in_([one.hex() for one in digests]))
    with workspace.database.read() as connection:
        known = frozenset(bytes.fromhex(digest) for digest in connection.execute(query).scalars())
    return replace(_describer(workspace, needs), known=known) if set(digests) - known else None


def enter_descriptions(workspace: Workspace, described: Sequence[Description]) -> None:
    """Store what a scan described with a describer of :func:`describer_for`; a transaction of its own."""
    needs = _at_hand(workspace)
    batch = [_Fetched(one.sha256.hex(), needs, None, None) for one in described]
    if batch:
        _enter(workspace, batch, {one.sha256.hex(): one for one in described})


def _at_hand(workspace: Workspace) -> _Needs:
    models = workspace.content_models
    return _Needs(models.rating_model_id is not None, models.clip_model_id is not None)


def _describer(workspace: Workspace, needs: _Needs) -> Describer:
    from embeddings.content import Describer

    models = workspace.content_models
    return Describer(
        rater=models.rater if needs.rating else None,
        encoder=models.encoder if needs.clip else None,
        max_frames=workspace.config.content.max_frames,
    )


def _enter(workspace: Workspace, batch: Sequence[_Fetched], described: dict[str, Description]) -> None:
    """Write the batch's shard and list it. Alone: who tidies up must not find a shard that is not listed yet."""
    from pipelines.content_shards import write_content_shard

    model_id = workspace.content_models.clip_model_id
    encoded = any(len(one.vectors) for one in described.values())
    heads = heads_for(workspace, model_id) if model_id and encoded else None
    with workspace.database.exclusive("content-shards"):
        entry = write_content_shard(workspace, list(described.values()), model_id=model_id) if model_id else None
        _commit(workspace, batch, described, entry, heads)


def _commit(
    workspace: Workspace,
    batch: Sequence[_Fetched],
    described: dict[str, Description],
    entry: ShardEntry | None,
    heads: Heads | None,
) -> None:
    from pipelines.content_shards import insert_content_shard

    now = workspace.now()
    with workspace.database.write() as tx:
        if entry is not None:
            insert_content_shard(tx, workspace.sealer, entry, now=now)
        query = sa.select(contents.c.content_sha256).where(contents.c.content_sha256.in_([one.sha256 for one in batch]))
        known = set(tx.execute(query).scalars())
        for one in batch:
            values = _values(workspace, one, described.get(one.sha256), entry, heads) | {"described_at": now}
            if one.sha256 in known:
                change = sa.update(contents).where(contents.c.content_sha256 == one.sha256)
                failed = 0 if one.sha256 in described else contents.c.attempts + 1
                tx.execute(change.values(attempts=failed, **values))
            else:
                failed = int(one.sha256 not in described)
                tx.execute(sa.insert(contents).values(content_sha256=one.sha256, attempts=failed, **values))
        judge_anew(tx, sorted(known & described.keys()))
        workspace.failpoints.pass_by("before_content_commit")
    workspace.failpoints.pass_by("after_content_commit")


def _values(
    workspace: Workspace,
    fetched: _Fetched,
    description: Description | None,
    entry: ShardEntry | None,
    heads: Heads | None,
) -> dict[str, Any]:
    """What to enter for one content: only what it was looked at for, so that nothing known is lost."""
    if description is None:
        return {"status": fetched.problem.status if fetched.problem else "fetch_failed:unknown"}
    values: dict[str, Any] = {"status": description.status}
    if fetched.needs.rating:
        values |= {
            "nsfw_score": description.nsfw_score,
            "rating_model_id": workspace.content_models.rating_model_id,
        }
    if fetched.needs.clip:
        values |= {
            "clip_model_id": workspace.content_models.clip_model_id,
            "clip_shard_id": entry.shard_id if entry and len(description.vectors) else None,
        } | concept_values(workspace, heads, description)
    return values
