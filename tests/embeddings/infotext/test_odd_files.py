"""Files that no generator writes: what is odd about them costs nothing that is beside it, and is said where it does."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest

from embeddings.images.several import MAGIC, together
from embeddings.infotext.carriers import raw_fields
from embeddings.infotext.fields import MOST_NAMED, Budget
from tests.embeddings.infotext_files import (
    LIMITS,
    XMP_HEAD,
    chunk,
    exif_block,
    jpeg_with,
    png,
    png_of,
    read,
    stealth_png,
    texts_at,
    with_exif,
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


def test_no_more_model_files_are_kept_than_the_bound_says_and_the_rest_is_said() -> None:
    texts = {
        f"caption {n}": " ".join(f"urn:air:sdxl:lora:civitai:1@{1000 * n + m}" for m in range(100)) for n in (1, 2)
    }
    found = read(png_of(texts))
    assert len(found.versions) == MOST_NAMED
    assert found.problem == "too_complex"
    hashes = read(png_of({"parameters": {"hashes": {str(n): f"{n:010x}" for n in range(129)}}}))
    assert (len(hashes.hashes), hashes.problem) == (MOST_NAMED, "too_complex")
    twice = read(png_of({"a": "urn:air:sdxl:lora:civitai:1@5", "b": "the urn:air:sdxl:lora:civitai:1@5"}))
    assert (twice.versions, twice.problem) == (("5",), None)


def test_several_pictures_in_one_content_are_all_read_under_one_bound() -> None:
    first, second = png_of({"parameters": "photo of Jane Doe\nSteps: 2"}), jpeg_with((0xFE, b"Mary Roe at home"))
    found = read(together([first, second]))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert texts_at(found, "caption") == ["Mary Roe at home"]
    assert read(together([first, second]), replace(LIMITS, max_bytes=40)).problem == "too_large"
    hidden = stealth_png("photo of Jane Doe\nSteps: 2", signature=b"stealth_pnginfo")
    other = stealth_png("photo of Mary Roe\nSteps: 2", signature=b"stealth_pnginfo")
    both = together([hidden, other])
    assert texts_at(read(both), "prompt") == ["photo of Jane Doe", "photo of Mary Roe"]
    bounded = read(both, replace(LIMITS, max_pixels=64 * 96))
    assert (texts_at(bounded, "prompt"), bounded.problem) == (["photo of Jane Doe"], "too_large")


def test_what_was_run_in_one_picture_says_nothing_of_another() -> None:
    run = png_of({"prompt": {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "Jane"}}}})
    drawn = {"id": 1, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["Mary"]}
    found = read(together([run, png_of({"workflow": {"nodes": [drawn], "links": []}})]))
    assert texts_at(found, "prompt") == ["Jane", "Mary"]


def test_several_pictures_that_are_none_are_a_problem() -> None:
    assert read(MAGIC).problem == "empty"
    assert read(MAGIC + b"\xff" * 8).problem == "corrupt"


def avif_of(block: bytes, times: int) -> bytes:
    """An AVIF of so many Exif items that are all one block of the file."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, kind) + body

    entries = b"".join(box(b"infe", struct.pack(">IHH4s", 2 << 24, n, 0, b"Exif")) for n in range(times))
    body = struct.pack(">I", 0) + block
    type_box = box(b"ftyp", b"avif" + bytes(4) + b"avif")
    places = b"".join(struct.pack(">HHHII", n, 0, 1, len(type_box) + 8, len(body)) for n in range(times))
    iloc = box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, times) + places)
    iinf = box(b"iinf", struct.pack(">IH", 0, times) + entries)
    return type_box + box(b"mdat", body) + box(b"meta", bytes(4) + iinf + iloc)


