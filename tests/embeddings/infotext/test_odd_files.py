"""Files that no generator writes: what is odd about them costs nothing that is beside it, and is said where it does."""

from __future__ import annotations

import pytest

from tests.embeddings.infotext_files import (
    XMP_HEAD,
    jpeg_with,
    png_of,
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


def test_of_a_key_that_occurs_several_times_every_value_is_kept() -> None:
    found = read(png_of({"parameters": '{"prompt": "Jane", "prompt ": "Mary", "prompt": "Eve", "prompt  ": "Ivy"}'}))
    assert set(texts_at(found, "prompt")) == {"Jane", "Mary", "Eve", "Ivy"}
    hashes = read(png_of({"parameters": '{"hashes": {"model": "aaaaaaaaaa", "model": "bbbbbbbbbb"}}'}))
    assert hashes.hashes == ("aaaaaaaaaa", "bbbbbbbbbb")


def test_so_it_is_in_graphs_of_either_kind() -> None:
    run = (
        '{"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "Jane"}},'
        ' "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "Mary", "text": "Eve"}, "inputs": {"text": "Ivy"}}}'
    )
    assert set(texts_at(read(png_of({"prompt": run})), "prompt")) == {"Jane", "Mary", "Eve", "Ivy"}
    node = '{{"id": 1, "type": "CLIPTextEncode", "widgets_values": ["{}"], "widgets_values": ["{}"]}}'
    drawn = f'{{"nodes": [{node.format("Jane", "Mary")}, {node.format("Eve", "Ivy")}], "nodes": [], "links": []}}'
    assert set(texts_at(read(png_of({"workflow": drawn})), "prompt")) == {"Jane", "Mary", "Eve", "Ivy"}


def test_a_node_that_is_told_twice_stays_excluded() -> None:
    excluded = '"2": {"class_type": "CLIPTextEncode", "inputs": {"text": "Mary"}}'
    sampler = '"1": {"class_type": "KSampler", "inputs": {"negative": ["2", 0]}}'
    assert read(png_of({"prompt": f"{{{sampler}, {excluded}, {excluded}}}"})).texts == ()
