"""The keeping stage: seals, for every hit in force, the picture or sentence it was found in, before any action.

The content of a hit may be gone tomorrow: the day's export is rotated away, the uploader deletes it, our own takedown
removes it. So right after a comparison the contents of items with new hits are read once more, from memory where the
scan has just read them (:mod:`pipelines.home.recent`), or else fetched again under the limits of every fetch. The part
that each hit is about is cut out, made small and sealed under the subject's key. Content that cannot be had is recorded
as missing and tried again by later runs. A batch ends in one transaction; work cut off anywhere is done again (I6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import FetchError, ItemError, UnscannableError
from embeddings.faults import guarded
from embeddings.types import Content
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, kept_evidence, subject_keys
from pipelines.evidence.kept import count_kept, let_go_of_evidence, sealed
from pipelines.evidence.passages import find_passage
from pipelines.evidence.terms import open_term
from pipelines.hits.counting import hits_in_force
from pipelines.home.attempts import attempting
from pipelines.home.clock import acts
from pipelines.home.isolation import resume
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import ahead, fetch_until, found
from pipelines.intake.retries import after_try, retry_is_due
from pipelines.registry.templates import open_subject_key
from pipelines.sources import Item, ItemSource

if TYPE_CHECKING:
    from embeddings.images.decode import Frame

_STAGE: Final = "evidence"
_OF_ITEM: Final = ("sealed_record", "width", "height")


@dataclass(frozen=True, slots=True)
class KeepCounts:
    """Numbers of hits in one run of the stage. ``missing``: whose picture could not be had; ``left``: left out because
    of ``evidence.total_bytes``."""

    kept: int = 0
    missing: int = 0
    left: int = 0


@acts
def keep_evidence(
    workspace: Workspace, *, subject_ids: Collection[str] | None = None, progress: Progress = silent
) -> KeepCounts:
    """Keep the picture or sentence of every hit in force that has none yet, of these subjects or of all.

    One process at a time, others wait. Raises nothing for an item that cannot be had or decoded.
    """
    if not workspace.config.evidence.keep_crops:
        return KeepCounts()
    counts, done = KeepCounts(), 0
    if not _count_pending(workspace, subject_ids):
        return counts
    with workspace.database.exclusive("evidence"):
        resume(workspace, _STAGE, keep_alone, refuse_item)
        total = _count_pending(workspace, subject_ids)
        progress("evidence", 0, total)
        for batch in ahead(_batches(workspace, subject_ids)):
            if _is_full(workspace):
                return KeepCounts(counts.kept, counts.missing, total - done)
            kept = _keep_batch(workspace, batch)
            counts = KeepCounts(counts.kept + kept.kept, counts.missing + kept.missing)
            done += kept.kept + kept.missing
            progress("evidence", done, max(done, total))
    return counts


@acts
def tend_evidence(workspace: Workspace, *, progress: Progress = silent) -> KeepCounts:
    """Delete evidence that was kept for long enough, then keep that of new hits: the work of a night."""
    let_go_of_evidence(workspace)
    return keep_evidence(workspace, progress=progress)


def keep_alone(workspace: Workspace, item_ids: Sequence[str]) -> None:
    """Keep the evidence of hits on these items in a process of their own."""
    for batch in _batches(workspace, None, among=item_ids):
        _keep_batch(workspace, batch)


def refuse_item(workspace: Workspace, item_id: str, reason: str) -> None:
    """Record that an item's picture ends every process that decodes it, so that it has no evidence."""
    for row in _rows(workspace, None, after="", among=[item_id]):
        _keep_batch(workspace, [_Fetched(row.item_id, row, None, UnscannableError(reason))])


