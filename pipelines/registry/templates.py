"""Template rows: vectors and crops sealed under their subject's key, bound to subject, template and model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, NotReadyError, StateError
from embeddings.types import Float32, check_unit
from pipelines.database.tables import subject_keys, subjects, templates
from pipelines.home.sealing import Sealer, associated_data, seal, unseal
from pipelines.home.workspace import Workspace, new_id

LEAST_WEIGHT = 1e-3
"""Least weight of a reference in a centroid, however poor its photograph."""


def subjects_without(connection: Connection, *, model_id: str, states: Collection[str]) -> list[str]:
    """Subjects in one of ``states`` that have templates, but none of ``model_id``."""
    of_model = sa.select(templates.c.subject_id).where(templates.c.model_id == model_id)
    query = sa.select(subjects.c.subject_id).where(
        subjects.c.state.in_(states),
        subjects.c.subject_id.in_(sa.select(templates.c.subject_id)),
        subjects.c.subject_id.not_in(of_model),
    )
    return [str(subject_id) for subject_id in connection.execute(query.order_by(subjects.c.subject_id)).scalars()]


def require_templates(subjects_missing: int, *, model_id: str) -> None:
    """Raise :class:`NotReadyError`, saying what to run, when active subjects lack templates of ``model_id`` (I4)."""
    if subjects_missing:
        raise NotReadyError(
            f"{subjects_missing} active subjects have no template for {model_id} and would go "
            "unseen: run `likeness models backfill`"
        )


def reference_weights(connection: Connection, template_ids: Sequence[str], *, model_id: str) -> list[float]:
    """Return each template's weight in a centroid: the detector score of its photograph."""
    query = sa.select(templates.c.template_id, templates.c.detector_score).where(templates.c.model_id == model_id)
    scores = {str(row.template_id): float(row.detector_score) for row in connection.execute(query)}
    return [max(scores[template_id], LEAST_WEIGHT) for template_id in template_ids]


def open_crops(connection: Connection, sealer: Sealer, rows: Sequence[sa.Row[Any]]) -> list[bytes]:
    """Return the unsealed crops of template rows of one subject, raw RGB bytes. Raises :class:`CorruptionError`."""
    key = open_subject_key(connection, sealer, rows[0].subject_id)
    return [unseal(key, row.sealed_crop, crop_aad(row.subject_id, row.template_id)) for row in rows]


def store_template(
    tx: Connection, workspace: Workspace, *, subject_id: str, vector: Float32, crop: bytes, score: float
) -> str:
    """Seal one more template of the models in force under the subject's key; returns its id."""
    key = open_subject_key(tx, workspace.sealer, subject_id)
    return insert_template(
        tx, workspace, subject_id=subject_id, key=key, vector=vector, crop=crop, score=score, now=workspace.now()
    )


def insert_template(
    tx: Connection,
    workspace: Workspace,
    *,
    subject_id: str,
    key: bytes,
    vector: Float32,
    crop: bytes,
    score: float,
    now: datetime,
) -> str:
    """Seal one template under ``key``, the subject's; returns its id."""
    template_id = new_id("ref")
    model_id = workspace.models.model_id
    vector = np.ascontiguousarray(vector, dtype="<f4")
    check_unit(vector[None, :], workspace.models.dimension)
    tx.execute(
        sa.insert(templates).values(
            template_id=template_id,
            subject_id=subject_id,
            model_id=model_id,
            dimension=len(vector),
            detector_score=score,
            sealed_vector=seal(key, vector.tobytes(), template_aad(subject_id, template_id, model_id)),
            sealed_crop=seal(key, crop, crop_aad(subject_id, template_id)),
            created_at=now,
        )
    )
    return template_id


def crop_aad(subject_id: str, template_id: str) -> bytes:
    """Return the associated data that binds a sealed crop to its subject and template."""
    return associated_data("crop", subject_id, template_id, "1")


def template_aad(subject_id: str, template_id: str, model_id: str) -> bytes:
    """Return the associated data that binds a sealed vector to its subject, template and model."""
    return associated_data("template", subject_id, template_id, model_id, "1")


def open_subject_key(connection: Connection, sealer: Sealer, subject_id: str) -> bytes:
    """Return the unwrapped key of one subject. Raises :class:`CorruptionError` when it is missing."""
    wrapped = connection.execute(
        sa.select(subject_keys.c.wrapped_key).where(subject_keys.c.subject_id == subject_id)
    ).scalar()
    if wrapped is None:
        raise CorruptionError("this subject's key is missing")
    return sealer.subject_key(wrapped, subject_id)


def require_kept(connection: Connection, subject_id: str) -> None:
    """Raise :class:`StateError` when the personal data of a subject has been destroyed."""
    state = connection.execute(sa.select(subjects.c.state).where(subjects.c.subject_id == subject_id)).scalar()
    if state in ("erased", "rejected"):
        raise StateError(f"this subject is {state}: nothing personal is kept")


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One reference of a subject by one set of models, without anything personal."""

    reference_id: str
    model_id: str
    detector_score: float
    created_at: datetime


def list_references(connection: Connection, subject_id: str) -> list[ReferenceRow]:
    """Return a subject's references, the oldest first. After a change of pack there is one for each set of models."""
    columns = [templates.c[name] for name in ("template_id", "model_id", "detector_score", "created_at")]
    query = sa.select(*columns).where(templates.c.subject_id == subject_id)
    rows = connection.execute(query.order_by(templates.c.created_at, templates.c.template_id))
    return [ReferenceRow(*row) for row in rows]


def subjects_with(connection: Connection, *, model_id: str) -> set[str]:
    """Ids of the subjects that have a template of these models."""
    owners = sa.select(templates.c.subject_id).where(templates.c.model_id == model_id).distinct()
    return {str(subject_id) for subject_id in connection.execute(owners).scalars()}
