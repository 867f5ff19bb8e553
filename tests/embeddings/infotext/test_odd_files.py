"""Files that no generator writes: what is odd about them costs nothing that is beside it, and is said where it does."""

from __future__ import annotations

import pytest

from tests.embeddings.infotext_files import (
    XMP_HEAD,
    jpeg_with,
    read,
    texts_at,
    xmp,
)


@pytest.mark.parametrize("encoding", ["foo", "rot13", "zlib_codec", "koi8-r", "windows-1252", "utf-16"])
def test_an_encoding_that_a_packet_claims_is_not_looked_up(encoding: str) -> None:
    packet = f'<?xml version="1.0" encoding="{encoding}"?>' + xmp("<dc:title>Zoë Łukasz</dc:title>")
    found = read(jpeg_with((0xE1, XMP_HEAD + packet.encode())))
    assert texts_at(found, "caption") == ["Zoë Łukasz"]
    assert found.problem is None
