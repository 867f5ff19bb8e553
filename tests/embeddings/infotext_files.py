"""Picture files with texts, as generators write them: each made here, of one colour."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from embeddings.infotext.fields import InfotextLimits
from embeddings.infotext.read import Infotext, read_infotext

LIMITS = InfotextLimits(max_bytes=4 << 20, max_chars=40_000, max_parts=100_000, max_pixels=20_000_000)


def read(data: bytes, limits: InfotextLimits = LIMITS) -> Infotext:
    return read_infotext(data, limits=limits)


def texts_at(found: Infotext, place: str) -> list[str]:
    return [text for where, text in found.texts if where == f"infotext:{place}"]


def said(found: Infotext) -> str:
    """All texts as one, to look for what must not be in any."""
    return "\n".join(text for _, text in found.texts)


def plain(format: str, *, size: tuple[int, int] = (24, 24), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 120 if mode == "L" else (120, 40, 10)).save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    """A PNG with these chunks before its pixels."""
    data = plain("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def text_chunk(key: str, text: str) -> bytes:
    return chunk(b"tEXt", key.encode() + b"\0" + text.encode())


def packed_chunk(key: str, text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return chunk(b"zTXt", key.encode() + b"\0\0" + zlib.compress(raw, 9))


def international_chunk(key: str, text: str, *, packed: bool = False) -> bytes:
    raw = zlib.compress(text.encode()) if packed else text.encode()
    return chunk(b"iTXt", key.encode() + b"\0" + bytes([packed, 0]) + b"en\0" + key.encode() + b"\0" + raw)


def png_of(texts: Mapping[str, object]) -> bytes:
    """A PNG with these texts; what is none is written as JSON."""
    return png(*(text_chunk(key, one if isinstance(one, str) else json.dumps(one)) for key, one in texts.items()))


def exif_block(comment: bytes, *, little: bool = False, others: Mapping[int, bytes] | None = None) -> bytes:
    """A TIFF block with a UserComment in its Exif part, and other texts in its first."""
    order, parts = ("<", b"II*\0") if little else (">", b"MM\0*")
    first = [(tag, value) for tag, value in sorted((others or {}).items())]
    at = 8 + 2 + 12 * (len(first) + 1) + 4
    entries, values = b"", b""
    for tag, value in first:
        entries += struct.pack(order + "HHII", tag, 2, len(value), at + len(values))
        values += value
    values += bytes(len(values) % 2)
    entries += struct.pack(order + "HHII", 0x8769, 4, 1, at + len(values))
    inner = at + len(values)
    own = struct.pack(order + "H", 1) + struct.pack(order + "HHII", 0x9286, 7, len(comment), inner + 18) + bytes(4)
    head = parts + struct.pack(order + "I", 8) + struct.pack(order + "H", len(first) + 1)
    return head + entries + bytes(4) + values + own + comment


def with_exif(format: str, block: bytes) -> bytes:
    return plain(format, exif=b"Exif\0\0" + block)


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    data = plain("JPEG")
    made = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return data[:2] + made + data[2:]


def stealth_png(text: str, *, signature: bytes = b"stealth_pngcomp", width: int = 64, height: int = 96) -> bytes:
    """A PNG with a text in the lowest bits of its pixels, column by column."""
    body = gzip.compress(text.encode()) if signature.endswith(b"comp") else text.encode()
    bits = np.unpackbits(np.frombuffer(signature + struct.pack(">I", len(body) * 8) + body, dtype=np.uint8))
    pixels = np.full((width, height, 4), 254, dtype=np.uint8)
    part = pixels[:, :, 3] if b"png" in signature else pixels[:, :, :3]
    flat = part.reshape(-1).copy()
    assert len(bits) <= len(flat), "the picture is too small for the text"
    flat[: len(bits)] |= bits
    part[...] = flat.reshape(part.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 0, 2).copy(), "RGBA").save(file, "PNG")
    return file.getvalue()


XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def xmp(body: str, attributes: str = "") -> str:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f'{attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def iptc(*records: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in records)
    return b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(body)) + body


PARAMETERS = (
    "portrait of Jane Doe, <lora:jane_doe_v2:0.8> 8k\n"
    "Negative prompt: Mary Roe, blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model hash: 0123456789, Model: some_mix, "
    'Lora hashes: "jane_doe_v2: abcdef012345, other_one: 111122223333", '
    'ADetailer prompt: "face of Jane Doe, close", ADetailer negative prompt: "Mary Roe", '
    'Hashes: {"model": "0123456789", "lora:jane_doe_v2": "abcdef0123"}, '
    'Civitai resources: [{"type": "lora", "modelName": "Jane Doe, the model", "modelVersionId": 4711, '
    '"air": "urn:air:sdxl:lora:civitai:99@4712"}], Version: v1.9'
)
"""What Forge writes; Mary Roe is whom the picture must not show."""


def comfy_prompt() -> dict[str, object]:
    """A graph as it was run: Mary Roe by a negative input, and Ann Poe in a node that only a negative one uses."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some_mix.safetensors"}},
        "2": {
            "class_type": "LoraLoader",
            "inputs": {"lora_name": "people/jane_doe.safetensors", "model": ["1", 0], "clip": ["1", 1]},
        },
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "photo of Jane Doe", "clip": ["2", 1]}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": ["5", 0], "clip": ["2", 1]}},
        "5": {"class_type": "StringConcat", "inputs": {"string_a": "Mary Roe", "string_b": ["6", 0]}},
        "6": {"class_type": "PrimitiveString", "inputs": {"value": "Ann Poe"}},
        "7": {
            "class_type": "KSampler",
            "inputs": {"model": ["2", 0], "positive": ["3", 0], "negative": ["4", 0], "sampler_name": "euler"},
        },
        "8": {
            "class_type": "SaveImage",
            "inputs": {"images": ["7", 0], "filename_prefix": "urn:air:flux1:lora:civitai:5@815"},
        },
    }
