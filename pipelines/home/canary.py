"""The canary: a known face planted in every run. If it is missed, nothing the run says can be believed (I7).

The public-domain portrait that scikit-image carries becomes a template under a reserved id; its mirror image,
re-encoded, goes through decoding, detection, alignment, recognition and the gallery like any upload and must come out
as a strong match. A second packaged photograph, of other people, must not match it: a model that finds everybody
everywhere fails as well. Canary templates never produce hits.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from embeddings.errors import NotReadyError
from embeddings.images.decode import decode
from embeddings.images.decoder import Decoder
from embeddings.models.load import FaceModels
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, ImageLimits, vectors_of
from indexes.gallery import Gallery
from indexes.thresholds import Thresholds

SUBJECT_ID = "canary"
TEMPLATE_ID = "canary"


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted template (1, d), the probe that must match it (1, d), and strangers that must not (n, d)."""

    template: Float32
    probe: Float32
    strangers: Float32
    model_id: str
    template_id: str = TEMPLATE_ID
    subject_id: str = SUBJECT_ID

    def require_found(self, gallery: Gallery, thresholds: Thresholds) -> None:
        """Raise :class:`NotReadyError` unless the gallery finds the canary, strongly, and only there."""
        found = gallery.match(self.probe, model_id=self.model_id, threshold=thresholds.review)
        pairs = zip(found.template, found.scores, strict=True)
        best = max((float(score) for template, score in pairs if self._is(gallery, int(template))), default=-1.0)
        if best < thresholds.strong:
            raise NotReadyError("the canary was missed: models or gallery cannot be trusted, nothing was compared")
        wrong = gallery.match(self.strangers, model_id=self.model_id, threshold=thresholds.review)
        if any(self._is(gallery, int(template)) for template in wrong.template):
            raise NotReadyError("the canary was found in a stranger: models cannot be trusted, nothing was compared")

    def _is(self, gallery: Gallery, template: int) -> bool:
        return gallery.subject_ids[template] == self.subject_id


def make_canary(models: FaceModels, *, limits: ImageLimits, decoder: Decoder = decode) -> Canary:
    """Embed the packaged photographs. Raises :class:`NotReadyError` when they do not give the expected faces."""
    portrait = _package_file("skimage", "data/astronaut.png").read_bytes()
    group = _package_file("insightface", "data/images/t1.jpg").read_bytes()
    contents = [Content(hashlib.sha256(data).digest(), data) for data in (portrait, _mirrored(portrait), group)]
    result = embed_shard(contents, models, limits=limits, workers=1, decoder=decoder)
    digests = result.faces["content_sha256"].to_pylist()
    vectors = vectors_of(result.faces["vector"], models.dimension)
    parts = [vectors[np.array([digest == content.sha256 for digest in digests], dtype=bool)] for content in contents]
    if [len(part) for part in parts[:2]] != [1, 1] or len(parts[2]) < 2:
        raise NotReadyError("the canary photographs do not give the expected faces: models cannot be trusted")
    return Canary(template=parts[0], probe=parts[1], strangers=parts[2], model_id=models.model_id)


def _mirrored(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        ImageOps.mirror(image.convert("RGB")).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise NotReadyError(f"the canary photograph of package {package} is missing: reinstall the package")
    return path
