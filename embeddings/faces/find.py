"""From the bytes of one image to its faces: decode, detect, align, recognise.

Owns the order of these steps, the choice of resolution and what is held in memory meanwhile: one frame, and fewer crops
than one recogniser batch, however many frames and faces there are. :mod:`embeddings.shard` does it for many images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from embeddings.content.describe import Describer, Glimpse
from embeddings.faces.alignment import cut, fit, no_crops, scales
from embeddings.faces.detection import resize_to
from embeddings.faces.joining import SeenFace, SeenLook, joined
from embeddings.faces.proportions import fitted
from embeddings.faces.recognition import mean_of_crops
from embeddings.faces.restoration import restored, smooth
from embeddings.faces.thorough import look_again
from embeddings.faces.tiling import faces_in_tiles
from embeddings.faces.views import SMOOTHED, Face
from embeddings.images.damage import TRUNCATED, gravest
from embeddings.images.decode import DecodedImage, Frame, decode
from embeddings.images.decoder import Decoder
from embeddings.images.look_names import FIRST
from embeddings.images.looks import reduced
from embeddings.images.pdq import pdq
from embeddings.models.load import FaceModels
from embeddings.types import Detections, Float32, ImageLimits, UInt8


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """The faces of one frame, best first, in pixels of the upright full-size frame."""

    boxes: Float32
    """(n, 4)"""
    scores: Float32
    """(n,)"""
    crops: UInt8 = field(repr=False)
    """(k, 112, 112, 3): one or several of each face, face by face, the best of a face first."""
    counts: tuple[int, ...]
    """How many of ``crops`` each face has: two where it is squeezed or was seen turned a little, else one
    (:mod:`embeddings.faces.proportions`)."""
    views: tuple[str, ...]
    """For each face the view it was found in (:mod:`embeddings.faces.views`)."""
    dropped: int
    """Faces beyond ``max_faces``."""


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """The faces of one image over all frames looked at, in order of frame and then score."""

    format: str
    width: int
    """Upright full-size width in pixels."""
    height: int
    frames: int
    """Frames looked at."""
    frames_total: int
    """Frames in the file."""
    dropped: int
    """Faces beyond ``max_faces`` in their frame, summed."""
    pdq: bytes | None
    """PDQ hash of the first frame (:mod:`embeddings.images.pdq`), None where it is too plain to have one."""
    damage: str | None
    """The gravest of what is wrong with the file (:mod:`embeddings.images.damage`); None: nothing."""
    frame: tuple[int, ...]
    """For each face the position of its frame in the file."""
    seconds: tuple[float | None, ...]
    """For each face when its frame is shown, in an animation or a video."""
    boxes: Float32
    """(n, 4) in pixels of the upright full-size frame."""
    scores: Float32
    """(n,)"""
    views: tuple[str, ...]
    """For each face the view it was found in (:mod:`embeddings.faces.views`)."""
    counts: tuple[int, ...]
    """For each face how many crops it has, which are pooled into one vector
    (:func:`embeddings.faces.recognition.mean_of_crops`)."""
    vectors: Float32 = field(repr=False)
    """(m, dimension): of the first m crops, recognised in whole batches."""
    crops: UInt8 = field(repr=False)
    """(k - m, 112, 112, 3): the other crops, to be recognised together with those of other images."""
    glimpses: tuple[Glimpse, ...] = ()
    """For the content models, where a describer was given."""

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One recognised face. Holds a crop and a vector: never log it (I8)."""

    frame: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright full-size frame."""
    score: float
    view: str
    crop: UInt8 = field(repr=False)
    """Aligned, (112, 112, 3): the first of its crops."""
    vector: Float32 = field(repr=False)
    """Unit length, (dimension,)."""


def find_faces(
    data: bytes, models: FaceModels, *, limits: ImageLimits, decoder: Decoder = decode
) -> tuple[FoundFace, ...]:
    """All faces of one image with their crops and vectors, best first within a frame: what enrolment looks at.

    Raises :class:`UnscannableError` for bytes that cannot be decoded, :class:`VectorError` for an unusable vector.
    """
    image = decoder(data, limits=limits, long_side=max(models.settings.scales))
    found: list[FoundFace] = []
    for index, looks in groupby(image.frames, key=lambda frame: frame.index):
        faces = _faces_of_looks(looks, (image.width, image.height), models)
        vectors = vectors_of_frame(faces, models)
        boxes, scores = faces.boxes.tolist(), faces.scores.tolist()
        first = faces.crops[np.cumsum((0, *faces.counts))[:-1]]
        for box, score, view, crop, vector in zip(boxes, scores, faces.views, first, vectors, strict=True):
            x1, y1, x2, y2 = box
            found.append(FoundFace(index, (x1, y1, x2, y2), score, view, crop, vector))
    return tuple(found)


def vectors_of_frame(faces: FrameFaces, models: FaceModels) -> Float32:
    """Unit vectors (n, dimension) of the faces of one frame, in one call of the recogniser.

    Raises :class:`VectorError` for an unusable vector.
    """
    crops = faces.crops if models.settings.views is None else restored(faces.crops)
    return mean_of_crops(models.recognizer.embed(crops), np.array(faces.counts, dtype=np.int64))


def vectors_of_crops(crops: UInt8, models: FaceModels) -> Float32:
    """Unit vectors (n, dimension) of faces of which only one aligned crop is kept each, (n, 112, 112, 3).

    What a template is made of, at enrolment and again after a change of models, so that both give one vector. Raises
    :class:`VectorError`.
    """
    return models.recognizer.embed(crops if models.settings.views is None else restored(crops))


def scan(
    data: bytes,
    models: FaceModels,
    *,
    limits: ImageLimits,
    describer: Describer | None = None,
    decoder: Decoder = decode,
) -> ScannedImage:
    """Find the faces of one image and recognise as many as fill whole batches; look at it for ``describer`` as well.

    Raises :class:`UnscannableError` for bytes that cannot be decoded, :class:`VectorError` for an unusable vector.
    """
    image = decoder(data, limits=limits, long_side=max(models.settings.scales))
    frames: list[int] = []
    seconds: list[float | None] = []
    found: list[FrameFaces] = []
    vectors = [np.empty((0, models.dimension), dtype=np.float32)]
    waiting, noted = no_crops(), _Noted(image, describer)
    for index, looks in groupby(image.frames, key=lambda frame: frame.index):
        faces = _faces_of_looks(noted.passing(looks), (image.width, image.height), models)
        frames += [index] * len(faces.scores)
        seconds += [noted.seconds] * len(faces.scores)
        crops = faces.crops if models.settings.views is None else restored(faces.crops)
        waiting = np.concatenate([waiting, crops])
        while len(waiting) >= models.batch:
            vectors.append(models.recognizer.embed(waiting[: models.batch]))
            waiting = waiting[models.batch :].copy()
        found.append(replace(faces, crops=no_crops()))
    return ScannedImage(
        format=image.format,
        width=image.width,
        height=image.height,
        frames=noted.frames,
        frames_total=image.frames_total,
        dropped=sum(faces.dropped for faces in found),
        pdq=noted.fingerprint,
        damage=gravest(noted.damage | {TRUNCATED} if noted.frames < image.planned else noted.damage),
        frame=tuple(frames),
        seconds=tuple(seconds),
        boxes=np.concatenate([faces.boxes for faces in found]),
        scores=np.concatenate([faces.scores for faces in found]),
        views=tuple(view for faces in found for view in faces.views),
        counts=tuple(count for faces in found for count in faces.counts),
        vectors=np.concatenate(vectors),
        crops=waiting,
        glimpses=tuple(noted.glimpses),
    )


class _Noted:
    """What is noted of the frames of one image as they pass by."""

    def __init__(self, image: DecodedImage, describer: Describer | None) -> None:
        self._size = (image.width, image.height)
        self._describer = describer
        self._wanted = describer.positions(image.planned) if describer else frozenset[int]()
        self.frames = 0
        """Frames looked at."""
        self.seconds: float | None = None
        """When the last of them is shown."""
        self.fingerprint: bytes | None = None
        """PDQ hash of the first one."""
        self.damage: set[str] = set()
        self.glimpses: list[Glimpse] = []

    def passing(self, looks: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the looks at one frame."""
        for frame in looks:
            if frame.look == FIRST:
                self.fingerprint = self.fingerprint if self.frames else pdq(frame.image)
                self.seconds = frame.seconds
            self.damage.update(frame.damage)
            if self._describer and self.frames in self._wanted:
                self.glimpses.append(self._describer.look(frame, frame.own_size or self._size))
            yield frame
        self.frames += 1


