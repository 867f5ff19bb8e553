"""embed_shard: a status for every content, faces in order, and nothing that depends on threads or batches (I1, I9)."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import embeddings.faces.find
from embeddings.errors import ItemError, ModelMismatchError, UnscannableError, VectorError, WeightsError
from embeddings.faces.find import scan
from embeddings.images.pdq import pdq
from embeddings.shard import FaceModels, embed_shard, find_faces
from embeddings.types import (
    Content,
    Detections,
    Float32,
    ImageLimits,
    ShardEmbeddings,
    UInt8,
    check_unit,
    face_schema,
    status_schema,
    vectors_of,
)
from tests.embeddings.conftest import encode
from tests.fakes import content_of


@pytest.fixture(scope="module")
def mixed(files: dict[str, bytes], photographs: dict[str, UInt8]) -> list[Content]:
    """Photographs with no, one and six faces, an animation, repeats, and seven files that cannot be scanned."""
    frames = [Image.fromarray(photographs["astronaut.png"][40:200, 150:300]) for _ in range(3)]
    frames[1] = Image.fromarray(photographs["coffee.png"][:160, :150])
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], quality=90, allow_mixed=True)
    good = [*files.values(), buffer.getvalue(), encode(photographs["t1.jpg"][:, ::-1], "JPEG")]
    bad = [b"", b"GIF89a", b"text", files["t1.jpg"][:9000], files["astronaut.png"][:5000], b"\x89PNG\r\n\x1a\n" * 9]
    together = [part for pair in zip(good, [*bad, *bad], strict=False) for part in pair]
    return [content_of(data) for data in [*together, *good]]


@pytest.fixture(scope="module")
def result(mixed: list[Content], models: FaceModels, limits: ImageLimits) -> ShardEmbeddings:
    return embed_shard(mixed, models, limits=limits, workers=2)


def test_every_distinct_content_has_one_status_in_order_of_first_appearance(
    mixed: list[Content], result: ShardEmbeddings
) -> None:
    assert result.statuses["content_sha256"].to_pylist() == list(dict.fromkeys(each.sha256 for each in mixed))


def test_statuses_say_what_happened(result: ShardEmbeddings, files: dict[str, bytes]) -> None:
    rows = {row["content_sha256"]: row for row in result.statuses.to_pylist()}
    astronaut = rows[content_of(files["astronaut.png"]).sha256]
    assert {**astronaut, "pdq": None, "content_sha256": None} == {
        **dict.fromkeys(status_schema().names),
        "status": "faces",
        "format": "png",
        "width": 512,
        "height": 512,
        "frames": 1,
        "frames_total": 1,
        "faces": 1,
        "faces_dropped": 0,
    }
    assert rows[content_of(files["coffee.png"]).sha256]["status"] == "no_face"
    assert rows[content_of(files["t1.jpg"]).sha256]["faces"] == 6
    assert rows[content_of(b"").sha256]["status"] == "unscannable:empty"
    assert rows[content_of(b"GIF89a").sha256]["status"] == "unscannable:truncated"
    assert rows[content_of(b"text").sha256]["status"] == "unscannable:format"
    cut = rows[content_of(files["t1.jpg"][:9000]).sha256]
    assert (cut["status"], cut["damage"]) == ("no_face", "truncated")  # the sky above the heads
    assert rows[content_of(b"text").sha256]["width"] is None


def test_tables_have_the_agreed_schemas_and_add_up(result: ShardEmbeddings, models: FaceModels) -> None:
    assert result.statuses.schema.equals(status_schema())
    assert result.faces.schema.equals(face_schema(models.dimension))
    assert result.statuses["faces"].to_pylist() == [
        result.faces["content_sha256"].to_pylist().count(digest)
        for digest in result.statuses["content_sha256"].to_pylist()
    ]
    check_unit(vectors_of(result.faces["vector"], models.dimension), models.dimension)


def test_pictures_carry_a_fingerprint_and_unscannable_ones_do_not(
    result: ShardEmbeddings, files: dict[str, bytes], photographs: dict[str, UInt8]
) -> None:
    hashes = dict(zip(result.statuses["content_sha256"].to_pylist(), result.statuses["pdq"].to_pylist(), strict=True))
    assert hashes[content_of(files["t1.jpg"]).sha256] == pdq(photographs["t1.jpg"])
    assert hashes[content_of(b"text").sha256] is None


def test_faces_of_an_animation_carry_their_frame(result: ShardEmbeddings) -> None:
    (row,) = [row for row in result.statuses.to_pylist() if row["frames_total"] == 3]
    faces = [face for face in result.faces.to_pylist() if face["content_sha256"] == row["content_sha256"]]
    assert [(face["frame"], face["face"]) for face in faces] == [(0, 0), (2, 1)]
    assert (row["format"], row["frames"], row["faces"]) == ("webp", 3, 2)


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_the_number_of_workers_changes_not_one_bit(
    workers: int, mixed: list[Content], models: FaceModels, limits: ImageLimits, result: ShardEmbeddings
) -> None:
    again = embed_shard(mixed, models, limits=limits, workers=workers)
    assert again.statuses.equals(result.statuses)
    assert again.faces.equals(result.faces)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_size_moves_vectors_by_rounding_only(
    batch: int, mixed: list[Content], models: FaceModels, limits: ImageLimits, result: ShardEmbeddings
) -> None:
    again = embed_shard(mixed, replace(models, batch=batch), limits=limits, workers=2)
    assert again.statuses.equals(result.statuses)
    assert again.faces.drop_columns("vector").equals(result.faces.drop_columns("vector"))
    ours, theirs = (vectors_of(table["vector"], models.dimension) for table in (again.faces, result.faces))
    assert np.abs(ours - theirs).max() < 1e-6


def test_each_face_has_its_own_vector(
    mixed: list[Content], result: ShardEmbeddings, models: FaceModels, limits: ImageLimits
) -> None:
    data = {each.sha256: each.data for each in mixed}
    vectors = vectors_of(result.faces["vector"], models.dimension)
    rows = result.faces.to_pylist()
    for digest in {row["content_sha256"] for row in rows}:
        mine = [at for at, row in enumerate(rows) if row["content_sha256"] == digest]
        alone = find_faces(data[digest], models, limits=limits)
        assert [rows[at]["score"] for at in mine] == pytest.approx([face.score for face in alone])
        assert np.abs(vectors[mine] - np.stack([face.vector for face in alone])).max() < 1e-6
        for at, face in zip(mine, alone, strict=True):
            assert face.box == pytest.approx([rows[at][name] for name in ("x1", "y1", "x2", "y2")])


def test_a_poisoned_image_costs_only_itself(files: dict[str, bytes], models: FaceModels, limits: ImageLimits) -> None:
    good = [content_of(files["astronaut.png"]), content_of(files["t1.jpg"])]
    alone = embed_shard(good, models, limits=limits, workers=2)
    poison = content_of(files["t1.jpg"][:300])
    mixed = embed_shard([good[0], poison, good[1]], models, limits=limits, workers=2)
    assert mixed.faces.equals(alone.faces)
    assert mixed.statuses["status"].to_pylist() == ["faces", "unscannable:truncated", "faces"]


def test_no_contents_give_empty_tables(models: FaceModels, limits: ImageLimits) -> None:
    empty = embed_shard([], models, limits=limits, workers=2)
    assert (empty.statuses.num_rows, empty.faces.num_rows) == (0, 0)
    assert empty.faces.schema.equals(face_schema(models.dimension))


class FakeDetector:
    """As many faces as the first pixel says, all in the middle; calls ``hook`` first."""

    def __init__(self, hook: Callable[[UInt8], None] = lambda image: None) -> None:
        self.hook = hook

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        self.hook(image)
        count = int(image[0, 0, 0])
        points = np.array([[30, 30], [60, 30], [45, 50], [35, 70], [55, 70]], dtype=np.float32)
        boxes = np.tile(np.array([20, 20, 80, 80], dtype=np.float32), (count, 1))
        return Detections(boxes, np.tile(points, (count, 1, 1)), np.linspace(0.99, 0.8, count, dtype=np.float32))


class FakeRecognizer:
    """The crop's mean colour and the number of crops seen together."""

    dimension = 4

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def embed(self, crops: UInt8) -> Float32:
        self.sizes.append(len(crops))
        raw = np.concatenate([crops.reshape(len(crops), -1, 3).mean(axis=1), np.ones((len(crops), 1))], axis=1)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def faked(models: FaceModels, hook: Callable[[UInt8], None] = lambda image: None, batch: int = 4) -> FaceModels:
    return replace(models, detector=FakeDetector(hook), recognizer=FakeRecognizer(), dimension=4, batch=batch)


