"""From reference photographs to references fit to become templates.

A reference photograph must show exactly one clear face, and the references of one subject must agree with one another:
a wrong template accuses strangers every night. Knows models and pixels; stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from embeddings.errors import EnrolmentError, UnscannableError
from embeddings.faults import guarded
from embeddings.types import Float32, ImageLimits, UInt8
from indexes.gallery import Gallery
from indexes.join import pair_scores
from pipelines.registry.advice import ReferenceAdvice, advise, standing_apart
from pipelines.settings.config import RegistryConfig

if TYPE_CHECKING:
    from embeddings.faces.find import FoundFace
    from embeddings.images.decoder import Decoder
    from embeddings.models.load import FaceModels


@dataclass(frozen=True, slots=True)
class Reference:
    """One face of one reference photograph: unit vector (d,), aligned crop uint8 (112, 112, 3), detector score."""

    vector: Float32 = field(repr=False)
    crop: UInt8 = field(repr=False)
    detector_score: float
    pixels: float | None = None
    """The shorter side of its face in the photograph; None: not measured."""


@dataclass(frozen=True, slots=True)
class ReadReferences:
    """What :func:`examine_references` makes of photographs: the references to enrol, what is to be said of each
    photograph, and the positions (from 1) of those that were set aside."""

    references: tuple[Reference, ...]
    advice: tuple[ReferenceAdvice, ...]
    set_aside: tuple[int, ...]


def read_references(
    photographs: Sequence[bytes],
    models: FaceModels,
    *,
    limits: ImageLimits,
    config: RegistryConfig,
    agreement: float,
    decoder: Decoder | None = None,
) -> list[Reference]:
    """One reference per photograph that is not set aside; see :func:`examine_references`."""
    read = examine_references(photographs, models, limits=limits, config=config, agreement=agreement, decoder=decoder)
    return list(read.references)


def examine_references(
    photographs: Sequence[bytes],
    models: FaceModels,
    *,
    limits: ImageLimits,
    config: RegistryConfig,
    agreement: float,
    keep_all: bool = False,
    decoder: Decoder | None = None,
) -> ReadReferences:
    """One reference per photograph, and advice on it; without those that stand apart from a majority of one mind.

    ``decoder``: None decodes in this process.
    ``keep_all``: the operator says that all of them show the person; then none is set aside and none has to agree.
    Raises :class:`EnrolmentError`: ``no_reference``, ``unscannable``, ``no_face``, ``several_faces``, ``unclear_face``
    or ``disagree`` (two references score below ``agreement``), naming photographs by their position, never by name.
    """
    if not photographs:
        raise EnrolmentError("no_reference", "at least one reference photograph is needed")
    references = [
        _read_reference(position, data, models, limits=limits, config=config, decoder=decoder)
        for position, data in enumerate(photographs, start=1)
    ]
    vectors = np.stack([reference.vector for reference in references])
    apart = () if keep_all else standing_apart(vectors, agreement=agreement)
    kept = [(at, reference) for at, reference in enumerate(references) if at not in apart]
    if not keep_all:
        _require_agreement(kept, agreement)
    advice = advise(
        vectors,
        [reference.crop for reference in references],
        [reference.pixels for reference in references],
        detector=models.detector,
    )
    return ReadReferences(tuple(reference for _, reference in kept), advice, tuple(at + 1 for at in apart))


def resemblances(references: Sequence[Reference], gallery: Gallery, *, threshold: float) -> dict[str, float]:
    """Return the best score of each subject that any of the references matches, by subject id: to warn the operator."""
    probes = np.stack([reference.vector for reference in references])
    matches = gallery.match(probes, model_id=gallery.model_id, threshold=threshold)
    best: dict[str, float] = {}
    for row, score in zip(matches.template, matches.scores, strict=True):
        subject_id = gallery.subject_ids[row]
        best[subject_id] = max(float(score), best.get(subject_id, -1.0))
    return dict(sorted(best.items()))


def _read_reference(
    position: int,
    data: bytes,
    models: FaceModels,
    *,
    limits: ImageLimits,
    config: RegistryConfig,
    decoder: Decoder | None,
) -> Reference:
    from embeddings.faces.find import find_faces, vectors_of_crops
    from embeddings.images.decode import decode

    def refused(reason: str, detail: str) -> EnrolmentError:
        return EnrolmentError(reason, f"reference {position} {detail}", positions=(position,))

    try:
        faces = guarded(lambda: find_faces(data, models, limits=limits, decoder=decoder or decode))
    except UnscannableError as error:
        raise refused("unscannable", f"cannot be read ({error.reason})") from None
    if not faces:
        raise refused("no_face", "shows no face")
    clear = [face for face in faces if _is_clear(face, config)]
    if len(clear) > 1:
        found = " and ".join(_measured(face) for face in clear)
        raise refused("several_faces", f"shows {len(clear)} clear faces ({found}); crop it to one")
    if not clear:
        best = max(faces, key=lambda face: (face.score, _side(face)))
        raise refused(
            "unclear_face",
            f"has no face of at least {config.min_reference_pixels} pixels and detector score "
            f"{config.min_reference_score:g}: the best has {_measured(best)}",
        )
    face = clear[0]
    (vector,) = vectors_of_crops(face.crop[None], models)  # as a backfill makes it, which has this crop alone
    return Reference(vector=vector, crop=face.crop, detector_score=face.score, pixels=_side(face))


def _measured(face: FoundFace) -> str:
    return f"score {face.score:.2f} at {_side(face):.0f} pixels"


def _side(face: FoundFace) -> float:
    """The shorter side of a face's box, in pixels."""
    x1, y1, x2, y2 = face.box
    return float(min(x2 - x1, y2 - y1))


def _is_clear(face: FoundFace, config: RegistryConfig) -> bool:
    return _side(face) >= config.min_reference_pixels and face.score >= config.min_reference_score


def _require_agreement(references: Sequence[tuple[int, Reference]], agreement: float) -> None:
    """Raise unless each two score ``agreement``; they come with their positions among the photographs, from 0."""
    for (j, left), (i, right) in combinations(references, 2):
        score = float(pair_scores(left.vector[None, :], right.vector[None, :])[0])
        if score < agreement:
            raise EnrolmentError(
                "disagree",
                f"references {j + 1} and {i + 1} do not look like one person (similarity {score:.2f}, "
                f"needed {agreement:.2f})",
                positions=(j + 1, i + 1),
            )
