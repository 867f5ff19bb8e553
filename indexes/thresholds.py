"""Thresholds come with their source, never alone. Until a calibration is stored, these published ones are in force."""

from __future__ import annotations

from dataclasses import dataclass

from embeddings.errors import NotReadyError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Cosine similarities from which a match is worth a person's look (``review``) and from which it is ``strong``.

    ``calibration_id``: the calibration they come from, None for published ones and a policy's own.
    """

    review: float
    strong: float
    source: str
    calibration_id: str | None = None


@dataclass(frozen=True, slots=True)
class Bands:
    """The thresholds of single faces and those of pooled ones, as one transaction sees them."""

    single: Thresholds
    pooled: Thresholds


# Published thresholds hold with several views too. One face per place is compared, not the best of several views, so
# the rate of false matches per comparison stays (benchmarks.impostors: 4.9e-3 beside 4.6e-3 at 0.363, 0.9e-3 beside
# 1.0e-3 at 0.50, both within each other's bounds). More faces are found, and each is compared.
_PUBLISHED = {
    "opencv-zoo": Thresholds(
        review=0.363,
        strong=0.50,
        source="published: OpenCV's LFW threshold for SFace (0.363); strong at 0.50 by design, not calibrated here",
    ),
}


_PUBLISHED_AGREEMENT = {"dlib": (0.40, "published: dlib's distance of 0.6 for its ResNet, as 1 - distance")}


def published_agreement(network: str) -> tuple[float, str]:
    """Return the score from which a second network takes two faces for one person, and its source.

    ``network``: ``dlib``, or a pack, whose review threshold it is. Raises :class:`NotReadyError` for one without any.
    """
    if network in _PUBLISHED_AGREEMENT:
        return _PUBLISHED_AGREEMENT[network]
    found = published_thresholds(network)
    return found.review, found.source


def published_thresholds(pack: str) -> Thresholds:
    """Return the thresholds a pack's publisher states. Raises :class:`NotReadyError` for a pack without any."""
    if pack not in _PUBLISHED:
        raise NotReadyError(f"pack {pack} has no thresholds: calibrate it first")
    return _PUBLISHED[pack]
