"""Decoding: whatever the bytes are, the answer is an image or a fixed word (I9)."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings.errors import UnscannableError
from embeddings.images.account import MAX_BLOCKS
from embeddings.images.containers import exif_orientation, inspect
from embeddings.images.damage import DAMAGE
from embeddings.images.decode import decode
from embeddings.images.faults import decoder_errors
from embeddings.images.jpeg import MAX_SCANS
from embeddings.images.look_names import FIRST
from embeddings.images.png import MAGIC, _filling, _passes, raw_size, read_chunks
from embeddings.types import ImageLimits
from tests.embeddings.conftest import chunk, encode
from tests.embeddings.test_images import animation
from tests.examples import examples

LIMITS = ImageLimits(
    max_bytes=2**22,
    max_pixels=1_000_000,
    max_frames=4,
    max_animation_pixels=4_000_000,
    max_video_seconds=60.0,
    max_video_pixels=2**28,
    max_decode_bytes=1280 * 2**20,
)
REASONS = {"empty", "format", "too_large", "too_many_pixels", "too_much_memory", "too_complex", "truncated", "corrupt"}
OTHER_MAGIC = (b"BM\x40\0\0\0\0\0\0\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"\0\0\1\0\1\0", b"\0\0\0\x20ftypavif")
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "PROGRESSIVE", "APNG", "ANIMATED WEBP", "ANIMATED GIF")


def outcome(data: bytes, limits: ImageLimits = LIMITS) -> str:
    """``ok``, ``damaged:`` with its reasons, or one of ``REASONS``; anything but an :class:`UnscannableError` fails the
    test."""
    try:
        image = decode(data, limits=limits, long_side=40)
        damage, indices = set[str](), set[int]()
        for frame in image.frames:
            assert frame.image.dtype == np.uint8
            assert frame.image.shape[2:] == (3,)
            damage.update(frame.damage)
            indices.add(frame.index)
    except UnscannableError as error:
        return error.reason
    assert damage <= set(DAMAGE)
    if len(indices) < image.planned:
        damage.add("truncated")
    return "damaged:" + ",".join(sorted(damage)) if damage else "ok"


def photograph(side: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    noise = np.random.default_rng(5).integers(0, 60, (side, side, 3))
    return (np.stack([rows * 2, columns * 3, rows + columns], axis=2) % 190 + noise).astype(np.uint8)


def sample_file(kind: str) -> bytes:
    if kind == "APNG" or kind.startswith("ANIMATED"):
        return animation("PNG" if kind == "APNG" else kind.split()[1], 6)
    options: dict[str, object] = {"progressive": True} if kind == "PROGRESSIVE" else {}
    return encode(photograph(), "JPEG" if kind == "PROGRESSIVE" else kind, **options)


def png(*chunks: bytes) -> bytes:
    return MAGIC + b"".join(chunks)


def ihdr(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


IDAT = chunk(b"IDAT", zlib.compress(b"\0" * 4))
IEND = chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused_or_said_to_be_damaged(kind: str) -> None:
    data = sample_file(kind)
    assert outcome(data) == "ok"
    lengths = {*range(24), *range(24, len(data), max(1, len(data) // 150)), *range(len(data) - 12, len(data))}
    outcomes = [outcome(data[:length]) for length in sorted(lengths)]
    shown = [found.startswith("damaged:") for found in outcomes]
    assert shown == sorted(shown)  # from some length on something is shown
    assert shown.count(True) > 50
    for length, found in zip(sorted(lengths), outcomes, strict=True):
        if found.startswith("damaged:"):
            assert set(found.removeprefix("damaged:").split(",")) <= {"truncated", "no_end", "length"}
        else:
            assert found == "truncated" if length >= 20 else found in ("empty", "format", "truncated")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"x", "format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format"),
        (b"%PDF-1.7", "format"),
        (b"II*\0\x08\0\0\0", "truncated"),
        (b"II*\0\0\0\0\0", "corrupt"),
        (b"BM" + bytes(60), "corrupt"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "format"),
        (b"\0\0\0\x1cftypavif", "truncated"),
        (b"\0\0\1\0\0\0\0\0\0\0", "format"),  # the length of a model file's header
        (b"\0\0\1\0\1\0\0\0\0\0\0\0\0\0", "corrupt"),
        (bytes(5_000_000), "too_large"),
        (png(ihdr(100_000, 100_000)), "too_many_pixels"),
        (png(ihdr(2**31, 2**31), IDAT, IEND), "too_many_pixels"),
        (png(ihdr(0, 5), IDAT, IEND), "corrupt"),
        (png(ihdr(1, 1), IEND), "corrupt"),
        (png(ihdr(1, 1), IDAT), "damaged:no_end"),
        (png(ihdr(1, 1), IDAT, IEND), "ok"),
        (png(ihdr(1, 1), IDAT, IEND + b"more"), "damaged:trailing_bytes"),
        (png(IDAT, ihdr(1, 1), IEND), "corrupt"),
        (png(ihdr(1, 1), ihdr(60_000, 60_000), IDAT, IEND), "corrupt"),
        (png(ihdr(900, 900), IDAT, IEND), "truncated"),
        (png(ihdr(1, 1), chunk(b"IDAT", b"not zlib at all"), IEND), "corrupt"),
        (
            png(ihdr(1, 1), chunk(b"acTL", struct.pack(">II", 9, 0)), IDAT, IEND),
            "ok",
        ),  # no frame of it, so no animation
        (png(ihdr(1, 1), chunk(b"acTL", struct.pack(">II", 0, 0)), IDAT, IEND), "ok"),
        (b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";", "too_many_pixels"),
        (b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0) + b";", "corrupt"),
        (b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0) + b"?", "truncated"),
        (b"\xff\xd8\xff\xd9", "corrupt"),
        (b"\xff\xd8\xff\xe0\0\0", "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_crafted_files_are_answered_with_the_right_word(data: bytes, reason: str) -> None:
    assert outcome(data) == reason


def test_a_size_in_the_header_is_refused_before_pixels_are_decoded() -> None:
    tiny = replace(LIMITS, max_pixels=48 * 48 - 1)
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        data = sample_file(kind)
        with pytest.raises(UnscannableError, match="too_many_pixels"):
            decode(data, limits=tiny, long_side=40)
        assert outcome(data, replace(tiny, max_pixels=48 * 48)) == "ok"


def test_a_webp_that_claims_a_huge_canvas_is_refused() -> None:
    data = bytearray(sample_file("ANIMATED WEBP"))
    at = data.index(b"VP8X") + 8
    data[at + 4 : at + 10] = b"\xff\x3f\0\xff\x3f\0"
    assert outcome(bytes(data)) == "too_many_pixels"


def test_a_gif_frame_outside_its_screen_counts_towards_the_limit() -> None:
    data = bytearray(sample_file("GIF"))
    at = data.index(b"\x2c", 13 + 3 * 256)
    data[at + 1 : at + 5] = struct.pack("<HH", 60_000, 60_000)
    assert outcome(bytes(data)) == "too_many_pixels"


def test_a_gif_bomb_of_many_frames_is_refused_by_its_header() -> None:
    data = sample_file("GIF")
    at = data.index(b"\x2c", 13 + 3 * 256)
    bomb = data[:at] + data[at:-1] * 2000 + b";"
    assert outcome(bomb, replace(LIMITS, max_bytes=2**26)) == "too_many_pixels"


def test_absurd_numbers_of_blocks_and_scans_are_refused() -> None:
    wide = replace(LIMITS, max_bytes=2**27)
    header = b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0)
    assert outcome(header + b"!\xfe\0" * (MAX_BLOCKS + 1) + b";", wide) == "too_complex"
    assert outcome(header + b"!\xfe" + b"\x01x" * (MAX_BLOCKS + 1) + b"\0;", wide) == "too_complex"
    assert outcome(png(ihdr(1, 1), chunk(b"tEXt", b"") * (MAX_BLOCKS + 1), IDAT, IEND), wide) == "too_complex"
    assert outcome(b"\xff\xd8" + b"\xff\xe5\0\x02" * (MAX_BLOCKS + 1), wide) == "too_complex"
    jpeg = sample_file("JPEG")
    at = jpeg.index(b"\xff\xda")
    assert outcome(jpeg[:at] + jpeg[at:-2] * (MAX_SCANS + 1) + b"\xff\xd9") == "too_complex"


@pytest.mark.parametrize("kind", ["PNG", "APNG"])
def test_a_png_whose_pixels_are_broken_from_the_start_is_refused(kind: str) -> None:
    data = bytearray(sample_file(kind))
    data[data.index(b"IDAT") + 4] ^= 0xFF
    assert outcome(bytes(data)) == "corrupt"


def test_a_jpeg_that_the_decoder_warns_about_is_shown_and_said_to_be_damaged() -> None:
    data = bytearray(encode(photograph(256), "JPEG", quality=95))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    assert outcome(bytes(data)) == "damaged:corrupt"


def test_a_png_whose_compressed_data_ends_early_is_shown_as_far_as_it_goes() -> None:
    rows = zlib.compress(b"\0" * (3 * 8 + 1) * 4)
    data = png(ihdr(8, 8), chunk(b"IDAT", rows), IEND)
    image = decode(data, limits=LIMITS, long_side=40)
    (frame,) = image.frames
    assert frame.damage == ("truncated",)
    assert frame.image[:4].max() == 0
    assert frame.image[4:].min() == 255


def filling_row_by_row(header: bytes, at: int, count: int) -> bytes:
    """What ``count`` bytes of unfiltered rows from byte ``at`` on are, made from all of them."""
    value = b"\xff" if header[9] in (0, 2) else b"\0"
    return b"".join((b"\0" + value * size) * rows for rows, size in _passes(header))[at : at + count]


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([(1, 0), (8, 0), (8, 2), (4, 3), (16, 4), (8, 6)]),
    st.integers(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(max_examples=examples(200))
def test_what_is_missing_of_a_png_is_filled_as_whole_rows_would_be(
    width: int, height: int, kind: tuple[int, int], interlaced: int, begin: float, share: float
) -> None:
    header = struct.pack(">IIBBBBB", width, height, *kind, 0, 0, interlaced)
    at = round(begin * raw_size(header))
    count = round(share * (raw_size(header) - at))
    assert b"".join(_filling(header, at, count)) == filling_row_by_row(header, at, count)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_the_height_of_a_png_does_not_decide_in_how_many_pieces_it_is_filled(interlaced: int) -> None:
    header = struct.pack(">IIBBBBB", 1, 40_000_000, 8, 0, 0, 0, interlaced)
    assert 0 < sum(1 for _ in _filling(header, 10, raw_size(header) - 10)) < 200
    assert len(list(_filling(header, 11, 5))) == 2  # the end of a row, and the beginning of the next


@pytest.mark.parametrize("claimed", [4_000_000, 10_000_000, 0xFFFFFFF0])
def test_a_webp_is_filled_as_far_as_its_size_may_take_whatever_length_it_claims(claimed: int) -> None:
    data = bytearray(sample_file("WEBP") + bytes(100_000))
    struct.pack_into("<I", data, 16, claimed)
    container = inspect(bytes(data), max_pixels=LIMITS.max_pixels)
    assert len(container.pixels) < 2**21
    assert outcome(bytes(data)).startswith("damaged:")


def test_a_zip_bomb_in_a_png_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(400_000_000))
    assert outcome(png(ihdr(1, 1), chunk(b"IDAT", bomb), IEND)) == "ok"  # one pixel is taken, the rest left alone


def test_an_apng_ends_before_the_first_frame_that_lacks_rows() -> None:
    data = sample_file("APNG")
    at = data.index(b"fdAT") - 4
    (length,) = struct.unpack_from(">I", data, at)
    short = chunk(b"fdAT", data[at + 8 : at + 12] + zlib.compress(b"\0" * 5))
    mended = data[:at] + short + data[at + 12 + length :]
    assert [frame.index for frame in decode(mended, limits=LIMITS, long_side=40).frames] == [0]
    assert outcome(mended) == "damaged:truncated"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 17), (640, 3)])
def test_the_raw_size_of_a_png_is_what_its_stream_holds(mode: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format="PNG")
    chunks = [body for kind, body in read_chunks(buffer.getvalue(), []) if kind == b"IDAT"]
    raw = zlib.decompress(b"".join(bytes(body[8:-4]) for body in chunks))
    assert raw_size(buffer.getvalue()[16:29]) == len(raw)


def test_an_interlaced_png_is_read() -> None:
    # Seven passes of an 8x8 grey image: 1, 1, 2, 4, 8, 16 and 32 pixels in rows of 1, 1, 2, 2, 4, 4 and 8.
    rows = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)]
    raw = b"".join((b"\0" + b"\x64" * width) * count for count, width in rows)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    assert raw_size(header) == len(raw)
    data = png(chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), IEND)
    (frame,) = decode(data, limits=LIMITS, long_side=40).frames
    assert np.unique(frame.image).tolist() == [100]
    short = png(chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw[:-30])), IEND)
    (frame,) = decode(short, limits=LIMITS, long_side=40).frames
    assert np.unique(frame.image).tolist() == [100]  # the last pass is missing; what came before it fills its places
    assert outcome(short) == "damaged:truncated"


OTHER_KINDS = ("AVIF", "ICO", "BMP", "TIFF", "TIFF LZW", "PAGES")


def other_file(kind: str) -> bytes:
    if kind == "PAGES":
        pages, buffer = [Image.fromarray(photograph(side)) for side in (32, 20, 48)], io.BytesIO()
        pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:])
        return buffer.getvalue()
    options: dict[str, object] = {"sizes": [(32, 32), (16, 16)]} if kind == "ICO" else {}
    if kind == "TIFF LZW":
        options = {"compression": "tiff_lzw"}
    return encode(photograph(), kind.split()[0], **options)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_formats_are_read(kind: str) -> None:
    frames = list(decode(other_file(kind), limits=LIMITS, long_side=40).frames)
    assert [frame.index for frame in frames] == list(range({"ICO": 2, "PAGES": 3}.get(kind, 1)))
    assert len({frame.image.shape for frame in frames}) == 1
    assert outcome(other_file(kind)) == "ok"


def test_a_page_smaller_than_others_lies_on_white() -> None:
    frames = list(decode(other_file("PAGES"), limits=LIMITS, long_side=40).frames)
    assert np.array_equal(frames[1].image[:20, :20], photograph(20))
    assert frames[1].image[20:].min() == 255


def test_pages_behind_broken_ones_are_looked_at_as_what_they_are() -> None:
    """Of forty pages, each lighter than the one before, the second to the twenty-first cannot be decoded."""
    pages, buffer = [Image.fromarray(np.full((24, 24, 3), 6 * at, dtype=np.uint8)) for at in range(40)], io.BytesIO()
    pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:])
    data = bytearray(buffer.getvalue())
    (at,) = struct.unpack_from("<I", data, 4)
    for page in range(40):
        (count,) = struct.unpack_from("<H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if 1 <= page <= 20 and struct.unpack_from("<H", data, entry) == (259,):  # its compression is none there is
                struct.pack_into("<H", data, entry + 8, 9999)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
    image = decode(bytes(data), limits=LIMITS, long_side=40)
    frames = [frame for frame in image.frames if frame.look == FIRST]
    assert len(frames) == LIMITS.max_frames == image.planned
    assert frames[0].index == 0
    assert all(20 < frame.index < 40 for frame in frames[1:])
    assert [frame.index for frame in frames] == [int(frame.image[0, 0, 0]) // 6 for frame in frames]
    assert "corrupt" in frames[-1].damage


def test_a_chain_of_tiff_pages_without_end_is_walked_once() -> None:
    data = bytearray(other_file("TIFF"))
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * count, at)
    assert outcome(bytes(data)) == "ok"


@pytest.mark.parametrize("kind", [*KINDS, *OTHER_KINDS])
@settings(max_examples=examples(150))
@given(data=st.data())
def test_damaged_files_never_raise_anything_else(kind: str, data: st.DataObject) -> None:
    original = bytearray(other_file(kind) if kind in OTHER_KINDS else sample_file(kind))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(original) - 1))
        choice = data.draw(st.sampled_from(["flip", "cut", "repeat", "fill"]))
        length = data.draw(st.integers(1, 40))
        if choice == "flip":
            original[at] ^= data.draw(st.integers(1, 255))
        elif choice == "cut":
            del original[at : at + length]
            original = original or bytearray(b"\0")
        elif choice == "repeat":
            original[at:at] = original[at : at + length]
        else:
            original[at : at + length] = bytes([data.draw(st.sampled_from([0, 0x7F, 0xFF]))]) * length
    found = outcome(bytes(original))
    assert found in REASONS | {"ok"} or found.startswith("damaged:")


@settings(max_examples=examples(300))
@given(
    magic=st.sampled_from([b"", b"\xff\xd8\xff", MAGIC, b"RIFF\x40\0\0\0WEBPVP8X", b"GIF89a", *OTHER_MAGIC]),
    rest=st.binary(max_size=200),
)
def test_random_bytes_never_raise_anything_else(magic: bytes, rest: bytes) -> None:
    found = outcome(magic + rest)
    assert found in REASONS or found.startswith("damaged:")


@given(tiff=st.binary(max_size=80), order=st.sampled_from([b"II*\0", b"MM\0*"]))
def test_any_exif_block_gives_an_orientation(tiff: bytes, order: bytes) -> None:
    assert 1 <= exif_orientation(order + tiff) <= 8


@pytest.mark.parametrize(
    "error",
    [OSError, EOFError, SyntaxError, ValueError, IndexError, OverflowError, struct.error, zlib.error],
)
def test_what_a_codec_raises_becomes_an_items_own_fault(error: type[Exception]) -> None:
    with pytest.raises(UnscannableError), decoder_errors():
        raise error


def test_a_bug_is_not_taken_for_a_bad_image() -> None:
    with pytest.raises(ZeroDivisionError), decoder_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_warns_and_threads_do_not_disturb_each_other(kind: str) -> None:
    good, bad = sample_file(kind), sample_file(kind)[:-40]
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(outcome, [good, bad] * 40))
    assert set(results[::2]) == {"ok"}
    assert len(set(results[1::2])) == 1
    assert "truncated" in results[1]
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_the_header_is_read_the_same_as_pillow_reads_it() -> None:
    for kind in KINDS:
        data = sample_file(kind)
        image = Image.open(io.BytesIO(data))
        container = inspect(data, max_pixels=10**6)
        assert container.frames == getattr(image, "n_frames", 1)
        assert container.format == "jpeg" or (container.width, container.height) == image.size


def test_the_default_image_of_an_apng_is_a_frame_of_its_own() -> None:
    first, *others = [Image.new("RGB", (9, 7), (40 * at,) * 3) for at in range(4)]
    buffer = io.BytesIO()
    first.save(buffer, format="PNG", save_all=True, append_images=others, default_image=True)
    frames = list(decode(buffer.getvalue(), limits=LIMITS, long_side=40).frames)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 40, 80, 120]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_end_are_noted_and_do_not_matter(kind: str) -> None:
    assert outcome(sample_file(kind) + b"trailing" + bytes(1000)) == "damaged:trailing_bytes"
    assert outcome(sample_file(kind) + bytes(1000)) == "ok"
