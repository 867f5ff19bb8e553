"""What decides how images are read and faces are found. A module of its own, so that settings load neither numpy nor
Arrow.
"""

from __future__ import annotations

from dataclasses import dataclass

VIEWS_VERSION = 4
"""Part of the model id where there are views: raised when the thorough pass finds other faces by the same settings."""

CROPS_VERSION = 5
"""Part of the model id: raised when the same faces are cut out, restored or pooled otherwise."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What the decoder accepts. Anything beyond is an :class:`UnscannableError`, never a guess."""

    max_bytes: int
    """Size of the encoded file in bytes."""
    max_pixels: int
    """Width times height of one frame."""
    max_frames: int
    """Frames sampled from an animation or a video, by time and by change."""
    max_animation_pixels: int
    """Pixels that decoding one animation may touch in all, skipped frames included."""
    max_video_seconds: float
    """Seconds of a video, from its beginning, of which frames are sampled."""
    max_video_pixels: int
    """Pixels that decoding one video may touch to choose frames by change; of one with more, key frames are chosen."""
    max_decode_bytes: int
    """Memory that decoding one image may take, as far as its header tells (:mod:`embeddings.images.decode_memory`)."""


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """The thorough pass (:mod:`embeddings.faces.views`): when it runs, what it accepts, what it may cost."""

    always: bool
    """Search every frame, not only those without a certain face."""
    candidate_score: float
    """Detector score from which a place is looked at again."""
    search_score: float
    """Detector score that ends the search for others, and from which something that only another view shows is a face:
    more views, more false alarms."""
    room: float
    """Certain faces that cover less than this share of a frame leave room for one that is hidden beside them."""
    glance_side: int
    """Long side, in pixels, of the views in which that one is sought."""
    sides: tuple[int, ...]
    """Long sides, in pixels, of views of the whole frame; the largest is also the side of a tile."""
    megapixels: float
    """Detector input that the search for what the fast pass did not take for a face may cost, in millions of pixels."""


@dataclass(frozen=True, slots=True)
class TileSettings:
    """Tiles of large and long frames (:mod:`embeddings.faces.tiling`)."""

    smallest_face: int
    """Longer side of a face, in pixels of the frame, for which tiles are large enough where the budget reaches."""
    megapixels: float
    """Detector input that the tiles of one frame may cost, in millions of pixels."""


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are found. All of it is part of the model id, because it decides which vectors come out."""

    scales: tuple[int, ...]
    """Long sides, in pixels, at which the detector looks; small ones find faces that fill the frame."""
    min_score: float
    """Detector score from which a detection is a face, in [0, 1]."""
    nms_iou: float
    """Overlap (intersection over union) from which two detections are one face."""
    max_faces: int
    """Most faces kept per frame, best score first. A frame that has more is marked in its status row."""
    views: ViewSettings | None = None
    """The thorough pass; None: the fast pass alone."""
    tiles: TileSettings | None = None
    """Tiles of large and long frames; None: every frame is shown whole, however small its faces become."""

    @property
    def detection_score(self) -> float:
        """Score from which a detector has to answer. A detection below ``min_score`` is only a place to look again."""
        return self.min_score if self.views is None else min(self.min_score, self.views.candidate_score)
