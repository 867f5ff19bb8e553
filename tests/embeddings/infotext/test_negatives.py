"""Whom a picture is to be kept free of is nobody it names, however the two are written into one text."""

from __future__ import annotations

import html
import json

import pytest

from embeddings.infotext.a1111 import prompt_of
from embeddings.infotext.negatives import asked_for, without_brackets
from tests.embeddings.infotext_files import (
    XMP_HEAD,
    comfy_prompt,
    exif_block,
    international_chunk,
    jpeg_with,
    png,
    png_of,
    read,
    said,
    texts_at,
    with_exif,
    xmp,
)

WHOLE = (
    "photo of Jane Doe\nNegative prompt: Mary Roe, blurry\n"
    "Steps: 28, Sampler: Euler a, Model hash: aabbccddee, Model: some_mix"
)
WRITTEN = {
    "as it is": WHOLE,
    "one line": WHOLE.replace("\n", " "),
    "one line with commas": WHOLE.replace("\n", ", "),
    "one line with full stops": WHOLE.replace("\n", ". "),
    "CR": WHOLE.replace("\n", "\r"),
    "CRLF": WHOLE.replace("\n", "\r\n"),
    "a line separator": WHOLE.replace("\n", "\N{LINE SEPARATOR}"),
    "lower case": WHOLE.replace("Negative", "negative"),
    "capitals": WHOLE.replace("Negative prompt", "NEGATIVE PROMPT"),
    "title case": WHOLE.replace("prompt:", "Prompt:"),
    "indented": WHOLE.replace("Negative", " \t Negative"),
    "a space before the colon": WHOLE.replace("prompt:", "prompt :"),
    "a wide colon": WHOLE.replace("prompt:", "prompt："),
    "markup": WHOLE.replace("Negative prompt:", "<b>Negative prompt</b>:"),
    "an underscore": WHOLE.replace("Negative prompt", "negative_prompt"),
}


@pytest.mark.parametrize("written", list(WRITTEN))
def test_a_negative_prompt_is_left_out_however_a_copy_writes_it(written: str) -> None:
    text = WRITTEN[written]
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    for data in (png_of({"parameters": text}), png_of({"Comment": text}), with_exif("JPEG", exif_block(comment))):
        found = read(data)
        assert "Mary" not in said(found)
        assert any("photo of Jane Doe" in one for one in texts_at(found, "prompt"))
        assert found.hashes == ("aabbccddee",)
        assert texts_at(found, "model") == ["some_mix"]
    assert "Mary" not in prompt_of(text)
    assert "Jane Doe" in prompt_of(text)
    assert "Euler" not in prompt_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "a street. Negative prompt: Mary Roe",
        "a street | negative: Mary Roe",
        "a street --no Mary Roe --v 6",
        "a street —no Mary Roe",
        "a street, (Mary Roe:-1.2)",
        "a street, ((old) Mary Roe : -.5), a tree",
        "a street\nSteps: 20, Sampler: Euler\nNegative prompt: Mary Roe, blurry",
    ],
)
def test_what_a_text_excludes_is_left_out_without_settings_too(text: str) -> None:
    for key in ("Description", "parameters", "prompt"):
        found = read(png_of({key: text}))
        assert "Mary" not in said(found)
        assert "a street" in said(found)
    assert "Mary" not in said(read(jpeg_with((0xFE, text.encode()))))


def test_what_is_asked_for_stays() -> None:
    for text in (
        "photo of Jane Doe (smiling:1.2), negative space, no hat",
        "Jane Doe at Negative Falls: a view",
        "[Jane Doe:Mary Roe:0.5] (tall) :-)",
        "a--note on Jane Doe",
    ):
        assert asked_for(text) == text
    assert asked_for("a (b:-1) Jane Doe").split() == ["a", "Jane", "Doe"]
    assert asked_for("Jane --no hat, gloves --ar 1:1") == "Jane   --ar 1:1"


def test_the_calls_of_loras_stay_in_a_prompt() -> None:
    assert prompt_of("a cat <lora:jane_doe:0.8>\nNegative prompt: x\nSteps: 2") == "a cat <lora:jane_doe:0.8>"


def test_brackets_of_old_prompts_are_left_out_with_what_they_hold() -> None:
    assert without_brackets("a [b] c").split() == ["a", "c"]
    assert without_brackets("a [b [c] d] e ] f").split() == ["a", "e", "]", "f"]
    assert without_brackets("a [b [c] d").split() == ["a"]
    assert without_brackets("a") == "a"


@pytest.mark.parametrize(
    "key", ["negative_prompt", "Negative Prompt", "NegativePrompt", "negative", "uc", "uncond", "反向提示词"]
)
def test_a_field_whose_key_says_negative_is_left_out(key: str) -> None:
    for value in ("Mary Roe", {"prompt": "Mary Roe"}):
        data = png(international_chunk(key, value if isinstance(value, str) else json.dumps(value)))
        assert read(data).texts == ()
    assert texts_at(read(png_of({"use_lora_model": "jane_doe"})), "lora") == ["jane_doe"]


