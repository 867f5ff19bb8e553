"""Small lists of concepts for tests: their words name the colours that the fake encoder sees."""

from __future__ import annotations

from dataclasses import replace

from pipelines.home.workspace import Workspace
from tests.fakes import FakeContentModels

SMALL = """
version = "test-1"
templates = ["{}"]

[neutral.plain]
prompts = ["person 150"]

[concepts.nudity]
prompts = ["person 7"]
threshold = 0.5
level = "mature"

[concepts.minor_looking]
prompts = ["person 8"]
threshold = 0.5

[concepts.photograph]
prompts = ["person 9"]
against = ["drawing"]
threshold = 0.0

[concepts.drawing]
prompts = ["person 10"]
against = ["photograph"]
threshold = 0.0
frames = "all"
"""


def use_list(workspace: Workspace, text: str = SMALL) -> Workspace:
    """Put a list in force, as after a change of the file and a new start."""
    (workspace.home / "own.toml").write_text(text, encoding="utf-8")
    content = replace(workspace.config.content, concepts="own.toml")
    workspace.config = replace(workspace.config, content=content)
    workspace.__dict__.pop("concept_list", None)
    return workspace


def use_clip(workspace: Workspace, model_id: str | None = "clip-1") -> FakeContentModels:
    """Give a workspace weights of this id, or none."""
    models = FakeContentModels(model_id, clip_wanted=True)
    workspace.content_models = models  # type: ignore[assignment, misc]
    return models
