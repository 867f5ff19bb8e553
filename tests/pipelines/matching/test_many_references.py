"""A subject with many references, from the sealed registry to the hit (I3, I10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from embeddings.types import Float32
from indexes.clustered import ClusteredGallery
from indexes.gallery import Gallery, GalleryMatches
from pipelines.database.tables import templates
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.policy import BandSettings
from pipelines.registry.references import Reference
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.settings.config import Config, MatchingConfig
from tests.fakes import DIMENSION

COPIES, REFERENCES = 3, 12


@pytest.fixture(autouse=True)
def a_threshold_at_which_copies_pay(workspace: Workspace) -> None:
    """The fakes' vectors are short: strangers are as near as 0.46 to each other by chance."""
    settings = replace(workspace.policy.settings, bands={"opencv-zoo": BandSettings(review=0.8, strong=0.9)})
    workspace.policy = replace(workspace.policy, settings=settings)


def turned(centre: Float32, share: float, seed: int) -> Float32:
    noise = np.random.default_rng([seed, 2]).normal(size=DIMENSION).astype(np.float32)
    vector = centre + share * noise / np.linalg.norm(noise)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def enrol_many(workspace: Workspace, *, subjects: int) -> Float32:
    """Each subject has ``COPIES`` photographs, each of them four times over, slightly altered. Their vectors."""
    crop = np.zeros((112, 112, 3), dtype=np.uint8)
    enrolled = []
    for subject in range(subjects):
        looks = [turned(np.zeros(DIMENSION, dtype=np.float32), 1.0, 100 * subject + look) for look in range(COPIES)]
        own = [turned(looks[place % COPIES], 0.02, 1000 * subject + place) for place in range(REFERENCES)]
        scores = np.linspace(0.8, 1.0, REFERENCES)
        with workspace.database.write() as tx:
            insert_subject(
                tx,
                workspace,
                identity=Identity(names=("somebody",), consent="consent-1", contact=None),
                references=[Reference(vector, crop, float(score)) for vector, score in zip(own, scores, strict=True)],
                expires_at=workspace.now() + timedelta(days=30),
                active=True,
                actor="tester",
            )
        enrolled += own
    return np.stack(enrolled)


def gallery(workspace: Workspace, matching: MatchingConfig | None = None) -> Gallery:
    if matching:
        workspace.config = replace(workspace.config, matching=matching)
    with workspace.database.read() as connection:
        owners = set(connection.execute(sa.select(templates.c.subject_id)).scalars())
        return load_gallery(workspace, connection, subject_ids=owners)


def named(found: GalleryMatches, searched: Gallery) -> list[tuple[int, str, float]]:
    ids = [searched.template_ids[row] for row in found.template]
    return list(zip(found.probe.tolist(), ids, found.scores.tolist(), strict=True))


def test_i3_i10_copies_among_references_are_compared_once_and_the_hit_names_the_best_of_them(
    workspace: Workspace,
) -> None:
    vectors = enrol_many(workspace, subjects=5)
    searched = gallery(workspace)
    assert isinstance(searched, ClusteredGallery)
    assert (len(searched), searched.compared_first) == (5 * REFERENCES + 1, 5 * COPIES + 1)
    probes = np.stack([turned(vector, share, row) for row, vector in enumerate(vectors) for share in (0.1, 0.7)])
    found = searched.match(probes, model_id=searched.model_id, threshold=0.8)
    everything = Gallery(
        searched.vectors,
        template_ids=searched.template_ids,
        subject_ids=searched.subject_ids,
        model_id=searched.model_id,
        registry_version=searched.registry_version,
    )
    expected = everything.match(probes, model_id=searched.model_id, threshold=0.8)
    assert named(found, searched) == named(expected, everything)
    assert len(found) > len(vectors)


def test_a_better_photograph_counts_for_more_in_a_centroid(workspace: Workspace) -> None:
    enrol_many(workspace, subjects=1)
    searched = gallery(workspace)
    assert isinstance(searched, ClusteredGallery)
    clusters = searched.clusters
    with workspace.database.read() as connection:
        query = sa.select(templates.c.template_id, templates.c.detector_score)
        scores = {row.template_id: row.detector_score for row in connection.execute(query)}
    for centroid, first, count in zip(clusters.centroids, clusters.first, clusters.counts, strict=True):
        rows = clusters.members[first : first + count]
        weights = np.array([scores[searched.template_ids[row]] for row in rows])
        mean = weights @ searched.vectors[rows].astype(np.float64)
        assert np.allclose(centroid, mean / np.linalg.norm(mean), atol=1e-6)


def test_centroids_alone_are_used_only_where_the_settings_say_so(workspace: Workspace) -> None:
    enrol_many(workspace, subjects=2)
    assert Config().matching.margin() is None
    assert getattr(gallery(workspace), "clusters").margin is None  # noqa: B009
    asked = gallery(workspace, MatchingConfig(references="centroids", centroid_margin=0.05))
    assert isinstance(asked, ClusteredGallery)
    assert asked.clusters.margin == 0.05
