"""What a header says about whom a model was trained on, told apart from what it is only said to say."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import UnscannableError
from embeddings.headers.evidence import TextLimits, evident_texts
from embeddings.headers.pictures import thumbnail
from embeddings.headers.places import PLAIN
from tests.embeddings.infotext_files import comfy_prompt
from tests.embeddings.model_files import data_url
from tests.examples import examples
from tests.fakes import picture

LIMITS = TextLimits(max_chars=500, top_tags=3, identity_share=0.9)
IMAGE = picture((1, 2, 3))


def found(metadata: Mapping[str, str], limits: TextLimits = LIMITS) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for one in evident_texts(metadata, limits=limits):
        texts.setdefault(one.place.removeprefix("header:"), []).append(one.text)
    return texts


def test_plain_keys_are_taken_as_they_stand() -> None:
    metadata = {name: f"about {name}" for name in PLAIN}
    expected = {name: [text] for name, text in metadata.items()} | {"other": ["also looked at"]}
    assert found(metadata | {"ss_seed": "1", "modelspec.title ": "also looked at"}) == expected


def test_folders_of_training_images_lose_their_repeats() -> None:
    folders = {"10_jane doe": {"n_repeats": 10, "img_count": 5}, "20_": {}, "jane": {}, "2_3_four": {}}
    assert found({"ss_dataset_dirs": json.dumps(folders)})["ss_dataset_dirs"] == ["jane doe", "jane", "3_four"]


def test_data_sets_name_their_class_tokens_and_image_folders() -> None:
    datasets = [
        {
            "is_dreambooth": True,
            "noise": -0.5,
            "subsets": [
                {"img_count": 4, "class_tokens": "ohwx jane", "image_dir": "C:\\train\\5_jane doe\\", "flip": None},
                {"class_tokens": ["one", 2, "two"], "image_dir": "/data/7_john"},
                "not a subset",
            ],
        },
        {"class_tokens": "outside", "subsets": 5},
        None,
    ]
    expected = ["outside", "ohwx jane", "one", "two", "jane doe", "john"]
    assert sorted(found({"ss_datasets": json.dumps(datasets)})["ss_datasets"]) == sorted(expected)


def test_a_tag_on_nearly_every_image_is_the_identity_token() -> None:
    metadata = {
        "ss_dataset_dirs": json.dumps({"10_x": {"img_count": 20}}),
        "ss_tag_frequency": json.dumps({"10_x": {"janedoe": 20, "smile": 18, "hat": 17, "tree": 1}}),
    }
    texts = found(metadata)
    assert texts["identity_token"] == ["janedoe", "smile"]
    assert texts["ss_tag_frequency"] == ["x", "janedoe", "smile", "hat"]  # the folder, then the top three
    stricter = TextLimits(max_chars=500, top_tags=3, identity_share=1.0)
    assert found(metadata, stricter)["identity_token"] == ["janedoe"]


def test_the_number_of_images_is_also_found_in_the_data_sets() -> None:
    tags = {"5_y": {"janedoe": 9, "hat": 6}}
    datasets = [{"subsets": [{"image_dir": "5_y", "img_count": 9}], "tag_frequency": tags}]
    assert found({"ss_datasets": json.dumps(datasets)})["identity_token"] == ["janedoe"]


def test_of_a_folder_of_unknown_size_the_most_frequent_tag_is_the_measure() -> None:
    texts = found({"ss_tag_frequency": json.dumps({"5_y": {"janedoe": 50, "hat": 44, "x": "many"}})})
    assert texts["identity_token"] == ["janedoe"]


@pytest.mark.parametrize("inner", ["{", "[]", "5", "null", '{"a":1,"a":2}', '{"a":NaN}', "[" * 9000, '"\\ud800"'])
def test_json_that_cannot_be_read_costs_its_own_key(inner: str) -> None:
    keys = ("ss_datasets", "ss_dataset_dirs", "ss_tag_frequency")
    assert found(dict.fromkeys(keys, inner) | {"ss_output_name": "kept"})["ss_output_name"] == ["kept"]


def test_no_place_crowds_out_another() -> None:
    texts = found({"modelspec.title": "x" * 10_000, "modelspec.description": "jane", "ss_output_name": " \x00\ud800 "})
    assert texts["modelspec.title"] == ["x" * 500]
    assert texts["modelspec.description"] == ["jane"]
    assert texts["ss_output_name"] == ["\N{REPLACEMENT CHARACTER}" * 2]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["subsets", "image_dir", "class_tokens", "img_count", "tag_frequency"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from([*PLAIN, "ss_datasets", "ss_dataset_dirs", "ss_tag_frequency"]),
        st.text(max_size=30) | values.map(json.dumps),
    )
)
@settings(max_examples=examples(300))
def test_i9_any_metadata_gives_bounded_texts_that_any_database_stores(metadata: dict[str, str]) -> None:
    for one in evident_texts(metadata, limits=TextLimits(max_chars=20, top_tags=2, identity_share=0.5)):
        assert 0 < len(one.text) <= 20
        assert "\x00" not in one.text
        one.text.encode()


def test_a_thumbnail_comes_out_as_the_bytes_of_an_image() -> None:
    assert thumbnail({"modelspec.thumbnail": data_url(IMAGE, "png")}, max_bytes=len(IMAGE)) == IMAGE
    assert thumbnail({"modelspec.thumbnail": data_url(IMAGE, "jpeg")}, max_bytes=10**6) == IMAGE
    assert thumbnail({"modelspec.thumbnail": ""}, max_bytes=10) is None
    assert thumbnail({}, max_bytes=10) is None


@pytest.mark.parametrize(
    "value",
    [
        "https://images.example/a.jpg",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "data:text/html;base64," + data_url(IMAGE).partition(",")[2],
        data_url(IMAGE)[:-2] + "\n=",
        data_url(IMAGE).replace(",", ", "),
        data_url(IMAGE) + "====",
        data_url(b"%PDF-1.4"),
        data_url(b""),
        "data:image/png;base64,\N{SNOWMAN}",
        data_url(IMAGE + bytes(10)),
    ],
)
def test_i1_what_is_no_thumbnail_is_said_and_not_passed_over(value: str) -> None:
    with pytest.raises(UnscannableError) as raised:
        thumbnail({"modelspec.thumbnail": value}, max_bytes=len(IMAGE) + 5)
    assert str(raised.value) == "thumbnail"


def test_i8_a_text_does_not_show_itself() -> None:
    assert "jane" not in repr(evident_texts({"modelspec.title": "jane"}, limits=LIMITS))


def test_what_an_embedded_prompt_or_a_setting_excludes_is_left_out_at_any_depth() -> None:
    parameters = "photo of Jane Doe\nNegative prompt: Mary Roe\nSteps: 20, Sampler: Euler a"
    metadata = {
        "prompt": json.dumps(comfy_prompt()),
        "parameters": parameters,
        "workflow": json.dumps(
            {"nodes": [{"id": 1, "type": "A", "title": "Negative", "widgets_values": ["Mary Roe"]}]}
        ),
        "invokeai_metadata": json.dumps({"positive_prompt": "Jane Doe", "negative_prompt": "Mary Roe"}),
        "config": json.dumps({"process": [{"sample": {"prompts": ["Jane Doe"], "neg": "Mary Roe"}}]}),
        "ot_config": json.dumps({"samples": [{"negative_prompt": "Mary Roe", "negative": {"name": "Mary Roe"}}]}),
        "modelspec.description": parameters.replace("\n", " "),
        "negative_prompt": "Mary Roe",
        "notes": "{'prompt': 'Jane Doe', 'negative_prompt': 'Mary Roe'}",
        "other": json.dumps(json.dumps({"a": [{"uc": "Mary Roe"}]})),
    }
    texts = found(metadata, TextLimits(max_chars=5000, top_tags=3, identity_share=0.9))
    assert "Mary" not in repr(texts)
    assert "Ann" not in repr(texts)
    assert texts["prompt"][0] == texts["parameters"][0] == "photo of Jane Doe"
    assert texts["invokeai_metadata"] == ["Jane Doe"]
    assert texts["modelspec.description"] == ["photo of Jane Doe"]
    assert "{'prompt': 'Jane Doe'," in texts["other"]