def _is_full(workspace: Workspace) -> bool:
    with workspace.database.read() as connection:
        return count_kept(connection).bytes >= workspace.config.evidence.total_bytes


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One item with hits that have nothing kept: its bytes, or what is wrong with them; neither: it has no picture."""

    item_id: str
    row: Any = field(repr=False)
    content: Content | None = field(repr=False)
    problem: ItemError | None = None
    remote: bool = False


def _waiting(workspace: Workspace, subject_ids: Collection[str] | None) -> sa.Select[Any]:
    """Select hits in force of which nothing is kept, or no picture although one may be had by now."""
    again = retry_is_due(kept_evidence.c.retry_at, now=workspace.now(), config=workspace.config)
    since = sa.and_(
        kept_evidence.c.sealed_picture.is_(None), kept_evidence.c.problem.is_(None), items.c.width.is_not(None)
    )
    query = (
        hits_in_force(workspace.now())
        .outerjoin(kept_evidence, kept_evidence.c.hit_id == hits.c.hit_id)
        .where(sa.or_(kept_evidence.c.hit_id.is_(None), again, since))
    )
    return query if subject_ids is None else query.where(hits.c.subject_id.in_(sorted(subject_ids)))


def _count_pending(workspace: Workspace, subject_ids: Collection[str] | None) -> int:
    query = _waiting(workspace, subject_ids).with_only_columns(hits.c.hit_id).subquery()
    with workspace.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


def _rows(
    workspace: Workspace, subject_ids: Collection[str] | None, *, after: str, among: Sequence[str] | None = None
) -> Sequence[Any]:
    """The next items that wait, by id: a row each."""
    waiting = _waiting(workspace, subject_ids).where(hits.c.item_id > after)
    if among is not None:
        waiting = waiting.where(hits.c.item_id.in_(among))
    page = waiting.with_only_columns(hits.c.item_id).distinct().order_by(hits.c.item_id)
    with workspace.database.read() as connection:
        item_ids = list(connection.execute(page.limit(workspace.config.sweep.shard_items)).scalars())
        columns = [items.c[name] for name in ("item_id", "content_sha256", *_OF_ITEM)]
        query = sa.select(*columns).where(items.c.item_id.in_(item_ids)).order_by(items.c.item_id)
        return connection.execute(query).all()


def _batches(
    workspace: Workspace, subject_ids: Collection[str] | None, *, among: Sequence[str] | None = None
) -> Iterator[list[_Fetched]]:
    """Fetched batches in order of item, each item at most once in this run."""
    sources: dict[str, ItemSource] = {}
    last = ""
    with ThreadPoolExecutor(workspace.config.sweep.fetch_threads, thread_name_prefix="fetch") as pool:
        while rows := _rows(workspace, subject_ids, after=last, among=among):
            with attempting(workspace, _STAGE, [row.item_id for row in rows]):
                batch = fetch_until(workspace, rows, sources, pool, _fetch)
            last = batch[-1].item_id
            yield batch


def _fetch(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> _Fetched:
    """The bytes that the ledger's digest is of; nothing where there is no picture."""
    content, problem = None, None
    try:
        if row.width is not None:
            content = (
                workspace.recent.get(row.content_sha256 or "")
                or found(workspace, opened, known=row.content_sha256).content
            )
            if content is None or content.sha256.hex() != row.content_sha256:
                raise FetchError("changed", "the content is no longer what was scanned")
    except ItemError as error:
        content, problem = None, error
    workspace.beat()
    return _Fetched(row.item_id, row, content, problem, opened[0].remote)


@dataclass(frozen=True, slots=True)
class _Picture:
    """What was cut out for one hit, as a JPEG, and the size of the frame it was cut from: columns of the table."""

    data: bytes = field(repr=False)
    width: int
    height: int
    frame_width: int
    frame_height: int


@dataclass(frozen=True, slots=True)
class _Cut:
    """The picture of one hit in clear, before it is sealed."""

    hit: Any = field(repr=False)
    picture: _Picture | None = field(repr=False)
    problem: ItemError | None
    remote: bool


def _keep_batch(workspace: Workspace, batch: Sequence[_Fetched]) -> KeepCounts:
    with attempting(workspace, _STAGE, [one.item_id for one in batch]):
        cuts = [cut for one, waiting in _with_hits(workspace, batch) for cut in _cuts(workspace, one, waiting)]
        return _commit(workspace, cuts)


def _with_hits(workspace: Workspace, batch: Sequence[_Fetched]) -> list[tuple[_Fetched, list[Any]]]:
    """Each item with its hits that wait."""
    query = _waiting(workspace, None).where(hits.c.item_id.in_([one.item_id for one in batch]))
    columns = (*hits.c, items.c.width, items.c.height, items.c.sealed_record, kept_evidence.c.attempts)
    with workspace.database.read() as connection:
        rows = connection.execute(query.with_only_columns(*columns).order_by(hits.c.item_id, hits.c.hit_id)).all()
    by_item = {item_id: list(own) for item_id, own in groupby(rows, key=lambda row: str(row.item_id))}
    return [(one, by_item[one.item_id]) for one in batch if one.item_id in by_item]


def _cuts(workspace: Workspace, one: _Fetched, waiting: Sequence[Any]) -> Iterator[_Cut]:
    """Decode an item once, and cut out what each of its hits is about."""
    content, problem = one.content, one.problem
    made: dict[str, _Picture | ItemError] = {}
    if content is not None and problem is None:
        problem = FetchError("changed", "the frame is not among those that are looked at")
        try:
            made.update(_pictures(workspace, content.data, waiting))
        except ItemError as error:
            problem = error
    for hit in waiting:
        picture = made.get(hit.hit_id, problem)
        if isinstance(picture, _Picture):
            yield _Cut(hit, picture, None, one.remote)
        else:
            yield _Cut(hit, None, picture, one.remote)
    workspace.beat()


