"""After a change of pack: templates and live items get vectors of the new models; old results stay in force meanwhile.

Templates come from the sealed crops, so no photograph is needed. Then the items are fetched and embedded again, a shard
at a time, and compared. Everything already done is found in the database, so a backfill that was cut off goes on. An
item keeps its status and its hits until its new vectors have been compared, and a hit stays until its subject ends, its
item goes, or a person decides: a weaker new model must not undo what a better one found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.alignment import CROP_SIDE
from embeddings.errors import CorruptionError
from pipelines import audit
from pipelines.database.tables import subjects, templates
from pipelines.judging import judge_pending
from pipelines.ledger import Scope, count_outdated
from pipelines.matching import match_pending
from pipelines.progress import Progress, silent
from pipelines.scan import scan_pending
from pipelines.sweep import begin_run, finish_run
from pipelines.templates import open_crops, store_template
from pipelines.workspace import Workspace

STATES = ("active", "pending")
"""Subjects that are matched now or may be soon."""


@dataclass(frozen=True, slots=True)
class BackfillState:
    """What still has vectors of other models than those in force."""

    subjects_missing: int
    items_outdated: int


@dataclass(frozen=True, slots=True)
class BackfillSummary:
    """What a backfill did, and what is left: items whose content could not be fetched, which keep their old result."""

    run_id: str
    templates: int
    items: int
    hits: int
    subjects_missing: int
    items_outdated: int
    seconds: float


def read_backfill(connection: Connection, *, model_id: str) -> BackfillState:
    """What a backfill would do. Loads no model."""
    return BackfillState(
        subjects_missing=len(_subjects_without(connection, model_id)),
        items_outdated=count_outdated(connection, Scope(None, None), model_id=model_id),
    )


def backfill(workspace: Workspace, *, actor: str, progress: Progress = silent) -> BackfillSummary:
    """Bring templates and live items to the models in force. Safe to repeat; goes on where it was cut off."""
    started = time.monotonic()
    run_id = begin_run(workspace, kind="backfill", day=None)
    made = backfill_templates(workspace, actor=actor, progress=progress)
    scanned = scan_pending(workspace, Scope(None, None), progress=progress)
    matched = match_pending(workspace, found_by="rescan", progress=progress)
    judge_pending(workspace, progress=progress)
    with workspace.database.read() as connection:
        left = read_backfill(connection, model_id=workspace.model_id)
    summary = BackfillSummary(
        run_id=run_id,
        templates=made,
        items=scanned.items,
        hits=matched.hits,
        subjects_missing=left.subjects_missing,
        items_outdated=left.items_outdated,
        seconds=round(time.monotonic() - started, 3),
    )
    finish_run(workspace, run_id, asdict(summary))
    return summary


def backfill_templates(workspace: Workspace, *, actor: str, progress: Progress = silent) -> int:
    """Embed the sealed crops of every subject that has no template of the models in force. Returns templates made.

    One transaction per subject. Templates of earlier models are kept: a pack can be changed back.
    """
    with workspace.database.read() as connection:
        waiting = _subjects_without(connection, workspace.model_id)
    made = 0
    progress("template", 0, len(waiting))
    for done, subject_id in enumerate(waiting, start=1):
        with workspace.database.write() as tx:
            made += _embed_subject(tx, workspace, subject_id, actor=actor)
        progress("template", done, len(waiting))
    return made


def _embed_subject(tx: Connection, workspace: Workspace, subject_id: str, *, actor: str) -> int:
    if subject_id not in _subjects_without(tx, workspace.model_id):
        return 0  # ended, or another process was here first
    rows = _newest_templates(tx, subject_id)
    crops = open_crops(tx, workspace.sealer, rows)
    if any(len(crop) != CROP_SIDE * CROP_SIDE * 3 for crop in crops):
        raise CorruptionError("a template's crop does not have the size of a crop")
    pixels = np.stack([np.frombuffer(crop, dtype=np.uint8).reshape(CROP_SIDE, CROP_SIDE, 3) for crop in crops])
    vectors = workspace.models.recognizer.embed(pixels)
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
    """The templates of the model that this subject was last embedded with."""
    of_subject = sa.select(templates).where(templates.c.subject_id == subject_id)
    newest = connection.execute(
        of_subject.order_by(templates.c.created_at.desc(), templates.c.template_id.desc()).limit(1)
    ).one()
    return connection.execute(
        of_subject.where(templates.c.model_id == newest.model_id).order_by(templates.c.template_id)
    ).all()


def _subjects_without(connection: Connection, model_id: str) -> list[str]:
    """Subjects that have templates, but none of ``model_id``."""
    of_model = sa.select(templates.c.subject_id).where(templates.c.model_id == model_id)
    query = sa.select(subjects.c.subject_id).where(
        subjects.c.state.in_(STATES),
        subjects.c.subject_id.in_(sa.select(templates.c.subject_id)),
        subjects.c.subject_id.not_in(of_model),
    )
    return [str(subject_id) for subject_id in connection.execute(query.order_by(subjects.c.subject_id)).scalars()]
