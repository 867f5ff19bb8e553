"""Whatever the bytes are, reading what a picture says ends soon, within the memory it may take, and never raises (I9).

Time is not asserted: work is counted instead, in bytes that are taken and in characters that are kept.
"""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.infotext.fields import PLACES
from tests.embeddings.infotext_files import (
    LIMITS,
    PARAMETERS,
    XMP_HEAD,
    chunk,
    comfy_prompt,
    exif_block,
    international_chunk,
    jpeg_with,
    packed_chunk,
    plain,
    png,
    png_of,
    read,
    stealth_png,
    text_chunk,
    with_exif,
    xmp,
)
from tests.examples import examples

SMALL = replace(LIMITS, max_bytes=1 << 20, max_chars=5000)


def _bombs() -> dict[str, Callable[[], bytes]]:
    """Files that ask for far more than they are, or hold far more than anybody reads."""
    million = "a" * 10_000_000
    return {
        "ten megabytes in a chunk": lambda: png(text_chunk("parameters", million)),
        "ten megabytes of calls": lambda: png(text_chunk("parameters", "<lora:" * 1_600_000)),
        "ten megabytes of settings": lambda: png(text_chunk("parameters", "x\nSteps: 1, " + "A: 1, " * 1_600_000)),
        "ten megabytes of open quotes": lambda: png(text_chunk("parameters", "x\nSteps: 1, A: " + '{"\\' * 3_000_000)),
        "ten megabytes of lines": lambda: png(text_chunk("parameters", "Negative prompt:\nSteps: 1\n" * 400_000)),
        "many packed megabytes": lambda: png(chunk(b"zTXt", b"parameters\0\0" + _zeros(1 << 26))),
        "many packed megabytes, again and again": lambda: png(*[chunk(b"zTXt", b"prompt\0\0" + _zeros(1 << 24))] * 4),
        "nested lists": lambda: png_of({"prompt": "[" * 5_000_000}),
        "nested objects": lambda: png_of({"prompt": '{"a":' * 900_000}),
        "many parts": lambda: png_of({"prompt": "[" + "[]," * 1_500_000 + "1]"}),
        "a key again and again": lambda: png_of({"prompt": "{" + '"a":1,' * 90_000 + '"b":"c"}'}),
        "JSON in JSON": lambda: png_of({"parameters": _nested(14)}),
        "many chunks": lambda: png(text_chunk("parameters", "Jane Doe") * 20_000),
        "many empty chunks": lambda: png(chunk(b"tEXt", b"") * 100_000),
        "many fields of XMP": lambda: jpeg_with(
            *[(0xE1, XMP_HEAD + xmp("<dc:title>a</dc:title>" * 2500).encode())] * 100
        ),
        "deep XMP": lambda: png(international_chunk("XML:com.adobe.xmp", xmp("<dc:a>" * 100_000))),
        "a billion laughs": lambda: png(international_chunk("XML:com.adobe.xmp", _laughs())),
        "a ring of nodes": lambda: png_of({"prompt": _ring(8000)}),
        "stars of nodes": lambda: png_of({"prompt": _star(3000)}),
        "Exif that points to itself": lambda: with_exif("JPEG", _loop()),
        "a lying length": lambda: png(struct.pack(">I", 0xFFFFFFFF) + b"tEXt" + b"parameters\0Jane"),
    }


BOMBS = _bombs()


def _zeros(count: int) -> bytes:
    stream, pieces = zlib.compressobj(9), []
    for _ in range(count >> 20):
        pieces.append(stream.compress(bytes(1 << 20)))
    return b"".join([*pieces, stream.flush()])


def _nested(depth: int) -> str:
    text = "Jane Doe"
    for _ in range(depth):
        text = json.dumps({"prompt": text})
    return text


def _laughs() -> str:
    entities = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "&a{n - 1};&a{n - 1};">' for n in range(1, 40))
    return f"<!DOCTYPE x [{entities}]>" + xmp("<dc:title>&a39;</dc:title>")


def _ring(count: int) -> dict[str, object]:
    return {
        str(n): {"class_type": "X", "inputs": {"negative": [str((n + 1) % count), 0], "positive": [str(n), 0]}}
        for n in range(count)
    }


def _star(count: int) -> dict[str, object]:
    inputs = {f"negative{n}" if n % 2 else f"in{n}": [str(n), 0] for n in range(count)}
    return {str(n): {"class_type": "X", "inputs": inputs if n < 5 else {"text": "a b"}} for n in range(count)}


def _loop() -> bytes:
    return b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x8769, 4, 1, 8)


@pytest.mark.parametrize("kind", list(BOMBS))
def test_i9_no_file_makes_the_reader_take_more_than_it_may(kind: str) -> None:
    data = BOMBS[kind]()
    tracemalloc.start()
    try:
        found = read(data, SMALL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    kept = {place: sum(len(text) for where, text in found.texts if where == place) for place in PLACES}
    assert max(kept.values()) <= SMALL.max_chars
    assert len(found.hashes) + len(found.versions) <= 256


@pytest.mark.parametrize("kind", ["many packed megabytes", "ten megabytes in a chunk", "many parts", "nested objects"])
def test_i1_what_was_not_read_is_said(kind: str) -> None:
    assert read(BOMBS[kind](), SMALL).problem in ("too_large", "too_complex")


def samples() -> list[bytes]:
    comment = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    return [
        png(
            text_chunk("parameters", PARAMETERS),
            packed_chunk("Comment", "{}"),
            international_chunk("a", "b", packed=True),
        ),
        png_of({"prompt": comfy_prompt(), "workflow": {"nodes": [], "links": []}}),
        with_exif("JPEG", exif_block(comment, others={0x010E: b"Jane\0"})),
        with_exif("WEBP", exif_block(comment)),
        with_exif("AVIF", exif_block(comment)),
        plain("GIF", comment=PARAMETERS.encode()),
        jpeg_with((0xE1, XMP_HEAD + xmp("<dc:title>a</dc:title>").encode())),
        stealth_png("{}", width=24, height=64),
    ]


@settings(max_examples=examples(300))
@given(st.integers(0, 7), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_i9_bytes_that_were_changed_anywhere_are_read_or_not(which: int, seed: int, changes: int) -> None:
    chosen = random.Random(seed)
    data = bytearray(samples()[which])
    for _ in range(changes):
        at = chosen.randrange(len(data))
        choice = chosen.randrange(3)
        if choice == 0:
            data[at] = chosen.randrange(256)
        elif choice == 1:
            del data[at : at + chosen.randrange(1, 9)]
        else:
            data[at:at] = chosen.randbytes(chosen.randrange(1, 9))
        if not data:
            data = bytearray(b"\0")
    read(bytes(data), SMALL)


@settings(max_examples=examples(300))
@given(
    st.text(max_size=400),
    st.sampled_from(["parameters", "prompt", "workflow", "Comment", "Dream", "XML:com.adobe.xmp"]),
)
def test_i9_any_text_under_any_key_is_read_or_not(text: str, key: str) -> None:
    read(png(international_chunk(key, text.encode("utf-8", "replace").decode())), SMALL)


@settings(max_examples=examples(200))
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "nodes",
                        "links",
                        "inputs",
                        "class_type",
                        "widgets_values",
                        "prompt",
                        "hashes",
                        "loras",
                        "id",
                        "definitions",
                        "subgraphs",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=30,
    ),
    st.sampled_from(["parameters", "prompt", "workflow"]),
)
def test_i9_json_of_any_shape_is_read_or_not(value: object, key: str) -> None:
    read(png(text_chunk(key, json.dumps(value))), SMALL)
