"""Captions as photographs have them: XMP packets, and the records of IPTC in a Photoshop block.

XMP: ISO 16684-1, with the IPTC Extension's fields on generated pictures (2025.1). IPTC: IIM 4.2. No document type is
accepted in XML, so no entity of an upload's own making is ever expanded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from embeddings.infotext.exif import decode_text
from embeddings.infotext.fields import CAPTION, PROMPT

_DC: Final = "http://purl.org/dc/elements/1.1/"
_EXT: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PHOTOSHOP: Final = "http://ns.adobe.com/photoshop/1.0/"
_EXIF: Final = "http://ns.adobe.com/exif/1.0/"
_PLACES: Final = {
    f"{_DC} description": CAPTION,
    f"{_DC} title": CAPTION,
    f"{_DC} subject": CAPTION,
    f"{_EXT} PersonInImage": CAPTION,
    f"{_EXT} AIPromptInformation": PROMPT,
    f"{_PHOTOSHOP} Headline": CAPTION,
    f"{_EXIF} UserComment": "comment",
}
DAMAGED: Final = "damaged"
_MOST_DEPTH: Final = 64
_RECORDS: Final = frozenset((5, 25, 105, 120))
"""Object name, keywords, headline, caption: of record 2."""


class _RefusedError(Exception):
    """The packet has a document type, or is nested too deep."""


def read_xmp(packet: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a packet with their places (``comment``: a text of any kind). Never raises: what comes before
    an error in the XML is taken, and :data:`DAMAGED` comes last."""
    found: list[tuple[str, str]] = []
    within: list[str] = []
    place: list[str | None] = [None]
    pieces: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        within.append(name)
        if len(within) > _MOST_DEPTH:
            raise _RefusedError
        place.append(_PLACES.get(name, place[-1]))
        found.extend((_PLACES[key], value) for key, value in attributes.items() if key in _PLACES)

    def end(_: str) -> None:
        within.pop()
        held = place.pop()
        if held is not None and (text := "".join(pieces).strip()):
            found.append((held, text))
        pieces.clear()

    def characters(text: str) -> None:
        if place[-1] is not None:
            pieces.append(text)

    # The packet was decoded before: an encoding that it claims is not looked up, nor a codec loaded for it.
    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, _refuse
    try:
        parser.Parse(packet.rstrip("\0").encode("utf-8", "replace"), True)
    except (expat.ExpatError, _RefusedError, ValueError):
        found.append((DAMAGED, ""))
    yield from found


def _refuse(*_: object) -> None:
    raise _RefusedError


def read_iptc(resources: bytes) -> Iterator[str]:
    """Yield title, headline, keywords and caption of a Photoshop block. What is damaged is left out."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] + 2 & ~1)
        if at + 4 > len(resources):
            return
        (length,) = struct.unpack_from(">I", resources, at)
        if number == 0x0404:
            yield from _records(resources[at + 4 : at + 4 + length])
        at += 4 + length + (length & 1)


def _records(data: bytes) -> Iterator[str]:
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        record, dataset, length = struct.unpack_from(">BBH", data, at + 1)
        if length & 0x8000:  # an extended length, which no text that people write needs
            return
        if record == 2 and dataset in _RECORDS:
            yield decode_text(data[at + 5 : at + 5 + length])
        at += 5 + length
