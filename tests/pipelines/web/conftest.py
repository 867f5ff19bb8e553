"""A small platform with cases that wait, and hashing that costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from pipelines.accounts import factors
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import NAME, enrol, source_of, upload


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with the least costs there are: what it costs is not what these tests are about."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(factors, "_hasher", lambda: hasher)
    factors._nobody.cache_clear()


@pytest.fixture
def platform(workspace: Workspace, uploads: Path) -> Workspace:
    """One person, found in two pictures of a model with a name beside one, in a single picture, and in a mature one."""
    enrol(workspace, person(1))
    upload(uploads, "m-a.png", picture(person(1), person(150)), parent_model="m-1", uploader="u-1")
    upload(uploads, "m-b.png", picture(person(2), person(1)), parent_model="m-1", uploader="u-2")
    upload(uploads, "m-c.png", picture(person(3)), parent_model="m-1", uploader="u-1")
    upload(uploads, "named.png", picture(person(4)), uploader="u-3", prompt=f"a portrait of {NAME}, golden hour")
    upload(uploads, "single.png", picture(person(1), person(160)), uploader="u-4")
    upload(uploads, "mature.png", picture(person(1), person(170)), uploader="u-5", nsfw_level="X")
    sweep(workspace, source_of(uploads), day=None)
    return workspace


@pytest.fixture
def ann(platform: Workspace) -> Visitor:
    """A reviewer."""
    return visitor(platform, "ann", ["reviewer"])


@pytest.fixture
def bob(platform: Workspace) -> Visitor:
    """Another reviewer."""
    return visitor(platform, "bob", ["reviewer"])
