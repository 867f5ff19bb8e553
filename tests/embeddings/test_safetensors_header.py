"""Headers of model files: what the format's own library reads is read alike, and nothing else gets through."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from embeddings.errors import UnscannableError
from embeddings.headers.safetensors import (
    LENGTH_BYTES,
    Header,
    HeaderLimits,
    header_length,
    is_safetensors,
    parse_header,
)
from tests.embeddings.model_files import assemble, model_file, tensor
from tests.examples import examples

LIMITS = HeaderLimits(max_bytes=1 << 20, max_tensors=1000)


def read_header(data: bytes, *, limits: HeaderLimits) -> Header:
    """The header of a whole file, as the intake reads it of the file's beginning."""
    if not is_safetensors(data):
        raise UnscannableError("format")
    end = LENGTH_BYTES + header_length(data, limits=limits)
    if end > len(data):
        raise UnscannableError("truncated")
    return parse_header(data[LENGTH_BYTES:end], file_bytes=len(data), limits=limits)


def reason_of(data: bytes, limits: HeaderLimits = LIMITS) -> str:
    with pytest.raises(UnscannableError) as raised:
        read_header(data, limits=limits)
    assert str(raised.value) == raised.value.reason  # nothing of the file is in the message
    return raised.value.reason


arrays = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.builds(
        np.zeros,
        st.lists(st.integers(0, 4), max_size=4),
        st.sampled_from(["f4", "f2", "f8", "i1", "u2", "i8", "?", "c8"]),
    ),
    min_size=1,  # without one, the library's writer makes something it cannot read itself
    max_size=6,
)


@given(arrays=arrays, metadata=st.none() | st.dictionaries(st.text(max_size=12), st.text(max_size=40), max_size=5))
def test_what_the_library_writes_is_read_as_it_was_written(
    arrays: dict[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    data = save(arrays, metadata)
    header = read_header(data, limits=LIMITS)
    assert header.metadata == (metadata or {})
    assert (header.tensors, header.payload_bytes) == (len(arrays), sum(array.nbytes for array in arrays.values()))
    assert header.file_bytes == len(data)


DTYPES = ("BOOL", "F4", "F6_E2M3", "U8", "F8_E5M2", "F8_E4M3FNUZ", "BF16", "U16", "F32", "C64", "I64", "F3", "")
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(DTYPES),
        "shape": st.lists(st.integers(0, 5), max_size=3),
        "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2),
    },
    optional={"more": st.none() | st.text(max_size=3)},
)


@given(
    fields=st.dictionaries(st.text(max_size=3), entries, max_size=3),
    size=st.integers(0, 24),
    before=st.sampled_from(["", " "]),
)
@settings(max_examples=examples(400))
def test_what_this_accepts_the_library_accepts_and_reads_alike(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object], size: int, before: str
) -> None:
    data = assemble(before + json.dumps(fields, ensure_ascii=False), bytes(size))
    path = tmp_path_factory.getbasetemp() / "oracle.safetensors"
    path.write_bytes(data)
    try:
        with safe_open(path, framework="np") as opened:
            expected: int | None = len(list(opened.keys()))
    except SafetensorError:
        expected = None
    try:
        found: int | None = read_header(data, limits=LIMITS).tensors
    except UnscannableError:
        found = None
    assert found == expected


def outcome(data: bytes) -> str:
    try:
        return type(read_header(data, limits=LIMITS)).__name__
    except UnscannableError as error:
        return error.reason


OUTCOMES = ("Header", "format", "truncated", "corrupt", "too_large", "too_complex")


@given(st.binary(max_size=64) | st.builds(assemble, st.binary(max_size=64), st.binary(max_size=8)))
@settings(max_examples=examples(500))
def test_i9_any_bytes_are_a_header_or_unscannable(data: bytes) -> None:
    assert outcome(data) in OUTCOMES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("shape"), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), json_values))
def test_i9_any_json_is_a_header_or_unscannable(fields: dict[str, object]) -> None:
    assert outcome(assemble(json.dumps(fields))) in OUTCOMES


