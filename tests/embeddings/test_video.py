"""Videos and long animations: frames by time and by change, with their times, within caps."""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.errors import UnscannableError
from embeddings.faces.find import scan
from embeddings.images.decode import decode
from embeddings.images.sampling import Sampled, choose
from embeddings.images.video import last_key
from embeddings.models.load import FaceModels
from embeddings.types import ImageLimits
from tests.embeddings import odd_files

FPS = 25


def video(kind: str, count: int, faces: Collection[int], *, codec: str, keys: int = 12) -> bytes:
    """Grey frames, and the portrait at the positions ``faces``."""
    av = pytest.importorskip("av", reason="needs the extra `video`")
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        stream.gop_size = keys
        for at in range(count):
            plain = np.full((256, 256, 3), 90 + at % 20, dtype=np.uint8)
            image = odd_files.portrait() if at in faces else plain
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("webm", "libvpx")])
def test_a_face_in_one_late_frame_of_a_video_is_found_with_its_time(
    kind: str, codec: str, models: FaceModels, limits: ImageLimits
) -> None:
    data = video(kind, 300, {277}, codec=codec)
    found = scan(data, models, limits=limits)
    assert (found.format, found.frames, found.frames_total, found.damage) == (kind, 8, 300, None)
    assert (found.width, found.height) == (256, 256)
    assert found.frame == (277,)
    assert found.seconds == pytest.approx((277 / FPS,), abs=0.001)


def test_of_a_video_that_is_too_much_to_decode_key_frames_are_looked_at(limits: ImageLimits) -> None:
    data = video("mp4", 120, {60}, codec="libx264")
    frames = list(decode(data, limits=replace(limits, max_video_pixels=1), long_side=640).frames)
    assert 60 in [frame.index for frame in frames]  # the twelfth key frame but one
    assert all(frame.seconds == pytest.approx(frame.index / FPS, abs=0.001) for frame in frames)


def test_of_a_long_video_the_beginning_is_looked_at(limits: ImageLimits) -> None:
    image = decode(video("mp4", 120, (), codec="libx264"), limits=replace(limits, max_video_seconds=1.0), long_side=640)
    assert image.frames_total == 120
    assert max(frame.index for frame in image.frames) <= FPS


@pytest.mark.parametrize("claimed", [2**31, 0xF0000000])
def test_frames_that_an_mp4_claims_and_has_not_are_counted_within_what_a_column_holds(
    claimed: int, limits: ImageLimits
) -> None:
    data = bytearray(video("mp4", 20, (), codec="libx264"))
    struct.pack_into(">I", data, data.index(b"stts") + 12, claimed)  # of the first entry: how many frames
    image = decode(bytes(data), limits=limits, long_side=640)
    assert len(list(image.frames)) > 0
    assert 20 <= image.frames_total <= 300_000


class Counted(list[int]):
    """Rising numbers that count how often one is looked at."""

    looked_at = 0

    def __getitem__(self, at: Any) -> Any:
        self.looked_at += 1
        return super().__getitem__(at)

    def __iter__(self) -> Iterator[int]:
        for value in super().__iter__():
            self.looked_at += 1
            yield value


def test_the_key_frame_before_another_is_found_without_looking_at_all_of_them() -> None:
    keys = Counted(range(3, 300_000, 3))
    assert [last_key(keys, at) for at in (0, 2, 3, 4, 150_001, 299_999)] == [0, 0, 3, 3, 150_000, 299_997]
    assert keys.looked_at < 200


def test_a_video_that_ends_early_is_looked_at_as_far_as_it_goes(limits: ImageLimits) -> None:
    data = video("webm", 120, (), codec="libvpx")
    frames = list(decode(data[: len(data) // 2], limits=limits, long_side=640).frames)
    assert 0 < frames[-1].index < 119
    with pytest.raises(UnscannableError):
        list(decode(data[:200], limits=limits, long_side=640).frames)


def test_a_video_of_too_large_frames_is_refused(limits: ImageLimits) -> None:
    data = video("mp4", 5, (), codec="libx264")
    for tight in (replace(limits, max_pixels=256 * 255), replace(limits, max_decode_bytes=10_000)):
        with pytest.raises(UnscannableError, match="too_m"):
            decode(data, limits=tight, long_side=640)


def test_without_the_extra_a_video_says_so(limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UnscannableError, match="no_video_decoder"):
        decode(b"\0\0\0\x20ftypisom" + bytes(40), limits=limits, long_side=640)


def test_without_the_extra_heic_says_so(limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pi_heif", None)
    with pytest.raises(UnscannableError, match="no_heic_decoder"):
        decode(b"\0\0\0\x20ftypheic" + bytes(40), limits=limits, long_side=640)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize(("face", "duration"), [(100, 30_000), (143, 20)])
def test_a_face_between_the_samples_of_an_animation_is_found_with_its_time(
    kind: str, face: int, duration: int, models: FaceModels, limits: ImageLimits
) -> None:
    plain = [np.full((256, 256, 3), 60 + at % 50, dtype=np.uint8) for at in range(150)]
    pictures = [Image.fromarray(odd_files.portrait() if at == face else image) for at, image in enumerate(plain)]
    file = io.BytesIO()
    times = [duration if at == face else 40 for at in range(150)]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(file, format=kind, save_all=True, append_images=pictures[1:], duration=times, **lossless)
    found = scan(file.getvalue(), models, limits=limits)
    assert (found.frame, found.frames, found.frames_total) == ((face,), 8, 150)
    assert found.seconds == pytest.approx((face * 0.04,), abs=0.001)


def test_frames_are_chosen_by_time_and_then_by_what_differs_most() -> None:
    plain = np.zeros(12, dtype=np.uint8)
    frames = [Sampled(float(at), np.full(12, 200 if at == 61 else 0, dtype=np.uint8)) for at in range(100)]
    assert choose(frames, at_most=5) == [0, 33, 61, 66, 99]
    slow = [Sampled(at * 0.01 + (1000 if at > 40 else 0), plain) for at in range(100)]
    assert 40 in choose(slow, at_most=5)
    assert choose(frames[:5], at_most=5) == [0, 1, 2, 3, 4]
    assert choose(frames, at_most=1) == [0]
    assert len(choose([Sampled(0.0, plain)] * 50, at_most=7)) == 7