def _pictures(workspace: Workspace, data: bytes, waiting: Sequence[Any]) -> Iterator[tuple[str, _Picture | ItemError]]:
    """Give what each hit is about as its frame passes by, or what is wrong with it. One look at one frame is held at a
    time, and none is decoded after the last that is needed."""
    from pipelines.evidence.cutting import frames_of, place_of

    wanted: dict[tuple[int, str], list[Any]] = {}
    for hit in waiting:
        wanted.setdefault(place_of(hit), []).append(hit)
    frames = guarded(partial(frames_of, workspace, data))
    while wanted and (frame := guarded(partial(next, frames, None))) is not None:
        for hit in wanted.pop((frame.index, frame.look), ()):
            try:
                yield hit.hit_id, guarded(partial(_picture, workspace, frame, hit))
            except ItemError as error:
                yield hit.hit_id, error


def _picture(workspace: Workspace, frame: Frame, hit: Any) -> _Picture:
    from pipelines.evidence.cutting import as_jpeg, cut_hit

    cut = cut_hit(frame, hit, long_side=workspace.config.evidence.long_side)
    return _Picture(*as_jpeg(cut.pixels, workspace.config.evidence), *cut.frame_size)


def _commit(workspace: Workspace, cuts: Sequence[_Cut]) -> KeepCounts:
    """Seal and store the cuts of a batch, except for subjects that were erased meanwhile."""
    with workspace.database.write() as tx:
        kept = sa.select(subject_keys.c.subject_id).where(
            subject_keys.c.subject_id.in_(sorted({cut.hit.subject_id for cut in cuts}))
        )
        keys = {key: open_subject_key(tx, workspace.sealer, key) for key in tx.execute(kept).scalars().all()}
        rows = [_row(tx, workspace, cut, keys[cut.hit.subject_id]) for cut in cuts if cut.hit.subject_id in keys]
        for some in parts([row["hit_id"] for row in rows]):
            tx.execute(sa.delete(kept_evidence).where(kept_evidence.c.hit_id.in_(some)))
        if rows:
            tx.execute(sa.insert(kept_evidence), rows)
        workspace.failpoints.pass_by("before_evidence_commit")
    workspace.failpoints.pass_by("after_evidence_commit")
    missing = sum(row["problem"] is not None for row in rows)
    return KeepCounts(kept=len(rows) - missing, missing=missing)


def _row(tx: Connection, workspace: Workspace, cut: _Cut, key: bytes) -> dict[str, Any]:
    hit, now = cut.hit, workspace.now()
    named = (hit.hit_id, hit.subject_id)
    picture = sealed(key, *named, "picture", cut.picture.data if cut.picture else None)
    passage = sealed(key, *named, "passage", _passage(tx, workspace, hit))
    failed, again_at = _tries(workspace, cut)
    return {
        "hit_id": hit.hit_id,
        "subject_id": hit.subject_id,
        "sealed_picture": picture,
        "sealed_passage": passage,
        **{name: getattr(cut.picture, name, None) for name in ("width", "height", "frame_width", "frame_height")},
        "bytes": len(picture or b"") + len(passage or b""),
        "problem": cut.problem.status if cut.problem else None,
        "attempts": failed,
        "retry_at": again_at,
        "kept_at": now,
        "lapsed_at": None,
    }


def _passage(tx: Connection, workspace: Workspace, hit: Any) -> bytes | None:
    if hit.sealed_term is None:
        return None
    named = {"hit_id": hit.hit_id, "subject_id": hit.subject_id, "sealed_term": hit.sealed_term}
    passage = find_passage(tx, workspace.sealer, hit, open_term(tx, workspace.sealer, **named))
    return None if passage is None else passage.to_bytes()


def _tries(workspace: Workspace, cut: _Cut) -> tuple[int, Any]:
    """Return the failed tries in a row, and when the next is due: at the next run, but at growing pauses for a
    server."""
    if cut.problem is None:
        return 0, None
    now, failed = workspace.now(), cut.hit.attempts or 0
    if failed == 0 or not cut.remote:
        return failed + 1, now
    config = workspace.config.sweep
    tries = after_try(cut.problem.status, failed=failed - 1, remote=True, same_bytes=False, now=now, config=config)
    return failed + 1, tries.again_at
