"""A confined process reads of a picture what this one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from embeddings.errors import UnscannableError
from embeddings.images.several import MAGIC, together
from pipelines.home.sandbox import infotext_reader_for
from pipelines.settings.config import Config
from tests.embeddings.infotext.test_hostile import samples
from tests.embeddings.infotext.test_read import in_every_file
from tests.embeddings.infotext_files import (
    LIMITS,
    PARAMETERS,
    XMP_HEAD,
    exif_block,
    jpeg_with,
    png_of,
    read,
    with_exif,
    xmp,
)


def files() -> Iterator[tuple[str, bytes]]:
    yield from in_every_file().items()
    yield from ((f"sample {number}", data) for number, data in enumerate(samples()))
    packet = '<?xml version="1.0" encoding="koi8-r"?>' + xmp("<dc:title>Jane Doe</dc:title>")
    yield "XMP that claims an encoding", jpeg_with((0xE1, XMP_HEAD + packet.encode()))
    yield "several", together([png_of({"parameters": PARAMETERS}), with_exif("JPEG", exif_block(b"Jane Doe"))])
    yield "several that are none", MAGIC
    yield "JIS", with_exif("JPEG", exif_block(b"JIS\0\0\0\0\0" + "桜の写真\nSteps: 2".encode("iso2022_jp")))


def test_i9_a_confined_process_reads_the_same() -> None:
    reader = infotext_reader_for(Config())
    for name, data in files():
        assert reader(data, limits=LIMITS) == read(data), name


def test_what_it_cannot_have_read_is_refused() -> None:
    from embeddings.sandbox.infotext import _digits, _text

    for place, text in (("title", "x"), (None, "x"), ("infotext:prompt", None), ("infotext:prompt", "x" * 50_000)):
        with pytest.raises(UnscannableError):
            _text(place, text, LIMITS)
    for digits in ("", "x", "a" * 19, None, 7):
        with pytest.raises(UnscannableError):
            _digits(digits, "0123456789abcdef")
