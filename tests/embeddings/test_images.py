"""Decoding: what comes out of honest files of every kind."""

from __future__ import annotations

import gc
import io
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from embeddings.errors import UnscannableError
from embeddings.images.decode import DecodedImage, Frame, decode, sample, upright
from embeddings.types import ImageLimits, UInt8
from tests.embeddings.conftest import encode

FULL = 100_000
"""A long side that asks for full size."""


def read(data: bytes, limits: ImageLimits, long_side: int = FULL) -> tuple[DecodedImage, list[Frame]]:
    image = decode(data, limits=limits, long_side=long_side)
    return image, list(image.frames)


def pixels(data: bytes, limits: ImageLimits) -> UInt8:
    image, frames = read(data, limits)
    assert len(frames) == 1
    assert frames[0].image.shape == (image.height, image.width, 3)
    assert frames[0].image.dtype == np.uint8
    return frames[0].image


def oriented(image: UInt8, orientation: int) -> UInt8:
    """How a camera stores ``image`` under an Exif orientation; Pillow's transpositions are the oracle's inverse."""
    inverse = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    inverse |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    if orientation == 1:
        return image
    return np.asarray(Image.fromarray(image).transpose(Image.Transpose[inverse[orientation]]))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_lossless_pixels_come_out_as_they_went_in(
    kind: str, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    image = photographs["chelsea.png"]
    if kind == "GIF":
        image = np.asarray(Image.fromarray(image).quantize(64).convert("RGB"))
    data = encode(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(pixels(data, limits), image)


def test_a_jpeg_decodes_as_pillow_decodes_it(files: dict[str, bytes], limits: ImageLimits) -> None:
    expected = np.asarray(Image.open(io.BytesIO(files["t1.jpg"])).convert("RGB"))
    assert np.abs(pixels(files["t1.jpg"], limits).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 5}])
def test_jpeg_variants_decode(options: dict[str, int], photographs: dict[str, UInt8], limits: ImageLimits) -> None:
    data = encode(photographs["chelsea.png"], "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(pixels(data, limits).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_exif_orientation_gives_the_same_upright_image(
    kind: str, orientation: int, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    image = photographs["chelsea.png"]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encode(oriented(image, orientation), kind, exif=exif(orientation), **lossless)
    result = pixels(data, limits)
    assert result.shape == image.shape
    if kind == "JPEG":
        assert structural_similarity(result, image, channel_axis=2) > 0.9
    else:
        assert np.array_equal(result, image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_survive_reduced_decoding_under_every_orientation(orientation: int, limits: ImageLimits) -> None:
    image = np.zeros((1001, 1403, 3), dtype=np.uint8)
    image[160:240, 400:560] = 255
    data = encode(oriented(image, orientation), "JPEG", exif=exif(orientation), quality=95)
    decoded, (frame,) = read(data, limits, long_side=150)
    assert (decoded.width, decoded.height, frame.scale) == (1403, 1001, 0.125)
    rows, columns = np.nonzero(frame.image[..., 0] > 127)
    corners = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]], dtype=np.float32)
    full = frame.to_full(corners)
    assert np.abs(full - [[400, 160], [560, 240]]).max() <= 4.01  # half a reduced pixel
    assert np.allclose(frame.from_full(full), corners, atol=1e-3)


def test_a_reduced_frame_is_decoded_again_only_when_more_is_asked(files: dict[str, bytes], limits: ImageLimits) -> None:
    decoded, (frame,) = read(files["t1.jpg"], limits, long_side=160)
    assert (frame.scale, frame.image.shape) == (0.125, (111, 160, 3))
    assert frame.at_least(0.1) is frame
    assert frame.at_least(0.2).scale == 0.25
    assert frame.at_least(3.0).image.shape == (decoded.height, decoded.width, 3)


def test_a_jpeg_is_decoded_once_for_each_scale_and_let_go_with_its_last_frame(
    files: dict[str, bytes], limits: ImageLimits
) -> None:
    _, (frame,) = read(files["t1.jpg"], limits, long_side=160)
    large = frame.at_least(0.2)
    assert frame.at_least(0.2).image is large.image
    assert large.at_least(1.0).image is frame.at_least(3.0).image
    pixels = weakref.ref(large.image)
    gc.disable()
    try:
        del frame, large
        assert pixels() is None
    finally:
        gc.enable()


