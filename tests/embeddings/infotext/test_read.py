"""What a picture says of its making is read whoever wrote it, and what it was to be kept free of is not."""

from __future__ import annotations

import json
import struct

import pytest

from tests.embeddings.infotext_files import (
    PARAMETERS,
    XMP_HEAD,
    chunk,
    comfy_prompt,
    exif_block,
    international_chunk,
    iptc,
    jpeg_with,
    packed_chunk,
    plain,
    png,
    png_of,
    read,
    said,
    stealth_png,
    text_chunk,
    texts_at,
    with_exif,
    xmp,
)

UNICODE = b"UNICODE\0"


def in_every_file() -> dict[str, bytes]:
    """The same parameters in each place that generators use."""
    big, little = UNICODE + PARAMETERS.encode("utf-16-be"), UNICODE + PARAMETERS.encode("utf-16-le")
    ascii_comment = b"ASCII\0\0\0" + PARAMETERS.encode()
    return {
        "tEXt": png(text_chunk("parameters", PARAMETERS)),
        "zTXt": png(packed_chunk("parameters", PARAMETERS)),
        "iTXt": png(international_chunk("parameters", PARAMETERS)),
        "packed iTXt": png(international_chunk("parameters", PARAMETERS, packed=True)),
        "eXIf": with_exif("PNG", exif_block(big)),
        "JPEG": with_exif("JPEG", exif_block(big)),
        "JPEG, little-endian in a big-endian block": with_exif("JPEG", exif_block(little)),
        "JPEG, little-endian": with_exif("JPEG", exif_block(little, little=True)),
        "JPEG, big-endian in a little-endian block": with_exif("JPEG", exif_block(big, little=True)),
        "JPEG, ASCII": with_exif("JPEG", exif_block(ascii_comment)),
        "JPEG, no encoding stated": with_exif("JPEG", exif_block(bytes(8) + PARAMETERS.encode())),
        "JPEG, no encoding at all": with_exif("JPEG", exif_block(PARAMETERS.encode())),
        "JPEG, UTF-8 that is called Unicode": with_exif("JPEG", exif_block(UNICODE + PARAMETERS.encode())),
        "JPEG comment": jpeg_with((0xFE, PARAMETERS.encode())),
        "WebP": with_exif("WEBP", exif_block(big)),
        "AVIF": with_exif("AVIF", exif_block(big)),
        "GIF": plain("GIF", comment=PARAMETERS.encode()),
        "stealth": stealth_png(PARAMETERS, width=128, height=128),
        "stealth, not packed": stealth_png(PARAMETERS, signature=b"stealth_pnginfo", width=128, height=128),
        "stealth, colours": stealth_png(PARAMETERS, signature=b"stealth_rgbcomp"),
        "stealth, colours, not packed": stealth_png(PARAMETERS, signature=b"stealth_rgbinfo", height=128),
    }


@pytest.mark.parametrize("kind", list(in_every_file()))
def test_parameters_are_read_wherever_a_file_has_them(kind: str) -> None:
    found = read(in_every_file()[kind])
    assert texts_at(found, "prompt") == ["portrait of Jane Doe,   8k", "face of Jane Doe, close"]
    assert {"jane_doe_v2", "other_one", "Jane Doe, the model"} <= set(texts_at(found, "lora"))
    assert texts_at(found, "model") == ["some_mix"]
    assert found.hashes == ("0123456789", "111122223333", "abcdef0123", "abcdef012345")
    assert found.versions == ("4711", "4712")
    assert "Mary" not in said(found)
    assert found.problem is None


def test_a_name_in_any_script_is_read_from_a_comment_in_either_byte_order() -> None:
    for name in ("李娜", "Ирина Петрова", "Zoë Łukasz", "김하나"):
        text = f"portrait of {name}\nSteps: 20"
        for code in ("utf-16-be", "utf-16-le"):
            found = read(with_exif("JPEG", exif_block(UNICODE + text.encode(code))))
            assert texts_at(found, "prompt") == [f"portrait of {name}"]


def test_text_that_is_not_utf_8_is_latin_1() -> None:
    body = b"parameters\0Zo\xeb\nSteps: 2"
    found = read(png(chunk(b"tEXt", body)))
    assert texts_at(found, "prompt") == ["Zoë"]


def test_a_graph_s_texts_are_told_apart_by_its_links() -> None:
    found = read(png_of({"prompt": comfy_prompt()}))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert texts_at(found, "lora") == ["people/jane_doe.safetensors"]
    assert texts_at(found, "model") == ["some_mix.safetensors"]
    assert found.versions == ("815",)
    assert "Mary" not in said(found)
    assert "Ann" not in said(found)


def test_a_text_that_is_asked_for_and_excluded_is_asked_for() -> None:
    graph = comfy_prompt()
    graph["3"] = {"class_type": "CLIPTextEncode", "inputs": {"text": ["6", 0], "clip": ["2", 1]}}
    assert "Ann Poe" in said(read(png_of({"prompt": graph})))