@pytest.mark.parametrize(
    ("header", "payload", "reason"),
    [
        ('{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"1", "corrupt"),
        ('{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}', b"1", "corrupt"),
        ('{"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}', b"1", "corrupt"),
        ('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[1,0]}}', b"", "corrupt"),
        ('{"a":{"dtype":"U8","shape":[' + "9" * 5000 + '],"data_offsets":[0,1]}}', b"1", "corrupt"),
        ('{"a":{"dtype":"U8","shape":' + json.dumps([1] * 33) + ',"data_offsets":[0,1]}}', b"1", "too_complex"),
        (json.dumps({"a": tensor(0, 2), "b": tensor(1, 3)}), b"123", "corrupt"),
        (json.dumps({"a": tensor(0, 1), "b": tensor(2, 3)}), b"123", "corrupt"),
        (json.dumps({"a": tensor(1, 3)}), b"123", "corrupt"),
        (json.dumps({"a": tensor(0, 2)}), b"123", "corrupt"),
        (json.dumps({"a": tensor(0, 4)}), b"123", "truncated"),
        (json.dumps({"a": tensor(0, 4, "F32", [2])}), b"1234", "corrupt"),
        (json.dumps({"a": tensor(0, 1, "F4", [3])}), b"1", "corrupt"),
        (json.dumps({"a": 5}), b"", "corrupt"),
        (json.dumps({"a" * 1025: tensor(0, 1)}), b"1", "too_complex"),
        (json.dumps({"__metadata__": {"a" * 1025: ""}}), b"", "too_complex"),
        (json.dumps({str(n): tensor(0, 0) for n in range(1001)}), b"", "too_complex"),
        ("{", b"", "corrupt"),
        ("{}{}", b"", "corrupt"),
        (b'{"\xff":1}', b"", "corrupt"),
        (b'{"__metadata__":{"k":"\xed\xa0\x80"}}', b"", "corrupt"),
        ('{"a":' + "[" * 5000, b"", "too_complex"),
        ('{"a":' * 5000, b"", "too_complex"),
        ('{"a":' + "[" * 500 + "]" * 500 + "}", b"", "corrupt"),
    ],
)
def test_each_way_to_be_wrong_has_its_word(header: str | bytes, payload: bytes, reason: str) -> None:
    assert reason_of(assemble(header, payload)) == reason


ONE = json.dumps(tensor(0, 1))


@pytest.mark.parametrize(
    ("header", "metadata", "hidden", "notes"),
    [
        ('{"__metadata__":null,"a":ONE}', {}, [], ["no_metadata"]),
        ('{"__metadata__":{"k":"v","k":"w","k":"x"},"a":ONE}', {"k": "x"}, [("k", "v"), ("k", "w")], ["repeated_key"]),
        ('{"__metadata__":{"k":"v"},"__metadata__":{"l":"w"},"a":ONE}', {"l": "w"}, [("k", "v")], ["repeated_key"]),
        ('{"__metadata__":{"k":null,"l":1,"m":NaN},"a":ONE}', {"l": "1", "m": "NaN"}, [], ["not_text"]),
        ('{"__metadata__":{"k":{"l":"m"}},"a":ONE}', {"k": '{"l": "m"}'}, [], ["not_text"]),
        ('{"__metadata__":["jane"],"a":ONE}', {}, [("", '["jane"]')], ["not_text"]),
        ('{"a":ONE,"a":ONE}', {}, [], ["repeated_key"]),
        ('{"__metadata__":{"\\u0000repeated":"v"},"a":ONE}', {"\0repeated": "v"}, [], []),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":Infinity}}', {}, [], []),
    ],
)
def test_odd_metadata_is_read_and_noted_and_hides_nothing(
    header: str, metadata: dict[str, str], hidden: list[tuple[str, str]], notes: list[str]
) -> None:
    read = read_header(assemble(header.replace("ONE", ONE), b"1"), limits=LIMITS)
    assert (read.metadata, list(read.hidden), list(read.notes)) == (metadata, hidden, notes)
    assert read.names == ("a",)


def test_the_length_is_held_against_the_limit_and_against_the_file() -> None:
    sound = model_file()
    assert reason_of(sound, HeaderLimits(max_bytes=10, max_tensors=10)) == "too_large"
    assert reason_of(sound[:40]) == reason_of(sound[:-1]) == "truncated"
    assert reason_of(struct.pack("<Q", 1 << 63) + b'{"a"') == "format"
    assert reason_of(b"") == reason_of(b"PK\x03\x04" + bytes(20)) == reason_of(b"a text, not a model") == "format"
    assert is_safetensors(sound)


def test_a_size_that_is_not_known_is_not_held_against_the_tensors() -> None:
    data = json.dumps({"a": tensor(0, 4)}).encode()
    assert parse_header(data, file_bytes=None, limits=LIMITS).file_bytes == 8 + len(data) + 4


@pytest.mark.parametrize(
    "bomb",
    ['{"a":[' + "[]," * 300_000 + "[]]}", '{"a":[' + "{}," * 300_000 + "{}]}", '{"a":[' + "1000," * 200_000 + "1]}"],
)
def test_i9_what_would_unfold_in_memory_is_not_parsed(bomb: str) -> None:
    data = assemble(bomb)
    tracemalloc.start()
    try:
        assert reason_of(data) == "too_complex"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(data)


def test_i9_metadata_nested_as_deep_as_can_be_read_is_a_header_or_too_complex() -> None:
    found = {outcome(assemble('{"__metadata__":' + "[" * depth + "]" * depth + "}")) for depth in range(800, 1000)}
    assert found <= {"Header", "too_complex"}
    assert "too_complex" in found


def test_i9_quotes_that_do_not_close_cost_no_more_than_their_length() -> None:
    data = assemble('{"a":[' + "[]," * 20_000 + '"' + '\\"' * 400_000)
    assert reason_of(data) == "too_complex"  # a search that began anew at each quote would take minutes


def test_brackets_and_commas_inside_texts_are_not_counted(tmp_path: Path) -> None:
    metadata = {"ss_tag_frequency": json.dumps({"10_a": {f"tag {n}, [{n}]": n for n in range(20_000)}})}
    header = read_header(model_file(metadata), limits=HeaderLimits(max_bytes=1 << 22, max_tensors=10))
    assert header.metadata == metadata


def test_i8_a_header_does_not_show_its_metadata() -> None:
    header = read_header(model_file({"ss_output_name": "Testina"}), limits=LIMITS)
    assert "Testina" not in repr(header)