def test_i9_a_block_that_is_read_again_and_again_is_charged_each_time_and_never_copied() -> None:
    large = exif_block(b"ASCII\0\0\0Jane Doe") + bytes(1 << 22)
    assert texts_at(read(avif_of(large, 1)), "caption") == ["Jane Doe"]
    entries = b"MM\0*" + struct.pack(">IH", 8, 500) + struct.pack(">HHII", 0x100, 4, 1, 0) * 500 + bytes(4 + (1 << 22))
    data = avif_of(entries, 300)
    budget = Budget(replace(LIMITS, max_bytes=1 << 20))
    tracemalloc.start()
    try:
        assert list(raw_fields(data, budget)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert budget.exceeded
    assert budget.left < 12
    assert peak < 1 << 18


def encoder(number: int, text: str) -> dict[str, object]:
    return {"id": number, "type": "CLIPTextEncode", "inputs": [], "widgets_values": [text]}


def test_what_was_run_of_an_inner_graph_is_told_by_the_node_that_it_stands_for() -> None:
    inner = {"id": "a-graph", "nodes": [encoder(1, "Mary"), encoder(2, "Jane")], "links": []}
    innermost = {"id": "another", "nodes": [encoder(1, "Eve"), encoder(2, "Ivy")], "links": []}
    inner["nodes"].append({"id": 3, "type": "another"})  # type: ignore[attr-defined]
    outer = {
        "nodes": [{"id": 1, "type": "a-graph"}, encoder(2, "Ann")],
        "links": [],
        "definitions": {"subgraphs": [inner, innermost]},
    }
    run = {
        number: {"class_type": "KSampler", "inputs": {}}  # what was run was given other texts, or none
        for number in ("1", "2", "1:1", "1:3:2", "7:2", "2:2", "1:3:2:1", "")
    }
    found = read(png_of({"prompt": run, "workflow": outer}))
    assert set(texts_at(found, "prompt")) == {"Jane", "Eve"}


@pytest.mark.parametrize("count", [499, 501])
def test_i1_settings_beyond_the_bound_are_said(count: int) -> None:
    text = "a street\nSteps: 2, " + ", ".join(f"Key {n}: Jane" for n in range(count))
    assert read(png_of({"parameters": text})).problem == (None if count < 500 else "too_complex")


def test_i1_items_and_entries_beyond_the_bound_are_said() -> None:
    block = exif_block(b"ASCII\0\0\0Jane Doe")
    assert read(avif_of(block, 4)).problem is None
    assert read(avif_of(block, 4097)).problem == "too_large"
    crowded = b"MM\0*" + struct.pack(">IH", 8, 513) + struct.pack(">HHII", 0x100, 4, 1, 0) * 513 + bytes(4)
    assert read(with_exif("PNG", crowded)).problem == "too_large"
    chained = b"MM\0*" + struct.pack(">IH", 8, 12)
    chained += b"".join(struct.pack(">HHII", 0x8769, 4, 1, 200 + 8 * n) for n in range(12)) + bytes(200)
    assert read(with_exif("PNG", chained)).problem == "too_large"
    assert read(png(*[chunk(b"none", b"")] * 300_001)).problem == "too_large"


def test_a_hidden_text_is_found_whatever_the_size_of_the_chunks() -> None:
    """Noise does not pack, so that the rows in which the signature stands are more than a piece."""
    text, width, height = "photo of Jane Doe\nSteps: 2", 1500, 128
    signature = np.frombuffer(b"stealth_pnginfo" + struct.pack(">I", len(text) * 8) + text.encode(), dtype=np.uint8)
    bits = np.unpackbits(signature)
    pixels = np.random.default_rng(1).integers(0, 256, (width, height, 4), dtype=np.uint8)
    alpha = pixels[:, :, 3].reshape(-1) & 254
    alpha[: len(bits)] |= bits
    pixels[:, :, 3] = alpha.reshape(width, height)
    rows = pixels.transpose(1, 0, 2).reshape(height, -1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    size = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size)
    for length in (len(body), 1 << 13):
        parts = [body[at : at + length] for at in range(0, len(body), length)]
        data = head + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")
        assert texts_at(read(data), "prompt") == ["photo of Jane Doe"]
