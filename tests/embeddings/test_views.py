"""The thorough pass: what other views find, where it lies, what they are called, and that the budget holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.faces.find import FoundFace, find_faces
from embeddings.faces.thorough import Orientation
from embeddings.faces.viewing import Viewer, _shelves
from embeddings.faces.views import Face, View, glances, merged, overlaps, taken_back, tiles, turned, whole_views
from embeddings.images.decode import Frame
from embeddings.models.load import FaceModels, load_models
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.weights import model_id
from embeddings.shard import embed_shard
from embeddings.types import Content, Detections, FaceSettings, ImageLimits, UInt8
from pipelines.settings.config import ViewsConfig
from tests.embeddings.conftest import encode

VIEWS = ViewsConfig(mode="uncertain").settings()
ALWAYS = ViewsConfig(mode="always", megapixels=8.0).settings()
assert VIEWS is not None
assert ALWAYS is not None
HEAD = (slice(0, 300), slice(100, 370))


@pytest.fixture(scope="module")
def thorough(cache_dir: Path, settings: FaceSettings) -> FaceModels:
    return load_models("opencv-zoo", cache_dir=cache_dir, settings=replace(settings, views=VIEWS))


@pytest.fixture(scope="module")
def head(photographs: dict[str, UInt8]) -> UInt8:
    return np.ascontiguousarray(photographs["astronaut.png"][HEAD])


@pytest.fixture(scope="module")
def reference(head: UInt8, models: FaceModels, limits: ImageLimits) -> FoundFace:
    (face,) = find_faces(encode(head, "PNG"), models, limits=limits)
    return face


def rotated(image: UInt8, degrees: float) -> tuple[UInt8, np.ndarray]:
    """Turned on a larger canvas, and the matrix that did it."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width)) + 1
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(128, 128, 128)), matrix


