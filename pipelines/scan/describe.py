"""The content stage: rates every live, scannable content and computes its CLIP vectors, by the current models.

New contents are described while they are scanned, from the same bytes and pixels (:func:`describer_for`,
:func:`enter_descriptions`). The stage itself runs after the scan, over contents that still lack a rating or (when CLIP
has weights) vectors by the current models, because a model came or changed, or the scan was cut off. Each content is
described once however many items have it. A batch ends in one transaction that lists its shard and enters its contents:
a crash leaves the whole batch undone or done (I6). What cannot be described is recorded as missing for a later run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from embeddings.errors import FetchError, ItemError, UnscannableError
from embeddings.types import DESCRIBED, Content, Description
from indexes.corpus import ShardEntry
from indexes.heads import Heads
from pipelines.database.tables import contents, items
from pipelines.home.attempts import attempting
from pipelines.home.isolation import resume
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import ahead, fetch_until, found
from pipelines.intake.ledger import Scope, judge_anew
from pipelines.intake.retries import after_try, retry_is_due
from pipelines.scan.concepts import apply_concepts, concept_values, heads_for
from pipelines.scan.content_coverage import scannable_contents
from pipelines.sources import Item, ItemSource

if TYPE_CHECKING:
    from embeddings.content.describe import Describer

_STAGE: Final = "content"


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """Counts of one run of the stage."""

    contents: int = 0
    rated: int = 0
    clip_embedded: int = 0
    content_failed: int = 0
    concepts_scored: int = 0


@dataclass(frozen=True, slots=True)
class _Needs:
    """The models that a content has not been seen by."""

    rating: bool
    clip: bool


def describe_pending(workspace: Workspace, scope: Scope, *, progress: Progress = silent) -> ContentCounts:
    """Rate and embed every content in scope that needs it; one worker at a time per database, others wait.

    Then score stored vectors that the list of concepts has not been applied to. Without CLIP weights this warns once
    and does the rest, or raises :class:`WeightsError` if they are ``required``. A content that cannot be fetched or
    decoded affects no other; a bad database, disk or model ends the run, and everything before it is kept.
    """
    from pipelines.corpus.clip_manifest import remove_superseded

    workspace.content_models.require_clip()
    counts = ContentCounts()
    with workspace.database.exclusive("content"):
        with workspace.database.exclusive("content-shards"):
            remove_superseded(workspace)
        total = _count_pending(workspace, scope)
        progress("content", 0, total)
        resume(workspace, _STAGE, describe_alone, refuse_content)
        for batch in ahead(_batches(workspace, scope)):
            counts = _describe_batch(workspace, batch, counts)
            progress("content", counts.contents, total)
    return replace(counts, concepts_scored=apply_concepts(workspace, progress=progress).scored)


def describe_alone(workspace: Workspace, digests: Sequence[str]) -> None:
    """Describe these contents in a process of their own."""
    workspace.content_models.offer_clip()
    for batch in _batches(workspace, Scope(None, None), among=digests):
        _describe_batch(workspace, batch, ContentCounts())


def refuse_content(workspace: Workspace, digest: str, reason: str) -> None:
    """Enter a content that ends every process which describes it as one that cannot be described."""
    status = UnscannableError(reason).status
    none = Description(bytes.fromhex(digest), status, None, (), np.empty((0, 0), dtype=np.float32))
    _enter(workspace, [_Fetched(digest, _at_hand(workspace), None, None)], {digest: none})


def _pending(workspace: Workspace, scope: Scope) -> sa.Select[Any]:
    """Select contents that need something: digest, an item, that item's source record, and what is needed."""
    models = workspace.content_models
    seen = scannable_contents(scope).subquery()
    never = sa.literal(False)
    rating = contents.c.rating_model_id.is_distinct_from(models.rating_model_id) if models.rating_model_id else never
    clip = contents.c.clip_model_id.is_distinct_from(models.clip_model_id) if models.clip_model_id else never
    again = retry_is_due(contents.c.retry_at, now=workspace.now(), config=workspace.config)
    wanted = sa.or_(contents.c.content_sha256.is_(None), contents.c.attempts == 0, again)
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
        .where(sa.or_(rating, clip), wanted)
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


def _batches(workspace: Workspace, scope: Scope, *, among: Sequence[str] | None = None) -> Iterator[list[_Fetched]]:
    """Fetched batches in order of digest, each content at most once in this run."""
    config = workspace.config.sweep
    sources: dict[str, ItemSource] = {}
    last = ""
    with ThreadPoolExecutor(config.fetch_threads, thread_name_prefix="fetch") as pool:
        while True:
            query = _pending(workspace, scope).order_by(items.c.content_sha256)
            if among is not None:
                query = query.where(items.c.content_sha256.in_(among))
            with workspace.database.read() as connection:
                rows = connection.execute(query.where(items.c.content_sha256 > last).limit(config.shard_items)).all()
            if not rows:
                return
            with attempting(workspace, _STAGE, [row.content_sha256 for row in rows]):
                batch = fetch_until(workspace, rows, sources, pool, _fetch)
            last = batch[-1].sha256
            yield batch


