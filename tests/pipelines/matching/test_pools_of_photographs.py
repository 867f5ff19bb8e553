"""The packaged portrait, altered in three ways: what its pictures say together, through a whole night."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from embeddings.models.load import load_models
from pipelines.hits.listing import list_hits
from pipelines.home.canary import make_canary
from pipelines.home.workspace import Workspace
from pipelines.policy import BandSettings
from pipelines.registry.references import read_references
from pipelines.runs.sweep import sweep
from pipelines.settings.config import Config, RegistryConfig
from tests.platform_actions import register, source_of, upload

pytestmark = [pytest.mark.any_database, pytest.mark.slow]

STRONG = 0.85
"""Between what a portrait that is tilted or stretched scores alone (0.77) and what it scores with another (0.92)."""


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A home that sees faces, and calls a score of 0.85 strong."""
    models = load_models("opencv-zoo", cache_dir=tmp_path / "models", settings=Config().embedding.faces())
    workspace.models = models  # type: ignore[misc]
    workspace.canary = make_canary(models, limits=workspace.limits)  # type: ignore[misc]
    bands = {"opencv-zoo": BandSettings(review=0.363, strong=STRONG)}
    settings = replace(workspace.policy.settings, bands=bands)
    workspace.policy = replace(workspace.policy, settings=settings)  # type: ignore[misc]
    return workspace


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def test_pictures_that_are_weak_alone_are_strong_together(scene: Workspace, uploads: Path) -> None:
    portrait = Image.fromarray(skimage.data.astronaut())
    read = read_references(
        [jpeg(portrait)], scene.models, limits=scene.limits, config=RegistryConfig(), agreement=scene.thresholds.review
    )
    register(scene, read)
    pictures = {"left": portrait.rotate(20), "right": portrait.rotate(-20), "wide": portrait.resize((800, 512))}
    for name, picture in pictures.items():
        upload(uploads, f"{name}.jpg", jpeg(picture), parent_model="m", uploader="u")
    sweep(scene, source_of(uploads), day=None)
    with scene.database.read() as connection:
        alone = {hit.item_id: hit for hit in list_hits(connection, tier="face")}
        together = {hit.item_id: hit for hit in list_hits(connection, tier="pooled_face")}
    assert set(alone) == {"left.jpg", "right.jpg", "wide.jpg"}
    weak = {item_id for item_id, hit in alone.items() if hit.band == "review"}
    assert weak >= {"right.jpg", "wide.jpg"}
    assert set(together) == weak, "who is strong alone speaks for itself"
    for item_id, hit in together.items():
        assert (hit.band, hit.pictures) == ("strong", 3)
        assert hit.alone_score == pytest.approx(alone[item_id].score)
        assert hit.score > alone[item_id].score
