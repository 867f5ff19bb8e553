"""What benchmarks work on: files of generated variants, and a home whose registry holds synthetic and real subjects."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.registry.references import Reference, read_references
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.sample.photographs import ASTRONAUT_FACE, GROUP_FACES, load_photographs
from pipelines.sample.variants import around, crop, generate_variants
from pipelines.settings.environment import read_environment

SUBJECTS_PER_TRANSACTION = 1000
REAL_SUBJECTS = (("astronaut", ASTRONAUT_FACE), ("group", GROUP_FACES[0]), ("group", GROUP_FACES[3]))
"""Photograph and face of the subjects that the variants really show."""
CONSENT = timedelta(days=365)


def write_variants(folder: Path, count: int, *, seed: int) -> list[str]:
    """Write ``count`` generated images into ``folder``; return their names in the order in which a sweep takes them."""
    folder.mkdir()
    oldest = time.time() - count
    names = []
    for number, (name, data) in enumerate(generate_variants(count, seed=seed)):
        (folder / name).write_bytes(data)
        os.utime(folder / name, (oldest + number, oldest + number))  # items are taken by the time they were received
        names.append(name)
    return names


def make_home(home: Path, *, subjects: int, seed: int) -> int:
    """Make a home with ``subjects`` synthetic subjects and the real ones, all active; return their number."""
    home.mkdir(mode=0o700)
    # Half of these images show one of three people: the check that stops such a day is not what is measured.
    # No ratings either: the peer makes none.
    settings = "[sweep]\nmax_hit_rate = 1.0\n[content]\nrating = false\n"
    (home / "likeness.toml").write_text(settings, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeyFileWarning)
        workspace = create_workspace(read_environment({}, home=home))
    with workspace:
        added = 0
        references = [*real_references(workspace), *synthetic_references(subjects, workspace, seed=seed)]
        for start in range(0, len(references), SUBJECTS_PER_TRANSACTION):
            with workspace.database.write() as tx:
                for reference in references[start : start + SUBJECTS_PER_TRANSACTION]:
                    added += 1
                    insert_subject(
                        tx,
                        workspace,
                        identity=Identity(names=(f"subject {added}",), consent="benchmark", contact=None),
                        references=[reference],
                        expires_at=workspace.now() + CONSENT,
                        active=True,
                        actor="benchmark",
                    )
    return added


def synthetic_references(count: int, workspace: Workspace, *, seed: int) -> Iterator[Reference]:
    """``count`` random directions. All share one crop, which is sealed anew for each."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    for _ in range(count):
        vector = random.standard_normal(workspace.models.dimension)
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        yield Reference(vector=unit, crop=image, detector_score=1.0)


def real_references(workspace: Workspace) -> Iterator[Reference]:
    """One reference for each of ``REAL_SUBJECTS``, read from its photograph as enrolment does."""
    pictures = load_photographs({name for name, _ in REAL_SUBJECTS})
    for name, face in REAL_SUBJECTS:
        buffer = io.BytesIO()
        Image.fromarray(crop(pictures[name], around(face, margin=0.5))).save(buffer, format="PNG")
        yield from read_references(
            [buffer.getvalue()],
            workspace.models,
            limits=workspace.limits,
            config=workspace.config.registry,
            agreement=workspace.thresholds.review,
        )