def picture(faces: int, seed: int = 0) -> Content:
    image = np.full((100, 100, 3), seed, dtype=np.uint8)
    image[0, 0] = faces
    return content_of(encode(image, "PNG"))


def test_faces_beyond_the_limit_are_counted_and_the_best_kept(models: FaceModels, limits: ImageLimits) -> None:
    few = faked(replace(models, settings=replace(models.settings, max_faces=3)))
    found = embed_shard([picture(5)], few, limits=limits, workers=1)
    (row,) = found.statuses.to_pylist()
    assert (row["status"], row["faces"], row["faces_dropped"]) == ("faces", 3, 2)
    assert found.faces["score"].to_pylist() == pytest.approx([0.99, 0.9425, 0.895])


def test_crops_of_many_images_share_batches(models: FaceModels, limits: ImageLimits) -> None:
    fakes = faked(models, batch=4)
    found = embed_shard([picture(1, seed) for seed in range(1, 12)], fakes, limits=limits, workers=2)
    assert isinstance(fakes.recognizer, FakeRecognizer)
    assert sorted(fakes.recognizer.sizes) == [3, 4, 4]
    colours = vectors_of(found.faces["vector"], 4)
    share = colours[:, 0] / colours[:, 3]  # the crop's mean colour, black beyond the image's edge
    assert np.allclose(share / share[0], range(1, 12), rtol=1e-3)


