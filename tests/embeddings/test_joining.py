"""Joining: a face that several looks show is one face, and two people in one place are two."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from embeddings.faces.joining import SeenFace, SeenLook, are_alike, joined
from embeddings.models.load import FaceModels
from embeddings.types import UInt8
from tests.embeddings import odd_files

SIZE = (200, 100)
EVERYWHERE = np.array([0, 0, 200, 100], dtype=np.float32)


def seen(box: tuple[int, int, int, int], score: float, contrast: int = 10) -> SeenFace:
    crop = np.zeros((1, 112, 112, 3), dtype=np.uint8)
    crop[:, ::2] = contrast
    return SeenFace(np.array(box, dtype=np.float32), score, f"fast {contrast}", crop)


def noise(seed: int) -> UInt8:
    return np.random.default_rng(seed).integers(0, 255, (50, 100, 3)).astype(np.uint8)


def test_one_face_in_two_looks_is_kept_once_with_the_better_contrast_and_score() -> None:
    small = noise(1)
    looks = [
        SeenLook(small, [seen((10, 10, 50, 60), 0.9)]),
        SeenLook(255 - (255 - small) // 2, [seen((12, 10, 50, 60), 0.8, contrast=90)]),
    ]
    (face,) = joined(looks, SIZE, nms_iou=0.3)
    assert (face.score, face.view) == (0.9, "fast 90")


def test_two_pictures_in_one_place_are_two_faces() -> None:
    looks = [
        SeenLook(noise(1), [seen((10, 10, 50, 60), 0.8)]),
        SeenLook(noise(2), [seen((12, 10, 50, 60), 0.9)]),
    ]
    assert [face.score for face in joined(looks, SIZE, nms_iou=0.3)] == [0.9, 0.8]


def test_faces_in_different_places_are_all_kept() -> None:
    small = noise(1)
    looks = [SeenLook(small, [seen((10, 10, 50, 60), 0.8)]), SeenLook(small, [seen((110, 10, 150, 60), 0.9)])]
    assert len(joined(looks, SIZE, nms_iou=0.3)) == 2


def test_a_flat_look_is_like_no_other() -> None:
    assert not are_alike(np.full((50, 100, 3), 9, dtype=np.uint8), noise(1), EVERYWHERE, SIZE)


def test_looks_at_one_photograph_are_alike_and_faces_of_two_people_are_not(
    models: FaceModels, photographs: dict[str, UInt8]
) -> None:
    squeezed = odd_files.squeezed()
    whole = np.array([60, 40, 190, 180], dtype=np.float32)
    assert are_alike(squeezed, odd_files.portrait(), whole, (256, 256))
    group = photographs["t1.jpg"]
    boxes = models.detector.detect(group).boxes.round().astype(int)
    faces = [cv2.resize(group[y1:y2, x1:x2], (256, 256)) for x1, y1, x2, y2 in boxes.tolist()]
    everywhere = np.array([0, 0, 256, 256], dtype=np.float32)
    pairs = list(itertools.combinations(faces, 2))
    assert len(pairs) == 15
    assert not any(are_alike(one, other, everywhere, (256, 256)) for one, other in pairs)