@pytest.mark.parametrize("degrees", [37, 90, 135, 180, 270, 301])
def test_a_face_turned_by_any_angle_is_found_recognised_and_located(
    degrees: float, head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    picture, matrix = rotated(head, degrees)
    best = max(
        find_faces(encode(picture, "PNG"), thorough, limits=limits), key=lambda face: face.vector @ reference.vector
    )
    assert best.vector @ reference.vector > 0.6
    x1, y1, x2, y2 = reference.box
    centre = matrix @ [(x1 + x2) / 2, (y1 + y2) / 2, 1]
    found = (best.box[0] + best.box[2]) / 2, (best.box[1] + best.box[3]) / 2
    assert np.linalg.norm(centre - found) < 0.3 * (x2 - x1)


@pytest.mark.parametrize("degrees", [25, 32, 40, 320, 328, 335])
def test_a_face_that_the_fast_pass_takes_for_upright_is_levelled(
    degrees: float, head: UInt8, reference: FoundFace, models: FaceModels, thorough: FaceModels, limits: ImageLimits
) -> None:
    picture = encode(rotated(head, degrees)[0], "PNG")
    fast = max((face.vector @ reference.vector for face in find_faces(picture, models, limits=limits)), default=-1)
    (face,) = find_faces(picture, thorough, limits=limits)
    assert face.vector @ reference.vector > max(0.5, fast - 0.05)


@pytest.mark.parametrize("disguise", [np.rot90, lambda head: np.rot90(head, 2), lambda head: 255 - head])
def test_a_plain_face_does_not_hide_a_disguised_one_beside_it(
    disguise: Callable[[UInt8], UInt8],
    head: UInt8,
    reference: FoundFace,
    photographs: dict[str, UInt8],
    thorough: FaceModels,
    limits: ImageLimits,
) -> None:
    decoy = photographs["t1.jpg"][200:460, 1060:1280]
    canvas = np.full((320, 640, 3), 128, dtype=np.uint8)
    canvas[20:280, 20:240] = decoy
    hidden = disguise(head)
    canvas[: hidden.shape[0], 300 : 300 + hidden.shape[1]] = hidden
    faces = find_faces(encode(canvas, "PNG"), thorough, limits=limits)
    assert len(faces) == 2
    assert max(face.vector @ reference.vector for face in faces) > 0.6


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_negative_is_found_recognised_and_named_so(
    quarters: int, head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    faces = find_faces(encode(np.rot90(255 - head, quarters), "PNG"), thorough, limits=limits)
    best = max(faces, key=lambda face: face.vector @ reference.vector)
    assert best.vector @ reference.vector > 0.6
    assert best.view.endswith("negative")


def test_a_clear_face_is_found_as_before_and_says_fast(
    head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    (face,) = find_faces(encode(head, "PNG"), thorough, limits=limits)
    assert (face.box, face.score, face.view) == (reference.box, reference.score, "fast")
    assert np.array_equal(face.vector, reference.vector)


def test_the_face_table_says_by_which_view_a_face_was_found(
    head: UInt8, thorough: FaceModels, limits: ImageLimits
) -> None:
    pictures = [encode(head, "PNG"), encode(np.rot90(head), "PNG")]
    contents = [Content(bytes([at]) * 32, data) for at, data in enumerate(pictures)]
    views = embed_shard(contents, thorough, limits=limits, workers=2).faces["view"].to_pylist()
    assert views[0] == "fast"
    assert views[1] != "fast"


def all_views(size: tuple[int, int]) -> list[View]:
    assert ALWAYS is not None
    later = (view for stage in whole_views(size, ALWAYS) for view in stage)
    return [*glances(size, side=ALWAYS.glance_side), *later]


def test_every_view_takes_a_point_back_to_where_it_was() -> None:
    for view in all_views((700, 500)):
        point = np.array([400.0, 200.0, 1.0])
        seen = (view.matrix @ point).astype(np.float32)
        marks = np.repeat(seen[None, None], 5, axis=1)
        box = np.concatenate([seen - 5, seen + 5])[None]
        (face,) = taken_back(Detections(box, marks, np.array([0.9], dtype=np.float32)), view)
        assert np.abs(face.landmarks - point[:2]).max() < 0.05
        assert np.abs((face.box[:2] + face.box[2:]) / 2 - point[:2]).max() < 0.05


@pytest.mark.parametrize("degrees", [0, 25, 45, 90])
def test_the_box_of_a_turned_face_is_hardly_larger_than_the_upright_one(degrees: float) -> None:
    view = turned((700, 500), degrees, False, long_side=700)
    box = np.array([[300, 200, 360, 280]], dtype=np.float32)
    found = Detections(box, np.zeros((1, 5, 2), dtype=np.float32), np.array([0.9], dtype=np.float32))
    (face,) = taken_back(found, view)
    assert 1 - 1e-3 <= face.area / (60 * 80) < 1.1
    assert face.side == pytest.approx(80, rel=1e-3)


def test_a_turned_view_holds_the_whole_frame() -> None:
    view = turned((640, 480), 90, False, long_side=320)
    assert (view.width, view.height, view.name) == (240, 320, "whole 90")
    corners = np.array([[0, 0, 1], [639, 479, 1], [639, 0, 1], [0, 479, 1]]) @ view.matrix.T
    assert (corners > -1).all()
    assert (corners < [241, 321]).all()


def test_tiles_cover_the_frame_and_overlap() -> None:
    seen = np.zeros((900, 1600), dtype=int)
    for tile in tiles((1600, 900), side=640):
        factor, left, top = tile.matrix[0, 0], -tile.matrix[0, 2], -tile.matrix[1, 2]
        x, y = int(left / factor), int(top / factor)
        seen[y : int(np.ceil((top + tile.height) / factor)), x : int(np.ceil((left + tile.width) / factor))] += 1
    assert seen.min() >= 1
    assert seen.max() > 1


def test_one_face_seen_in_several_views_is_kept_once_and_best() -> None:
    def face(x: float, score: float, view: str) -> Face:
        box = np.array([x, 0, x + 10, 10], dtype=np.float32)
        return Face(box, np.zeros((5, 2), dtype=np.float32), score, pixels=10, side=10, turn=0.0, view=view)

    kept = merged([face(0, 0.7, "fast"), face(1, 0.95, "whole 90"), face(40, 0.8, "tile")], nms_iou=0.3)
    assert [one.view for one in kept] == ["whole 90", "tile"]
    assert overlaps(kept[0].box, kept[1].box[None]).tolist() == [0]


class CountingDetector:
    """Sees nothing, and adds up what it was shown."""

    def __init__(self) -> None:
        self.megapixels = 0.0

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        self.megapixels += image.shape[0] * image.shape[1] / 1e6
        none = np.empty((0, 4), dtype=np.float32)
        return Detections(none, np.empty((0, 5, 2), dtype=np.float32), np.empty(0, dtype=np.float32))


@pytest.mark.parametrize("budget", [0.5, 2.0, 100.0])
def test_the_budget_of_a_frame_holds(
    budget: float, head: UInt8, thorough: FaceModels, limits: ImageLimits, settings: FaceSettings
) -> None:
    detector = CountingDetector()
    views = replace(ALWAYS, megapixels=budget)
    models = replace(thorough, detector=detector, settings=replace(settings, views=views))
    assert find_faces(encode(head, "PNG"), models, limits=limits) == ()
    fast = 2 * head.shape[0] * head.shape[1] / 1e6  # as it is, and once smoothed because it shows no face
    assert 0.3 < detector.megapixels - fast <= budget


def test_quarter_turns_of_a_frame_show_what_rendering_them_would_show(head: UInt8, thorough: FaceModels) -> None:
    viewer = Viewer(Frame(0, head, 1.0, (0.0, 0.0)), thorough.detector, megapixels=1.0)
    for view in glances((head.shape[1], head.shape[0]), side=200):
        rendered = viewer._render(replace(view, upright=None))
        difference = viewer._pixels(view).astype(int) - (255 - rendered.astype(int) if view.negative else rendered)
        assert np.abs(difference).mean() < 1


def test_small_views_shown_on_a_sheet_show_what_each_shows_alone(head: UInt8, thorough: FaceModels) -> None:
    frame, size = Frame(0, head, 1.0, (0.0, 0.0)), (head.shape[1], head.shape[0])
    views = [turned(size, turn, False, long_side=128) for turn in (0, 10, 350)]
    together = Viewer(frame, thorough.detector, megapixels=1.0).faces_in(views)
    for view, (face,) in zip(views, together, strict=True):
        ((alone,),) = Viewer(frame, thorough.detector, megapixels=1.0).faces_in([view])
        assert np.abs(face.box - alone.box).max() < 6
        assert abs(face.score - alone.score) < 0.05


def test_the_model_id_changes_with_the_views_and_with_their_version(
    settings: FaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [model_id(OPENCV_ZOO, replace(settings, views=views)) for views in (None, VIEWS, ALWAYS)]
    monkeypatch.setattr("embeddings.models.weights.VIEWS_VERSION", 99)
    later = [model_id(OPENCV_ZOO, replace(settings, views=views)) for views in (None, VIEWS)]
    assert len(set(ids)) == 3
    assert later[0] == ids[0]
    assert later[1] != ids[1]


def test_faces_of_a_faceless_picture_are_not_invented(
    photographs: dict[str, UInt8], thorough: FaceModels, limits: ImageLimits
) -> None:
    for name in ("coffee.png", "rocket.jpg", "coins.png"):
        assert find_faces(encode(photographs[name], "PNG"), thorough, limits=limits) == ()


@given(st.lists(st.tuples(st.integers(1, 192), st.integers(1, 192)), min_size=1, max_size=16), st.integers(1, 4))
def test_views_on_a_sheet_do_not_overlap_and_lie_within_it(sizes: list[tuple[int, int]], columns: int) -> None:
    blank = np.zeros((2, 3), dtype=np.float32)
    views = [View("close", blank, width, height, 0.0, False) for height, width in sorted(sizes)]
    width, height, corners = _shelves(views, columns)
    used = np.zeros((height, width), dtype=np.int64)
    for (x, y), view in zip(corners, views, strict=True):
        assert x + view.width <= width
        assert y + view.height <= height
        used[y : y + view.height, x : x + view.width] += 1
    assert used.max() == 1


def look_with(curve: Callable[[int], float], start: int, *, found: float = 0.75) -> tuple[Orientation, int]:
    """A finished look at a face found ``start`` sixteenths from upright, and the close-ups it took.

    ``curve``: detector score by sixteenths from upright, 0 where nothing is seen.
    """

    def face(score: float) -> Face:
        return Face(np.array([0, 0, 10, 10], dtype=np.float32), np.zeros((5, 2), dtype=np.float32), score, 10, 10, 0.0)

    look, shown = Orientation(face(found), still=0.7, certain=0.85), 0
    while ways := look.wanted():
        for turn, changed in ways:
            score = 0.0 if changed else curve(start + turn)
            look.add((turn, changed), [face(score)] if score else [])
            shown += 1
    return look, shown


def two_peaks(sixteenths: int) -> float:
    """As YuNet scores many a face: best upright, and nearly as good upside down."""
    off = abs((sixteenths + 8) % 16 - 8)
    return {0: 0.92, 1: 0.9, 2: 0.8, 6: 0.8, 7: 0.89, 8: 0.91}.get(off, 0.55)


@pytest.mark.parametrize("start", range(-7, 9))
def test_a_face_is_turned_to_its_best_score_from_wherever_it_was_found(start: int) -> None:
    look, shown = look_with(two_peaks, start, found=two_peaks(start))
    best = look.best()
    assert best.score == 0.92
    assert best.settled
    assert shown <= 27  # seven small ones, then larger ones


def clear(sixteenths: int) -> float:
    """As YuNet scores most faces in the smallest close-ups: upright alone."""
    off = abs((sixteenths + 8) % 16 - 8)
    return {0: 0.92, 1: 0.9, 2: 0.8}.get(off, 0.0)


def test_a_face_that_clearly_looks_best_as_it_was_found_costs_seven_small_close_ups() -> None:
    look, shown = look_with(clear, 0)
    assert shown == 7
    assert look.best().settled
    assert (look.best().view, look.best().level) == ("fast", None)


def test_one_that_looks_nearly_as_good_in_another_quarter_is_looked_at_larger() -> None:
    assert look_with(two_peaks, 0)[1] == 14


def test_a_face_that_looks_best_a_little_turned_keeps_how_it_looked_level() -> None:
    look, _ = look_with(two_peaks, 1, found=0.9)
    best = look.best()
    assert best.level is not None
    assert (best.score, best.level.score) == (0.92, 0.9)
    assert best.lean == pytest.approx(22.5 / 2 * (0.92 - 0.8) / (2 * 0.9 - 0.92 - 0.8))


def test_what_looks_like_a_face_in_one_turn_alone_does_not_end_the_search() -> None:
    look, _ = look_with(lambda sixteenths: 0.9 if sixteenths % 16 == 0 else 0.5, 0)
    assert not look.best().settled


def test_a_face_that_no_close_up_shows_stays_as_it_was_found() -> None:
    look, shown = look_with(lambda sixteenths: 0.0, 0, found=0.8)
    assert (look.best().score, look.best().view) == (0.8, "fast")
    assert shown == 21  # small ones, larger ones, then large ones