def _fetch(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> _Fetched:
    """Fetch the bytes of the ledger's digest; other bytes are a problem, since the item will be listed anew."""
    content: Content | None = None
    problem: ItemError | None = None
    try:
        content = found(workspace, opened, known=row.content_sha256).content
        if content is None or content.sha256.hex() != row.content_sha256:
            raise FetchError("changed", "the content is no longer what was scanned")
    except ItemError as error:
        content, problem = None, error
    return _Fetched(row.content_sha256, _Needs(bool(row.rating), bool(row.clip)), content, problem)


def _describe_batch(workspace: Workspace, batch: Sequence[_Fetched], counts: ContentCounts) -> ContentCounts:
    with attempting(workspace, _STAGE, [one.sha256 for one in batch]):
        return _describe(workspace, batch, counts)


def _describe(workspace: Workspace, batch: Sequence[_Fetched], counts: ContentCounts) -> ContentCounts:
    from embeddings.content.describe import describe_contents

    described: dict[str, Description] = {}
    fetched = sorted((one for one in batch if one.content), key=lambda one: (one.needs.rating, one.needs.clip))
    for needs, group in groupby(fetched, key=lambda one: one.needs):
        for one in describe_contents(
            [had.content for had in group if had.content],
            _describer(workspace, needs),
            limits=workspace.limits,
            decoder=workspace.decoder,
            long_side=max(workspace.config.embedding.scales),
            workers=workspace.config.embedding.worker_count(),
            beat=workspace.beat,
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
    """Return the describer for a scan of these contents: every model here, for contents not described before.

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
    """Store, in a transaction of its own, what a scan described with a describer of :func:`describer_for`."""
    needs = _at_hand(workspace)
    batch = [_Fetched(one.sha256.hex(), needs, None, None) for one in described]
    if batch:
        _enter(workspace, batch, {one.sha256.hex(): one for one in described})


def _at_hand(workspace: Workspace) -> _Needs:
    models = workspace.content_models
    return _Needs(models.rating_model_id is not None, models.clip_model_id is not None)


def _describer(workspace: Workspace, needs: _Needs) -> Describer:
    from embeddings.content.describe import Describer

    models = workspace.content_models
    return Describer(
        rater=models.rater if needs.rating else None,
        encoder=models.encoder if needs.clip else None,
        max_frames=workspace.config.content.max_frames,
    )


def _enter(workspace: Workspace, batch: Sequence[_Fetched], described: dict[str, Description]) -> None:
    """Write the batch's shard and list it, under the lock, so that no cleaner deletes a shard that is not listed
    yet."""
    from pipelines.corpus.clip_manifest import write_content_shard

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
    from pipelines.corpus.clip_manifest import insert_content_shard

    now = workspace.now()
    with workspace.database.write() as tx:
        if entry is not None:
            insert_content_shard(tx, workspace.sealer, entry, now=now)
        of_batch = contents.c.content_sha256.in_([one.sha256 for one in batch])
        query = sa.select(contents.c.content_sha256, contents.c.attempts).where(of_batch)
        known = {row.content_sha256: row.attempts for row in tx.execute(query)}
        for one in batch:
            values = _values(workspace, one, described.get(one.sha256), entry, heads) | {"described_at": now}
            values |= _tries(workspace, one.sha256 in described, values["status"], known.get(one.sha256, 0), now)
            if one.sha256 in known:
                tx.execute(sa.update(contents).where(contents.c.content_sha256 == one.sha256).values(**values))
            else:
                tx.execute(sa.insert(contents).values(content_sha256=one.sha256, **values))
        judge_anew(tx, sorted(known.keys() & described.keys()))
        workspace.failpoints.pass_by("before_content_commit")
    workspace.failpoints.pass_by("after_content_commit")


def _tries(workspace: Workspace, looked_at: bool, status: str, failed: int, now: datetime) -> dict[str, Any]:
    """Return the columns of the next try. The bytes were there when the content was scanned, so a fault may pass."""
    if looked_at:
        return {"attempts": 0, "retry_at": None}
    config = workspace.config.sweep
    tries = after_try(status, failed=failed, remote=True, same_bytes=False, now=now, config=config)
    return {"attempts": tries.failed, "retry_at": tries.again_at}


def _values(
    workspace: Workspace,
    fetched: _Fetched,
    description: Description | None,
    entry: ShardEntry | None,
    heads: Heads | None,
) -> dict[str, Any]:
    """Return the columns to write for one content: only those it was looked at for, so that nothing known is lost."""
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
