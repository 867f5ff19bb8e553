"""Every text of a model file is searched: where trainers write and where nobody does, and in other formats too."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import UnscannableError
from embeddings.headers.evidence import TextLimits, evident_texts
from embeddings.headers.gguf import is_gguf, read_gguf
from embeddings.headers.pickled import is_pickled, pickled_texts
from embeddings.headers.pictures import pictures_in
from embeddings.headers.safetensors import LENGTH_BYTES, HeaderLimits, parse_header
from embeddings.images.decode import decode
from embeddings.images.several import apart, are_several, together
from tests.embeddings.model_files import assemble, data_url, tensor
from tests.embeddings.test_hostile_bytes import LIMITS as LIMITS_OF_IMAGES
from tests.examples import examples
from tests.fakes import picture

LIMITS = TextLimits(max_chars=2_000, top_tags=3, identity_share=0.9)
HEADER = HeaderLimits(max_bytes=1 << 20, max_tensors=1000)
IMAGES = replace(LIMITS_OF_IMAGES, max_frames=8)
ONE = picture((1, 2, 3))
OTHER = picture((200, 2, 3))
LAYERS = ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "lora_te1_text_model_encoder_layers_0_mlp_fc1.weight")


def places(metadata: Mapping[str, str], names: tuple[str, ...] = LAYERS) -> dict[str, str]:
    """Place of each text in which "jane" stands."""
    texts = evident_texts(metadata, limits=LIMITS, names=names)
    return {one.place.removeprefix("header:"): one.text for one in texts if "jane" in one.text.lower()}


SPLIT = [{"subsets": [{"img_count": 2, "caption_prefix": "photo of jane doe, ", "image_dir": "imgs"}]}]


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"ssmd_display_name": "Jane"}, "ssmd_display_name"),
        ({"ssmd_keywords": '["jane", "doe"]'}, "ssmd_keywords"),
        ({"modelspec.usage_hint": "say jane"}, "modelspec.usage_hint"),
        ({"modelspec.merged_from": "jane_v1, detail"}, "modelspec.merged_from"),
        ({"sd_merge_models": '{"0af": {"name": "jane_v1.safetensors"}}'}, "sd_merge_models"),
        ({"sd_merge_recipe": '{"custom_name": "jane mix"}'}, "sd_merge_recipe"),
        ({"trained_words": "jane"}, "trained_words"),
        ({"instance_prompt": "photo of jane"}, "instance_prompt"),
        ({"name": "jane_v2", "software": '{"name": "ai-toolkit"}'}, "name"),
        ({"config": '{"name": "jane", "process": [{"type": "sd_trainer"}]}'}, "config"),
        ({"ot_config": '{"concepts": [{"name": "x", "path": "/data/10_jane doe"}]}'}, "ot_config"),
        ({"lora_adapter_metadata": '{"transformer.instance_prompt": "a photo of jane"}'}, "lora_adapter_metadata"),
        ({"ss_datasets": '[{"image_directory": "jane_doe"}]'}, "ss_datasets"),
        ({"ss_datasets": '[{"image_jsonl_file": "/x/jane.jsonl"}]'}, "ss_datasets"),
        ({"ss_datasets": json.dumps(SPLIT)}, "ss_datasets"),
        ({"ss_datasets": '[{"image_dir": "10_jane doe", "caption_dropout_rate": NaN}]'}, "ss_datasets"),
        ({"ss_tag_frequency": '{"jane doe": 20}'}, "identity_token"),
        ({"ss_tag_frequency": '{"10_x": {"jane doe": 20.0}}'}, "identity_token"),
        ({"ss_tag_frequency": '{"10_jane": {"smile": NaN}}'}, "ss_tag_frequency"),
        ({"ss_sd_model_name": "jane.safetensors"}, "ss_sd_model_name"),
        ({"prompt": '{"6": {"inputs": {"text": "jane"}}}'}, "prompt"),
        ({"workflow": '{"nodes": [{"widgets_values": ["jane"]}]}'}, "workflow"),
    ],
)
def test_a_name_is_found_where_trainers_and_tools_write_it(metadata: dict[str, str], place: str) -> None:
    assert place in places(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {"anything": "jane"},
        {"jane": "1"},
        {"deep": json.dumps({"a": [{"b": json.dumps({"c": "jane"})}]})},
        {"twice": '{"a": "jane", "a": "x"}'},
        {"broken": '{"a": "jane"'},
        {"ss_optimizer": "AdamW8bit(jane=1)"},
        {"ss_datasets": '[{"sample_captions": ["jane"]}]'},
        {"ss_tag_frequency": json.dumps({"1_x": {**{f"tag{n}": 9 for n in range(9)}, "jane": 1}})},
    ],
)
def test_a_name_anywhere_else_is_found_as_one_of_little_weight(metadata: dict[str, str]) -> None:
    assert list(places(metadata)) == ["other"]


def test_words_of_the_trade_and_what_is_no_text_are_passed_over() -> None:
    metadata = {"ss_optimizer": "torch.optim.adam.Adam", "hash": "0a" * 20, "blob": "ab+/" * 200, "n": "[1, 2.5]"}
    assert evident_texts(metadata, limits=LIMITS, names=LAYERS)[0].text == ". . ."
    assert {one.text for one in evident_texts(metadata, limits=LIMITS)} == {". . .", "hash", "blob"}


def test_the_name_of_a_tensor_is_a_word_of_a_prompt_in_a_small_file_and_else_of_little_weight() -> None:
    assert places({}, ("<jane-doe>",)) == {"embedding_name": "<jane-doe>"}
    assert places({}, (*LAYERS * 5, "jane.weight")) == {"tensor_names": "jane.weight"}
    assert evident_texts({}, limits=LIMITS, names=("emb_params", "clip_l", "clip_g", *LAYERS)) == ()


def test_what_stands_behind_a_repeated_key_counts_as_what_stands_before_it() -> None:
    header = '{"__metadata__":{"ss_output_name":"jane","ss_output_name":"x"},"a":' + json.dumps(tensor(0, 1)) + "}"
    read = parse_header(header.encode(), file_bytes=None, limits=HEADER)
    texts = evident_texts(read.metadata, limits=LIMITS, names=read.names, hidden=read.hidden)
    assert {(one.place, one.text) for one in texts} == {
        ("header:ss_output_name", "jane"),
        ("header:ss_output_name", "x"),
    }


def covers(*images: bytes) -> dict[str, str]:
    return {"ssmd_cover_images": json.dumps([base64.b64encode(image).decode() for image in images])}


def test_thumbnail_and_covers_are_pictures_of_the_model() -> None:
    metadata = covers(ONE, OTHER) | {"modelspec.thumbnail": data_url(ONE)}
    found = pictures_in(metadata, max_bytes=10**6)
    assert (found.files, found.unreadable) == ((ONE, OTHER), False)
    assert pictures_in({"ssmd_cover_images": data_url(OTHER)}, max_bytes=10**6).files == (OTHER,)
    assert pictures_in({"ssmd_cover_images": "[]"}, max_bytes=10**6).files == ()


def test_i1_pictures_that_cannot_be_read_are_said_beside_those_that_can() -> None:
    broken = {"ssmd_cover_images": json.dumps([base64.b64encode(ONE).decode(), "!!", 5])}
    found = pictures_in(broken, max_bytes=10**6)
    assert (found.files, found.unreadable) == ((ONE,), True)
    assert pictures_in(covers(ONE, OTHER), max_bytes=len(ONE) - 1).unreadable
    assert len(pictures_in(covers(*(picture((n, 0, 0)) for n in range(40))), max_bytes=10**6).files) == 33


def test_several_pictures_are_frames_of_one_content() -> None:
    data = together([ONE, b"GIF89a broken", OTHER])
    assert apart(data) == [ONE, b"GIF89a broken", OTHER]
    image = decode(data, limits=IMAGES, long_side=64)
    frames = list(image.frames)
    assert (image.frames_total, image.planned) == (3, 3), "the one that cannot be opened is missing, and is said to be"
    assert [frame.index for frame in frames] == [0, 1]
    assert frames[1].image[0, 0, 0] > frames[0].image[0, 0, 0]
    assert frames[1].at_least(1.0).index == 1
    assert together([ONE]) == ONE


@given(st.binary(max_size=200))
def test_i9_any_bytes_behind_the_mark_of_several_are_pictures_or_unscannable(rest: bytes) -> None:
    data = together([b"", b""])[:20] + rest
    assert are_several(data)
    with pytest.raises(UnscannableError):
        list(decode(data, limits=IMAGES, long_side=64).frames)


def gguf(entries: list[tuple[str, object]], names: tuple[str, ...] = (), version: int = 3) -> bytes:
    """A GGUF header; text, integers, and lists of texts."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    data = b"GGUF" + struct.pack("<IQQ", version, len(names), len(entries))
    for key, value in entries:
        data += text(key)
        if isinstance(value, str):
            data += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            data += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            data += struct.pack("<II", 4, int(str(value)))
    return data + b"".join(text(name) + struct.pack("<IQQIQ", 2, 4, 4, 0, 0) for name in names)