def test_a_node_that_has_both_inputs_passes_each_on() -> None:
    graph = comfy_prompt()
    graph["9"] = {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["3", 0], "negative": ["4", 0]}}
    graph["7"] = {"class_type": "KSampler", "inputs": {"positive": ["9", 0], "negative": ["9", 1], "model": ["2", 0]}}
    found = read(png_of({"prompt": graph}))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert "Mary" not in said(found)


def test_nan_and_repeated_keys_in_a_graph_are_read() -> None:
    text = (
        json.dumps(comfy_prompt())[:-1]
        + ', "10": {"class_type": "X", "inputs": {"text": "Eve", "text": "Ivy"}, "c": [NaN]}}'
    )
    found = read(png_of({"prompt": text}))
    assert {"photo of Jane Doe", "Eve", "Ivy"} <= set(texts_at(found, "prompt"))
    assert found.problem is None


def drawn() -> dict[str, object]:
    """A graph as it was drawn: links are triples of numbers, and values have no names."""
    return {
        "nodes": [
            {"id": 1, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["photo of Jane Doe"]},
            {"id": 2, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["Mary Roe"]},
            {
                "id": 3,
                "type": "KSampler",
                "inputs": [{"name": "positive", "link": 11}, {"name": "negative", "link": 12}],
                "widgets_values": [1, "fixed", "euler"],
            },
            {"id": 4, "type": "Note", "inputs": [], "widgets_values": ["for Jane Doe"]},
            {"id": 5, "type": "CLIPTextEncode", "title": "Negative", "widgets_values": ["Mary Roe"]},
            {"id": 6, "type": "LoraLoader", "widgets_values": ["jane_doe.safetensors", 1, 1]},
        ],
        "links": [[11, 1, 0, 3, 0, "CONDITIONING"], [12, 2, 0, 3, 1, "CONDITIONING"]],
    }


def test_a_drawn_graph_is_read_by_its_links_too() -> None:
    found = read(png_of({"workflow": drawn()}))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert texts_at(found, "lora") == ["jane_doe.safetensors"]
    assert "for Jane Doe" in texts_at(found, "workflow")
    assert "Mary" not in said(found)


def test_a_drawn_node_with_unnamed_texts_of_both_kinds_is_left_out() -> None:
    node = {
        "id": 1,
        "type": "Efficient Loader",
        "inputs": [{"name": "negative", "widget": {"name": "negative"}}],
        "widgets_values": ["photo of Jane Doe", "Mary Roe"],
    }
    assert said(read(png_of({"workflow": {"nodes": [node], "links": []}}))) == ""
    named = node | {"inputs": [{"name": name, "widget": {"name": name}} for name in ("positive", "negative")]}
    assert said(read(png_of({"workflow": {"nodes": [named], "links": []}}))) == "photo of Jane Doe"


def test_graphs_in_exif_are_read() -> None:
    graph, flow = json.dumps(comfy_prompt()).encode(), json.dumps(drawn()).encode()
    block = exif_block(bytes(8), others={0x010F: b"workflow:" + flow + b"\0", 0x0110: b"prompt:" + graph + b"\0"})
    assert texts_at(read(with_exif("WEBP", block)), "prompt") == ["photo of Jane Doe"]
    both = json.dumps({"prompt": comfy_prompt(), "workflow": drawn()})
    assert texts_at(read(with_exif("JPEG", exif_block(UNICODE + both.encode("utf-16-be")))), "prompt") == [
        "photo of Jane Doe"
    ]


def test_invokeai_is_read() -> None:
    metadata = {
        "positive_prompt": "photo of Jane Doe",
        "negative_prompt": "Mary Roe",
        "negative_style_prompt": "Mary Roe",
        "model": {"name": "some mix", "hash": "blake3:aa", "base": "sdxl"},
        "loras": [{"model": {"name": "jane doe lora", "hash": "sha256:" + "ab" * 32}, "weight": 0.7}],
    }
    found = read(png_of({"invokeai_metadata": metadata, "invokeai_graph": {"nodes": {"a": {"prompt": "Mary Roe"}}}}))
    assert texts_at(found, "prompt") == ["photo of Jane Doe"]
    assert texts_at(found, "lora") == ["jane doe lora"]
    assert texts_at(found, "model") == ["some mix"]
    assert found.hashes == ("ab" * 6,)
    assert "Mary" not in said(found)
    old = read(png_of({"Dream": '"photo of Jane Doe [Mary Roe]" -s 50 -S 1'}))
    assert texts_at(old, "prompt") == ["photo of Jane Doe"]


