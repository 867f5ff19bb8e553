"""A background cohort: faces of strangers from the operator's own platform, by which thresholds and references are
judged where nobody labelled any pairs.

None is packaged. Embeddings of real people are biometric data that nobody may hand on, and faces that a generator made
are not the strangers of a platform: thresholds from them would promise a rate that nobody measured there. So the
operator makes the cohort by one command from a folder of pictures of different people, and it stays in the home:
vectors alone, sealed, one file for each set of models, gone with one command.

A cohort says how often strangers like these are taken for somebody. It says nothing of how often a registered person is
missed, nothing of people who look alike for a reason (relatives, one age or origin) beyond their share in it, and two
pictures of one person under two names make its threshold higher than need be.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from embeddings.errors import CorruptionError, StateError
from embeddings.types import Float32, check_unit
from indexes.det import upper_bound
from indexes.durable import durable_file, fsync_folder
from indexes.join import brute_force
from indexes.stored import Int64
from pipelines.calibration.faces import Faces, embed_photographs
from pipelines.calibration.labels import Labels
from pipelines.calibration.measure import Aim, Measured, measure_faces
from pipelines.calibration.platform import draw_strangers
from pipelines.home.calibration_cover import count_templates
from pipelines.home.calibrations import BACKGROUND, PLATFORM, STRANGERS, calibration_in_force
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.sealing import associated_data, seal, unseal
from pipelines.home.workspace import Workspace

_BLOCK: Final = 4096
"""Strangers whose candidates are in memory at once."""
WARNING: Final = (
    "from strangers alone: this bounds how often a stranger's face is taken for somebody, and says nothing of how "
    "often a registered person is missed. It holds for faces like those of the folder"
)


@dataclass(frozen=True, slots=True)
class Cohort:
    """Vectors of strangers, unit float32 (n, d), and the number of the person that each is of, int64 (n,)."""

    vectors: Float32 = field(repr=False)
    persons: Int64 = field(repr=False)

    @property
    def people(self) -> int:
        """How many there are."""
        return len(np.unique(self.persons))


@dataclass(frozen=True, slots=True)
class ExpectedFalseHits:
    """How many of the cohort's strangers a person's references would take for them, before anybody is registered.

    ``strangers``: of the cohort; ``taken``: of them at or above the review threshold; ``rate_at_most``: bound of the
    rate at the calibration's confidence; ``by_reference``: by each reference, in the order given.
    """

    strangers: int
    taken: int
    rate: float
    rate_at_most: float
    by_reference: tuple[int, ...]


@acts
def calibrate_background(
    workspace: Workspace, labels: Labels, aim: Aim, *, actor: str, progress: Progress = silent
) -> Measured:
    """Embed a folder of strangers, keep the vectors sealed, and measure a calibration, which is not put in force.

    ``aim.templates`` None: twice those that are registered, so that it bears the registry for a while. Raises what
    :func:`pipelines.calibration.measure.measure_labels` raises.
    """
    faces = embed_photographs(workspace, labels.paths, progress=progress)
    aim = with_room(workspace, aim)
    measured = measure_faces(workspace, replace(labels, kind=BACKGROUND), faces, aim, actor=actor)
    usable = faces.row >= 0
    rows, first = np.unique(faces.row[usable], return_index=True)
    persons = np.array(labels.persons, dtype=np.int64)[usable][first]
    _write(workspace, Cohort(faces.vectors[rows], persons))
    return measured


@acts
def refit_background(workspace: Workspace, aim: Aim, *, actor: str) -> Measured:
    """Measure the stored cohort again, for the registry as it is now. Raises :class:`StateError` without one."""
    return measure_faces(workspace, *strangers(workspace, BACKGROUND), with_room(workspace, aim), actor=actor)


@acts
def calibrate_platform(workspace: Workspace, aim: Aim, *, actor: str) -> Measured:
    """Measure the faces that different uploaders posted here, of which nothing is kept (:mod:`.platform`)."""
    return measure_faces(workspace, *strangers(workspace, PLATFORM), with_room(workspace, aim), actor=actor)


def strangers(workspace: Workspace, kind: str, *, least: float = 1) -> tuple[Labels, Faces]:
    """The faces of a calibration of this kind, in the form that measuring takes: those of the stored cohort, or of the
    platform as it is now.

    Raises :class:`StateError` without a cohort, and :class:`CalibrationError` for a platform whose strangers are too
    few for ``least`` comparisons.
    """
    if kind == PLATFORM:
        vectors = draw_strangers(workspace, least=least)
        persons = np.arange(len(vectors), dtype=np.int64)
    else:
        cohort = read_cohort(workspace)
        if cohort is None:
            raise StateError("there is no background cohort of these models: give a folder of pictures of strangers")
        vectors, persons = cohort.vectors, cohort.persons
    count = len(vectors)
    rows = np.arange(count, dtype=np.int64)
    # No pictures are kept: pools of a cohort weigh each face alike, and cannot tell near-duplicates.
    faces = Faces(vectors, np.ones(count), rows, rows, (None,) * count, 0, 0)
    return Labels(kind, (Path(),) * count, persons=tuple(persons.tolist())), faces


def may_be_put_in_force(workspace: Workspace) -> bool:
    """Whether nothing better is in force: no calibration by labelled pairs or people."""
    with workspace.database.read() as connection:
        current = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
    return current is None or current.kind in STRANGERS


def read_cohort(workspace: Workspace) -> Cohort | None:
    """The cohort of the models in force; None: there is none. Raises :class:`CorruptionError` for an altered file."""
    try:
        data = _file(workspace).read_bytes()
    except FileNotFoundError:
        return None
    plain = unseal(workspace.sealer.shard_key(_name(workspace)), data, associated_data(BACKGROUND, workspace.model_id))
    stored = np.load(io.BytesIO(plain), allow_pickle=False)
    vectors, persons = stored["vectors"], stored["persons"]
    if len(vectors) != len(persons):
        raise CorruptionError("the background cohort is not what was written: make it again")
    return Cohort(check_unit(np.ascontiguousarray(vectors)), persons)


@acts
def forget_cohort(workspace: Workspace) -> bool:
    """Delete the cohort of the models in force; False where there was none. Calibrations made by it stay."""
    file = _file(workspace)
    there = file.exists()
    file.unlink(missing_ok=True)
    if there:
        fsync_folder(file.parent)
    return there


def expected_false_hits(
    workspace: Workspace, vectors: Sequence[Float32], *, threshold: float
) -> ExpectedFalseHits | None:
    """What a person with these references, unit vectors (d,), would take strangers for; None without a cohort."""
    cohort = read_cohort(workspace)
    if cohort is None or not len(cohort.vectors) or not vectors:
        return None
    above = np.zeros((len(cohort.vectors), len(vectors)), dtype=np.bool_)
    pairs = brute_force(cohort.vectors, np.stack(vectors), threshold=threshold, block=_BLOCK)
    above[pairs.left, pairs.right] = True
    taken = len(np.unique(cohort.persons[above.any(axis=1)]))
    people = cohort.people
    return ExpectedFalseHits(
        strangers=people,
        taken=taken,
        rate=taken / people,
        rate_at_most=upper_bound(taken, people, confidence=workspace.config.calibration.confidence),
        by_reference=tuple(len(np.unique(cohort.persons[column])) for column in above.T),
    )


def with_room(workspace: Workspace, aim: Aim) -> Aim:
    """The aim for the gallery that it says, or for twice the templates that are registered."""
    if aim.templates is not None:
        return aim
    with workspace.database.read() as connection:
        count = count_templates(connection, model_id=workspace.model_id, now=workspace.now())
    return replace(aim, templates=2 * max(1, count), registered=count)


def _write(workspace: Workspace, cohort: Cohort) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, vectors=cohort.vectors, persons=cohort.persons)
    key = workspace.sealer.shard_key(_name(workspace))
    with durable_file(_file(workspace), before_rename=lambda: None) as file:
        file.write(seal(key, buffer.getvalue(), associated_data(BACKGROUND, workspace.model_id)))


def _name(workspace: Workspace) -> str:
    return f"{BACKGROUND}-{workspace.model_id}"


def _file(workspace: Workspace) -> Path:
    return workspace.home / "calibrations" / f"{_name(workspace)}.sealed"
