"""Looks: another one only where it shows something materially else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embeddings.images.colour import by_profile
from embeddings.images.decode import decode
from embeddings.images.look_names import AS_STORED, BLACK, FIRST, STRETCHED, look_of_view
from embeddings.images.looks import looks_at
from embeddings.models.load import FaceModels
from embeddings.shard import find_faces
from embeddings.types import ImageLimits, UInt8
from tests.embeddings import odd_files
from tests.embeddings.conftest import encode


def names(stored: np.ndarray) -> list[str]:
    return [look.name for look in looks_at(stored, None)]


def layered(alpha: np.ndarray, colours: UInt8 | None = None) -> UInt8:
    colours = odd_files.portrait() if colours is None else colours
    return np.dstack([colours, alpha.astype(np.uint8)])


def test_ordinary_photographs_have_one_look(photographs: dict[str, UInt8]) -> None:
    for image in photographs.values():
        assert names(image) == [FIRST]


def test_an_opaque_figure_on_a_clear_ground_has_one_look() -> None:
    outline = Image.new("L", (256, 256), 0)
    ImageDraw.Draw(outline).ellipse((60, 20, 200, 250), fill=255)
    assert names(layered(np.asarray(outline))) == [FIRST]
    smooth = np.asarray(outline.resize((1024, 1024), Image.Resampling.BICUBIC))
    large = np.asarray(Image.fromarray(odd_files.portrait()).resize((1024, 1024)))
    assert names(layered(smooth, large)) == [FIRST]


def test_a_veil_of_one_thickness_has_one_look() -> None:
    assert names(layered(np.full((256, 256), 128))) == [FIRST]


@pytest.mark.parametrize("contrast", [1.0, 0.25])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_picture_in_the_alpha_channel_is_looked_at_over_black_too(colour: int, contrast: float) -> None:
    grey = 255 - odd_files.portrait().mean(axis=2) * contrast
    assert BLACK in names(layered(grey, np.full((256, 256, 3), colour, dtype=np.uint8)))


def test_a_small_picture_in_the_alpha_channel_of_a_large_frame_is_seen() -> None:
    alpha = np.full((2000, 2000), 255, dtype=np.uint8)
    alpha[900:1050, 900:1050] = np.asarray(Image.fromarray(odd_files.portrait()).convert("L").resize((150, 150)))
    assert BLACK in names(layered(alpha, np.full((2000, 2000, 3), 255, dtype=np.uint8)))


def test_a_stencil_of_dots_is_looked_at_over_black_too() -> None:
    dots = np.asarray(Image.fromarray(odd_files.portrait()).convert("1"), dtype=np.uint8) * 255
    assert BLACK in names(layered(dots, np.full((256, 256, 3), 255, dtype=np.uint8)))


def test_few_levels_are_stretched_and_a_plain_area_is_not() -> None:
    assert names(odd_files.squeezed()) == [FIRST, STRETCHED]
    for colour in ((7, 7, 7), (99, 93, 100), (120, 130, 140)):
        assert names(np.full((64, 64, 3), colour, dtype=np.uint8)) == [FIRST]
    (_, look) = looks_at(odd_files.squeezed(), None)
    shown = look.render(odd_files.squeezed())
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_few_dots_in_one_colour_of_a_plain_area_are_not_stretched() -> None:
    """They are enough to vary that colour, and too few to vary the three together."""
    dotted = np.full((100, 100, 3), 100, dtype=np.uint8)
    dotted[0, :60, 0] = 120
    assert names(dotted) == [FIRST]


def test_levels_below_the_upper_byte_of_sixteen_bits_are_stretched() -> None:
    (_, look) = looks_at(odd_files.portrait().astype(np.uint16), None)
    assert look.name == STRETCHED
    assert look.render(odd_files.portrait().astype(np.uint16)).std() > 50


def test_a_profile_that_changes_everything_leaves_a_look_without_it() -> None:
    recolour = by_profile(odd_files.restoring(), inks=False)
    assert [look.name for look in looks_at(odd_files.squeezed(), recolour)] == [FIRST, AS_STORED]


@pytest.mark.parametrize("gamma", [1 / 2.2, 1.0])
def test_a_profile_nobody_would_notice_is_left_out(gamma: float) -> None:
    recolour = by_profile(odd_files.profile(lambda value: value ** (1 / gamma)), inks=False)
    assert (recolour is None) == (gamma < 1)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\0" * 400])
def test_bytes_that_are_no_profile_are_none(body: bytes) -> None:
    assert by_profile(body, inks=False) is None


def test_a_view_names_the_look_it_was_found_in() -> None:
    assert [look_of_view(view) for view in (None, "fast", "close 90 negative")] == [FIRST] * 3
    assert look_of_view("close 90 negative black") == BLACK
    assert look_of_view("fast stretched") == STRETCHED


KINDS = {
    "cmyk": odd_files.cmyk(adobe=None),
    "white": odd_files.in_alpha("PNG", colour=255, opposite=False),
    "white webp": odd_files.in_alpha("WEBP", colour=255, opposite=False),
    "black": odd_files.in_alpha("PNG", colour=0, opposite=True),
    "gamma": odd_files.dim(),
    "profile": encode(odd_files.squeezed(), "PNG", icc_profile=odd_files.restoring()),
    "squeezed": encode(odd_files.squeezed(), "PNG"),
    "deep": odd_files.whole()["png of 16 bits"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_face_that_viewers_see_is_found_once(
    kind: str, models: FaceModels, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    (reference,) = find_faces(encode(odd_files.portrait(), "PNG"), models, limits=limits)
    found = find_faces(KINDS[kind], models, limits=limits)
    scores = [float(face.vector @ reference.vector) for face in found]
    assert max(scores) > 0.8
    assert len(found) == 1


def test_a_face_over_white_and_another_in_its_place_over_black_are_both_found(
    models: FaceModels, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    # Over white the sum of colour and clearness is seen, over black the colour alone.
    other = np.asarray(Image.fromarray(photographs["Tom_Hanks_54745.png"]).convert("L").resize((256, 256)))
    dark = odd_files.portrait().mean(axis=2) / 255 * 110
    light = 145 + other / 255 * 110
    alpha = np.clip(255 - (light - dark), 1, 255)
    colour = np.clip(dark / alpha * 255, 0, 255).astype(np.uint8)
    data = encode(np.dstack([colour, colour, colour, alpha.astype(np.uint8)]), "PNG")
    (first,) = find_faces(encode(odd_files.portrait(), "PNG"), models, limits=limits)
    seconds = find_faces(encode(np.repeat(other[:, :, None], 3, axis=2), "PNG"), models, limits=limits)
    found = find_faces(data, models, limits=limits)
    assert max(float(face.vector @ first.vector) for face in found) > 0.6
    assert max(float(face.vector @ seconds[0].vector) for face in found) > 0.6


def test_every_look_is_decoded_at_every_scale(limits: ImageLimits) -> None:
    data = encode(odd_files.squeezed(), "JPEG", quality=100)
    for frame in decode(data, limits=limits, long_side=100).frames:
        assert frame.scale == 0.5
        larger = frame.at_least(1.0)
        assert (larger.look, larger.scale) == (frame.look, 1.0)
        small = larger.image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
        assert np.abs(small - frame.image).mean() < 12