def test_fooocus_and_swarmui_are_read() -> None:
    fooocus = {
        "prompt": "photo of Jane Doe",
        "negative_prompt": "Mary Roe",
        "full_negative_prompt": ["Mary Roe"],
        "base_model": "some_mix",
        "base_model_hash": "0123456789",
        "loras": [["jane_doe.safetensors", 0.5, "abcdef0123"]],
    }
    swarm = {
        "sui_image_params": {
            "prompt": "photo of Jane Doe",
            "negativeprompt": "Mary Roe",
            "model": "some_mix",
            "loras": ["jane_doe"],
        },
        "sui_models": [{"name": "jane_doe.safetensors", "param": "loras", "hash": "0x" + "cd" * 32}],
    }
    for written, hashes in ((fooocus, ("0123456789", "abcdef0123")), (swarm, ("cd" * 6,))):
        found = read(png_of({"parameters": written}))
        assert texts_at(found, "prompt") == ["photo of Jane Doe"]
        assert any("jane_doe" in name for name in texts_at(found, "lora"))
        assert "some_mix" in texts_at(found, "model")
        assert found.hashes == hashes
        assert "Mary" not in said(found)


def test_novelai_is_read() -> None:
    comment = {
        "prompt": "photo of Jane Doe",
        "uc": "Mary Roe",
        "v4_prompt": {"caption": {"base_caption": "a street", "char_captions": [{"char_caption": "girl, Jane Doe"}]}},
        "v4_negative_prompt": {"caption": {"base_caption": "Mary Roe", "char_captions": [{"char_caption": "Mary"}]}},
    }
    texts = {
        "Title": "NovelAI generated image",
        "Software": "NovelAI",
        "Description": "photo of Jane Doe",
        "Comment": comment,
    }
    hidden = json.dumps(texts | {"Comment": json.dumps(comment)})
    for data in (png_of(texts), stealth_png(hidden, width=128, height=128)):
        found = read(data)
        assert {"photo of Jane Doe", "a street", "girl, Jane Doe"} <= set(texts_at(found, "prompt"))
        assert "Mary" not in said(found)


def test_captions_are_read() -> None:
    alternatives = "<rdf:Alt><rdf:li>Jane Doe at home</rdf:li><rdf:li>Jane Doe zu Hause</rdf:li></rdf:Alt>"
    body = (
        f"<dc:description>{alternatives}</dc:description>"
        "<dc:subject><rdf:Bag><rdf:li>portrait</rdf:li></rdf:Bag></dc:subject>"
        "<Iptc4xmpExt:AIPromptInformation>photo of Jane Doe</Iptc4xmpExt:AIPromptInformation>"
    )
    packet = xmp(body, ' photoshop:Headline="Jane Doe"').encode()
    data = [
        jpeg_with((0xE1, XMP_HEAD + packet)),
        png(international_chunk("XML:com.adobe.xmp", packet.decode())),
        plain("WEBP", xmp=packet),
    ]
    for one in data:
        found = read(one)
        assert set(texts_at(found, "caption")) == {"Jane Doe", "Jane Doe at home", "Jane Doe zu Hause", "portrait"}
        assert texts_at(found, "prompt") == ["photo of Jane Doe"]
        assert found.problem is None
    found = read(jpeg_with((0xED, iptc((120, b"Jane Doe at home"), (25, b"portrait"), (80, b"A Photographer")))))
    assert texts_at(found, "caption") == ["Jane Doe at home", "portrait"]
    found = read(with_exif("JPEG", exif_block(bytes(8), others={0x010E: b"Jane Doe at home\0", 0x010F: b"ACME\0"})))
    assert texts_at(found, "caption") == ["Jane Doe at home"]


def test_an_entity_of_an_upload_s_own_making_is_never_expanded() -> None:
    packet = '<!DOCTYPE a [<!ENTITY e "Jane Doe">]>' + xmp("<dc:description>&e;</dc:description>")
    found = read(jpeg_with((0xE1, XMP_HEAD + packet.encode())))
    assert found.texts == ()
    assert found.problem == "corrupt"


def test_json_that_cannot_be_read_is_a_problem_and_no_text() -> None:
    broken = json.dumps({"prompt": "photo of Jane Doe", "negative_prompt": "Mary Roe"})[:-3]
    for key in ("parameters", "prompt", "Comment"):
        found = read(png_of({key: broken}))
        assert found.texts == ()
        assert found.problem == "corrupt"


def test_a_prompt_may_begin_with_a_bracket() -> None:
    for text in ("{red|blue} hair of Jane Doe", "[Jane Doe:Mary:0.5]", "(Jane Doe:1.2)"):
        assert texts_at(read(png_of({"parameters": f"{text}\nSteps: 2, Seed: 1"})), "prompt") == [text]


def test_pictures_without_texts_have_none() -> None:
    kinds = [plain(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "AVIF")]
    for data in (*kinds, b"", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF89a"):
        found = read(data)
        assert (found.texts, found.hashes, found.versions, found.problem) == ((), (), (), None)
    opaque = plain("PNG", mode="RGBA", size=(64, 64))
    assert read(opaque).texts == ()
    assert struct.unpack(">I", opaque[16:20]) == (64,)