def test_an_image_full_of_faces_never_holds_more_crops_than_a_batch(models: FaceModels, limits: ImageLimits) -> None:
    fakes = faked(models, batch=4)
    scanned = scan(picture(11, seed=7).data, fakes, limits=limits)
    assert (len(scanned), len(scanned.vectors), len(scanned.crops)) == (11, 8, 3)


def test_only_a_window_of_images_is_in_flight(models: FaceModels, limits: ImageLimits) -> None:
    lock, begun, while_first_ran = threading.Lock(), 0, 0

    def hook(image: UInt8) -> None:
        nonlocal begun, while_first_ran
        with lock:
            begun += 1
        if image[1, 1, 0] == 1:  # the first image is slow: how far do the others run ahead of it?
            time.sleep(0.4)
            while_first_ran = begun

    embed_shard([picture(0, seed) for seed in range(1, 60)], faked(models, hook), limits=limits, workers=2)
    assert begun == 59
    assert while_first_ran <= 8


@pytest.mark.parametrize("error", [VectorError("x"), RuntimeError("a bug"), MemoryError()])
def test_what_every_image_raises_is_the_models_fault_and_is_raised(
    error: Exception, models: FaceModels, limits: ImageLimits
) -> None:
    def fail(image: UInt8) -> None:
        raise error

    with pytest.raises(type(error)):
        embed_shard([picture(1, s) for s in range(1, 20)], faked(models, fail), limits=limits, workers=2)


@pytest.mark.parametrize("error", [ModelMismatchError("x"), WeightsError("x")])
def test_an_error_of_the_projects_own_is_never_taken_for_an_images_fault(
    error: Exception, models: FaceModels, limits: ImageLimits
) -> None:
    def fail(image: UInt8) -> None:
        if image[1, 1, 0] == 5:
            raise error

    with pytest.raises(type(error)):
        embed_shard([picture(1, s) for s in range(1, 20)], faked(models, fail), limits=limits, workers=2)


def test_an_items_own_fault_found_late_is_a_status_too(models: FaceModels, limits: ImageLimits) -> None:
    def fail(image: UInt8) -> None:
        if image[1, 1, 0] == 2:
            raise UnscannableError("corrupt")

    found = embed_shard([picture(1, s) for s in (1, 2, 3)], faked(models, fail), limits=limits, workers=2)
    assert found.statuses["status"].to_pylist() == ["faces", "unscannable:corrupt", "faces"]
    assert found.statuses["faces"].to_pylist() == [1, 0, 1]


def test_a_small_face_is_cropped_from_full_size_and_a_large_one_is_not(
    models: FaceModels, limits: ImageLimits, photographs: dict[str, UInt8], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    cut = embeddings.faces.find.cut

    def spy(image: UInt8, matrices: Float32) -> UInt8:
        taken.append(image.shape[1])
        return cut(image, matrices)

    monkeypatch.setattr(embeddings.faces.find, "cut", spy)
    portrait = photographs["astronaut.png"]
    large = np.asarray(Image.fromarray(portrait[20:260, 100:340]).resize((2600, 2600)))
    small = np.zeros((2600, 2600, 3), dtype=np.uint8)
    small[1000:1512, 800:1312] = portrait
    for image in (large, small):
        find_faces(encode(image, "JPEG"), models, limits=limits)
    assert taken == [650, 2600]


def test_reduced_decoding_hardly_moves_a_vector(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes]
) -> None:
    image = Image.open(io.BytesIO(files["astronaut.png"])).convert("RGB").resize((2048, 2048), Image.Resampling.BICUBIC)
    (reduced,) = find_faces(encode(np.asarray(image), "JPEG", quality=92), models, limits=limits)
    (full,) = find_faces(encode(np.asarray(image), "PNG"), models, limits=limits)
    assert reduced.vector @ full.vector > 0.98
    assert np.abs(np.subtract(reduced.box, full.box)).max() < 12


def test_enrolment_sees_the_crop_and_the_vector_of_each_face(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes]
) -> None:
    (face,) = find_faces(files["astronaut.png"], models, limits=limits)
    assert face.crop.shape == (112, 112, 3)
    assert face.vector.shape == (128,)
    assert np.abs(np.subtract(face.box, (178, 63, 268, 176))).max() < 2
    assert np.allclose(models.recognizer.embed(face.crop[None])[0], face.vector, atol=1e-6)
    with pytest.raises(ItemError):
        find_faces(b"nothing", models, limits=limits)