def packet(place: str, text: str) -> bytes:
    written = html.escape(text)
    space = ' xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    body = f"<{place}><rdf:Alt><rdf:li>{written}</rdf:li></rdf:Alt></{place}>"
    return jpeg_with((0xE1, XMP_HEAD + xmp(body, space).encode()))


def test_what_stands_in_xmp_is_read_as_what_stands_in_a_field() -> None:
    drawn_things = json.dumps({"c": "photo of Jane Doe", "uc": "Mary Roe"})
    dashed = "photo of Jane Doe\n-Mary Roe,\nblurry\nSteps: 8, Sampler: x"
    for place, text in (
        ("exif:UserComment", drawn_things),
        ("dc:description", dashed),
        ("Iptc4xmpExt:AIPromptInformation", WHOLE),
        ("Iptc4xmpExt:AIPromptInformation", "photo of Jane Doe --no Mary Roe"),
        ("exif:UserComment", WHOLE.replace("\n", " ")),
    ):
        found = read(packet(place, text))
        assert texts_at(found, "prompt") == ["photo of Jane Doe"]
        assert "Mary" not in said(found)
    graph = read(packet("exif:UserComment", json.dumps(comfy_prompt())))
    assert texts_at(graph, "prompt") == ["photo of Jane Doe"]
    assert "Mary" not in said(graph)
    assert texts_at(read(packet("dc:description", "-Jane Doe at home")), "caption") == ["-Jane Doe at home"]


def test_brackets_and_weights_below_zero_exclude_in_invokeai_2() -> None:
    for prompt in (
        "photo of Jane Doe [Mary [Ann Poe] Roe]",
        [{"prompt": "photo of Jane Doe [Mary Roe]", "weight": 1}, {"prompt": "Mary Roe", "weight": -0.5}],
    ):
        found = read(png_of({"sd-metadata": {"model": "sd", "image": {"prompt": prompt}}}))
        assert texts_at(found, "prompt") == ["photo of Jane Doe"]
        assert "Mary" not in said(found)
    slider = read(png_of({"parameters": {"loras": [{"name": "jane_doe", "weight": -1}]}}))
    assert texts_at(slider, "lora") == ["jane_doe"]


@pytest.mark.parametrize("shower", ["ShowText|pysssss", "PreviewAny", "Display Text"])
def test_a_node_that_shows_an_excluded_text_makes_it_none_that_is_asked_for(shower: str) -> None:
    graph = comfy_prompt()
    graph["20"] = {"class_type": shower, "inputs": {"text": ["5", 0], "text_0": "Mary Roe, Ann Poe"}}
    graph["21"] = {"class_type": shower, "inputs": {"text": ["20", 0], "source": "Mary Roe"}}
    found = read(png_of({"prompt": graph}))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert "Mary" not in said(found)
    assert "Ann" not in said(found)


def test_an_input_that_is_called_unconditional_is_negative() -> None:
    graph = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "photo of Jane Doe"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "Mary Roe"}},
        "3": {"class_type": "Made up", "inputs": {"cond": ["1", 0], "uncond": ["2", 0]}},
        "4": {"class_type": "Text box", "inputs": {"text": "Mary Roe"}, "_meta": {"title": "ネガティブ"}},
    }
    assert said(read(png_of({"prompt": graph}))) == "photo of Jane Doe"


def test_unnamed_texts_of_a_drawn_node_with_several_are_left_out_but_for_names_of_files() -> None:
    for kind in ("easy fullLoader", "Efficient Loader", "SDXLPromptStyler", "Text Pair"):
        node = {"id": 1, "type": kind, "widgets_values": ["jane_doe_lora.safetensors", "Ann Poe", "none", "Mary Roe"]}
        assert said(read(png_of({"workflow": {"nodes": [node], "links": []}}))) == "jane_doe_lora.safetensors"
    two = {"id": 1, "type": "CLIPTextEncodeFlux", "widgets_values": ["Jane Doe", "photo of Jane Doe", 3.5]}
    one = {"id": 2, "type": "Text Multiline", "widgets_values": ["Jane Doe at home", "fixed"]}
    found = read(png_of({"workflow": {"nodes": [two, one], "links": []}}))
    assert {"Jane Doe", "photo of Jane Doe", "Jane Doe at home"} <= set(texts_at(found, "prompt"))


def test_the_label_of_an_input_may_say_that_it_is_negative() -> None:
    slots = [
        {"name": "text", "widget": {"name": "text"}},
        {"name": "text_1", "label": "negative", "widget": {"name": "text_1"}},
    ]
    node = {"id": 1, "type": "aa-bb", "inputs": slots, "widgets_values": ["photo of Jane Doe", "Mary Roe"]}
    assert said(read(png_of({"workflow": {"nodes": [node], "links": []}}))) == "photo of Jane Doe"
