"""The backfill after a change of pack: gives templates and live items vectors of the new models.

What pictures say of their making is read where an older version did not.

Templates are made from the sealed crops, so no photograph is needed. Then the items are fetched and embedded again, a
few shards at a time, compared and judged. The database shows what is done, so an interrupted backfill goes on where it
was; after each turn it gives way to a waiting sweep, so that new uploads never wait for old ones.

Old results stay in force meanwhile:

- An item keeps its status and its hits until its new vectors have been compared.
- When the new models find the same person in the same item no less strongly, their hit replaces the old one
  (:func:`pipelines.hits.counting.live_hits`). A takedown that was asked for stays the only case (I5).
- Any other hit of earlier models stays in force until its subject ends, its item goes, or a person decides: a weaker
  new model must not undo what a better one found. Such hits are counted (``hits_by_earlier_models``) and show which
  models made them; each keeps the band that it had under those models' thresholds, since scores of two models are
  not comparable (I4).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from embeddings.faces.alignment import CROP_SIDE
from embeddings.faces.find import vectors_of_crops
from pipelines.database.tables import templates
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.intake.unread_pictures import read_unread
from pipelines.judging import judge_pending
from pipelines.matching.faces import match_pending
from pipelines.matching.names import examine_pending
from pipelines.registry.templates import open_crops, store_template, subjects_without
from pipelines.runs.backfill_progress import BACKFILL, STATES, BackfillState, read_backfill, record_progress
from pipelines.runs.rescan import finish_searches
from pipelines.runs.run_log import begin_run, finish_run
from pipelines.runs.sweep import require_registry
from pipelines.scan.faces import scan_in_turns


@dataclass(frozen=True, slots=True)
class BackfillSummary:
    """What a backfill did and left: items whose content could not be fetched keep their old result.

    ``outcome``: ``complete`` or ``incomplete``; ``days_failed``: days on which the items left were received. A repeat
    goes on with those.
    """

    run_id: str
    templates: int
    items: int
    hits: int
    pictures_read: int
    subjects_missing: int
    items_outdated: int
    searched_requests: int
    completed_requests: int
    outcome: str
    days_failed: tuple[str, ...]
    seconds: float


@acts
def backfill(
    workspace: Workspace, *, actor: str, run_id: str | None = None, progress: Progress = silent
) -> BackfillSummary:
    """Bring templates and live items to the models in force. Safe to repeat; goes on where it was cut off.

    One at a time per database; another one waits, and finds nothing left to do. Raises :class:`NotReadyError` when
    there is nobody to compare with.
    """
    started = time.monotonic()
    with workspace.database.exclusive(BACKFILL):
        run_id = begin_run(workspace, kind=BACKFILL, day=None, run_id=run_id)
        made = backfill_templates(workspace, actor=actor, progress=progress)
        require_registry(workspace)
        items, hits = _backfill_items(workspace, run_id, progress)
        read, named = _read_pictures(workspace, progress)
        finished = finish_searches(workspace)
        left = _left(workspace)
        summary = BackfillSummary(
            run_id=run_id,
            templates=made,
            items=items,
            hits=hits + named,
            pictures_read=read,
            subjects_missing=left.subjects_missing,
            items_outdated=left.items_outdated,
            searched_requests=finished.searched,
            completed_requests=finished.completed,
            outcome="incomplete" if left.due else "complete",
            days_failed=left.days,
            seconds=round(time.monotonic() - started, 3),
        )
        finish_run(workspace, run_id, asdict(summary))
    return summary


def _backfill_items(workspace: Workspace, run_id: str, progress: Progress) -> tuple[int, int]:
    """Embed, compare and judge what is outdated, a few shards at a time. Returns items taken and new hits."""
    items = hits = 0
    batches = workspace.config.sweep.backfill_batches
    for counts in scan_in_turns(workspace, Scope(None, None), work="outdated", batches=batches, progress=progress):
        hits += match_pending(workspace, found_by="rescan", progress=progress).hits
        hits += examine_pending(workspace, found_by="rescan", progress=progress).hits
        judge_pending(workspace, progress=progress)
        items = counts.items
        record_progress(workspace, run_id, items=items)
    return items, hits


def _read_pictures(workspace: Workspace, progress: Progress) -> tuple[int, int]:
    """Read what older versions did not of pictures, and search it. Returns pictures read and new hits."""
    read = read_unread(workspace, progress=progress)
    if not read:
        return 0, 0
    named = examine_pending(workspace, found_by="rescan", progress=progress).hits
    judge_pending(workspace, progress=progress)
    return read, named


def _left(workspace: Workspace) -> BackfillState:
    with workspace.database.read() as connection:
        return read_backfill(connection, model_id=workspace.model_id)


@acts
def backfill_templates(workspace: Workspace, *, actor: str, progress: Progress = silent) -> int:
    """Embed the sealed crops of every subject that has no template of the models in force. Returns templates made.

    One transaction per subject. Templates of earlier models are kept: a pack can be changed back.
    """
    with workspace.database.read() as connection:
        waiting = subjects_without(connection, model_id=workspace.model_id, states=STATES)
    made = 0
    progress("template", 0, len(waiting))
    for done, subject_id in enumerate(waiting, start=1):
        with workspace.database.write() as tx:
            made += _embed_subject(tx, workspace, subject_id, actor=actor)
        progress("template", done, len(waiting))
    return made


def _embed_subject(tx: Connection, workspace: Workspace, subject_id: str, *, actor: str) -> int:
    if subject_id not in subjects_without(tx, model_id=workspace.model_id, states=STATES):
        return 0  # the subject ended, or another process has embedded it
    rows = _newest_templates(tx, subject_id)
    crops = open_crops(tx, workspace.sealer, rows)
    if any(len(crop) != CROP_SIDE * CROP_SIDE * 3 for crop in crops):
        raise CorruptionError("a template's crop does not have the size of a crop")
    pixels = np.stack([np.frombuffer(crop, dtype=np.uint8).reshape(CROP_SIDE, CROP_SIDE, 3) for crop in crops])
    vectors = vectors_of_crops(pixels, workspace.models)
    for row, crop, vector in zip(rows, crops, vectors, strict=True):
        store_template(tx, workspace, subject_id=subject_id, vector=vector, crop=crop, score=row.detector_score)
    audit.append(
        tx,
        workspace.sealer,
        actor=actor,
        action="subject.reembed",
        now=workspace.now(),
        subject_id=subject_id,
        templates=len(rows),
    )
    return len(rows)


def _newest_templates(connection: Connection, subject_id: str) -> Sequence[sa.Row[Any]]:
    """Read the templates of the models that this subject was last embedded with."""
    of_subject = sa.select(templates).where(templates.c.subject_id == subject_id)
    newest = connection.execute(
        of_subject.order_by(templates.c.created_at.desc(), templates.c.template_id.desc()).limit(1)
    ).one()
    return connection.execute(
        of_subject.where(templates.c.model_id == newest.model_id).order_by(templates.c.template_id)
    ).all()