def _faces_of_looks(looks: Iterator[Frame], size: tuple[int, int], models: FaceModels) -> FrameFaces:
    """The faces of one frame in all its looks, each once. One look is held at a time, and a reduced one of each."""
    seen: list[tuple[UInt8, FrameFaces]] = []
    for look in looks:
        size = look.own_size or size
        faces = faces_of_frame(look, size, models)
        views = tuple(view if look.look == FIRST else f"{view} {look.look}" for view in faces.views)
        seen.append((reduced(look.image), replace(faces, views=views)))
    if len(seen) == 1:
        return seen[0][1]
    shown = [SeenLook(small, tuple(_one_by_one(faces))) for small, faces in seen]
    together = joined(shown, size, nms_iou=models.settings.nms_iou)
    kept = together[: models.settings.max_faces]
    return FrameFaces(
        boxes=np.array([face.box for face in kept], dtype=np.float32).reshape(-1, 4),
        scores=np.array([face.score for face in kept], dtype=np.float32),
        crops=np.concatenate([no_crops(), *(face.crops for face in kept)]),
        counts=tuple(len(face.crops) for face in kept),
        views=tuple(face.view for face in kept),
        dropped=sum(faces.dropped for _, faces in seen) + len(together) - len(kept),
    )


def _one_by_one(faces: FrameFaces) -> Iterator[SeenFace]:
    ends = np.cumsum(faces.counts).tolist()
    parts = zip(faces.boxes, faces.scores.tolist(), faces.views, faces.counts, ends, strict=True)
    for box, score, view, count, end in parts:
        yield SeenFace(box, score, view, faces.crops[end - count : end])


