"""Loads the gallery of one model into memory from sealed templates, for each comparison. It is never written."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from sqlalchemy.engine import Connection

from embeddings.errors import NotReadyError
from embeddings.types import Float32, check_unit
from indexes.clustered import make_gallery
from indexes.gallery import Gallery
from pipelines.database.registry_version import registry_version
from pipelines.home.state_seal import REGISTRY
from pipelines.home.workspace import Workspace
from pipelines.registry.references import Reference
from pipelines.registry.subjects import open_templates
from pipelines.registry.templates import LEAST_WEIGHT, reference_weights

CANDIDATE = "candidate"
"""Subject id of the templates in the gallery of a preview."""
SAME_VECTOR = 0.99
"""Least score of a stored unit vector with itself: 1, less more than its norm may lack."""


def load_gallery(
    workspace: Workspace,
    connection: Connection,
    *,
    subject_ids: Collection[str],
    model_id: str | None = None,
    upto: int | None = None,
) -> Gallery:
    """Load the gallery of these subjects, by the models in force or others, at the registry version of this
    transaction.

    ``upto``: that version instead, where the subjects are only those up to it. The canary is added and searched for
    first; for earlier models, which cannot embed the canary here, one of the templates has to be found instead. Raises
    :class:`CorruptionError` where another program changed who is sought (I7).
    """
    workspace.seal.require_unaltered(connection, REGISTRY)
    model_id = model_id or workspace.models.model_id
    vectors, template_ids, owners = open_templates(
        connection, workspace.sealer, subject_ids=subject_ids, model_id=model_id
    )
    weights = reference_weights(connection, template_ids, model_id=model_id)
    version = registry_version(connection) if upto is None else upto
    return _make(workspace, connection, vectors, template_ids, owners, weights, model_id=model_id, version=version)


def candidate_gallery(workspace: Workspace, connection: Connection, references: Sequence[Reference]) -> Gallery:
    """Make the gallery of a person who is not in the registry, by the models in force, with the canary."""
    vectors = np.stack([reference.vector for reference in references])
    weights = [max(reference.detector_score, LEAST_WEIGHT) for reference in references]
    ids = [f"{CANDIDATE}:{number}" for number in range(len(references))]
    owners, version = [CANDIDATE] * len(references), registry_version(connection)
    model_id = workspace.models.model_id
    return _make(workspace, connection, vectors, ids, owners, weights, model_id=model_id, version=version)


def _make(
    workspace: Workspace,
    connection: Connection,
    vectors: Float32,
    template_ids: list[str],
    owners: list[str],
    weights: list[float],
    *,
    model_id: str,
    version: int,
) -> Gallery:
    current = model_id == workspace.models.model_id
    canary, thresholds = workspace.canary, workspace.thresholds_of(connection, model_id)
    if thresholds is None:
        raise NotReadyError(f"there are no thresholds for {model_id}: nothing was compared")
    if current:
        vectors = np.concatenate([vectors.reshape(-1, canary.template.shape[1]), canary.template])
        template_ids, owners = [*template_ids, canary.template_id], [*owners, canary.subject_id]
        weights = [*weights, 1.0]
    gallery = make_gallery(
        check_unit(vectors, workspace.models.dimension if current else None),
        template_ids=template_ids,
        subject_ids=owners,
        weights=np.array(weights),
        model_id=model_id,
        registry_version=version,
        threshold=thresholds.review,
        margin=workspace.config.matching.margin(),
        engine=workspace.config.matching.index,
    )
    if current:
        canary.require_found(gallery, thresholds)
    elif not len(gallery.match(vectors[:1], model_id=model_id, threshold=SAME_VECTOR)):
        raise NotReadyError("a gallery of earlier models does not find its own template")
    return gallery