def test_a_gguf_header_says_its_texts_without_its_vocabulary() -> None:
    entries = [("general.name", "Jane"), ("general.file_type", 3), ("tokenizer.ggml.tokens", ["jane"] * 5000)]
    data = gguf([*entries, ("general.tags", ["lora", "jane doe"])], ("blk.0.attn_q.weight", "jane.weight"))
    header = read_gguf(data, limits=HEADER)
    assert is_gguf(data)
    assert header.metadata == {"general.name": "Jane", "general.tags": "lora\njane doe"}
    assert (header.names, header.notes) == (("blk.0.attn_q.weight", "jane.weight"), ())
    assert read_gguf(data[:200], limits=HEADER).notes == ("header_cut",)
    assert set(places(header.metadata, header.names)) == {"general.name", "general.tags", "embedding_name"}


@given(st.binary(max_size=120), st.integers(0, 80), st.binary(min_size=1, max_size=9))
@settings(max_examples=examples(300))
def test_i9_any_gguf_bytes_give_what_they_hold_and_no_error(rest: bytes, at: int, bad: bytes) -> None:
    whole = gguf([("general.name", "Jane"), ("general.tags", ["a", "b"])], ("x",))
    for data in (b"GGUF\x03\0\0\0" + rest, whole[:at] + bad + whole[at:], whole[:at]):
        assert all(isinstance(value, str) for value in read_gguf(data, limits=HEADER).metadata.values())