def faces_of_frame(frame: Frame, size: tuple[int, int], models: FaceModels) -> FrameFaces:
    """Detect and align the faces of one frame, ``size`` (width, height) at full size; the best ``max_faces`` of them.

    Detection runs on the frame as decoded, maybe reduced, again on other views of it where that is uncertain
    (:mod:`embeddings.faces.views`), and once on a smoothed one where none shows a face. If some face is then smaller
    than a crop, the frame is decoded again just large enough for it, or at full size.
    """
    settings = models.settings
    fast = _candidates(models.detector.detect(frame.image), frame, looked_at=max(settings.scales) / max(size))
    tiled = faces_in_tiles(frame, size, models.detector, settings)
    seen = look_again(frame, size, fast, tiled, models.detector, settings) or _smoothed(frame, size, models)
    faces = seen[: settings.max_faces]
    crops, counts = _crops(frame, faces, models)
    return FrameFaces(
        boxes=np.array([face.box for face in faces], dtype=np.float32).reshape(-1, 4),
        scores=np.array([face.score for face in faces], dtype=np.float32),
        crops=crops,
        counts=tuple(counts.tolist()),
        views=tuple(face.view for face in faces),
        dropped=len(seen) - len(faces),
    )


def _smoothed(frame: Frame, size: tuple[int, int], models: FaceModels) -> list[Face]:
    """What the fast pass finds in a smoothed picture of ``frame``: faces under noise, scan lines, strokes.

    Nothing without views. No turns are tried: a picture without faces costs one more pass, not all of them twice.
    """
    settings = models.settings
    if settings.views is None:
        return []
    looked_at = max(settings.scales)
    picture, across, down = resize_to(frame.image, long_side=looked_at)
    found = models.detector.detect(smooth(picture))
    corners = (found.boxes.reshape(-1, 2, 2) / [across, down]).astype(np.float32)
    marks = (found.landmarks / [across, down]).astype(np.float32)
    moved = Detections(corners.reshape(-1, 4), marks, found.scores)
    faces = _candidates(moved, frame, looked_at=looked_at / max(size))
    return [replace(face, view=SMOOTHED) for face in faces if face.score >= settings.min_score]


def _crops(frame: Frame, faces: list[Face], models: FaceModels) -> tuple[UInt8, npt.NDArray[np.int64]]:
    """The crops (k, 112, 112, 3) of ``faces``, face by face, and how many each has."""
    if not faces:
        return no_crops(), np.empty(0, dtype=np.int64)
    if models.settings.views is None:
        maps = [fit(face.landmarks[None]) for face in faces]
    else:
        maps = fitted(faces, frame, models.detector)
    counts = np.array([len(some) for some in maps], dtype=np.int64)
    matrices = np.concatenate(maps)
    sharp = frame.at_least(float(scales(matrices).max()))
    crops = cut(sharp.image, sharp.maps_from_full(matrices))
    crops[np.repeat([face.negative for face in faces], counts)] ^= 255
    return crops, counts


def _candidates(found: Detections, frame: Frame, *, looked_at: float) -> list[Face]:
    """What the fast pass found; ``looked_at``: pixels of its largest view per pixel of the full-size frame."""
    boxes = frame.to_full(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    landmarks = frame.to_full(found.landmarks)
    sides = np.sort(boxes[:, 2:] - boxes[:, :2], axis=1) * [min(1.0, looked_at), 1.0]
    parts = zip(boxes, landmarks, found.scores.tolist(), sides.tolist(), strict=True)
    return [Face(box, marks, score, pixels=short, side=long, turn=0.0) for box, marks, score, (short, long) in parts]