def test_a_small_image_is_never_reduced(limits: ImageLimits) -> None:
    for side in range(1, 12):
        data = encode(np.full((side, side + 1, 3), 200, dtype=np.uint8), "JPEG")
        _, (frame,) = read(data, limits, long_side=640)
        assert frame.image.shape == (side, side + 1, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_one_pixel_is_an_image(kind: str, limits: ImageLimits) -> None:
    assert pixels(encode(np.full((1, 1, 3), 255, dtype=np.uint8), kind), limits).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_grey_images_become_rgb(kind: str, photographs: dict[str, UInt8], limits: ImageLimits) -> None:
    grey = photographs["chelsea.png"][:, :, 1]
    result = pixels(encode(grey, kind, **({"lossless": True} if kind == "WEBP" else {})), limits)
    assert np.array_equal(result[..., 0], result[..., 2])
    assert np.abs(result[..., 0].astype(int) - grey).mean() < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(mode: str, limits: ImageLimits) -> None:
    layered = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    layered.paste((0, 0, 0, 255), (0, 0, 2, 2))
    buffer = io.BytesIO()
    layered.convert(mode).save(buffer, format="PNG", **({"transparency": 0} if mode == "P" else {}))
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGBA"))
    result = pixels(buffer.getvalue(), limits)
    assert np.array_equal(result, np.where(expected[..., 3:] == 0, 255, expected[..., :3]))
    assert result.max() == 255
    assert mode == "P" or result.min() == 0


def test_half_transparency_mixes_with_white(limits: ImageLimits) -> None:
    data = encode(np.array([[[0, 100, 200, 128]]], dtype=np.uint8), "PNG")
    assert pixels(data, limits)[0, 0].tolist() == [127, 177, 227]


def test_a_transparent_colour_of_an_rgb_png_is_laid_over_white(limits: ImageLimits) -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    assert pixels(encode(image, "PNG", transparency=(1, 2, 3)), limits)[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_sixteen_bit_grey_keeps_its_upper_byte(limits: ImageLimits) -> None:
    wide = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    assert pixels(encode(wide, "PNG"), limits)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_one_bit_png_is_black_and_white(limits: ImageLimits) -> None:
    assert pixels(encode(np.array([[True, False]]), "PNG"), limits)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("colour", [(255, 0, 0), (20, 200, 90), (0, 0, 0), (255, 255, 255)])
def test_cmyk_jpeg_has_the_right_colours(colour: tuple[int, int, int], limits: ImageLimits) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).convert("CMYK").save(buffer, format="JPEG", quality=95)
    result = pixels(buffer.getvalue(), limits)
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.abs(result.astype(int) - expected).max() <= 2
    assert np.abs(result.astype(int) - colour).max() <= 8


def test_text_and_profiles_in_a_png_do_not_reach_the_decoder(limits: ImageLimits) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("parameters", "x" * 3_000_000, zip=True)  # more than Pillow would inflate
    image = np.full((4, 4, 3), 9, dtype=np.uint8)
    assert np.array_equal(pixels(encode(image, "PNG", pnginfo=notes, icc_profile=b"nonsense"), limits), image)


def animation(kind: str, count: int, size: tuple[int, int] = (16, 12)) -> bytes:
    """``count`` frames whose grey level is ten times their number."""
    frames = [Image.new("RGB", size, (10 * at,) * 3) for at in range(count)]
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:], duration=40, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_sampled_by_time_and_by_change_with_first_and_last(kind: str, limits: ImageLimits) -> None:
    decoded, frames = read(animation(kind, 22), replace(limits, max_frames=4))
    assert (decoded.frames_total, decoded.planned) == (22, 4)
    assert [frame.index for frame in frames] == [0, 5, 11, 21]  # 0 and 11 by time, and half the way to what is left
    assert [int(frame.image[5, 5, 0]) for frame in frames] == [0, 50, 110, 210]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.2, 0.44, 0.84])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_short_animations_are_looked_at_in_full(kind: str, limits: ImageLimits) -> None:
    decoded, frames = read(animation(kind, 3), limits)
    assert (decoded.frames_total, [frame.index for frame in frames]) == (3, [0, 1, 2])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_may_touch_only_so_many_pixels_skipped_frames_included(kind: str, limits: ImageLimits) -> None:
    data = animation(kind, 20)
    tight = replace(limits, max_frames=2, max_animation_pixels=20 * 16 * 12)
    assert len(read(data, tight)[1]) == 2
    with pytest.raises(UnscannableError, match="too_many_pixels"):
        decode(data, limits=replace(tight, max_animation_pixels=20 * 16 * 12 - 1), long_side=FULL)


def test_frames_are_decoded_one_at_a_time(limits: ImageLimits) -> None:
    decoded = decode(animation("GIF", 5), limits=limits, long_side=FULL)
    assert next(decoded.frames).index == 0
    assert next(decoded.frames).index == 1


@pytest.mark.parametrize(("total", "at_most"), [(1, 1), (5, 8), (9, 8), (100, 8), (100, 1), (7, 2), (3, 3)])
def test_samples_are_distinct_ordered_and_no_more_than_asked(total: int, at_most: int) -> None:
    indices = sample(total, at_most=at_most)
    assert indices == sorted(set(indices))
    assert len(indices) == min(total, at_most)
    assert indices[0] == 0
    assert indices[-1] == (total - 1 if at_most > 1 else 0)


def test_upright_undoes_every_orientation(photographs: dict[str, UInt8]) -> None:
    image = photographs["chelsea.png"]
    for orientation in range(1, 9):
        assert np.array_equal(upright(oriented(image, orientation), orientation), image)


@pytest.mark.parametrize("parts", [[b""], [b"\1\2first"], [b"\1\1one", b"\1\1again"], [b"\2\2second"], [b"\1\1"]])
def test_a_profile_with_gaps_is_done_without_as_viewers_do(parts: list[bytes], limits: ImageLimits) -> None:
    plain = encode(np.random.default_rng(3).integers(0, 255, (40, 56, 3), dtype=np.uint8), "JPEG")
    segments = b"".join(b"\xff\xe2" + (len(part) + 14).to_bytes(2, "big") + b"ICC_PROFILE\0" + part for part in parts)
    odd = plain[:2] + segments + plain[2:]
    expected, found = (next(decode(data, limits=limits, long_side=0).frames) for data in (plain, odd))
    assert np.array_equal(expected.image, found.image)
