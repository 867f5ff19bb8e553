"""The texts in a file that Python would unpickle, read without unpickling it.

A pickle is a list of instructions, some of which hold a text. They are listed one by one
(:func:`pickletools.genops`), and none is carried out: nothing is imported, built or called (I9). In a file that
``torch.save`` wrote, a zip archive, they stand uncompressed in the first entry, ``NAME/data.pkl``; ``NAME`` is what the
file was called when it was written. A textual inversion holds its token so.
"""

from __future__ import annotations

import pickletools
import struct
from typing import Final

from embeddings.headers.evidence import HeaderText, TextLimits, bounded
from embeddings.headers.loose import telling_names

ZIP: Final = b"PK\x03\x04"
PICKLES: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_ENTRY: Final = struct.Struct("<4xHHHHHIIIHH")
_IMPORTING: Final = ("GLOBAL", "INST")
"""Instructions whose text names what would be imported."""
_MOST_STEPS: Final = 200_000
_OF_THE_FORMAT: Final = frozenset(
    ("archive", "cpu", "cuda", "cuda:0", "storage", "string_to_token", "string_to_param", "state_dict", "little")
)


def is_pickled(first: bytes) -> bool:
    """Whether a file that begins with ``first`` may be a pickle, or a zip archive with one."""
    return first.startswith((ZIP, *PICKLES))


def pickled_texts(data: bytes, *, limits: TextLimits) -> tuple[tuple[HeaderText, ...], tuple[str, ...]]:
    """Return what the beginning of such a file holds of texts, and what is to be noted of it. Never raises.

    Names of layers are left out. ``header_cut``: there are more instructions than are read.
    """
    archive, pickle = _first_entry(data) if data.startswith(ZIP) else ("", data)
    strings, cut = _strings(pickle)
    names = telling_names([text for text in strings if text not in _OF_THE_FORMAT])
    found = {"archive": [archive] if archive not in ("", *_OF_THE_FORMAT) else [], "pickled": names}
    return bounded(found, limits=limits), ("header_cut",) if cut else ()


def _first_entry(data: bytes) -> tuple[str, bytes]:
    """The folder of a zip archive's first entry, and the entry if it is stored as it is."""
    if len(data) < _ENTRY.size:
        return "", b""
    _, _, method, _, _, _, size, _, named, extra = _ENTRY.unpack_from(data)
    start = _ENTRY.size + named + extra
    name = data[_ENTRY.size : _ENTRY.size + named].decode("utf-8", "replace")
    end = start + size if size not in (0, 0xFFFFFFFF) else len(data)  # its size may follow it
    return name.partition("/")[0] if "/" in name else "", data[start:end] if method == 0 else b""


def _strings(pickle: bytes) -> tuple[list[str], bool]:
    """The texts of the first :data:`_MOST_STEPS` instructions, and whether there are more instructions than these."""
    found: list[str] = []
    try:
        for step, (instruction, argument, _) in enumerate(pickletools.genops(pickle)):
            if step >= _MOST_STEPS:
                return found, True
            if isinstance(argument, str) and instruction.name not in _IMPORTING and not argument.startswith("torch."):
                found.append(argument)
    except (ValueError, struct.error, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError):
        return found, False  # the bytes end, or are none of these instructions; what came before them counts
    return found, False