class Deadly:
    """What would end this process if anybody unpickled it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr(f"{name}/data.pkl", content)
    return buffer.getvalue()


def test_i9_the_texts_of_a_pickle_are_read_and_nothing_is_unpickled() -> None:
    content = pickle.dumps({"string_to_token": {"*": 265}, "name": "jane doe", "trap": Deadly()}, protocol=2)
    for data in (content, archive("archive", content)):
        assert is_pickled(data)
        texts = {one.place: one.text for one in pickled_texts(data, limits=LIMITS)[0] if "jane" in one.text}
        assert texts == {"header:pickled": "jane doe"}
    ((first, *_), _) = pickled_texts(archive("jane_v1", content), limits=LIMITS)
    assert (first.place, first.text) == ("header:archive", "jane_v1")


def test_i1_a_pickle_of_more_instructions_than_are_read_is_noted() -> None:
    rest = pickle.dumps("jane doe", protocol=2)[2:]
    for steps, notes in ((200_000 - 10, ()), (200_000, ("header_cut",))):
        assert pickled_texts(b"\x80\x02" + b"N0" * (steps // 2) + rest, limits=LIMITS)[1] == notes


@given(st.binary(max_size=200), st.sampled_from([b"\x80\x02", b"PK\x03\x04", b"\x80\x04X"]))
def test_i9_any_bytes_of_a_pickle_give_texts_or_none(rest: bytes, first: bytes) -> None:
    for one in pickled_texts(first + rest, limits=LIMITS)[0]:
        one.text.encode()


mutations = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("[" * 3000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "__metadata__",
        "ss_datasets",
        "ss_tag_frequency",
        "ssmd_cover_images",
        "ot_config",
        "prompt",
        "name",
        "sd_merge_models",
    ]
)


@given(st.lists(st.tuples(KEYS | st.text(max_size=5), mutations | mutations.map(json.dumps)), max_size=6))
@settings(max_examples=examples(300))
def test_i9_any_metadata_of_any_shape_costs_no_more_than_itself(pairs: list[tuple[str, object]]) -> None:
    inside = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
    data = assemble('{"__metadata__": {' + inside + '}, "a": ' + json.dumps(tensor(0, 1)) + "}", b"1")
    header = parse_header(data[LENGTH_BYTES:-1], file_bytes=len(data), limits=HEADER)
    for one in evident_texts(header.metadata, limits=LIMITS, names=header.names, hidden=header.hidden):
        assert 0 < len(one.text) <= LIMITS.max_chars
        one.text.encode()
    pictures_in(header.metadata, max_bytes=1000)
